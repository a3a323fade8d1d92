use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

const WINDOW: Duration = Duration::from_millis(100);

fn metrics(pools: &[&str]) -> Metrics {
    Metrics::new(pools, None).unwrap()
}

fn microjoules(count: u64) -> Microjoules {
    Microjoules::new(count)
}

/// What is shown, without what describes it.
fn figures(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("target_info")).collect()
}

#[test]
fn parts_and_tokens_read_as_documented() {
    let metrics = metrics(&["gpu-0", "machine"]);
    metrics.observe("gpu-0", Tier::B, microjoules(30_000_001), WINDOW);
    metrics.observe("gpu-0", Tier::D, microjoules(1), WINDOW);
    metrics.observe("gpu-0", Tier::B, microjoules(15_000_000), WINDOW);
    metrics.observe("machine", Tier::E, microjoules(4_000_000), WINDOW);
    metrics.request(812, 240);
    metrics.request(8, 0);
    let text = metrics.render();
    assert_eq!(
        figures(&text),
        [
            r#"hw_energy_joules_total{hw_id="gpu-0",hw_type="gpu",tier="B"} 45.000001"#,
            r#"hw_energy_joules_total{hw_id="gpu-0",hw_type="gpu",tier="D"} 0.000001"#,
            r#"hw_energy_joules_total{hw_id="machine",hw_type="machine",tier="E"} 4"#,
            r#"hw_power_watts{hw_id="gpu-0",hw_type="gpu"} 150"#,
            r#"hw_power_watts{hw_id="machine",hw_type="machine"} 40"#,
            "node_requests_total 2",
            r#"node_tokens_total{gen_ai_token_type="input"} 820"#,
            r#"node_tokens_total{gen_ai_token_type="output"} 240"#,
        ]
    );
    assert!(text.contains("\n# TYPE hw_energy_joules_total counter\n"), "{text}");
    assert!(text.contains("\n# TYPE hw_power_watts gauge\n"), "{text}");
}

#[test]
fn a_whole_machine_is_a_host() {
    let metrics = metrics(&["machine"]);
    assert_eq!(figures(&metrics.render()), [""; 0], "nothing is made up before the first window");
    metrics.observe("machine", Tier::E, microjoules(2_500_000), WINDOW);
    assert_eq!(
        figures(&metrics.render()),
        [r#"hw_host_energy_joules_total{hw_id="machine",tier="E"} 2.5"#, r#"hw_host_power_watts{hw_id="machine"} 25"#,]
    );
}

#[test]
fn a_pool_that_was_not_announced_gets_no_name() {
    let metrics = metrics(&["package-0"]);
    for number in 0..10_000 {
        metrics.observe(&format!("gpu-{number}"), Tier::B, microjoules(100), WINDOW);
    }
    assert_eq!(
        figures(&metrics.render()),
        [
            r#"hw_energy_joules_total{hw_id="other",hw_type="other",tier="B"} 1"#,
            r#"hw_power_watts{hw_id="other",hw_type="other"} 0.001"#,
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_is_lost_or_made(windows in prop::collection::vec((0_usize..4, 0_usize..6, 0_u64..1 << 42), 0..100)) {
        let pools = ["gpu-0", "package-0", "dram-0", "never announced"];
        let metrics = metrics(&pools[..3]);
        for (pool, tier, total) in &windows {
            metrics.observe(pools[*pool], Tier::ALL[*tier], microjoules(*total), WINDOW);
        }
        let text = metrics.render();
        let joules = text.lines().filter(|line| line.starts_with("hw_energy_joules_total{"));
        let shown: u64 =
            joules.map(|line| (line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() * 1e6).round() as u64).sum();
        prop_assert_eq!(shown, windows.iter().map(|(_, _, total)| total).sum::<u64>());
        prop_assert_eq!(metrics.render(), text, "a look changes nothing");
    }
}

/// An answer over a connection of its own.
async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-secret\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_listener_shows_metrics_and_nothing_else() {
    let metrics = Arc::new(metrics(&["gpu-0"]));
    metrics.request(1, 1);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(serve(Arc::clone(&metrics), listener, stop.clone()));
    let answer = ask(address, "GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("node_requests_total 1"), "{answer}");
    assert!(!answer.contains("sk-secret"));
    for (line, status) in [("GET /", 404), ("GET /v1/models", 404), ("POST /metrics", 405), ("DELETE /metrics", 405)] {
        let answer = ask(address, line).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with("\r\n\r\n"), "{line}: {answer}");
    }
    stop.cancel();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_the_same() {
    let (heard, mut hears) = mpsc::unbounded_channel::<Bytes>();
    let hear = |body: Bytes| async move {
        heard.send(body).unwrap();
        StatusCode::OK
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/metrics", post(hear));
    tokio::spawn(axum::serve(listener, routes).into_future());
    let metrics = Metrics::new(&["gpu-0"], Some(&collector)).unwrap();
    metrics.observe("gpu-0", Tier::B, microjoules(45_400_001), WINDOW);
    tokio::task::spawn_blocking(move || metrics.close()).await.unwrap();
    let body = hears.recv().await.unwrap();
    let has = |wanted: &[u8]| body.windows(wanted.len()).any(|bytes| bytes == wanted);
    assert!(has(HW_ENERGY.as_bytes()) && has(&45.400_001_f64.to_le_bytes()));
}
