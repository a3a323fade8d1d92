//! Clients that leave: the engine stops within a token, and the row has what was delivered.

use std::time::Duration;

use serde_json::json;
use tests::{Behaviour, Gateway, Node, ScriptedNode, conversation, eventually};

#[tokio::test]
async fn a_client_that_leaves_a_real_stream_stops_the_engine() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = conversation(json!({"stream": true, "max_tokens": 500, "logit_bias": {"2": -100}}));
    let mut response = gateway.chat(&body).await;
    for _ in 0..3 {
        response.chunk().await.unwrap().unwrap();
    }
    gateway.engine_runs(1, Duration::from_secs(1)).await;
    drop(response);
    gateway.engine_runs(0, Duration::from_secs(1)).await;
    let row = &gateway.requests(1).await[0];
    assert_eq!((&row["outcome"], &row["status"]), (&json!("client_left"), &json!(499)));
    assert!((3..50).contains(&row["completion_tokens"].as_u64().unwrap()), "{row}");
    let id = row["id"].as_str().unwrap();
    eventually("the energy of what was computed", Duration::from_secs(15), || async {
        (gateway.request(id).await["microjoules"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_stops_the_engine_too() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = conversation(json!({"max_tokens": 500, "logit_bias": {"2": -100}}));
    let asking = gateway.ask("/v1/chat/completions", &body).timeout(Duration::from_millis(1500)).send().await;
    assert!(asking.unwrap_err().is_timeout());
    gateway.engine_runs(0, Duration::from_secs(2)).await;
    assert_eq!(gateway.requests(1).await[0]["outcome"], "client_left");
}

#[tokio::test]
async fn fifty_leave_in_mid_stream_and_every_row_has_its_tokens() {
    let gateway = Gateway::start().await;
    let node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 100_000, every_ms: 5 }).await;
    let body = conversation(json!({"stream": true, "max_tokens": 50}));
    let leave = |_| async {
        let mut response = gateway.chat(&body).await;
        let mut seen = String::new();
        while seen.matches("data:").count() < 10 {
            seen.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
        }
        seen.matches("data:").count()
    };
    let seen = futures_util::future::join_all((0..50).map(leave)).await;
    let rows = gateway.requests(50).await;
    assert_eq!((rows.len(), node.asked()), (50, 50));
    assert!(rows.iter().all(|row| row["outcome"] == "client_left"));
    let delivered: u64 = rows.iter().map(|row| row["completion_tokens"].as_u64().unwrap()).sum();
    let read: usize = seen.iter().sum();
    assert!(delivered >= read as u64, "{delivered} tokens in the rows, {read} read");
    assert!(delivered <= read as u64 + 50 * 20, "{delivered} tokens in the rows, {read} read: too far ahead");
}
