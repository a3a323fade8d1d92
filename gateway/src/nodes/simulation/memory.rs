//! What ten thousand real nodes take in memory.

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, Response};
use openapi::node::Offer;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::nodes::connection::Connection;
use crate::nodes::scripted::Scripted;
use crate::nodes::way::{Kind, Way};
use crate::nodes::{CallError, NodeBody, Nodes};

/// Bytes. A connection takes more, and is not counted.
const MOST: u64 = 16 * 1024;
const PAGE: u64 = 4_096;

/// Leads nowhere.
struct Nowhere;

impl Connection for Nowhere {
    fn is_open(&self) -> bool {
        true
    }

    fn send(&self, _: Uuid, _: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<NodeBody>, CallError>> {
        async { Err(CallError::Unreached) }.boxed()
    }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let figures = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    figures.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * PAGE
}

#[test]
fn a_node_takes_little_memory() {
    let (before, nodes, count) = (resident(), Nodes::default(), Size::chosen().nodes);
    for number in 0..count {
        let offer = Offer { slots: 4, queue: 4, region: "SE".parse().ok(), ..Scripted::offer() };
        let way = Way::dialled(Kind::Attached, offer, Nowhere, CancellationToken::new());
        nodes.add(Uuid::from_u128(number as u128), Arc::new(way));
        lock(&nodes.get(Uuid::from_u128(number as u128)).unwrap().health).answered(
            Duration::ZERO,
            1,
            Instant::now().into(),
        );
    }
    let bytes = resident().saturating_sub(before) / count as u64;
    println!("memory of a node, its connection aside         {bytes} bytes");
    assert!(nodes.all().len() == count && (Size::chosen().nodes < Size::FULL.nodes || bytes < MOST), "{bytes}");
}
