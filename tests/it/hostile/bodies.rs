//! Bodies without an end, with a key and without.

use serde_json::{Value, json};
use tests::{Behaviour, Gateway, ScriptedNode, conversation, resident_bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MEGABYTE: u64 = 1 << 20;
const AT_ONCE: usize = 10;

/// Sends chunk after chunk until there is an answer; gives that, and how many megabytes were taken.
async fn endless(gateway: &Gateway, path: &str, key: Option<&str>) -> (u16, u64) {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{key}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    writing.write_all(head.as_bytes()).await.unwrap();
    let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
    let pouring = async {
        let mut sent = 0;
        while sent < 200 * MEGABYTE && writing.write_all(&chunk).await.is_ok() {
            sent += chunk.len() as u64;
        }
        sent / MEGABYTE
    };
    let answered = async {
        let mut head = vec![0; 12];
        // A connection that is reset has no answer: 0.
        match reading.read_exact(&mut head).await {
            Ok(_) => String::from_utf8_lossy(&head)[9..].parse().unwrap(),
            Err(_) => 0,
        }
    };
    let (sent, status) = tokio::join!(pouring, answered);
    (status, sent)
}

#[tokio::test]
async fn an_endless_body_is_refused_and_whoever_is_a_stranger_is_read_least() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
    for (path, key, status, most) in [
        ("/v1/chat/completions", Some(gateway.key.as_str()), 413, 20),
        ("/v1/chat/completions", None, 401, 10),
        ("/node/v1/enrol", None, 413, 10),
        ("/api/sessions", None, 413, 10),
    ] {
        let before = resident_bytes(gateway.pid());
        let pouring = (0..AT_ONCE).map(|_| endless(&gateway, path, key));
        for (answered, taken) in futures_util::future::join_all(pouring).await {
            assert!([status, 0].contains(&answered), "{path}: {answered}");
            // What the sockets hold counts as taken.
            assert!(taken <= most, "{path}: {taken} MB");
        }
        let grown = resident_bytes(gateway.pid()).saturating_sub(before);
        println!("{path}, key: {}: {} KiB more memory for {AT_ONCE} at once", key.is_some(), grown / 1024);
        assert!(grown < 150 * MEGABYTE, "{path}: {grown}");
    }
    let long = json!({"email": "a@example.org", "password": "x".repeat(300_000)});
    let refused = gateway.client.post(gateway.url("/api/sessions")).json(&long).send().await.unwrap();
    assert_eq!(refused.status(), 413);
    let told: Value = refused.json().await.unwrap();
    assert!(told.to_string().contains("262144"), "the bound is named: {told}");
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
}
