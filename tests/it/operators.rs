//! What an operator does with a node after it has joined: pauses it, asks why no work comes, changes its key, and serves
//! several gateways.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Behaviour, Gateway, Node, ScriptedNode, conversation, eventually};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);

async fn change(gateway: &Gateway, node: &str, body: Value) -> u16 {
    let path = gateway.url(&format!("/api/nodes/{node}"));
    let change = gateway.client.patch(path).bearer_auth(&gateway.management_key).json(&body);
    change.send().await.unwrap().status().as_u16()
}

/// Waits until the gateway answers a chat with this status.
async fn answers(gateway: &Gateway, status: u16) -> reqwest::Response {
    eventually("an answer with this status", SOON, || async {
        let answer = gateway.chat(&conversation(json!({"max_tokens": 4}))).await;
        (answer.status() == status).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_paused_node_gets_no_work_and_its_operator_sees_why() {
    let gateway = Gateway::start().await;
    let node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    let id = node.id.to_string();
    assert_eq!(change(&gateway, &id, json!({"paused": true, "name": "resting"})).await, 204);
    assert!(answers(&gateway, 503).await.headers().contains_key("retry-after"));
    let shown = gateway.get(&format!("/api/nodes/{id}")).await;
    assert_eq!((&shown["name"], &shown["work"]["paused"]), (&json!("resting"), &json!(true)), "{shown}");
    assert!(shown["work"]["skipped"]["paused"].as_u64() > Some(0), "{shown}");
    assert_eq!(change(&gateway, &id, json!({"paused": false})).await, 204);
    answers(&gateway, 200).await;
    for refused in [json!({}), json!({"colour": "green"}), json!({"name": ""})] {
        assert_eq!(change(&gateway, &id, refused.clone()).await, 400, "{refused}");
    }
}

#[tokio::test]
async fn maintenance_stops_new_work_until_it_is_called_off() {
    let gateway = Gateway::start().await;
    let node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    let path = gateway.url(&format!("/api/nodes/{}/maintenance", node.id));
    let plan = async |body: Value| {
        let plan = gateway.client.post(&path).bearer_auth(&gateway.management_key).json(&body);
        plan.send().await.unwrap()
    };
    let past = plan(json!({"from": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"})).await;
    assert_eq!(past.status(), 400);
    let soon = (time::OffsetDateTime::now_utc() + time::Duration::hours(1))
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let planned = plan(json!({"from": "2020-01-01T00:00:00Z", "until": soon})).await;
    assert_eq!(planned.status(), 201);
    let window: Value = planned.json().await.unwrap();
    answers(&gateway, 503).await;
    let shown = gateway.get(&format!("/api/nodes/{}", node.id)).await;
    assert!(shown["work"]["advice"].to_string().contains("Maintenance goes on until"), "{shown}");
    let call_off = gateway.client.delete(format!("{path}/{}", window["id"].as_str().unwrap()));
    assert_eq!(call_off.bearer_auth(&gateway.management_key).send().await.unwrap().status(), 204);
    answers(&gateway, 200).await;
}

#[tokio::test]
async fn the_doctor_says_step_by_step_why_no_work_comes() {
    let gateway = Gateway::start().await;
    let node = Node::join(&gateway, &[]).await;
    let id = gateway.get("/api/nodes").await["data"][0]["id"].as_str().unwrap().to_owned();
    let address = gateway.url("");
    let examined = ["doctor", "--gateway", &address];
    let (well, fine) = Node::command(node.folder(), &examined).await;
    assert!(fine && well.contains("the gateway knows this node's key"), "{well}");
    assert_eq!(change(&gateway, &id, json!({"paused": true})).await, 204);
    let (paused, _) = Node::command(node.folder(), &examined).await;
    assert!(paused.contains("The node is paused: resume it"), "{paused}");
    let (nobody, fine) = Node::command(node.folder(), &["doctor", "--gateway", "http://127.0.0.1:9"]).await;
    assert!(!fine && nobody.contains("fails      reachable") && nobody.contains("not with"), "{nobody}");
    let (no_key, fine) = Node::command(Path::new("/nowhere"), &examined).await;
    assert!(!fine && no_key.contains("there is no node's key in /nowhere"), "{no_key}");
}

#[tokio::test]
async fn a_node_changes_its_key_while_it_answers_and_the_old_one_opens_nothing() {
    let gateway = Gateway::start().await;
    let mut node = Node::join(&gateway, &[]).await;
    let id = gateway.get("/api/nodes").await["data"][0]["id"].clone();
    let copy = std::env::temp_dir().join(format!("copy-{}", Uuid::now_v7()));
    std::fs::create_dir(&copy).unwrap();
    for file in ["node.key", "gateways.json"] {
        std::fs::copy(node.folder().join(file), copy.join(file)).unwrap();
    }

    let body = conversation(json!({"stream": true, "max_tokens": 120, "logit_bias": {"2": -100}}));
    let mut stream = gateway.chat(&body).await;
    assert!(stream.chunk().await.unwrap().is_some());
    let (said, well) = Node::command(node.folder(), &["rotate-key"]).await;
    assert!(well && said.contains("The node has a new key"), "{said}");
    let mut rest = String::new();
    while let Some(bytes) = stream.chunk().await.unwrap() {
        rest.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(
        rest.ends_with("data: [DONE]\n\n") && !rest.contains("lost"),
        "the tunnel that stands is left alone: {rest}"
    );

    node.restart().await;
    answers(&gateway, 200).await;
    let nodes = gateway.get("/api/nodes").await;
    assert_eq!((nodes["data"].as_array().unwrap().len(), &nodes["data"][0]["id"]), (1, &id), "it is the same node");
    let (thief, fine) = Node::command(&copy, &["doctor", "--gateway", &gateway.url("")]).await;
    assert!(!fine && thief.contains("the gateway does not know this node"), "{thief}");
    std::fs::remove_dir_all(copy).unwrap();
}

#[tokio::test]
async fn a_node_serves_two_gateways_and_one_that_dies_takes_nothing_from_the_other() {
    let mut one = Gateway::start().await;
    let other = Gateway::start().await;
    let tokens = format!(
        "{}={};{}={}",
        one.address(),
        one.enrolment_token().await,
        other.address(),
        other.enrolment_token().await
    );
    let _node = Node::enrol(&format!("{};{}", one.url(""), other.url("")), &tokens, &[]).await;
    for gateway in [&one, &other] {
        gateway.nodes(1).await;
        answers(gateway, 200).await;
    }
    one.kill().await;
    for _ in 0..3 {
        assert_eq!(other.chat(&conversation(json!({"max_tokens": 4}))).await.status(), 200);
    }
    one.restart().await;
    answers(&one, 200).await;
}
