use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

/// An answer over a connection of its own.
async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-secret\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_listener_shows_metrics_and_nothing_else() {
    let metrics = Arc::new(metrics());
    metrics.request(&request());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(serve(Arc::clone(&metrics), listener, stop.clone()));
    let answer = ask(address, "GET /metrics").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(answer.contains("gateway_requests_total{") && !answer.contains("sk-secret"));
    for (line, status) in [
        ("GET /", 404),
        ("GET /metrics/", 404),
        ("GET /v1/models", 404),
        ("POST /metrics", 405),
        ("DELETE /metrics", 405),
    ] {
        let answer = ask(address, line).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{line} has a body: {answer}");
    }
    stop.cancel();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_the_same() {
    let (heard, mut hears) = mpsc::unbounded_channel::<Bytes>();
    let hear = |body: Bytes| async move {
        heard.send(body).unwrap();
        StatusCode::OK
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let collector = format!("http://{}/", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/metrics", post(hear));
    tokio::spawn(axum::serve(listener, routes).into_future());
    let metrics = Metrics::new(Some(&collector)).unwrap();
    metrics.request(&request());
    metrics.report(node(1), &report(vec![window("gpu-0", [7, 0, 0, 0])], &[7]));
    let text = metrics.render();
    tokio::task::spawn_blocking(move || metrics.close()).await.unwrap();
    let body = hears.recv().await.unwrap();
    let has = |name: &str| body.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    for name in ["gateway.request.energy", "hw.energy", "gen_ai.client.token.usage", MODEL] {
        assert!(has(name), "{name}");
    }
    let joules = 45.400_001_f64.to_le_bytes();
    assert!(body.windows(8).any(|bytes| bytes == joules), "decode energy as a number");
    assert!(text.contains("45.400001"));
}

#[test]
fn an_address_that_is_none_is_refused_without_repeating_it() {
    let refusal = Metrics::new(Some("http://user:pass word@x")).err().unwrap().to_string();
    assert!(refusal.contains("such as http://") && !refusal.contains("pass"), "{refusal}");
}
