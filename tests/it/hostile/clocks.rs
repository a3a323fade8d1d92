//! Greetings of a wrong time, of another gateway, and of somebody else.

use std::time::Duration;

use openapi::node::{DIRECT_PATH, Greeting, KEY_PATH, STANDING_PATH, TUNNEL_PATH};
use provider::tunnel;
use serde_json::Value;
use tests::{Gateway, ScriptedGateway};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::imposter::{Imposter, call};

async fn refusal(gateway: &Gateway, path: &str, greeting: &str) -> (u16, String, String) {
    let answer = call(gateway, path, greeting).await;
    let status = answer.status().as_u16();
    let error = answer.json::<Value>().await.unwrap()["error"].clone();
    let text = |field: &str| error[field].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test]
async fn a_clock_that_is_ten_minutes_off_is_named_with_both_times_and_what_to_do() {
    let gateway = Gateway::start().await;
    let node = Imposter::enrol(&gateway).await;
    for ahead in [-600, 600] {
        for path in [TUNNEL_PATH, STANDING_PATH, DIRECT_PATH] {
            let greeting = node.greeting(ahead);
            let theirs = OffsetDateTime::from_unix_timestamp(greeting.iat as i64).unwrap().format(&Rfc3339).unwrap();
            let (status, code, message) = refusal(&gateway, path, &node.sign(&greeting)).await;
            assert_eq!((status, code.as_str()), (400, "clocks_differ"), "{path}: {message}");
            assert!(message.contains(&theirs) && message.contains("NTP"), "{path}: {message}");
            assert!(message.contains("600 seconds apart") || message.contains("599") || message.contains("601"));
        }
        let greeting = node.sign(&node.greeting(ahead));
        let dialled = tokio::time::timeout(Duration::from_secs(10), tunnel::dial(&node.url, &greeting)).await.unwrap();
        let told = format!("{:#}", dialled.err().unwrap());
        assert!(told.contains("clock says") && told.contains("NTP"), "its operator reads it in the node's log: {told}");
    }
    assert_eq!(
        call(&gateway, STANDING_PATH, &node.sign(&node.greeting(60))).await.status(),
        200,
        "a minute is nothing"
    );
}

#[tokio::test]
async fn a_greeting_is_for_one_gateway_signed_by_its_node_and_opens_one_tunnel() {
    let gateway = Gateway::start().await;
    let (node, other) = (Imposter::enrol(&gateway).await, Imposter::enrol(&gateway).await);
    let elsewhere = Greeting { gateway: other_gateway().await, ..node.greeting(0) };
    let another_node = Greeting { sub: other.enrolled.node, ..node.greeting(0) };
    let stranger = Greeting { sub: Uuid::now_v7(), ..node.greeting(0) };
    let purpose = Greeting { aud: "another".to_owned(), ..node.greeting(0) };
    let unsigned = Imposter::unsigned(&node.greeting(0));
    for greeting in
        [elsewhere, another_node, stranger, purpose].map(|greeting| node.sign(&greeting)).iter().chain([&unsigned])
    {
        for path in [TUNNEL_PATH, STANDING_PATH, KEY_PATH, DIRECT_PATH] {
            let answer = call(&gateway, path, greeting).await;
            assert_eq!(answer.status(), 401, "{path}: {greeting}");
        }
    }
    let greeting = node.sign(&node.greeting(0));
    let (status, _tunnel) = node.dial(&gateway, &greeting).await;
    assert_eq!(status, 101);
    let (status, _) = node.dial(&gateway, &greeting).await;
    assert_eq!(status, 400, "whoever has overheard it opens no other");
}

/// The public key of another gateway.
async fn other_gateway() -> String {
    ScriptedGateway::start().await.enrolled().ticket_key.clone()
}
