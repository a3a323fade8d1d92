//! Which node gets the next request, and the place on it that the request holds.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Node, Nodes, lock};

/// A node that moves from one replica to another is back before this.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// No node can take the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNode;

/// A place on a node; given back when dropped.
pub struct Lease {
    node: Arc<Node>,
}

impl Nodes {
    /// Leases the less loaded of two random nodes that serve the model and suit the request. Two random choices keep
    /// replicas from all picking the same node.
    ///
    /// # Errors
    /// When there is none.
    pub fn lease(&self, model: &str, suits: impl Fn(&Node) -> bool) -> Result<Lease, NoNode> {
        let now = Instant::now();
        let mut candidates = self.all();
        candidates.retain(|node| serves(node, model) && node.is_up(now) && suits(node));
        fastrand::shuffle(&mut candidates);
        let node = candidates.into_iter().take(2).min_by_key(|node| node.load()).ok_or(NoNode)?;
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Lease { node })
    }

    /// Leases the node that `choose` picks among those that serve the model and suit the request.
    ///
    /// # Errors
    /// When there is none, or it picks none.
    pub fn lease_chosen<Reason>(
        &self,
        model: &str,
        suits: impl Fn(&Node) -> bool,
        choose: impl FnOnce(&[Arc<Node>]) -> Option<(Uuid, Reason)>,
    ) -> Result<(Lease, Reason), NoNode> {
        let now = Instant::now();
        let mut candidates = self.all();
        candidates.retain(|node| serves(node, model) && node.is_up(now) && suits(node));
        let (chosen, reason) = choose(&candidates).ok_or(NoNode)?;
        let node = candidates.into_iter().find(|node| node.id == chosen).ok_or(NoNode)?;
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok((Lease { node }, reason))
    }

    /// Waits a moment when no connected node serves the model: it may be on its way from one replica to another. True
    /// when one came, which is worth another try even if it was tried before.
    pub async fn await_one(&self, model: &str) -> bool {
        self.await_within(model, BACK_WITHIN).await
    }

    pub(super) async fn await_within(&self, model: &str, patience: Duration) -> bool {
        let comes = async {
            let mut waited = false;
            loop {
                // Listens before it looks, so that nobody joins unnoticed in between.
                let mut joined = pin!(self.joined.notified());
                joined.as_mut().enable();
                if self.all().iter().any(|node| serves(node, model)) {
                    return waited;
                }
                joined.await;
                waited = true;
            }
        };
        tokio::time::timeout(patience, comes).await.unwrap_or(false)
    }
}

/// True when the node is there for this model, busy or not.
fn serves(node: &Node, model: &str) -> bool {
    let way = node.best();
    way.is_open() && way.model_named(model).is_some()
}

impl Lease {
    /// Whose it is.
    pub fn node_id(&self) -> Uuid {
        self.node.id
    }

    /// The node itself.
    pub fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// The node began to answer after this long.
    pub fn answered(&self, first_byte: Duration) {
        lock(&self.node.health).answered(first_byte, Instant::now());
    }

    /// The node made so many tokens in this time.
    pub fn spoke(&self, tokens: u64, time: Duration) {
        lock(&self.node.health).spoke(tokens, time);
    }

    /// The node did its part, whatever became of the request.
    pub fn succeeded(&self) {
        lock(&self.node.health).succeeded();
    }

    /// The node failed.
    pub fn failed(&self) {
        lock(&self.node.health).failed(Instant::now());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.node.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
