//! Heads of requests that are too long, or never complete, at the public listener.

use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tests::{Behaviour, Gateway, ScriptedNode, conversation, resident_bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const MEGABYTE: usize = 1 << 20;
const AT_ONCE: usize = 50;
/// The gateway allows thirty seconds for a head.
const CLOSED_WITHIN: Duration = Duration::from_secs(36);

/// What the gateway says before it closes, if the connection is not reset.
async fn last_words(mut stream: TcpStream, sent: &[u8]) -> String {
    // It need not read all of it.
    let _ = stream.write_all(sent).await;
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(CLOSED_WITHIN, stream.read_to_end(&mut said)).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_refused_in_bounded_memory() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
    let before = resident_bytes(gateway.pid());
    let long = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(MEGABYTE));
    let many: String = (0..40_000).map(|number| format!("x-{number}: {number:010}\r\n")).collect();
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(MEGABYTE));
    for (what, head) in [("one header", &long), ("many headers", &many), ("a path", &path)] {
        let mut words = Vec::new();
        for _ in 0..AT_ONCE {
            let stream = TcpStream::connect(gateway.address()).await.unwrap();
            let head = head.clone();
            words.push(tokio::spawn(async move { last_words(stream, head.as_bytes()).await }));
        }
        let mut said = 0;
        for words in words {
            let words = words.await.unwrap();
            let status = words.split(' ').nth(1).unwrap_or_default();
            // A reset may overtake the answer, since the gateway does not read the rest.
            assert!(["", "431", "414"].contains(&status), "{what}: {words}");
            said += usize::from(!status.is_empty());
        }
        println!("{what} of a megabyte: {said} of {AT_ONCE} heard the status before the connection was closed");
    }
    let stream = TokioIo::new(TcpStream::connect(gateway.address()).await.unwrap());
    let (mut sender, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(gateway.url("/healthz")).header("x-long", "a".repeat(MEGABYTE)).body(Empty::new());
    let over_http2 = sender.send_request(request.unwrap()).await;
    assert!(over_http2.is_err() || over_http2.unwrap().status() == 431);

    let grown = resident_bytes(gateway.pid()).saturating_sub(before);
    println!("{} KiB more memory for {} of them", grown / 1024, 3 * AT_ONCE + 1);
    assert!(grown < 32 * MEGABYTE as u64, "{grown}");
    let ordinary = gateway.client.get(gateway.url("/healthz")).header("x-long", "a".repeat(16 * 1024)).send().await;
    assert_eq!(ordinary.unwrap().status(), 200, "what is long and honest passes");
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
}

/// How long a connection lasts on which this is sent at once, and then one byte of the other each second.
async fn lasts(gateway: &Gateway, first: &[u8], drip: Option<u8>) -> Duration {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let begin = Instant::now();
    stream.write_all(first).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dripping = async {
        while let Some(byte) = drip {
            sleep(Duration::from_secs(1)).await;
            if writing.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let closed = async {
        let mut said = [0; 1024];
        while reading.read(&mut said).await.is_ok_and(|read| read > 0) {}
    };
    let ended = async {
        tokio::select! {
            () = dripping => {}
            () = closed => {}
        }
    };
    tokio::time::timeout(CLOSED_WITHIN, ended).await.unwrap();
    begin.elapsed()
}

#[tokio::test]
async fn whoever_never_completes_a_head_is_closed_on() {
    let gateway = Gateway::start().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let lasted = tokio::join!(
        lasts(&gateway, b"", None),
        lasts(&gateway, b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ", Some(b'a')),
        lasts(&gateway, b"PRI * HTTP", None),
        lasts(&gateway, b"", Some(b'G')),
        lasts(&gateway, preface, None),
    );
    println!("silent, dripping, half a preface, one letter a second, HTTP/2 without a request: {lasted:?}");
    let healthy = gateway.client.get(gateway.url("/healthz")).send().await.unwrap();
    assert_eq!(healthy.status(), 200);
}

#[tokio::test]
async fn what_is_spoken_is_found_however_slowly_it_begins() {
    let gateway = Gateway::start().await;
    // It begins as HTTP/2 does, and is not.
    for slowly in ["", "P", "PR", "PROPFIND"] {
        let rest = format!("{} /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &"PROPFIND"[slowly.len()..]);
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in slowly.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 405"), "{slowly}: {said}");
    }
}
