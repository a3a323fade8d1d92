//! Connections without number: those that speak are served, those that don't give up their places.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tests::{Behaviour, Database, Gateway, ScriptedNode, conversation, eventually, resident_bytes};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

const ATTEMPTS: usize = 100_000;
/// Held open at once: more than the gateway's places, and fewer than this process has descriptors for.
const HELD: usize = 12_000;
const PLACES: usize = 10_000;
const SOON: Duration = Duration::from_secs(20);

/// A connection from one of many addresses of this machine.
async fn connect(gateway: &Gateway, number: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 1 + (number / 200 % 60) as u8, 1 + (number % 200) as u8], 0).into())?;
    socket.connect(gateway.address().parse().unwrap()).await
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0; 256])).await;
    read.is_ok_and(|read| read.is_err() || read.is_ok_and(|bytes| bytes == 0))
}

fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

async fn stage(settings: &[(&str, &str)]) -> (Gateway, ScriptedNode) {
    let gateway = Gateway::start_with(Database::create().await, settings).await;
    let node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
    (gateway, node)
}

/// How long an established client's next answer takes.
async fn ask(gateway: &Gateway) -> Duration {
    let begin = Instant::now();
    let answer = gateway.chat(&conversation(json!({}))).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    begin.elapsed()
}

#[tokio::test]
async fn idle_connections_give_up_their_places_and_whoever_speaks_is_served() {
    let (gateway, _node) = stage(&[("COMMONWATT_CONNECTIONS", "64")]).await;
    let running = gateway.chat(&conversation(json!({"stream": true, "max_tokens": 3}))).await;
    let mut idle = Vec::new();
    for number in 0..500 {
        idle.push(connect(&gateway, number).await.unwrap());
        if number % 50 == 0 {
            ask(&gateway).await;
        }
    }
    eventually("those beyond the bound are closed", SOON, || async {
        (descriptors(&gateway) < 64 + 100).then_some(())
    })
    .await;
    let mut open = 0;
    for stream in &mut idle {
        open += usize::from(!is_closed(stream).await);
    }
    assert!((1..=64).contains(&open), "{open}");
    assert!(!is_closed(idle.last_mut().unwrap()).await, "the newest is not the one that goes");
    let newcomer = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(newcomer.get(gateway.url("/readyz")).send().await.unwrap().status(), 200);
    assert!(running.text().await.unwrap().ends_with("[DONE]\n\n"), "what ran went on");
}

#[tokio::test]
async fn whoever_comes_when_all_are_being_answered_is_told_to_come_again() {
    let gateway = Gateway::start_with(Database::create().await, &[("COMMONWATT_CONNECTIONS", "16")]).await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 300, every_ms: 20 }).await;
    let body = conversation(json!({"stream": true, "max_tokens": 300}));
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = gateway.chat(&body).await;
        assert_eq!(stream.status(), 200);
        stream.chunk().await.unwrap().unwrap();
        streams.push(stream);
    }
    let mut late = TcpStream::connect(gateway.address()).await.unwrap();
    let mut told = String::new();
    late.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: 1"), "{told}");
    assert!(told.contains(r#""code":"overloaded""#), "{told}");
    drop(streams);
    eventually("a place", SOON, || async { gateway.client.get(gateway.url("/healthz")).send().await.ok() }).await;
}

#[tokio::test]
async fn a_hundred_thousand_attempts_keep_no_established_client_waiting() {
    let (gateway, _node) = stage(&[]).await;
    let (before, files) = (resident_bytes(gateway.pid()), descriptors(&gateway));
    let (mut held, mut slowest, mut refused) = (VecDeque::new(), Duration::ZERO, 0);
    let (begin, mut full) = (Instant::now(), None);
    for number in 0..ATTEMPTS {
        match connect(&gateway, number).await {
            Ok(stream) => held.push_back(stream),
            Err(_) => refused += 1,
        }
        if held.len() > HELD {
            held.pop_front();
        }
        if number % 500 == 0 {
            slowest = slowest.max(ask(&gateway).await);
        }
        if number + 1 == PLACES - 500 {
            full = Some(resident_bytes(gateway.pid()).saturating_sub(before));
        }
        if number % 5_000 == 0 {
            assert!(descriptors(&gateway) < PLACES + 6_000, "{}", descriptors(&gateway));
        }
    }
    let took = begin.elapsed();
    let most = resident_bytes(gateway.pid()).saturating_sub(before);
    println!(
        "{ATTEMPTS} attempts in {took:?}, {refused} refused by the system; an established client's slowest answer took \
         {slowest:?}; {} bytes for an idle connection; {} KiB more memory at the end, {} descriptors",
        full.unwrap() / (PLACES as u64 - 500),
        most / 1024,
        descriptors(&gateway)
    );
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(most < 512 << 20, "{most}");
    drop(held);
    eventually("all descriptors come back", 3 * SOON, || async { (descriptors(&gateway) < files + 64).then_some(()) })
        .await;
    ask(&gateway).await;
    gateway.audit().await;
}

#[tokio::test]
async fn a_gateway_without_descriptors_closes_idle_connections_and_goes_on() {
    let (gateway, _node) = stage(&[]).await;
    let few = descriptors(&gateway) as u64 + 40;
    let pid = Pid::from_raw(gateway.pid() as i32).unwrap();
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(few), maximum: Some(few) }).unwrap();
    let mut idle = Vec::new();
    for number in 0..400 {
        idle.push(connect(&gateway, number).await.unwrap());
    }
    eventually("it says what is wrong", SOON, || async {
        gateway.log().contains("cannot accept a connection").then_some(())
    })
    .await;
    for _ in 0..20 {
        ask(&gateway).await;
    }
    let newcomer = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = newcomer.get(gateway.url("/readyz")).timeout(SOON).send().await.unwrap();
    assert_eq!(answer.status(), 200, "who speaks gets in, past four hundred who don't");
    drop(idle);
    gateway.audit().await;
    let lines = gateway.log().matches("cannot accept a connection").count();
    assert!(lines < 100, "it does not spin: {lines}");
}

#[tokio::test]
async fn a_system_with_few_descriptors_is_named_with_what_to_do() {
    let gateway = Gateway::start_with(Database::create().await, &[("COMMONWATT_CONNECTIONS", "1000000")]).await;
    let log = gateway.log();
    assert!(log.contains("COMMONWATT_CONNECTIONS") && log.contains("ulimit -n"), "{log}");
}
