//! Which node gets the next request, and the place on it that the request holds.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use uuid::Uuid;

use super::choose::{DRAWN, Room, at_random, shortlist};
use super::health::Passage;
use super::queue::{Chance, Queue};
use super::skip::Skip;
use super::{Node, Nodes, lock};

/// A node that moves from one replica to another is back before this.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// Whoever waits for any node that suits looks again after this long.
const LOOKS_AGAIN: Duration = Duration::from_millis(250);

/// No node can take the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNode;

/// A place on a node that suits a request.
pub struct Found {
    pub lease: Lease,
    /// Which of the request's models it is for.
    pub model: String,
    /// Why this node.
    pub reason: String,
}

/// A place on a node; given back when dropped, to whoever waits for one.
pub struct Lease {
    node: Arc<Node>,
    passage: Passage,
    queue: Arc<Queue<Found>>,
}

impl Nodes {
    /// Leases the less loaded of two random nodes that serve the model and suit, whether they have room or not.
    ///
    /// # Errors
    /// When there is none.
    pub fn lease(&self, model: &str, suits: impl Fn(&Node) -> bool) -> Result<Lease, NoNode> {
        let (now, shelf) = (Instant::now(), self.shelf(model));
        let look = |place: usize| match shelf.nodes().get(place) {
            Some(node) if node.may_try(now) && is_there(node) && suits(node) => Ok(Room::Free),
            _ => Err(Skip::Unreachable),
        };
        let found = shortlist(at_random(shelf.nodes().len(), fastrand::u64(..)), DRAWN, look);
        let nodes = found.fit.into_iter().filter_map(|place| shelf.nodes().get(place));
        let node = nodes.min_by_key(|node| node.state().0.burden()).ok_or(NoNode)?;
        self.take(node, now).ok_or(NoNode)
    }

    /// Takes a place on a node. None when another request is just trying whether it is back.
    pub fn take(&self, node: &Arc<Node>, now: Instant) -> Option<Lease> {
        match lock(&node.health).begin(now) {
            Passage::Barred => None,
            passage => Some(self.hold(node, passage)),
        }
    }

    /// Takes a place on a node that rests: there is no other.
    pub fn take_anyway(&self, node: &Arc<Node>, now: Instant) -> Lease {
        let passage = lock(&node.health).begin(now);
        self.hold(node, passage)
    }

    fn hold(&self, node: &Arc<Node>, passage: Passage) -> Lease {
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        node.skips.chosen();
        Lease { node: Arc::clone(node), passage, queue: Arc::clone(&self.queue) }
    }

    /// Waits a moment when no connected node serves the model: it may be on its way from one replica to another.
    pub async fn await_one(&self, model: &str) {
        self.await_within(model, BACK_WITHIN).await;
    }

    /// Waits until a node has come, or a moment has passed in which one may have become free. False at the deadline.
    pub(crate) async fn change_before(&self, deadline: tokio::time::Instant) -> bool {
        let soon = tokio::time::Instant::now() + LOOKS_AGAIN;
        if soon >= deadline {
            return false;
        }
        // Who comes is seen at the next look; none is lost by it.
        let _ = tokio::time::timeout_at(soon, self.joined.notified()).await;
        true
    }

    /// True when one came.
    pub(super) async fn await_within(&self, model: &str, patience: Duration) -> bool {
        let comes = async {
            let mut waited = false;
            loop {
                // Listens before it looks, so that nobody joins unnoticed in between.
                let mut joined = pin!(self.joined.notified());
                joined.as_mut().enable();
                if self.shelf(model).nodes().iter().any(|node| is_there(node)) {
                    return waited;
                }
                joined.await;
                waited = true;
            }
        };
        tokio::time::timeout(patience, comes).await.unwrap_or(false)
    }
}

/// True when the node is there, busy or not.
fn is_there(node: &Node) -> bool {
    node.best().is_open()
}

/// Why a node may not get a request now, as far as the request does not matter and before its places are counted.
pub fn off_duty(node: &Node, date: OffsetDateTime) -> Option<Skip> {
    if !is_there(node) { Some(Skip::Unreachable) } else { node.registered().is_off(date).then_some(Skip::Paused) }
}

/// What room a node that suits has at once.
///
/// # Errors
/// Why it has none.
pub fn room(node: &Node, now: Instant) -> Result<Room, Skip> {
    if !node.is_up(now) {
        return Err(Skip::Resting);
    }
    // One that is busy, or is just being tried after a rest, will have room soon.
    node.room().filter(|_| node.may_try(now)).ok_or(Skip::Full)
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

    /// The node began to answer after this long, to a prompt of at most so many tokens.
    pub fn answered(&self, first_byte: Duration, prompt: u64) {
        lock(&self.node.health).answered(first_byte, prompt, Instant::now());
    }

    /// The node has not begun to answer for so long, and is not waited for any more.
    pub fn silent_for(&self, time: Duration, prompt: u64) {
        lock(&self.node.health).silent_for(time, prompt, Instant::now());
    }

    /// The node made so many tokens in this time.
    pub fn spoke(&self, tokens: u64, time: Duration) {
        lock(&self.node.health).spoke(tokens, time);
    }

    /// So much time lay between two tokens.
    pub fn paused(&self, gap: Duration) {
        lock(&self.node.health).paused(gap);
    }

    /// The node did its part, whatever became of the request.
    pub fn succeeded(&self) {
        lock(&self.node.health).succeeded();
    }

    /// The node failed.
    pub fn failed(&self) {
        lock(&self.node.health).failed(Instant::now());
    }

    /// The node has no room, and knows when it may have some.
    pub fn refused(&self, retry_after: Option<Duration>) {
        lock(&self.node.health).refused(retry_after, Instant::now());
    }

    /// The node claimed so many tokens for a complete answer, and so many were counted.
    pub fn judged(&self, claimed: u64, counted: u64) {
        lock(&self.node.health).judged(claimed, counted, Instant::now());
    }

    /// The node answered with another model.
    pub fn answered_as_another(&self) {
        lock(&self.node.health).wrong_model(Instant::now());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.node.health).abandoned(self.passage);
        self.node.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.queue.serve(Chance::At(self.node.id));
    }
}
