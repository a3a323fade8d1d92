//! What servers, and the gateway on their behalf, refuse.

use http_body_util::BodyExt;
use openapi::continuation::CONTINUE_PATH;
use openapi::error::ErrorBody;
use uuid::Uuid;

use super::super::*;
use super::upstream::{CHAT, KEY, STREAMED, Upstream, attached, call, request, stream};

/// What the gateway hears of a reply with this head and body.
async fn refused(
    head: axum::http::response::Builder,
    said: &'static str,
) -> Result<(u16, Option<String>, String), String> {
    let upstream = Upstream::new().await;
    upstream.answers_with(head);
    let (attached, call) = (upstream.attached(), call(100));
    let says = async {
        let heard = upstream.hears().await;
        // A refusal whose body nobody reads is one too.
        let _ = heard.say.send(said.into()).await;
    };
    let (answer, ()) = tokio::join!(attached.send(Uuid::now_v7(), request(CHAT, &call, STREAMED)), says);
    assert!(upstream.heard.lock().await.try_recv().is_err(), "it was asked once");
    let answer = answer.map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let message = serde_json::from_slice::<ErrorBody>(&body).unwrap().error.message;
    let retry_after = head.headers.get(RETRY_AFTER).map(|seconds| seconds.to_str().unwrap().to_owned());
    Ok((head.status.as_u16(), retry_after, message))
}

fn status(status: u16) -> axum::http::response::Builder {
    Response::builder().status(status)
}

#[tokio::test]
async fn a_refusal_is_the_client_s_the_queue_s_or_the_log_s() {
    let too_long = r#"{"error":{"message":"too long","type":"x","code":null}}"#;
    assert_eq!(refused(status(400), too_long).await, Ok((400, None, "too long".to_owned())));
    let (busy, seconds, _) = refused(status(429).header("retry-after", "7"), "").await.unwrap();
    assert!(matches!(busy, 429 | 503) && seconds.as_deref() == Some("7"));
    let secret = r#"{"error":{"message":"Incorrect API key provided: sk-upstream-secret"}}"#;
    assert_eq!(refused(status(401), secret).await, Err("it refused our key with 401".to_owned()));
    for (head, reason) in [
        (status(500), "it answered 500"),
        (status(302).header("location", "http://127.0.0.1:1/"), "it answered 302"),
        (stream().header("content-encoding", "gzip"), "encoding 'gzip'"),
        (stream().header("content-type", "text/html"), "not with an event stream"),
        (status(200).header("content-type", "application/json"), "not with an event stream"),
    ] {
        let said = refused(head, "").await.unwrap_err();
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test]
async fn what_only_nodes_of_ours_can_do_is_refused_in_good_order() {
    let upstream = Upstream::new().await;
    let (attached, call) = (upstream.attached(), call(100));
    for (path, expected) in [(COUNT_PATH, 400), (CONTINUE_PATH, 404), ("/v1/embeddings", 404), (LIMIT_PATH, 404)] {
        let answer = attached.send(Uuid::now_v7(), request(path, &call, "{}")).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{path}");
    }
    let wrong = request(CHAT, &call, r#"{"model":"small","messages":[],"n":1000}"#);
    assert_eq!(attached.send(Uuid::now_v7(), wrong).await.unwrap().status().as_u16(), 400);
    let unknown = Call { model: "another".to_owned(), ..call };
    let unknown = attached.send(Uuid::now_v7(), request(CHAT, &unknown, STREAMED)).await.unwrap();
    assert_eq!(unknown.status().as_u16(), 404);
    assert!(upstream.heard.lock().await.try_recv().is_err(), "the server has heard of none of this");
}

async fn probed(attached: &Attached) -> String {
    attached.probe().await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_probe_says_what_to_do() {
    for (head, advice) in [
        (status(401), "attach it with another"),
        (status(404), "mostly with /v1"),
        (status(307).header("location", "http://127.0.0.1:1/"), "redirects are not followed"),
        (status(503), "it answered 503"),
    ] {
        let upstream = Upstream::new().await;
        upstream.answers_with(head);
        let said = probed(&upstream.attached()).await;
        assert!(said.contains(advice) && !said.contains(KEY), "{said}");
        assert_eq!(upstream.hears().await.head.uri.path(), "/v1/models");
        assert!(upstream.heard.lock().await.try_recv().is_err());
    }
    let upstream = Upstream::new().await;
    assert!(upstream.attached().probe().await.is_ok());
}

#[tokio::test]
async fn nothing_in_the_gateway_s_own_network_is_reached_unless_its_operator_allows_it() {
    let upstream = Upstream::new().await;
    let port = upstream.url.clone();
    for url in [port.as_str(), "http://169.254.169.254/latest", "https://169.254.169.254", "https://localhost:1/v1"] {
        let attached = attached(url, "");
        let said = probed(&attached).await;
        assert!(said.contains("COMMONWATT_ALLOWED_NETWORKS"), "{url}: {said}");
        let asked = attached.send(Uuid::now_v7(), request(CHAT, &call(1), STREAMED)).await.unwrap_err().to_string();
        assert!(asked.contains("COMMONWATT_ALLOWED_NETWORKS"), "{url}: {asked}");
    }
    assert!(upstream.heard.lock().await.try_recv().is_err());
}
