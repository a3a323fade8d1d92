//! Servers that are as they should be, and all others.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use openapi::upstream::Refusal::{Busy, Client as TheClient, Failed, Misconfigured};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::testing::{Server, config, raw, upstream};
use super::*;
use crate::slots::Slots;

/// Nothing in these tests takes longer.
const LONG: u64 = 60_000;

fn models() -> Value {
    json!({"object": "list", "data": [{"id": "org/m", "max_model_len": 4096}, {"id": "other"}]})
}

async fn refused(url: &Url, key: Option<&str>, model: &str, context: Option<usize>) -> String {
    let config = UpstreamConfig { upstream_key: key.map(|key| SecretString::from(key.to_owned())), ..config(url) };
    match Upstream::connect(&config, model, context).await {
        Ok(_) => panic!("it was taken"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn a_server_that_has_the_model_is_taken_and_the_shorter_context_counts() {
    let server = Server::start(models()).await;
    for (model, asked, context) in
        [("org/m", None, 4_096), ("org/m", Some(100), 100), ("org/m", Some(9_000), 4_096), ("other", Some(7), 7)]
    {
        let upstream = Upstream::connect(&config(&server.url), model, asked).await.unwrap();
        assert_eq!((upstream.context_length(), upstream.model(), upstream.is_here()), (context, model, true));
    }
    let mut login = server.url.clone();
    login.set_password(Some("secret")).unwrap();
    login.set_path("/v1/");
    let upstream = Upstream::connect(&config(&login), "org/m", None).await.unwrap();
    assert_eq!(upstream.address(), server.url.as_str());
}

#[tokio::test]
async fn a_server_that_can_not_be_used_is_told_in_a_sentence() {
    let server = Server::start(models()).await;
    assert!(
        refused(&server.url, None, "none", None).await.ends_with("It has org/m, other: choose with --upstream-model")
    );
    assert!(refused(&server.url, None, "other", None).await.ends_with("give it with --context"));
    assert!(refused(&server.url, None, "other", Some(0)).await.contains("another --context"));
    assert!(refused(&server.url, Some("line\nbreak"), "org/m", None).await.contains("no header can have"));
    let elsewhere = server.url.join("/").unwrap();
    assert!(
        refused(&elsewhere, None, "org/m", None)
            .await
            .ends_with("answered 404: the address of a server usually ends with /v1")
    );
    let address = server.url.clone();
    server.stop().await;
    let down = refused(&address, None, "org/m", None).await;
    assert!(down.contains("can't be reached") && down.contains("Start it"), "{down}");
    assert!(refused(&"ftp://m/v1".parse().unwrap(), None, "m", None).await.contains("http://"));
}

#[tokio::test]
async fn keys_that_are_asked_for_and_refused_are_not_shown() {
    let says = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let locked = raw(says("401 Unauthorized", "sk-secret is wrong"), "").await;
    assert!(refused(&locked, None, "m", None).await.contains("asks for a key"));
    let refusal = refused(&locked, Some("sk-secret"), "m", None).await;
    assert!(refusal.ends_with("refuses the key (401)"), "{refusal}");
    for (head, body, word) in [
        ("200 OK", "<html>", "does not speak OpenAI's API"),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", "", "answered 302"),
        ("200 OK\r\nContent-Encoding: gzip", "\x1f\u{8b}", "does not speak"),
    ] {
        let url = raw(says(head, body), "").await;
        assert!(refused(&url, Some("sk-secret"), "m", None).await.contains(word), "{head}");
    }
    let endless = raw("HTTP/1.1 200 OK\r\n\r\n".to_owned(), "                    ").await;
    assert!(refused(&endless, None, "m", None).await.contains("bytes"), "a list without end");
}

#[tokio::test]
async fn the_server_gets_the_body_and_the_key_and_nobody_else() {
    let mut server = Server::start(models()).await;
    let key = Some(SecretString::from("sk-secret\n".to_owned()));
    let upstream = upstream(&UpstreamConfig { upstream_key: key, ..config(&server.url) }, LONG);
    let asking = upstream.ask(Endpoint::Completion, br#"{"a":1}"#.to_vec());
    let serving = async {
        let exchange = server.next().await;
        assert_eq!((exchange.path.as_str(), &exchange.body), ("/v1/completions", &json!({"a": 1})));
        let header = |name: HeaderName| exchange.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header(header::AUTHORIZATION), "Bearer sk-secret");
        assert_eq!(
            (header(header::ACCEPT_ENCODING), header(header::ACCEPT)),
            ("identity".into(), "text/event-stream".into())
        );
        exchange.events("data: 1\n\n: hm\n\ndata: 2");
    };
    let (stream, ()) = tokio::join!(asking, serving);
    let mut stream = stream.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(stream.next().await.unwrap().unwrap().data(), Some("1"));
    assert_eq!(stream.next().await.unwrap().unwrap().data(), None);
    assert_eq!(stream.next().await.unwrap(), None, "what no blank line ends is no event");
}

#[tokio::test]
async fn what_is_no_answer_is_a_refusal() {
    let mut server = Server::start(models()).await;
    let upstream = upstream(&config(&server.url), LONG);
    let wrong = r#"{"error":{"message":"too long","type":"invalid_request_error"}}"#;
    let stream = ("content-type", "text/event-stream");
    for (response, kind) in [
        ((StatusCode::BAD_REQUEST, [stream], wrong), "client"),
        ((StatusCode::UNAUTHORIZED, [stream], wrong), "key"),
        ((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], wrong), "busy"),
        ((StatusCode::INTERNAL_SERVER_ERROR, [stream], wrong), "failed"),
        ((StatusCode::BAD_REQUEST, [stream], "<html>"), "failed"),
        ((StatusCode::TEMPORARY_REDIRECT, [("location", "/v1/completions")], ""), "failed"),
        ((StatusCode::OK, [("content-type", "application/json")], "{}"), "failed"),
        ((StatusCode::OK, [("content-encoding", "gzip")], ""), "failed"),
    ] {
        let status = response.0;
        let serving = async { server.next().await.answer(response) };
        let (asked, ()) = tokio::join!(upstream.ask(Endpoint::Chat, b"{}".to_vec()), serving);
        let refusal = asked.err().unwrap();
        match kind {
            "client" => assert!(matches!(&refusal, TheClient(error) if error.detail.message == "too long")),
            "busy" => assert_eq!(refusal, Busy { retry_after: 7 }),
            "key" => assert!(matches!(refusal, Misconfigured(_))),
            _ => assert!(matches!(refusal, Failed(_)), "{status}: {refusal:?}"),
        }
    }
}

#[tokio::test]
async fn no_server_is_waited_for_without_end_and_none_fills_the_memory() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    let failure = |says: String, again: &'static str| async move {
        let upstream = upstream(&config(&raw(says, again).await), 300);
        let mut stream = match upstream.ask(Endpoint::Chat, Vec::new()).await {
            Ok(stream) => stream,
            Err(refusal) => return refusal,
        };
        loop {
            match stream.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended"),
                Err(refusal) => return refusal,
            }
        }
    };
    for (what, says, again) in [
        ("nothing", String::new(), ""),
        ("half a head", head.to_owned(), ""),
        ("headers without end", head.to_owned(), "X-More: more\r\n"),
        ("an event without end", format!("{head}\r\ndata: {}", "x".repeat(1_000_000)), "more"),
        ("a stall", format!("{head}\r\ndata: 1\n\n"), ""),
        ("less than it promised", format!("{head}Content-Length: 100\r\n\r\ndata: 1\n\n"), ""),
        ("no HTTP", "SSH-2.0-dropbear\r\n".to_owned(), ""),
    ] {
        assert!(matches!(failure(says, again).await, Failed(_)), "{what}");
    }
}

