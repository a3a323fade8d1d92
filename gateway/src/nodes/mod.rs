//! The nodes that are connected, to this replica or to another: what each serves, how loaded it is, and which one gets the
//! next request.

mod advice;

mod copies;

mod farewell;

mod gather;

pub mod greeting;

pub mod offer;

mod offered;

mod pace;

pub mod affinity;

pub mod attached;

pub mod blobs;

pub mod choose;

pub(crate) mod dialled;

pub mod direct;

pub mod enrol;

pub mod key;

pub mod marginal;

pub mod operate;

pub mod preference;

pub(crate) mod connection;

mod health;

mod lease;

mod node;

pub mod queue;

pub mod registry;

mod shelf;

pub mod skip;

pub mod standing;

pub mod statements;

pub mod tunnel;

pub(crate) mod way;

#[cfg(test)]
pub(crate) mod scripted;

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use openapi::node::{NodeStatus, Offer};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use queue::{Bounds, Chance, Queue};
use registry::Registry;
use way::Way;

pub use connection::{CallError, NodeBody};
pub(crate) use health::{SILENCE, StallWatch};
pub use lease::{Found, Lease, NoNode, off_duty, room};
pub use node::{Call, Node, ServedModel};
pub use shelf::Shelf;

const TRY_AGAIN_EVERY: Duration = Duration::from_millis(250);
/// Kinds of requests that are tried on all nodes each time.
const TRIED_AGAIN: usize = 8;
/// What may wait for a node at once on a replica.
const BOUNDS: Bounds = Bounds { requests: 10_000, bytes: 256 * 1024 * 1024, requests_of_an_account: 1_000 };

/// All connected nodes.
pub struct Nodes {
    connected: RwLock<BTreeMap<Uuid, Arc<Node>>>,
    /// The same by the models that they serve, under each name.
    shelves: RwLock<HashMap<String, Arc<Shelf>>>,
    registry: Registry,
    /// Which node has computed which beginnings of prompts.
    pub memory: affinity::Memory,
    /// The registry was read again.
    registered: Notify,
    /// Requests that wait for a place.
    pub queue: Arc<Queue<Found>>,
    /// Models that any node has ever offered: for these, no node at the moment means "try again", not "no such model".
    known: RwLock<HashSet<String>>,
    joined: Notify,
    left: Notify,
    /// Greetings that have opened a tunnel to this replica.
    greetings: greeting::Used,
    /// Nodes whose key two machines have.
    copies: copies::Copies,
    /// Something about the nodes that are tunnelled to this replica is different; the other replicas listen.
    changed: watch::Sender<()>,
    /// How often nodes were ejected that are gone.
    past_ejections: AtomicU64,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            connected: RwLock::default(),
            shelves: RwLock::default(),
            registry: Registry::default(),
            memory: affinity::Memory::default(),
            registered: Notify::new(),
            queue: Queue::new(BOUNDS),
            known: RwLock::default(),
            joined: Notify::new(),
            left: Notify::new(),
            greetings: greeting::Used::default(),
            copies: copies::Copies::default(),
            changed: watch::Sender::default(),
            past_ejections: AtomicU64::default(),
        }
    }
}

