//! Names under which models can be asked beside their own.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Behaviour, Gateway, MODEL, Node, ScriptedNode, conversation, eventually};

const ANSWERS: Behaviour = Behaviour::Answers { pieces: 3, every_ms: 1 };
const SOON: Duration = Duration::from_secs(5);

async fn manage(gateway: &Gateway, method: Method, path: &str, body: Value) -> (u16, Value) {
    let call = gateway.client.request(method, gateway.url(path)).bearer_auth(&gateway.management_key).json(&body);
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn alias(gateway: &Gateway, name: &str, model: &str) -> (u16, Value) {
    manage(gateway, Method::PUT, &format!("/api/aliases/{name}"), json!({"model": model})).await
}

/// What `GET` answers to this key.
async fn read(gateway: &Gateway, key: &str, path: &str) -> (u16, Value) {
    let answer = gateway.client.get(gateway.url(path)).bearer_auth(key).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn asking(model: &str) -> Value {
    conversation(json!({"model": model, "max_tokens": 4}))
}

#[tokio::test]
async fn a_model_is_asked_under_an_alias_wherever_a_model_is_asked() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    assert_eq!(alias(&gateway, "gpt-4o-mini", MODEL).await.0, 200);
    let whole: Value = gateway.chat(&asking("gpt-4o-mini")).await.json().await.unwrap();
    assert_eq!(whole["model"], MODEL, "{whole}");
    let mut body = asking("gpt-4o-mini");
    body["stream"] = json!(true);
    let stream = gateway.chat(&body).await.text().await.unwrap();
    assert!(stream.contains(MODEL) && !stream.contains("gpt-4o-mini"), "{stream}");
    let body = json!({"model": "gpt-4o-mini", "input": "Hello", "max_output_tokens": 16, "store": false});
    let response: Value = gateway.ask("/v1/responses", &body).send().await.unwrap().json().await.unwrap();
    assert_eq!(response["model"], MODEL, "{response}");
    let rows = gateway.requests(3).await;
    assert!(rows.iter().all(|row| row["model"] == MODEL), "they are kept under the model's own name: {rows:?}");

    let (_, list) = read(&gateway, &gateway.key, "/v1/models").await;
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert!(names.contains(&&json!(MODEL)) && names.contains(&&json!("gpt-4o-mini")), "{list}");
    let (status, one) = read(&gateway, &gateway.key, "/v1/models/gpt-4o-mini").await;
    assert_eq!((status, &one["id"], &one["alias_of"]), (200, &json!("gpt-4o-mini"), &json!(MODEL)), "{one}");
    assert_eq!((&one["nodes"], &one["architecture"]["output_modalities"]), (&json!(1), &json!(["text"])), "{one}");
    assert!(one["context_length"].is_u64() && one["prices"]["lowest"]["completion"].is_u64(), "{one}");

    assert_eq!(manage(&gateway, Method::DELETE, "/api/aliases/gpt-4o-mini", json!({})).await.0, 204);
    assert_eq!(gateway.chat(&asking("gpt-4o-mini")).await.status(), 404);
    assert_eq!(manage(&gateway, Method::DELETE, "/api/aliases/gpt-4o-mini", json!({})).await.0, 404);
}

#[tokio::test]
async fn what_can_be_no_alias_is_refused_with_the_reason() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, ANSWERS).await;
    assert_eq!(alias(&gateway, "first", MODEL).await.0, 200);
    for (name, model, reason) in [
        (MODEL, "first", "is the name of a model"),
        ("second", "first", MODEL),
        ("second", "second", "itself"),
        ("second", "nothing", "No node"),
        ("a%20b", MODEL, "letters"),
    ] {
        let (status, problem) = alias(&gateway, name, model).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains(reason), "{name} for {model}: {status} {detail}");
    }
    assert_eq!(alias(&gateway, "openai%2Fgpt-4o", MODEL).await.0, 200);
    let (_, list) = manage(&gateway, Method::GET, "/api/aliases", json!({})).await;
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|row| row["alias"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "openai/gpt-4o"]);
    gateway.create_user("b@example.com", "a password of some length").await;
    let session = gateway.sign_in("b@example.com", "a password of some length").await;
    let call = gateway.client.put(gateway.url("/api/aliases/third")).json(&json!({"model": MODEL}));
    let call = call.bearer_auth(session["access_token"].as_str().unwrap());
    assert_eq!(call.send().await.unwrap().status(), 403, "it is for administrators");
}

#[tokio::test]
async fn a_key_that_may_not_ask_the_model_may_not_ask_it_under_an_alias() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, ANSWERS).await;
    assert_eq!(alias(&gateway, "other", MODEL).await.0, 200);
    for (allowed, status) in [("other", 404), (MODEL, 200)] {
        let new = json!({"name": allowed, "limits": {"models": [allowed]}});
        let (_, key) = manage(&gateway, Method::POST, "/api/keys", new).await;
        let key = key["key"].as_str().unwrap().to_owned();
        let call = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(&key).json(&asking("other"));
        assert_eq!(call.send().await.unwrap().status(), status, "{allowed}");
        assert_eq!(read(&gateway, &key, "/v1/models/other").await.0, status, "{allowed}");
        let (_, list) = read(&gateway, &key, "/v1/models").await;
        assert_eq!(list["data"].as_array().unwrap().is_empty(), status == 404, "{list}");
    }
}

#[tokio::test]
async fn every_gateway_hears_of_an_alias() {
    let gateways = Gateway::replicas(2, &[]).await;
    let [one, two] = &gateways[..] else { panic!() };
    let _nodes = (ScriptedNode::join(one, ANSWERS).await, ScriptedNode::join(two, ANSWERS).await);
    assert_eq!(alias(one, "other", MODEL).await.0, 200);
    eventually("the other gateway knows the alias", SOON, || async {
        (two.chat(&asking("other")).await.status() == 200).then_some(())
    })
    .await;
}
