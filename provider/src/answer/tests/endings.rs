//! However an answer ends, the server is let go and the slot is free.

use std::time::Duration;

use openapi::chat::FinishReason;
use openapi::node::LIMIT_PATH;

use super::*;

#[tokio::test]
async fn a_server_that_forgets_the_end_mark_has_answered_and_one_that_breaks_off_has_not() {
    let mut stage = Stage::start(10_000).await;
    let (mut events, pieces, _) = stage.begin((Uuid::now_v7(), 100), &conversation(json!({}))).await;
    send(&pieces, ENDS).await;
    drop(pieces);
    let (frame, rest) = events.rest().await;
    assert_eq!((frame.finish_reason, rest.last().map(String::as_str)), (Some(FinishReason::Stop), Some("[DONE]")));
    for broken in [None, Some("garbage"), Some(r#"{"error":{"message":"CUDA out of memory"}}"#)] {
        let (mut events, pieces, _) = stage.begin((Uuid::now_v7(), 100), &conversation(json!({}))).await;
        events.piece().await;
        if let Some(broken) = broken {
            send(&pieces, broken).await;
        }
        drop(pieces);
        let (name, data) = events.next().await.unwrap();
        assert!(name == "error" && data.contains("upstream_failed") && !data.contains("CUDA"), "{name}: {data}");
        assert_eq!(events.next().await, None);
    }
    stage.idle().await;
}

#[tokio::test]
async fn a_server_that_falls_silent_fails_the_answer_and_frees_the_slot() {
    let mut stage = Stage::start(300).await;
    let (mut events, pieces, _) = stage.begin((Uuid::now_v7(), 100), &conversation(json!({}))).await;
    events.piece().await;
    assert_eq!(events.next().await.unwrap().0, "error");
    pieces.closed().await;
    stage.idle().await;
}

#[tokio::test]
async fn the_tickets_limit_ends_the_answer_and_may_grow_meanwhile() {
    let mut stage = Stage::start(10_000).await;
    let request = Uuid::now_v7();
    let (mut events, pieces, _) = stage.begin((request, 2), &conversation(json!({}))).await;
    events.piece().await;
    assert_eq!(stage.post(LIMIT_PATH, (request, 3), &json!({})).await.status(), StatusCode::NO_CONTENT);
    for text in ["b", "c"] {
        say(&pieces, text).await;
    }
    let (frame, rest) = events.rest().await;
    assert_eq!((frame.completion_tokens, frame.finish_reason), (3, Some(FinishReason::Length)));
    let end: Value = serde_json::from_str(&rest[2]).unwrap();
    assert_eq!((&end["choices"][0]["finish_reason"], rest[3].as_str()), (&json!("length"), "[DONE]"));
    pieces.closed().await;
    stage.idle().await;
    assert_eq!(stage.post(LIMIT_PATH, (request, 9), &json!({})).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_server_that_knows_the_limit_ends_the_answer_itself() {
    let mut stage = Stage::start(10_000).await;
    let (mut events, pieces, asked) = stage.begin((Uuid::now_v7(), 1), &conversation(json!({"max_tokens": 1}))).await;
    assert_eq!(asked["max_tokens"], 1);
    for chunk in [r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#, USAGE, "[DONE]"] {
        send(&pieces, chunk).await;
    }
    let (frame, _) = events.rest().await;
    assert_eq!(
        (frame.prompt_tokens, frame.finish_reason),
        (9, Some(FinishReason::Length)),
        "it could say what it used"
    );
    let (mut events, pieces, _) = stage.begin((Uuid::now_v7(), 1), &conversation(json!({"max_tokens": 1}))).await;
    say(&pieces, "more than it may").await;
    assert_eq!(events.rest().await.0.finish_reason, Some(FinishReason::Length));
    pieces.closed().await;
}

#[tokio::test]
async fn a_limit_of_nothing_ends_the_answer_at_once() {
    let mut stage = Stage::start(60_000).await;
    let request = Uuid::now_v7();
    let (mut events, pieces, _) = stage.begin((request, 50), &conversation(json!({"max_tokens": 50}))).await;
    events.piece().await;
    stage.post(LIMIT_PATH, (request, 0), &json!({})).await;
    let (frame, rest) = events.rest().await;
    assert_eq!((frame.completion_tokens, frame.finish_reason), (1, Some(FinishReason::Length)));
    assert_eq!(rest.last().map(String::as_str), Some("[DONE]"));
    pieces.closed().await;
    let nothing = stage.post(CHAT, (Uuid::now_v7(), 0), &conversation(json!({}))).await;
    let text = nothing.text().await.unwrap();
    assert!(
        text.contains(r#""finish_reason":"length""#) && text.ends_with("data: [DONE]\n\n"),
        "nobody was asked: {text}"
    );
    stage.idle().await;
}

#[tokio::test]
async fn when_the_client_leaves_the_server_is_let_go_at_once() {
    let mut stage = Stage::start(60_000).await;
    let (mut events, pieces, _) = stage.begin((Uuid::now_v7(), 100), &conversation(json!({}))).await;
    events.piece().await;
    drop(events);
    tokio::time::timeout(Duration::from_secs(10), pieces.closed()).await.unwrap();
    stage.idle().await;
    // And before anything has come.
    let asking =
        tokio::spawn(stage.client.post(format!("{}{CHAT}", stage.local)).json(&conversation(json!({}))).send());
    let pieces = stage.server.next().await.stream();
    asking.abort();
    tokio::time::timeout(Duration::from_secs(10), pieces.closed()).await.unwrap();
    stage.idle().await;
}
