//! Enrolled nodes that flood their tunnels, never read, say nothing, or speak something else than HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openapi::manifest::{ManifestFile, ModelManifest};
use openapi::node::{NodeStatus, Offer, OfferedModel};
use openapi::sse;
use serde_json::json;
use tests::{Behaviour, Gateway, ScriptedNode, conversation, eventually, processor_nanoseconds, resident_bytes};
use tokio::time::{Instant, sleep};

use super::frames::{
    CONTINUATION, DATA, HEADERS, PING, PRIORITY, PUSH, RESET, SETTINGS, WINDOW, frame, offer_and_fall_silent, play,
    pour,
};
use super::imposter::Imposter;

const MEGABYTE: u64 = 1 << 20;
/// A gateway notices a dead connection within ten seconds, and asks for an offer for fifteen.
const CLOSED_WITHIN: Duration = Duration::from_secs(40);
const FLOOD: Duration = Duration::from_secs(6);
/// What a flood on one connection may take: windows, buffers and what the allocator keeps of them.
const MOST_MEMORY: u64 = 64 * MEGABYTE;

/// What a node of nobody's interest sells.
pub(super) fn offer() -> String {
    let manifest = ModelManifest {
        name: "nobody-asks".to_owned(),
        files: vec![ManifestFile { path: "none.gguf".to_owned(), bytes: 1, sha256: "00".repeat(32), blake3: None }],
        quantisation: "none".to_owned(),
        licence: "Apache-2.0".to_owned(),
        authors: vec![],
    };
    let models = vec![OfferedModel { manifest, context_length: 4_000_000, ..OfferedModel::default() }];
    serde_json::to_string(&Offer { version: "0".to_owned(), models, slots: 1, ..Offer::default() }).unwrap()
}

/// Asks again and again while something else happens, and looks at the gateway's memory.
struct Watch {
    over: Arc<AtomicBool>,
    slowest: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    began: (Instant, u64),
}

impl Watch {
    fn start(gateway: &Arc<Gateway>) -> Self {
        let watch = Self {
            over: Arc::default(),
            slowest: Arc::default(),
            most: Arc::default(),
            asked: Arc::default(),
            failed: Arc::default(),
            began: (Instant::now(), processor_nanoseconds(gateway.pid())),
        };
        let (over, failed) = (Arc::clone(&watch.over), Arc::clone(&watch.failed));
        let (slowest, most, asked) = (Arc::clone(&watch.slowest), Arc::clone(&watch.most), Arc::clone(&watch.asked));
        let gateway = Arc::clone(gateway);
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let status = gateway.chat(&conversation(json!({}))).await.status();
                failed.fetch_add(u64::from(status != 200), Ordering::Relaxed);
                slowest.fetch_max(begin.elapsed().as_millis() as u64, Ordering::Relaxed);
                most.fetch_max(resident_bytes(gateway.pid()), Ordering::Relaxed);
                asked.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
            }
        });
        watch
    }

    /// Says what was seen, and gives the most memory. A flood that is cut off at once leaves no time to ask.
    async fn end(self, what: &str, gateway: &Gateway, before: u64) -> u64 {
        let asked = Arc::clone(&self.asked);
        eventually("somebody asks", CLOSED_WITHIN, || async { (asked.load(Ordering::Relaxed) > 0).then_some(()) })
            .await;
        self.over.store(true, Ordering::Relaxed);
        let of = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let (asked, grown) = (of(&self.asked), of(&self.most).saturating_sub(before));
        let used = processor_nanoseconds(gateway.pid()).saturating_sub(self.began.1);
        let cores = used * 100 / (self.began.0.elapsed().as_nanos() as u64).max(1);
        println!(
            "{what}: {asked} others answered, the slowest in {} ms; {} KiB more memory, {cores} % of a core",
            of(&self.slowest),
            grown / 1024
        );
        assert!(asked > 0 && of(&self.failed) == 0, "{what}: others are answered meanwhile");
        grown
    }
}

async fn stage() -> (Arc<Gateway>, ScriptedNode) {
    let gateway = Gateway::start().await;
    let node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    for _ in 0..50 {
        assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
    }
    (Arc::new(gateway), node)
}

