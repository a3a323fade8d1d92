//! A node that stands still before it begins to answer: a hedged request does not wait until that is noticed.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{Behaviour, Gateway, Node, ScriptedNode, conversation};

fn signal(node: &Node, signal: Signal) {
    kill_process(Pid::from_raw(node.pid().cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_hedged_request_does_not_wait_for_a_node_that_stands_still() {
    let gateway = Gateway::start().await;
    // Which node is asked first is a matter of order.
    let stopped = Node::join(&gateway, &[]).await;
    let slow = gateway.get("/api/nodes").await["data"][0]["id"].clone();
    let _fast = Node::join(&gateway, &[]).await;
    let body = |provider: Value| conversation(json!({"max_tokens": 4, "temperature": 0, "provider": provider}));

    let before = gateway.chat(&body(json!({"order": [slow]}))).await;
    assert_eq!(before.headers()["x-commonwatt-node"], slow.as_str().unwrap());
    let before: Value = before.json().await.unwrap();
    // Or it would stand still with its slot taken, and whoever has one is asked first.
    gateway.engine_runs(0, Duration::from_secs(10)).await;
    signal(&stopped, Signal::STOP);
    let since = Instant::now();
    let response = gateway.chat(&body(json!({"order": [slow], "hedge_after_ms": 500}))).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let answer: Value = response.json().await.unwrap();
    let took = since.elapsed();
    signal(&stopped, Signal::CONT);
    assert_eq!((status.as_u16(), &answer["choices"]), (200, &before["choices"]));
    assert!(took >= Duration::from_millis(500), "{took:?}");
    let choice = headers["x-commonwatt-choice"].to_str().unwrap();
    let late = format!("hedge: node {} had not begun after 500 ms", slow.as_str().unwrap());
    assert!(choice.starts_with(&late), "{choice}");

    let row = gateway.request(headers["x-commonwatt-request-id"].to_str().unwrap()).await;
    let first = gateway.requests(2).await.into_iter().find(|other| other["id"] != row["id"]).unwrap();
    assert_eq!(row["nanocredits"], first["nanocredits"], "the answer is billed, and nothing beside it: {row}");
    let attempts = row["attempts"].as_array().unwrap();
    let words: Vec<&Value> = attempts.iter().map(|attempt| &attempt["outcome"]).collect();
    // Had its silence been waited for, the first one would have failed.
    assert_eq!(words, [&json!("outdone"), &json!("completed")], "{row}");
    assert_eq!((&attempts[0]["node"], &attempts[0]["completion_tokens"]), (&slow, &json!(0)), "{row}");
    gateway.engine_runs(0, Duration::from_secs(10)).await;
    gateway.audit().await;
}

#[tokio::test]
async fn hedging_can_be_an_account_s_default_and_is_refused_out_of_range() {
    let gateway = Gateway::start().await;
    let hanging = ScriptedNode::join(&gateway, Behaviour::Hangs).await;
    let good = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    let routing = gateway.client.put(gateway.url("/api/routing")).bearer_auth(&gateway.management_key);
    let kept = routing.json(&json!({"hedge_after_ms": 100})).send().await.unwrap();
    assert_eq!(kept.json::<Value>().await.unwrap(), json!({"hedge_after_ms": 100}));
    let refused = gateway.chat(&conversation(json!({"provider": {"hedge_after_ms": 0}}))).await;
    assert_eq!(refused.status(), 400);
    let error: Value = refused.json().await.unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("from 1 to 60000, 'auto', and 'off'"), "{error}");

    let body = conversation(json!({"stream": true, "provider": {"order": [hanging.id]}}));
    let response = gateway.chat(&body).await;
    assert_eq!(response.headers()["x-commonwatt-node"], good.id.to_string().as_str());
    let text = response.text().await.unwrap();
    assert!(text.contains(r#""attempts":2"#) && text.ends_with("data: [DONE]\n\n"), "{text}");
}
