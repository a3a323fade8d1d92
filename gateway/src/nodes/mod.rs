//! The nodes that are connected, to this replica or to another: what each serves, how loaded it is, and which one gets the
//! next request.

pub mod choose;

pub mod enrol;

pub mod marginal;

pub mod preference;

pub(crate) mod connection;

mod health;

mod lease;

mod node;

pub mod tunnel;

pub(crate) mod way;

#[cfg(test)]
pub(crate) mod scripted;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use openapi::model::{Model, ModelList};
use openapi::node::{NodeStatus, Offer};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

pub use lease::{Lease, NoNode};
pub use node::{Call, Node, ServedModel};
pub use way::CallError;
use way::Way;

/// All connected nodes.
#[derive(Default)]
pub struct Nodes {
    connected: RwLock<BTreeMap<Uuid, Arc<Node>>>,
    /// Models that any node has ever offered: for these, no node at the moment means "try again", not "no such model".
    known: RwLock<HashSet<String>>,
    joined: Notify,
    left: Notify,
    /// Something about the nodes that are tunnelled to this replica is different; the other replicas listen.
    changed: watch::Sender<()>,
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
            None => drop(connected.insert(id, Arc::new(Node::new(id, way)))),
        }
        drop(connected);
        self.joined.notify_waiters();
        self.tell(is_tunnel);
    }

    /// Forgets a way to a node, and the node when it was the last one.
    pub(crate) fn remove(&self, id: Uuid, way: &Way) {
        let mut connected = self.connected.write().unwrap_or_else(PoisonError::into_inner);
        if connected.get(&id).is_some_and(|node| node.remove(way.connection)) {
            connected.remove(&id);
        }
        drop(connected);
        self.left.notify_waiters();
        self.tell(way.is_tunnel());
    }

    /// Takes a node's own word on its state, which came this way.
    pub(crate) fn set_status(&self, way: &Way, status: NodeStatus) {
        way.set_status(status);
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

    /// Every connected node.
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.connected.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
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

    /// Closes the tunnel of a node. A replica that has none learns from the one that has it.
    pub fn dismiss(&self, id: Uuid) {
        if let Some(tunnel) = self.tunnel(id) {
            tunnel.dismiss();
        }
    }

    /// The connected nodes that serve a model.
    pub fn serving(&self, model: &str) -> Vec<Arc<Node>> {
        let mut nodes = self.all();
        nodes.retain(|node| node.model_named(model).is_some());
        nodes
    }

    /// The longest context that a model is offered with; what is known of no node is taken for long.
    pub fn context_length(&self, model: &str) -> u64 {
        let of = |node: &Arc<Node>| node.model_named(model).map(|model| u64::from(model.context_length));
        self.all().iter().filter_map(of).max().unwrap_or(u64::from(u32::MAX))
    }

    /// The models that can be asked now.
    pub fn models(&self) -> ModelList {
        let mut models: Vec<Model> = Vec::new();
        for node in self.all() {
            let way = node.best();
            for offered in &way.offer().models {
                let manifest = &offered.manifest;
                if models.iter().all(|model| model.id != manifest.name) {
                    let authors = manifest.authors.join(", ");
                    models.push(Model::new(
                        manifest.name.clone(),
                        way.connected_at,
                        authors,
                        manifest.id(),
                        offered.context_length,
                    ));
                }
            }
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        models.into()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