#[tokio::test]
async fn what_floods_a_tunnel_before_it_is_one_is_cut_off() {
    let (gateway, _node) = stage().await;
    let settings = frame(SETTINGS, 0, 0, &[]);
    let many_settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0].repeat(100));
    let headers = |stream| frame(HEADERS, 4, stream, &[0x88]);
    let block = [&[0x88][..], &[0x00, 0x01, b'a', 0x7f, 0x80, 0x7f], &vec![b'x'; 16_000]].concat();
    let endless = frame(HEADERS, 0, 1, &block);
    let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("no HTTP/2", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b"garbage ".to_vec()),
        ("nothing at all", Vec::new(), Vec::new()),
        ("settings", settings.clone(), many_settings),
        ("pings", settings.clone(), frame(PING, 0, 0, &[7; 8])),
        ("answers to pings that nobody sent", settings.clone(), frame(PING, 1, 0, &[7; 8])),
        ("streams that nobody opened", settings.clone(), headers(2)),
        ("pushes", settings.clone(), frame(PUSH, 4, 1, &[0, 0, 0, 2, 0x82])),
        ("resets of no stream", settings.clone(), frame(RESET, 0, 9, &[0, 0, 0, 8])),
        ("resets of the first stream", settings.clone(), frame(RESET, 0, 1, &[0, 0, 0, 8])),
        ("data of no stream", settings.clone(), frame(DATA, 0, 7, &[0; 1024])),
        ("headers without end", [settings.clone(), endless].concat(), frame(CONTINUATION, 0, 1, &[b'x'; 16_000])),
        ("windows that overflow", settings.clone(), frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("priorities", settings.clone(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("a frame of 16 MB", settings, [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 4096]].concat()),
    ];
    let (before, watch) = (resident_bytes(gateway.pid()), Watch::start(&gateway));
    let mut pouring = Vec::new();
    for (what, first, again) in cases {
        let tunnel = Imposter::enrol(&gateway).await.tunnel(&gateway).await;
        pouring.push((what, tokio::spawn(async move { pour(tunnel, &first, &again, CLOSED_WITHIN).await })));
    }
    let count = pouring.len() as u64;
    for (what, pouring) in pouring {
        assert!(pouring.await.unwrap(), "{what}: is cut off");
    }
    let grown = watch.end("fourteen floods at once", &gateway, before).await;
    assert!(grown < MOST_MEMORY * count / 4, "{grown} bytes");
    assert_eq!(gateway.nodes_now().await, 1, "none of them was taken in");
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn what_floods_a_tunnel_that_stands_costs_bounded_memory_and_nobody_elses_answers() {
    let (gateway, _node) = stage().await;
    let said = sse::data(&NodeStatus::default()).unwrap();
    // The status is what the gateway asks for after the offer.
    let cases = [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("priorities", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9])),
        ("empty data", frame(DATA, 0, 3, &[])),
        ("words about its state", frame(DATA, 0, 3, said.repeat(200).as_bytes())),
    ];
    for (what, again) in cases {
        let node = Imposter::enrol(&gateway).await;
        let sender = play(node.tunnel(&gateway).await, offer());
        gateway.nodes(2).await;
        let (before, watch) = (resident_bytes(gateway.pid()), Watch::start(&gateway));
        let (until, many) = (Instant::now() + FLOOD, again.repeat((64 * 1024 / again.len()).max(1)));
        let mut poured = 0;
        // It may be cut off, which is as good.
        while Instant::now() < until
            && tokio::time::timeout(FLOOD, sender.send(many.clone())).await.is_ok_and(|sent| sent.is_ok())
        {
            poured += many.len() as u64;
        }
        let grown = watch.end(&format!("{what}, {} MB", poured / MEGABYTE), &gateway, before).await;
        assert!(grown < MOST_MEMORY, "{what}: {grown} bytes");
        drop(sender);
        let path = gateway.url(&format!("/api/nodes/{}", node.enrolled.node));
        gateway.client.delete(path).bearer_auth(&gateway.management_key).send().await.unwrap();
        gateway.nodes(1).await;
    }
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn a_node_that_never_reads_is_dropped_and_holds_up_nobody() {
    let (gateway, _node) = stage().await;
    let node = Imposter::enrol(&gateway).await;
    let (before, watch) = (resident_bytes(gateway.pid()), Watch::start(&gateway));
    let mut tunnel = node.tunnel(&gateway).await;
    offer_and_fall_silent(&mut tunnel, &offer()).await;
    gateway.nodes(2).await;
    let ask = |_: usize| {
        let mut body = conversation(json!({"model": "nobody-asks"}));
        body["messages"][0]["content"] = "x".repeat(1 << 20).into();
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.chat(&body).await.status().as_u16() })
    };
    let asking: Vec<_> = (0..16).map(ask).collect();
    // Pings are not answered.
    gateway.nodes(1).await;
    for asked in asking {
        let status = asked.await.unwrap();
        assert!(status >= 400, "{status}");
    }
    drop(tunnel);
    let grown = watch.end("a node that never reads", &gateway, before).await;
    assert!(grown < 2 * MOST_MEMORY, "{grown} bytes");
    assert!(!gateway.log().contains("panicked"));
}
