//! What becomes of answers.

use std::sync::Arc;

use openapi::chat::FinishReason;
use openapi::frame::WAITING;
use openapi::sse;
use serde_json::Value;
use tokio::sync::Notify;

use super::super::*;
use super::upstream::{CHAT, END, HELLO, KEY, LONG, STREAMED, USAGE, Upstream, begun, call, next, request, whole};

#[tokio::test]
async fn an_honest_server_is_a_node_whose_energy_is_estimated() {
    let upstream = Upstream::new().await;
    let (attached, call) = (upstream.attached(), call(100));
    let (mut body, heard) = begun(&upstream, &attached, &call).await;
    assert_eq!(heard.head.uri.path(), CHAT);
    assert_eq!(heard.head.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(heard.head.headers["accept-encoding"], "identity");
    assert!(!heard.head.headers.contains_key("x-commonwatt-ticket"), "nobody else's business");
    let sent: Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(
        (&sent["model"], &sent["stream_options"]["include_usage"]),
        (&"org/small-instruct".into(), &true.into())
    );
    for chunk in [HELLO, HELLO, END, USAGE, "[DONE]"] {
        heard.chunk(chunk).await;
    }
    let (frames, data, broken) = whole(&mut body).await;
    assert_eq!(broken, None);
    let last = frames.last().unwrap();
    assert_eq!((last.prompt_tokens, last.completion_tokens, last.finish_reason), (7, 2, Some(FinishReason::Stop)));
    assert!(last.energy.is_sane() && last.energy.method == "attached/1" && last.energy.microjoules.get() > 0);
    assert_eq!((data.len(), data.last().map(String::as_str)), (4, Some("[DONE]")));
    let first: Value = serde_json::from_str(&data[0]).unwrap();
    assert_eq!(first["model"], "small");
    assert_eq!(first["id"], format!("chatcmpl-{}", call.request.simple()));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_back() {
    let upstream = Upstream::new().await;
    let attached = upstream.attached();
    let (mut body, heard) = begun(&upstream, &attached, &call(100)).await;
    heard.chunk(HELLO).await;
    assert!(next(&mut body).await.unwrap().is_ok());
    drop(body);
    tokio::time::timeout(LONG, heard.say.closed()).await.expect("the server sees that nobody listens");

    // Before the head, too.
    *upstream.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let call = call(100);
    let mut asking = Box::pin(attached.send(uuid::Uuid::now_v7(), request(CHAT, &call, STREAMED)));
    let heard = tokio::select! {
        _ = &mut asking => unreachable!("the head is held back"),
        heard = upstream.hears() => heard,
    };
    drop(asking);
    tokio::time::timeout(LONG, heard.say.closed()).await.expect("the handler is dropped with its connection");
}

#[tokio::test]
async fn a_limit_can_be_raised_and_an_answer_beyond_it_is_ended_in_good_order() {
    let upstream = Upstream::new().await;
    let (attached, call) = (upstream.attached(), call(2));
    let (mut body, heard) = begun(&upstream, &attached, &call).await;
    let node = uuid::Uuid::now_v7();
    let raised = Call { max_tokens: 4, ..call.clone() };
    let status = async |call: &Call| attached.send(node, request(LIMIT_PATH, call, "")).await.unwrap().status();
    assert_eq!(status(&raised).await, StatusCode::NO_CONTENT);
    let saying = async {
        // The fifth is one too many.
        for _ in 0..5 {
            heard.chunk(HELLO).await;
        }
        heard.say.closed().await;
    };
    let ((frames, data, broken), ()) = tokio::join!(whole(&mut body), saying);
    assert_eq!((broken, data.len()), (None, 7));
    assert_eq!(frames.last().unwrap().finish_reason, Some(FinishReason::Length));
    let last: Value = serde_json::from_str(&data[5]).unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(status(&raised).await, StatusCode::NOT_FOUND, "it runs no more");
}

#[tokio::test]
async fn a_cancelled_answer_ends_at_once_while_its_server_is_silent() {
    let upstream = Upstream::new().await;
    let (attached, call) = (upstream.attached(), call(100));
    let (mut body, heard) = begun(&upstream, &attached, &call).await;
    heard.chunk(HELLO).await;
    assert!(next(&mut body).await.unwrap().is_ok());
    let ended = Call { max_tokens: 0, ..call.clone() };
    let ((frames, data, broken), answer) =
        tokio::join!(whole(&mut body), attached.send(uuid::Uuid::now_v7(), request(LIMIT_PATH, &ended, "")));
    assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!((broken, data.last().map(String::as_str)), (None, Some("[DONE]")));
    assert_eq!(
        (frames.last().unwrap().completion_tokens, frames.last().unwrap().finish_reason),
        (1, Some(FinishReason::Length))
    );
    tokio::time::timeout(LONG, heard.say.closed()).await.expect("and the server is told");
}

#[tokio::test]
async fn a_server_that_takes_its_time_is_waited_for_with_signs_of_life() {
    let upstream = Upstream::new().await;
    let gate = Arc::new(Notify::new());
    *upstream.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let (attached, call) = (upstream.attached(), call(100));
    let began = tokio::time::Instant::now();
    let mut asking = Box::pin(attached.send(uuid::Uuid::now_v7(), request(CHAT, &call, STREAMED)));
    let heard = tokio::select! {
        _ = &mut asking => unreachable!("the head is held back"),
        heard = upstream.hears() => heard,
    };
    tokio::time::pause();
    let mut body = asking.await.unwrap().into_body();
    assert!(began.elapsed() >= HEAD_WITHIN);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), sse::comment(WAITING), "it is no failure yet");
    gate.notify_one();
    tokio::time::resume();
    heard.chunk(HELLO).await;
    let mut said = Bytes::new();
    while !said.starts_with(b"event: usage") {
        said = next(&mut body).await.unwrap().unwrap();
    }
    tokio::time::pause();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), sse::comment("the server is computing"));
    assert_eq!(next(&mut body).await.unwrap().unwrap(), sse::comment("the server is computing"));
}

#[tokio::test]
async fn a_server_that_never_says_a_word_is_given_up() {
    let upstream = Upstream::new().await;
    let (mut body, _heard) = begun(&upstream, &upstream.attached(), &call(100)).await;
    tokio::time::pause();
    let broken = loop {
        match body.frame().await.unwrap() {
            Ok(frame) => assert_eq!(frame.into_data().unwrap(), sse::comment(WAITING)),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(broken, "it said nothing for 300 s");
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let endless = "x".repeat(2 * 1024 * 1024);
    for (piece, reason) in [
        ("data: {nonsense\n\n", "no JSON"),
        ("data: []\n\n", "no JSON"),
        ("data: {\"choices\":7}\n\n", "choices"),
        ("event: error\ndata: {\"error\":{\"message\":\"CUDA out of memory\"}}\n\n", "CUDA"),
        ("data: [DONE]\n\n", "before the answer did"),
        (endless.as_str(), "longer than"),
    ] {
        let upstream = Upstream::new().await;
        let (mut body, heard) = begun(&upstream, &upstream.attached(), &call(100)).await;
        heard.say.send(Bytes::copy_from_slice(piece.as_bytes())).await.unwrap();
        drop(heard);
        let (_, data, broken) = whole(&mut body).await;
        assert!(data.is_empty() && broken.as_ref().is_some_and(|said| said.contains(reason)), "{reason}: {broken:?}");
    }
}
