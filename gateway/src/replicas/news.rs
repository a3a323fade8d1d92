//! What a replica tells the others about the nodes that are tunnelled to it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use openapi::node::{NodeStatus, Offer};
use openapi::sse;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::Internal;
use crate::nodes::way::Way;

/// On the internal listener: an endless event stream of [`News`].
pub(super) const NEWS_PATH: &str = "/internal/nodes";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum News {
    /// Who speaks; the first event.
    Replica(Uuid),
    /// A node has opened a tunnel.
    Joined { node: Uuid, connection: Uuid, connected_at: u64, instance: Option<Uuid>, offer: Arc<Offer> },
    /// A node has spoken about its state.
    Status { connection: Uuid, status: NodeStatus },
    /// A tunnel has ended.
    Left { connection: Uuid },
    /// This replica is about to stop. Its nodes move, and can be used through it until they have.
    Stopping,
}

/// What one listener has been told. News are the difference to how things are, so that a slow listener misses nothing
/// and nothing piles up for it.
#[derive(Default)]
struct Told {
    tunnels: HashMap<Uuid, NodeStatus>,
    stopping: bool,
}

impl Told {
    /// All that is new. Who has left comes last: a node that dialled in again is then there all the time.
    fn catch_up(&mut self, tunnels: &[(Uuid, Arc<Way>)], stopping: bool) -> Vec<News> {
        let mut news = Vec::new();
        for (node, way) in tunnels {
            let (connection, status) = (way.connection, way.status());
            let before = self.tunnels.insert(connection, status);
            if before.is_none() {
                let (connected_at, instance, offer) = (way.connected_at, way.instance(), Arc::clone(way.offer()));
                news.push(News::Joined { node: *node, connection, connected_at, instance, offer });
            }
            if before.unwrap_or_default() != status {
                news.push(News::Status { connection, status });
            }
        }
        let gone = |connection: &Uuid| tunnels.iter().all(|(_, way)| way.connection != *connection);
        let left = self.tunnels.extract_if(|connection, _| gone(connection));
        news.extend(left.map(|(connection, _)| News::Left { connection }));
        if stopping && !std::mem::replace(&mut self.stopping, true) {
            news.push(News::Stopping);
        }
        news
    }
}

/// Tells another replica the news until this one closes or that one is gone.
pub(super) fn tell(internal: &Internal) -> Response {
    let teller = Teller { changes: internal.nodes.changes(), internal: internal.clone(), told: Told::default() };
    let hello = written(&[News::Replica(internal.credentials.replica())]);
    let news = futures_util::stream::unfold((Some(hello), teller), |(hello, mut teller)| async {
        let next = match hello {
            Some(hello) => hello,
            None => teller.next().await?,
        };
        Some((Ok::<_, Infallible>(next), (None, teller)))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(news)).into_response()
}

struct Teller {
    internal: Internal,
    changes: watch::Receiver<()>,
    told: Told,
}

impl Teller {
    async fn next(&mut self) -> Option<String> {
        loop {
            // What changes from here on is news for the next round.
            self.changes.mark_unchanged();
            let stopping = self.internal.stop.is_cancelled();
            let news = self.told.catch_up(&self.internal.nodes.tunnels(), stopping);
            if !news.is_empty() {
                return Some(written(&news));
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = self.internal.stop.cancelled(), if !stopping => {}
                () = self.internal.closing.cancelled() => return None,
            }
        }
    }
}

fn written(news: &[News]) -> String {
    news.iter().filter_map(|news| sse::data(news).ok()).collect()
}
