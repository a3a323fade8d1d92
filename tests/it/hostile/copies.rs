//! A machine is cloned, key and all, and both copies run.

use std::time::Duration;

use serde_json::json;
use tests::{Gateway, Node, conversation, eventually};

const SOON: Duration = Duration::from_secs(20);
const BREATH: Duration = Duration::from_millis(500);
/// Longer than a node waits between two tries.
const TWO_TRIES: Duration = Duration::from_secs(40);

#[tokio::test]
async fn of_two_machines_with_one_key_the_later_one_works_and_both_operators_hear_of_it() {
    let gateway = Gateway::start().await;
    let original = Node::join(&gateway, &[]).await;
    let id = gateway.nodes(1).await[0]["id"].as_str().unwrap().to_owned();
    let short = conversation(json!({"max_tokens": 2}));
    assert_eq!(gateway.chat(&short).await.status(), 200);
    let mut streaming = gateway.chat(&conversation(json!({"stream": true, "max_tokens": 40}))).await;
    streaming.chunk().await.unwrap().unwrap();

    let mut copy = original.copy().await;
    eventually("the older one is told", SOON, || async {
        original.log().contains("has taken this one's place").then_some(())
    })
    .await;
    assert!(original.log().contains("rotate-key"), "and what to do");
    eventually("the gateway's operator reads of it", SOON, || async {
        gateway.log().contains("two machines use this node's key").then_some(())
    })
    .await;
    let seen = gateway.get(&format!("/api/nodes/{id}")).await;
    let work = &seen["work"];
    assert!(work["copied_key_at"].is_string(), "{seen}");
    assert!(work["advice"][0].as_str().unwrap().starts_with("Two machines use this node's key"), "{seen}");

    // What was under way ends where it began, and what comes is answered by the other one.
    let rest = streaming.text().await.unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    let mut asked = 2;
    let calm = tokio::time::Instant::now() + TWO_TRIES;
    while tokio::time::Instant::now() < calm {
        assert_eq!(gateway.chat(&short).await.status(), 200);
        asked += 1;
        tokio::time::sleep(BREATH).await;
    }
    let connections = gateway.log().matches("a node is connected").count();
    assert_eq!(connections, 2, "neither drives the other out again: {}", gateway.log());

    copy.kill().await;
    eventually("the original takes over", TWO_TRIES, || async {
        (gateway.log().matches("a node is connected").count() == 3).then_some(())
    })
    .await;
    assert_eq!(gateway.chat(&short).await.status(), 200);
    let rows = gateway.requests(asked + 1).await;
    assert_eq!(rows.len(), asked + 1, "each request has one row");
    assert!(rows.iter().all(|row| row["outcome"] == "completed"), "{rows:?}");
    gateway.audit().await;
}