#[tokio::test]
async fn while_the_server_is_away_the_node_takes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::at(listener, models()).await;
    let (slots, stop) = (Slots::new(1, 1), CancellationToken::new());
    let mut status = slots.status();
    let upstream = Arc::new(upstream(&config(&server.url), LONG));
    let watching = tokio::spawn(Arc::clone(&upstream).watch(slots.clone(), stop.clone()));
    server.stop().await;
    status.wait_for(|status| status.draining).await.unwrap();
    assert!(slots.enter().is_err() && slots.is_away());
    let other = Server::at(TcpListener::bind(address).await.unwrap(), json!({"data": [{"id": "other"}]})).await;
    let error = upstream.listing().await.map(|listing| listing.find("org/m").is_some());
    assert!(!error.unwrap() && slots.is_away(), "another model is not the model");
    other.stop().await;
    let _server = Server::at(TcpListener::bind(address).await.unwrap(), models()).await;
    status.wait_for(|status| !status.draining).await.unwrap();
    assert!(slots.enter().is_ok());
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn only_this_machine_is_here() {
    for (url, is_here) in [
        ("http://127.0.0.1:8000/v1", true),
        ("http://[::1]:8000/v1", true),
        ("http://localhost/v1", true),
        ("http://10.0.0.7:8000/v1", false),
        ("http://vllm:8000/v1", false),
    ] {
        assert_eq!(upstream(&config(&url.parse().unwrap()), LONG).is_here(), is_here, "{url}");
    }
}

#[tokio::test]
async fn the_doctor_says_what_there_is() {
    let server = Server::start(models()).await;
    let said = Upstream::describe(&config(&server.url)).await.unwrap();
    assert_eq!(said, format!("{} answers and has org/m, other", server.url));
    let address = server.url.clone();
    server.stop().await;
    assert!(Upstream::describe(&config(&address)).await.unwrap().contains("can't be reached"));
}
