//! The federation at work, as whoever is signed in sees it: what runs, and nothing of whose it is.

use std::time::Duration;

use openapi::sse::Scanner;
use reqwest::Response;
use serde_json::{Value, json};
use tests::{Behaviour, Gateway, ScriptedNode, conversation, eventually};

const SOON: Duration = Duration::from_secs(20);
/// Views that one user may have open.
const MOST: usize = 8;

/// Someone who watches.
struct Watcher {
    response: Response,
    scanner: Scanner,
    heard: Vec<(String, Value)>,
}

impl Watcher {
    async fn of(gateway: &Gateway) -> Self {
        let response = watch(gateway).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, scanner: Scanner::new(1 << 20), heard: Vec::new() }
    }

    /// Everything up to and with the next event of this name; none when the stream ends before.
    async fn until(&mut self, name: &str) -> Option<Value> {
        loop {
            if let Some(at) = self.heard.iter().position(|(event, _)| event == name) {
                return self.heard.drain(..=at).next_back().map(|(_, data)| data);
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.unwrap().unwrap()?;
            for event in self.scanner.push(&chunk).unwrap() {
                let data = serde_json::from_str(event.data().unwrap()).unwrap();
                self.heard.push((event.name().unwrap().to_owned(), data));
            }
        }
    }
}

async fn watch(gateway: &Gateway) -> Response {
    let path = gateway.url("/api/live");
    gateway.client.get(path).bearer_auth(&gateway.management_key).send().await.unwrap()
}

#[tokio::test]
async fn an_attempt_is_seen_as_it_begins_and_ends() {
    let gateway = Gateway::start().await;
    let node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    let mut watcher = Watcher::of(&gateway).await;
    let nodes = watcher.until("nodes").await.unwrap();
    assert_eq!(nodes["data"][0]["node"], json!(node.id), "{nodes}");
    let before = watcher.until("summary").await.unwrap();
    assert_eq!((&before["nodes"], &before["ended"]), (&json!(1), &json!(0)), "{before}");
    let answer: Value = gateway.chat(&conversation(json!({"max_tokens": 4}))).await.json().await.unwrap();
    let began = watcher.until("began").await.unwrap();
    assert_eq!(began, json!({"attempt": 1, "model": answer["model"], "node": node.id, "region": null}));
    let ended = watcher.until("ended").await.unwrap();
    assert_eq!((&ended["attempt"], &ended["node"]), (&json!(1), &json!(node.id)), "{ended}");
    assert_eq!(ended["tokens"], gateway.requests(1).await[0]["completion_tokens"], "{ended}");
    assert_eq!(ended["outcome"], "completed");
    let names: Vec<&str> = ended.as_object().unwrap().keys().map(String::as_str).collect();
    let all = ["attempt", "model", "node", "tokens", "microjoules", "tier", "outcome", "milliseconds"];
    assert_eq!(names, all, "and nothing of who asked, or what");
    let after = watcher.until("summary").await.unwrap();
    assert_eq!((&after["began"], &after["ended"], &after["tokens"]), (&json!(1), &json!(1), &ended["tokens"]));
    assert_eq!(after["microjoules"].as_u64(), Some(ended["microjoules"].as_u64().unwrap_or(0)), "{ended} {after}");
}

#[tokio::test]
async fn nobody_watches_too_often_and_who_leaves_makes_room() {
    let gateway = Gateway::start().await;
    let mut watchers = Vec::new();
    for _ in 0..MOST {
        watchers.push(watch(&gateway).await);
    }
    let refused = watch(&gateway).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.text().await.unwrap().contains("Close another view first"));
    watchers.pop();
    eventually("room for another view", SOON, || async { (watch(&gateway).await.status() == 200).then_some(()) }).await;
}

#[tokio::test]
async fn who_watches_does_not_hold_up_the_end_of_the_gateway() {
    let mut gateway = Gateway::start().await;
    let mut watcher = Watcher::of(&gateway).await;
    watcher.until("summary").await.unwrap();
    gateway.terminate();
    assert_eq!(watcher.until("never").await, None, "the stream ends in good order");
    assert_eq!(gateway.ended().await, Some(0));
}
