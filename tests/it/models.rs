//! Several models on one node: each is asked by its name, all share the node's slots and its meter, and one that nobody asks
//! for is unloaded until somebody does.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Gateway, MODEL, Node, TinyEmbedder, conversation, eventually};

const EMBEDDINGS: &str = "/v1/embeddings";
const SOON: Duration = Duration::from_secs(30);

/// What makes a node serve the text model, and an embedding model beside it.
fn both(embedder: &TinyEmbedder) -> Vec<String> {
    let beside = format!("{}={}", TinyEmbedder::NAME, embedder.folder().display());
    ["--model", MODEL, "--model", &beside].map(str::to_owned).to_vec()
}

fn with<'a>(arguments: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

fn embedding(text: &str) -> Value {
    json!({"model": TinyEmbedder::NAME, "input": text})
}

async fn asked(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let response = gateway.ask(path, body).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits until the node has unloaded a model so often.
async fn unloaded(node: &Node, model: &str, times: usize) {
    eventually("the model is unloaded", SOON, || async {
        let log = node.log();
        let lines = log.lines().filter(|line| line.contains("unloaded, as nobody asks") && line.contains(model));
        (lines.count() >= times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_node_answers_for_several_models_each_at_its_price() {
    let gateway = Gateway::start().await;
    let (embedder, prices) = (TinyEmbedder::make(7), format!("100,10,400;{}=700,0,0", TinyEmbedder::NAME));
    let node = Node::join(&gateway, &with(&both(&embedder), &["--price", &prices])).await;
    let local: Value = gateway.client.get(node.url("/v1/models")).send().await.unwrap().json().await.unwrap();
    let names: Vec<_> = local["data"].as_array().unwrap().iter().map(|model| (&model["id"], &model["kind"])).collect();
    assert_eq!(names, [(&json!(MODEL), &json!("text")), (&json!(TinyEmbedder::NAME), &json!("embedding"))]);

    let list = gateway.client.get(gateway.url("/v1/models")).bearer_auth(&gateway.key).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let listed =
        |name: &str| list["data"].as_array().unwrap().iter().find(|model| model["id"] == name).unwrap().clone();
    for (name, prompt, makes) in [(MODEL, 100, "text"), (TinyEmbedder::NAME, 700, "embeddings")] {
        let model = listed(name);
        assert_eq!((&model["nodes"], &model["prices"]["lowest"]["prompt"]), (&json!(1), &json!(prompt)), "{model}");
        assert_eq!(model["architecture"]["output_modalities"], json!([makes]), "{model}");
    }

    let chat = conversation(json!({"max_tokens": 24, "seed": 1}));
    let alone = Node::start(&[]).await.chat(&chat).await;
    let body = embedding("the sea");
    let (answer, vector) =
        tokio::join!(asked(&gateway, "/v1/chat/completions", &chat), asked(&gateway, EMBEDDINGS, &body));
    assert_eq!(answer["choices"], alone["choices"], "the other model changes nothing");
    assert_eq!((&answer["model"], &vector["model"]), (&json!(MODEL), &json!(TinyEmbedder::NAME)));
    let expected = embedder.vector(&TinyEmbedder::tokenize("the sea"));
    let numbers = vector["data"][0]["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap());
    assert!(numbers.zip(&expected).all(|(number, exact)| (number - exact).abs() < 1e-5));
    let rows = gateway.requests(2).await;
    assert!(rows.iter().all(|row| row["microjoules"].as_u64() > Some(0)), "both have taken energy: {rows:?}");

    let wrong = node.ask("/v1/chat/completions", &conversation(json!({"model": TinyEmbedder::NAME}))).await;
    assert_eq!(wrong.status(), 400, "each keeps its kind");
    let unknown = node.ask("/v1/chat/completions", &conversation(json!({"model": "nothing"}))).await;
    assert_eq!(unknown.status(), 404);
    gateway.audit().await;
}

#[tokio::test]
async fn a_model_that_nobody_asks_for_is_unloaded_and_loaded_again_for_whoever_does() {
    let gateway = Gateway::start().await;
    let embedder = TinyEmbedder::make(8);
    let node = Node::join(&gateway, &with(&both(&embedder), &["--unload-after", "2"])).await;
    let chat = conversation(json!({"max_tokens": 8, "seed": 1}));
    let first = asked(&gateway, "/v1/chat/completions", &chat).await;
    let loaded = node.resident_bytes();
    unloaded(&node, MODEL, 1).await;
    eventually("the memory is given back", SOON, || async {
        (node.resident_bytes() + (40 << 20) < loaded).then_some(())
    })
    .await;

    let body = embedding("the sea");
    let (one, two, vector, local) = tokio::join!(
        asked(&gateway, "/v1/chat/completions", &chat),
        asked(&gateway, "/v1/chat/completions", &chat),
        asked(&gateway, EMBEDDINGS, &body),
        node.chat(&chat),
    );
    for again in [&one, &two, &local] {
        assert_eq!(again["choices"], first["choices"], "as before");
    }
    assert_eq!(vector["model"], TinyEmbedder::NAME);
    unloaded(&node, MODEL, 2).await;
    let mut stream = chat.clone();
    stream["stream"] = json!(true);
    let stream = gateway.chat(&stream).await.text().await.unwrap();
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    let wrong = conversation(json!({"temperature": 9}));
    unloaded(&node, MODEL, 3).await;
    assert_eq!(gateway.chat(&wrong).await.status(), 400, "what is wrong stays wrong while it is loaded");
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_the_pause_keeps_its_model() {
    let embedder = TinyEmbedder::make(9);
    let node = Node::start(&with(&both(&embedder), &["--unload-after", "1"])).await;
    let long = conversation(json!({"max_tokens": 120, "logit_bias": {"2": -100}}));
    let answer = node.chat(&long).await;
    assert_eq!(answer["usage"]["completion_tokens"], 120);
    unloaded(&node, TinyEmbedder::NAME, 1).await;
    unloaded(&node, MODEL, 1).await;
}
