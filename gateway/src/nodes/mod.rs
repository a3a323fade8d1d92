//! The nodes that are connected: who is up, what each serves, how loaded it is, and which one gets the next request.

pub mod enrol;

mod health;

pub mod tunnel;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response};
use jsonwebtoken::{Algorithm, Header};
use openapi::model::{Model, ModelList};
use openapi::node::{NodeStatus, Offer, Ticket};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::secrets::Secrets;
use health::Health;

/// A ticket outlives every wait for a slot.
const TICKET_SECONDS: u64 = 3600;

/// A node on the other end of a tunnel.
pub struct Node {
    pub id: Uuid,
    /// One connection of it; a node that dials in again is another.
    connection: Uuid,
    offer: Offer,
    models: Vec<ServedModel>,
    sender: SendRequest<Full<Bytes>>,
    status: Mutex<NodeStatus>,
    health: Mutex<Health>,
    in_flight: AtomicU32,
    connected_at: u64,
    /// Given when the node is removed by its operator.
    dismissed: CancellationToken,
}

/// A model under its two names.
#[derive(Clone, Debug)]
pub struct ServedModel {
    pub name: String,
    /// Its content address.
    pub id: String,
}

/// No node can take the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNode;

impl Node {
    fn new(id: Uuid, offer: Offer, sender: SendRequest<Full<Bytes>>) -> Self {
        let served = |model: &openapi::node::OfferedModel| ServedModel {
            name: model.manifest.name.clone(),
            id: model.manifest.id(),
        };
        Self {
            id,
            connection: Uuid::now_v7(),
            models: offer.models.iter().map(served).collect(),
            offer,
            sender,
            status: Mutex::default(),
            health: Mutex::default(),
            in_flight: AtomicU32::new(0),
            connected_at: unix_seconds(),
            dismissed: CancellationToken::new(),
        }
    }

    /// The model of this name or content address, if the node serves it.
    pub fn model_named(&self, name: &str) -> Option<&ServedModel> {
        self.models.iter().find(|model| model.name == name || model.id == name)
    }

    /// The gateway's signed word for one attempt.
    ///
    /// # Errors
    /// When signing fails.
    pub fn ticket(
        &self,
        secrets: &Secrets,
        request: Uuid,
        attempt: u32,
        model: &str,
    ) -> jsonwebtoken::errors::Result<String> {
        let ticket = Ticket {
            aud: self.id,
            request,
            attempt,
            model: model.to_owned(),
            // The same for every attempt, so that another node can take over the same answer.
            seed: request.as_u128() as i64,
            exp: unix_seconds() + TICKET_SECONDS,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &ticket, &secrets.ticket_signing)
    }

    /// Calls the node through its tunnel.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request).await
    }

    /// What the node said last of its own state.
    pub fn status(&self) -> NodeStatus {
        *lock(&self.status)
    }

    /// What it sells.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Requests of this gateway that are on it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn takes_work(&self, now: Instant) -> bool {
        !self.sender.is_closed() && !self.status().draining && lock(&self.health).is_up(now)
    }

    /// Work per slot, ours and what others have brought; among equals the faster one counts as less loaded.
    fn load(&self) -> (u64, Duration) {
        let status = self.status();
        let work = u64::from(self.in_flight().max(status.running + status.waiting));
        (work * 1000 / u64::from(self.offer.slots.max(1)), lock(&self.health).typical_first_byte())
    }
}

/// All connected nodes.
#[derive(Default)]
pub struct Nodes {
    connected: RwLock<Vec<Arc<Node>>>,
    /// Models that any node has ever offered: for these, no node at the moment means "try again", not "no such model".
    known: RwLock<HashSet<String>>,
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

    fn add(&self, node: Arc<Node>) {
        self.remember(&node.offer);
        let mut connected = self.connected.write().unwrap_or_else(PoisonError::into_inner);
        connected.retain(|other| other.id != node.id);
        connected.push(node);
    }

    fn remove(&self, node: &Node) {
        let mut connected = self.connected.write().unwrap_or_else(PoisonError::into_inner);
        connected.retain(|other| other.connection != node.connection);
    }

    /// Every connected node.
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.connected.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connected node by its id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Node>> {
        self.all().into_iter().find(|node| node.id == id)
    }

    /// Closes the tunnel of a node.
    pub fn dismiss(&self, id: Uuid) {
        if let Some(node) = self.get(id) {
            node.dismissed.cancel();
        }
    }

    /// The models that can be asked now.
    pub fn models(&self) -> ModelList {
        let mut models: Vec<Model> = Vec::new();
        for node in self.all() {
            for offered in &node.offer.models {
                let manifest = &offered.manifest;
                if models.iter().all(|model| model.id != manifest.name) {
                    let authors = manifest.authors.join(", ");
                    models.push(Model::new(
                        manifest.name.clone(),
                        node.connected_at,
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

    /// Leases the less loaded of two random nodes that serve the model and were not tried before. Two random choices
    /// keep replicas from all picking the same node.
    ///
    /// # Errors
    /// When there is none.
    pub fn lease(&self, model: &str, tried: &[Uuid]) -> Result<Lease, NoNode> {
        let now = Instant::now();
        let mut candidates = self.all();
        candidates
            .retain(|node| node.model_named(model).is_some() && !tried.contains(&node.id) && node.takes_work(now));
        fastrand::shuffle(&mut candidates);
        let node = candidates.into_iter().take(2).min_by_key(|node| node.load()).ok_or(NoNode)?;
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Lease { node })
    }
}

/// A place on a node; given back when dropped.
pub struct Lease {
    node: Arc<Node>,
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
        lock(&self.node.health).answered(first_byte);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
