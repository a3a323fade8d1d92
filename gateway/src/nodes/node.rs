//! A node, whatever the ways that lead to it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use jsonwebtoken::{Algorithm, Header};
use openapi::energy::EnergyTerms;
use openapi::node::{NodeStatus, Offer, Ticket};
use openapi::price::Price;
use uuid::Uuid;

use super::health::Health;
use super::marginal::State;
use super::way::{CallError, Way};
use super::{lock, unix_seconds};
use crate::secrets::Secrets;

/// A ticket outlives every wait for a slot.
const TICKET_SECONDS: u64 = 3600;

/// A node that can be called.
pub struct Node {
    pub id: Uuid,
    ways: RwLock<Ways>,
    pub(super) health: Mutex<Health>,
    pub(super) in_flight: AtomicU32,
}

/// At least one: a node that has lost its last way keeps it, closed, for whoever still holds the node.
struct Ways {
    first: Arc<Way>,
    rest: Vec<Arc<Way>>,
}

impl Ways {
    fn iter(&self) -> impl Iterator<Item = &Arc<Way>> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

/// A model under its two names.
#[derive(Clone, Debug)]
pub struct ServedModel {
    pub name: String,
    /// Its content address.
    pub id: String,
    /// The most tokens that prompt and answer may have together.
    pub context_length: u32,
    pub authors: Vec<String>,
}

/// One attempt, as its ticket says it.
#[derive(Clone, Debug)]
pub struct Call {
    pub request: Uuid,
    /// From 1.
    pub attempt: u32,
    /// Content address of the model.
    pub model: String,
    /// The most tokens that the answer may have.
    pub max_tokens: u32,
    pub price: Price,
    pub energy: EnergyTerms,
}

impl Node {
    pub(super) fn new(id: Uuid, way: Arc<Way>) -> Self {
        let ways = RwLock::new(Ways { first: way, rest: Vec::new() });
        Self { id, ways, health: Mutex::default(), in_flight: AtomicU32::new(0) }
    }

    /// The model of this name or content address, if the node serves it.
    pub fn model_named(&self, name: &str) -> Option<Arc<ServedModel>> {
        self.best().model_named(name).cloned()
    }

    /// The gateway's signed word for one attempt.
    ///
    /// # Errors
    /// When signing fails.
    pub fn ticket(&self, secrets: &Secrets, call: &Call) -> jsonwebtoken::errors::Result<String> {
        let ticket = Ticket {
            aud: self.id,
            request: call.request,
            attempt: call.attempt,
            model: call.model.clone(),
            max_tokens: call.max_tokens,
            price: call.price,
            energy: call.energy.clone(),
            // The same for every attempt, so that another node can take over the same answer.
            seed: call.request.as_u128() as i64,
            exp: unix_seconds() + TICKET_SECONDS,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &ticket, &secrets.ticket_signing)
    }

    /// Calls the node by the best way, and by the next one as long as it has not seen the request.
    ///
    /// # Errors
    /// When no way leads to it, or the connection breaks.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, CallError> {
        let mut tried = Vec::new();
        while let Some(way) = self.best_but(&tried) {
            match way.send(self.id, request.clone()).await {
                Err(CallError::Unreached) => tried.push(way.connection),
                answer => return answer,
            }
        }
        Err(CallError::Unreached)
    }

    /// What the node said last of its own state.
    pub fn status(&self) -> NodeStatus {
        self.best().status()
    }

    /// What it sells.
    pub fn offer(&self) -> Arc<Offer> {
        Arc::clone(self.best().offer())
    }

    /// Requests of this gateway that are on it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The best way of all.
    pub(crate) fn best(&self) -> Arc<Way> {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ways.rest.iter().fold(&ways.first, |best, way| if way.rank() > best.rank() { way } else { best }))
    }

    fn best_but(&self, tried: &[Uuid]) -> Option<Arc<Way>> {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        ways.iter().filter(|way| !tried.contains(&way.connection)).max_by_key(|way| way.rank()).cloned()
    }

    /// The tunnel that it opened to this replica.
    pub(super) fn tunnel(&self) -> Option<Arc<Way>> {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        ways.iter().find(|way| way.is_tunnel()).cloned()
    }

    /// True when another replica has a tunnel of it too.
    pub(super) fn is_elsewhere(&self) -> bool {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        ways.iter().any(|way| !way.is_tunnel() && way.is_open())
    }

    /// Takes another way in. A new tunnel replaces the old one, and a new connection is a new chance.
    pub(super) fn add(&self, way: Arc<Way>) {
        let mut ways = self.ways.write().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::replace(&mut ways.first, way);
        ways.rest.push(known);
        if ways.first.is_tunnel() {
            ways.rest.retain(|other| !other.is_tunnel());
        }
        lock(&self.health).succeeded();
    }

    /// Forgets a way. True when it was the last one.
    pub(super) fn remove(&self, connection: Uuid) -> bool {
        let mut ways = self.ways.write().unwrap_or_else(PoisonError::into_inner);
        ways.rest.retain(|way| way.connection != connection);
        if ways.first.connection != connection {
            return false;
        }
        match ways.rest.pop() {
            Some(other) => ways.first = other,
            None => return true,
        }
        false
    }

    /// Work per slot, ours and what others have brought; among equals the faster one counts as less loaded.
    pub(super) fn load(&self) -> (u64, Duration) {
        let way = self.best();
        let status = way.status();
        let work = u64::from(self.in_flight().max(status.running + status.waiting));
        (work * 1000 / u64::from(way.offer().slots.max(1)), lock(&self.health).typical_first_byte())
    }

    /// How busy it is, and how fast it has been of late.
    pub(crate) fn state(&self) -> (State, u32) {
        let way = self.best();
        let status = way.status();
        let health = lock(&self.health);
        let state = State {
            running: self.in_flight().max(status.running + status.waiting),
            slots: way.offer().slots,
            typical_first_byte: health.faded_first_byte(Instant::now()),
        };
        (state, health.tokens_per_second())
    }

    pub(super) fn is_up(&self, now: Instant) -> bool {
        lock(&self.health).is_up(now)
    }
}
