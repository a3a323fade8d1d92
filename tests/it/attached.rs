//! Servers that are no nodes of ours: attached by the gateway's operator, or behind a node program of their own.

use serde_json::{Value, json};
use tests::{Database, Gateway, MODEL, Node, conversation};

const CHAT: &str = "/v1/chat/completions";

async fn gateway() -> Gateway {
    Gateway::start_with(Database::create().await, &[("COMMONWATT_ALLOWED_NETWORKS", "127.0.0.0/8")]).await
}

async fn attach(gateway: &Gateway, url: &str) -> reqwest::Response {
    let price = json!({"prompt": 100, "cached": 25, "completion": 400});
    let model = json!({"name": "attached", "upstream_name": MODEL, "context_length": 2048, "price": price});
    let body = json!({"name": "a server", "url": url, "models": [model], "slots": 2, "zone": "DE"});
    let attach = gateway.client.post(gateway.url("/api/attached")).bearer_auth(&gateway.management_key);
    attach.json(&body).send().await.unwrap()
}

/// What a conversation asks of the attached server.
fn asked(more: Value) -> Value {
    let mut body = conversation(more);
    body["model"] = "attached".into();
    body
}

#[tokio::test]
async fn an_attached_server_answers_like_a_node_and_is_billed() {
    // A node of ours serves OpenAI's API to its own machine, as any other server does.
    let server = Node::start(&[]).await;
    let gateway = gateway().await;
    let attached = attach(&gateway, &server.url("/v1")).await;
    assert_eq!(attached.status(), 201, "{}", attached.text().await.unwrap());
    gateway.nodes(1).await;

    let alone = server.chat(&conversation(json!({"seed": 3, "temperature": 1}))).await;
    let response = gateway.chat(&asked(json!({"seed": 3, "temperature": 1}))).await;
    let id = response.headers()["x-commonwatt-request-id"].to_str().unwrap().to_owned();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["choices"][0]["message"], alone["choices"][0]["message"], "{answer}");
    assert_eq!(answer["model"], "attached");
    for what in ["prompt_tokens", "completion_tokens"] {
        assert_eq!(answer["usage"][what], alone["usage"][what], "{answer}");
    }
    assert_eq!(answer["usage"]["energy"]["tier"], "E", "{answer}");
    let row = gateway.request(&id).await;
    assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("completed"), &json!(8)), "{row}");
    assert_eq!(row["nanocredits"], row["prompt_tokens"].as_i64().unwrap() * 100 + 8 * 400, "{row}");

    let stream = gateway.chat(&asked(json!({"stream": true, "stream_options": {"include_usage": true}}))).await;
    let text = stream.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n") && text.contains("\"usage\":{\"prompt_tokens\""), "{text}");

    let unasked = gateway.chat(&asked(json!({"stream": true}))).await;
    let id = unasked.headers()["x-commonwatt-request-id"].to_str().unwrap().to_owned();
    assert!(unasked.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    let row = gateway.request(&id).await;
    for what in ["prompt_tokens", "completion_tokens"] {
        assert_eq!(row[what], alone["usage"][what], "the server has said so after the last piece: {row}");
    }

    let wrong = gateway.chat(&asked(json!({"temperature": 9}))).await;
    assert_eq!(wrong.status(), 400);
    let wrong: Value = wrong.json().await.unwrap();
    assert_eq!(
        wrong["error"]["param"], "temperature",
        "the server's word on the request is the client's to hear: {wrong}"
    );
}

#[tokio::test]
async fn where_the_gateway_may_not_go_nothing_is_attached() {
    let gateway = Gateway::start().await;
    for url in
        ["http://127.0.0.1:1/v1", "https://169.254.169.254/v1", "https://localhost:1/v1", "ftp://example.com", "x"]
    {
        let refused = attach(&gateway, url).await;
        let status = refused.status();
        let problem = refused.text().await.unwrap();
        assert_eq!(status, 400, "{url}: {problem}");
    }
    let refused = attach(&gateway, "https://127.0.0.1:1/v1").await.text().await.unwrap();
    assert!(refused.contains("COMMONWATT_ALLOWED_NETWORKS") || refused.contains("--allowed-networks"), "{refused}");
}

#[tokio::test]
async fn a_node_in_front_of_another_server_earns_like_any_other() {
    let server = Node::start(&[]).await;
    let gateway = Gateway::start().await;
    let url = server.url("/v1");
    let arguments = ["--engine", "openai", "--upstream", &url, "--upstream-model", MODEL, "--model", "attached"];
    let _node = Node::join(&gateway, &[&arguments[..], &["--context", "2048", "--slots", "2"]].concat()).await;
    let alone = server.chat(&conversation(json!({"seed": 3, "temperature": 1}))).await;
    let response = gateway.chat(&asked(json!({"seed": 3, "temperature": 1}))).await;
    let id = response.headers()["x-commonwatt-request-id"].to_str().unwrap().to_owned();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["choices"][0]["message"], alone["choices"][0]["message"], "{answer}");
    let row = gateway.request(&id).await;
    assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("completed"), &json!(8)), "{row}");
    assert!(row["nanocredits"].as_i64() > Some(0), "{row}");
    let stream = gateway.ask(CHAT, &asked(json!({"stream": true}))).send().await.unwrap().text().await.unwrap();
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    let estimate = gateway.ask("/v1/estimate", &asked(json!({}))).send().await.unwrap();
    let estimate: Value = estimate.json().await.unwrap();
    assert_eq!(estimate["exact"], false, "{estimate}");
}

#[tokio::test]
async fn a_node_that_can_be_reached_is_dialled_too_and_its_open_door_asks_for_tickets() {
    let gateway = gateway().await;
    let address = format!("127.0.0.1:{}", tests::free_port());
    let url = format!("http://{address}");
    let _node = Node::join(&gateway, &["--direct-listen", &address, "--direct-url", &url]).await;
    let kinds = async || {
        let nodes = gateway.get("/api/nodes").await;
        nodes["data"][0]["ways"]
            .as_array()
            .map(|ways| ways.iter().map(|way| way.as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let ways = tests::eventually("both ways are open", std::time::Duration::from_secs(20), || async {
        kinds().await.filter(|ways| ways.len() == 2)
    });
    assert_eq!(ways.await, ["tunnel", "direct"]);
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
    // Nobody without a ticket gets anything at the public door.
    let bare = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for path in ["/node/v1/offer", "/node/v1/energy", "/v1/models"] {
        assert_eq!(bare.get(format!("{url}{path}")).send().await.unwrap().status(), 401, "{path}");
    }
}
