//! Tickets that are used again, or are not for this node.

use openapi::node::{COUNT_PATH, Ticket};
use serde_json::json;
use tests::{Node, ScriptedGateway, conversation};
use uuid::Uuid;

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_ticket_is_for_one_answer_of_one_node_and_of_its_gateway() {
    let mut gateway = ScriptedGateway::start().await;
    let mut stranger = ScriptedGateway::start().await;
    let node = Node::enrol(&gateway.url, "any", &[]).await;
    let tunnel = gateway.tunnel().await;
    let body = conversation(json!({"max_tokens": 2}));
    let ticket = tunnel.ticket(Uuid::now_v7(), 2);
    assert_eq!(tunnel.post(COUNT_PATH, &ticket, &body).await.status, 200, "counting uses nothing up");
    let answer = tunnel.post(CHAT, &ticket, &body).await;
    assert_eq!(answer.status, 200);
    answer.events().await;
    for _ in 0..3 {
        let again = tunnel.post(CHAT, &ticket, &body).await;
        assert_eq!(again.status, 409);
        let error = again.json().await["error"].clone();
        assert_eq!(error["code"], "ticket_used", "{error}");
    }
    let next = Ticket { attempt: 2, ..ticket.clone() };
    assert_eq!(tunnel.post(CHAT, &next, &body).await.status, 200, "the next try is another one");

    let fresh = || tunnel.ticket(Uuid::now_v7(), 2);
    let another_model = Ticket { model: "another".to_owned(), ..fresh() };
    assert_eq!(tunnel.post(CHAT, &another_model, &body).await.status, 404);
    let old = Ticket { exp: unix_seconds() - 600, ..fresh() };
    let another_node = Ticket { aud: Uuid::now_v7(), ..fresh() };
    for (wrong, word) in [(&old, "NTP"), (&another_node, "another node")] {
        let refused = tunnel.post(CHAT, wrong, &body).await;
        assert_eq!(refused.status, 401);
        let error = refused.json().await["error"].clone();
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert!(node.log().contains("this node's clock says"), "its operator reads of it");

    // Signed by a gateway that this node does not know, and by nobody.
    let _other = Node::enrol(&stranger.url, "any", &[]).await;
    let theirs = stranger.tunnel().await.sign(&fresh());
    let ours = tunnel.sign(&fresh());
    let (head, rest) = ours.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    // {"alg":"none"}
    let nobody = format!("eyJhbGciOiJub25lIn0.{claims}.");
    let unsigned = format!("{head}.{claims}.");
    for wrong in [theirs, nobody, unsigned, "x".repeat(1_000)] {
        assert_eq!(tunnel.post_with(CHAT, &wrong, &body).await.status, 401, "{wrong}");
    }
    assert_eq!(tunnel.post(CHAT, &fresh(), &body).await.status, 200, "the node is well");
}

fn unix_seconds() -> u64 {
    time::OffsetDateTime::now_utc().unix_timestamp().unsigned_abs()
}
