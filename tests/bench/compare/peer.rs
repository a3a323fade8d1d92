//! Other gateways for language models, each as its makers say it is fastest, and bare: one worker, no database, no log, and no
//! retries of what a server answers with an error, but for those that are built in.

use std::net::SocketAddr;

use tests::MODEL;

use super::found::Found;
use super::proxy::Launch;

/// LiteLLM asks for one that nobody can guess. Nobody else reaches it here.
const LITELLM_KEY: &str = "sk-7d1f0c64b2a95e38f41c7be2096ad35871fe40cb92d6a853";

/// LiteLLM's proxy, set up as in its own benchmark (docs.litellm.ai, "Benchmarks"): no callbacks and no retries, with one
/// worker of Uvicorn for one core ("Production Best Practices"). It checks its key, as it can't be run without one.
pub(super) fn litellm(program: Found, server: SocketAddr) -> Launch {
    let mut launch = Launch::of(program);
    let file = launch.file("config.yaml", &litellm_file(server));
    let port = launch.listen.port().to_string();
    launch.arguments = ["--config", &file, "--host", "127.0.0.1", "--port", &port, "--num_workers", "1"]
        .into_iter()
        // Connections are kept between two turns.
        .chain(["--keepalive_timeout", "600"])
        .map(str::to_owned)
        .collect();
    launch.environment = vec![
        ("LITELLM_MODE", "PRODUCTION".to_owned()),
        ("LITELLM_LOG", "ERROR".to_owned()),
        ("LITELLM_MASTER_KEY", LITELLM_KEY.to_owned()),
        // Prices are read from the package instead of from the network.
        ("LITELLM_LOCAL_MODEL_COST_MAP", "True".to_owned()),
    ];
    Launch { key: LITELLM_KEY, ready: Some("/health/readiness"), ..launch }
}

fn litellm_file(server: SocketAddr) -> String {
    format!(
        "model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: http://{server}/v1
      api_key: key
litellm_settings:
  callbacks: []
  num_retries: 0
  request_timeout: 600
"
    )
}

/// SGLang's router over plain HTTP, which is how it stands before servers of SGLang, with the policy that costs the least
/// where there is one server, and without its limit on requests at a time. One runtime thread, as there is one core.
pub(super) fn sglang_router(program: Found, server: SocketAddr) -> Launch {
    let mut launch = Launch::of(program);
    let (port, server) = (launch.listen.port().to_string(), format!("http://{server}"));
    let metrics = tests::free_port().to_string();
    launch.arguments = ["launch", "--host", "127.0.0.1", "--port", &port, "--worker-urls", &server]
        .into_iter()
        .chain(["--policy", "random", "--max-concurrent-requests", "-1", "--log-level", "error"])
        .chain(["--prometheus-host", "127.0.0.1", "--prometheus-port", &metrics])
        .map(str::to_owned)
        .collect();
    launch.environment = vec![("TOKIO_WORKER_THREADS", "1".to_owned())];
    Launch { ready: Some("/readiness"), ..launch }
}

/// Portkey's gateway on Node, without its console and with Node's own switch for production. Its clients say where a request is to go.
pub(super) fn portkey(program: Found, server: SocketAddr) -> Launch {
    let mut launch = Launch::of(program);
    launch.arguments = vec![format!("--port={}", launch.listen.port()), "--headless".to_owned()];
    launch.environment = vec![("NODE_ENV", "production".to_owned())];
    launch.headers =
        [("x-portkey-provider", "openai".to_owned()), ("x-portkey-custom-host", format!("http://{server}/v1"))]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
    launch
}