impl Nodes {
    /// Takes note of a model that exists, whether a node serves it now or not.
    pub fn remember(&self, offer: &Offer) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for model in &offer.models {
            known.insert(model.manifest.name.clone());
            known.insert(model.manifest.id());
        }
    }

    /// True when a model of this name exists.
    pub fn is_known(&self, model: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(model)
    }

    /// Takes in a way to a node.
    pub(crate) fn add(&self, id: Uuid, way: Arc<Way>) {
        self.remember(way.offer());
        let is_tunnel = way.is_tunnel();
        let mut connected = self.connected.write().unwrap_or_else(PoisonError::into_inner);
        match connected.get(&id) {
            Some(node) => node.add(way),
            None => drop(connected.insert(id, Arc::new(Node::new(id, way, self.registry.of(id))))),
        }
        drop(connected);
        self.sort_in(id);
        self.joined.notify_waiters();
        self.queue.serve(Chance::At(id));
        self.tell(is_tunnel);
    }

    /// Puts a node on the shelves of its models, and takes it from all others.
    fn sort_in(&self, id: Uuid) {
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        // Looked up under the lock, so that of two at once the later one knows both.
        let node = self.get(id);
        let models = node.as_ref().map(|node| node.best().models().to_vec()).unwrap_or_default();
        let names: HashSet<&String> = models.iter().flat_map(|model| [&model.name, &model.id]).collect();
        shelves.retain(|name, shelf| names.contains(name) || shelf.without(id).is_none_or(|rest| put(shelf, rest)));
        for (name, node) in names.into_iter().zip(std::iter::repeat(node).flatten()) {
            let shelf = shelves.entry(name.clone()).or_default();
            let mut nodes = shelf.without(id).unwrap_or_else(|| shelf.nodes().to_vec());
            nodes.push(node);
            put(shelf, nodes);
        }
    }

    /// The nodes that serve a model, by its name or content address.
    pub fn shelf(&self, model: &str) -> Arc<Shelf> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned().unwrap_or_default()
    }

    /// Reads what operators say about a node, or about all of them, and what has become of it counts from now on. A node
    /// that was removed is sent away.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn register(&self, database: &PgPool, only: Option<Uuid>) -> Result<(), sqlx::Error> {
        let read = registry::read(database, only).await?;
        for node in self.all().into_iter().filter(|node| only.is_none_or(|only| only == node.id)) {
            match read.get(&node.id) {
                Some(registered) => node.register(Arc::clone(registered)),
                None => self.dismiss(node.id),
            }
        }
        self.registry.keep(only, read);
        self.registered.notify_one();
        self.queue.serve(only.map_or(Chance::Anywhere, Chance::At));
        Ok(())
    }

    /// Forgets a way to a node, and the node when it was the last one.
    pub(crate) fn remove(&self, id: Uuid, way: &Way) {
        let mut connected = self.connected.write().unwrap_or_else(PoisonError::into_inner);
        if connected.get(&id).is_some_and(|node| node.remove(way.connection)) {
            let gone = connected.remove(&id).map_or(0, |node| node.ejections());
            self.past_ejections.fetch_add(gone, Ordering::Relaxed);
            self.memory.forget(id, Instant::now());
        }
        drop(connected);
        self.sort_in(id);
        self.left.notify_waiters();
        self.tell(way.is_tunnel());
    }

    /// Takes a node's own word on its state, which came this way.
    pub(crate) fn set_status(&self, id: Uuid, way: &Way, status: NodeStatus) {
        way.set_status(status);
        self.queue.serve(Chance::At(id));
        self.tell(way.is_tunnel());
    }

    fn tell(&self, is_tunnel: bool) {
        if is_tunnel {
            self.changed.send_replace(());
        }
    }

    /// Says when something about the tunnels of this replica is different. Whoever holds it may use them.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// How often failures have made nodes rest since this replica runs.
    pub fn ejections(&self) -> u64 {
        let now: u64 = self.all().iter().map(|node| node.ejections()).sum();
        self.past_ejections.load(Ordering::Relaxed) + now
    }

    /// Every connected node.
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.connected.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Those that rested at the last look and may be tried again; from then on, those that rest now.
    fn rested(&self, resting: &mut HashSet<Uuid>) -> Vec<Uuid> {
        let now = Instant::now();
        let (back, still): (Vec<_>, Vec<_>) = self.all().into_iter().partition(|node| node.may_try(now));
        let rested = back.iter().map(|node| node.id).filter(|id| resting.contains(id)).collect();
        *resting = still.iter().map(|node| node.id).collect();
        rested
    }

    /// A connected node by its id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Node>> {
        self.connected.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The tunnel that a node has opened to this replica.
    pub(crate) fn tunnel(&self, id: Uuid) -> Option<Arc<Way>> {
        self.get(id)?.tunnel()
    }

    /// Every tunnel to this replica.
    pub(crate) fn tunnels(&self) -> Vec<(Uuid, Arc<Way>)> {
        self.all().into_iter().filter_map(|node| Some((node.id, node.tunnel()?))).collect()
    }

    /// A node gave what is not the file that it offers: it loses rank as one that answers with another model.
    pub fn blame(&self, id: Uuid) {
        tracing::warn!(node = %id, "a node gave what is not the file that it offers");
        if let Some(node) = self.get(id) {
            lock(&node.health).wrong_model(Instant::now());
        }
    }

    /// Waits until nobody needs the tunnels of this replica: their nodes can be reached elsewhere, or no other replica is
    /// there that uses them.
    pub(crate) async fn all_moved(&self) {
        let moved = async {
            loop {
                let (mut left, mut joined) = (pin!(self.left.notified()), pin!(self.joined.notified()));
                left.as_mut().enable();
                joined.as_mut().enable();
                if self.all().iter().all(|node| node.tunnel().is_none() || node.is_elsewhere()) {
                    return;
                }
                tokio::select! {
                    () = left => {}
                    () = joined => {}
                }
            }
        };
        tokio::select! {
            () = moved => {}
            () = self.changed.closed() => {}
        }
    }

    /// Closes the ways to a node. A replica that uses the tunnel of another learns from that one.
    pub fn dismiss(&self, id: Uuid) {
        if let Some(node) = self.get(id) {
            node.dismiss();
        }
    }

    /// The longest context that a model is offered with; what is known of no node is taken for long.
    pub fn context_length(&self, model: &str) -> u64 {
        self.shelf(model).context_length(model).unwrap_or(u64::from(u32::MAX))
    }
}

/// Fills a shelf anew. False when nothing is on it.
fn put(shelf: &mut Arc<Shelf>, nodes: Vec<Arc<Node>>) -> bool {
    let is_used = !nodes.is_empty();
    *shelf = Arc::new(Shelf::new(nodes));
    is_used
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets those who wait try again: a node that has rested announces itself to nobody.
pub async fn tend(nodes: Arc<Nodes>, closing: CancellationToken) {
    let mut resting = HashSet::new();
    while tokio::time::timeout(TRY_AGAIN_EVERY, closing.cancelled()).await.is_err() {
        if nodes.queue.is_empty() {
            continue;
        }
        nodes.rested(&mut resting).into_iter().for_each(|node| nodes.queue.serve(Chance::At(node)));
        nodes.queue.serve(Chance::Round(TRIED_AGAIN));
    }
}

pub(crate) fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
