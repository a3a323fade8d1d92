//! A node, whatever the ways that lead to it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use openapi::energy::EnergyTerms;
use openapi::model::ModelKind;
use openapi::node::{NodeStatus, Offer, Ticket};
use openapi::price::Price;
use openapi::receipt::commitment::Salt;
use openapi::trace::TraceContext;
use uuid::Uuid;

use super::choose::Room;
use super::connection::{CallError, NodeBody};
use super::health::Health;
use super::marginal::State;
use super::registry::Registered;
use super::skip::Skips;
use super::way::{Kind, Way};
use super::{lock, unix_seconds};
use crate::secrets::Secrets;

/// A ticket is made for a call, and checked when that arrives: whatever waits on the node waits without it. The node keeps in
/// mind for as long which tickets it has seen.
const TICKET_SECONDS: u64 = 120;

/// A node that can be called.
pub struct Node {
    pub id: Uuid,
    ways: RwLock<Ways>,
    registered: ArcSwap<Registered>,
    pub(super) health: Mutex<Health>,
    pub(super) in_flight: AtomicU32,
    /// Why it did not get requests.
    pub skips: Skips,
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
    /// What it makes of a text.
    pub kind: ModelKind,
    /// The most tokens that prompt and answer may have together.
    pub context_length: u32,
    pub authors: Vec<String>,
    /// Nodes with the same one write the same text for the same seed.
    pub fingerprint: Option<String>,
    /// It goes on with answers that other nodes have begun, and names its tokens so that others can go on with its own.
    pub continues: bool,
    /// It keeps what it has computed of prompts.
    pub caches_prefixes: bool,
    pub quantisation: String,
    /// The parameters of a request that it supports; none: all.
    pub parameters: Option<Vec<String>>,
    /// It names its tokens by their ids. An attached server doesn't: then only its claim and the text count.
    pub names_tokens: bool,
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
    /// Hides prompt and answer in the receipt, where one is wanted.
    pub salt: Option<Salt>,
    /// Where its trace goes on, if it has one. Not in the ticket: it decides nothing.
    pub trace: Option<TraceContext>,
}

impl Node {
    pub(super) fn new(id: Uuid, way: Arc<Way>, registered: Arc<Registered>) -> Self {
        Self {
            id,
            ways: RwLock::new(Ways { first: way, rest: Vec::new() }),
            registered: ArcSwap::new(registered),
            health: Mutex::default(),
            in_flight: AtomicU32::new(0),
            skips: Skips::default(),
        }
    }

    /// What its operator says about it.
    pub fn registered(&self) -> Arc<Registered> {
        self.registered.load_full()
    }

    pub(super) fn register(&self, registered: Arc<Registered>) {
        self.registered.store(registered);
    }

    /// The model of this name or content address, if the node serves it.
    pub fn model_named(&self, name: &str) -> Option<Arc<ServedModel>> {
        self.best().model_named(name).cloned()
    }

    /// The gateway's signed word for one attempt.
    ///
    /// # Errors
    /// When signing fails.
    pub fn ticket(&self, secrets: &Secrets, call: &Call) -> anyhow::Result<String> {
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
            salt: call.salt,
            exp: unix_seconds() + TICKET_SECONDS,
        };
        secrets.newest.sign_for_nodes(&ticket)
    }

    /// Calls the node by the best way, and by the next one as long as it has not seen the request.
    ///
    /// # Errors
    /// When no way leads to it, or the connection breaks.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Result<Response<NodeBody>, CallError> {
        let mut tried = Vec::new();
        while let Some(way) = self.best_but(&tried) {
            match way.send(self.id, request.clone()).await {
                Err(CallError::Unreached) => tried.push(way.connection),
                answer => return answer,
            }
        }
        Err(CallError::Unreached)
    }

    /// What the node said last of its own state. An attached server says nothing: then it is what this gateway has there.
    pub fn status(&self) -> NodeStatus {
        let way = self.best();
        if way.kind() != Kind::Attached {
            return way.status();
        }
        let running = self.in_flight().min(way.offer().slots);
        NodeStatus { running, waiting: self.in_flight() - running, draining: false }
    }

    /// True of a server that the gateway's operator has attached: it signs nothing.
    pub fn is_attached(&self) -> bool {
        self.best().kind() == Kind::Attached
    }

    /// What it sells.
    pub fn offer(&self) -> Arc<Offer> {
        Arc::clone(self.best().offer())
    }

    /// How it can be reached, the best way first: `tunnel`, `attached`, `direct`, `replica`.
    pub fn reached_by(&self) -> Vec<&'static str> {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        let mut kinds: Vec<_> = ways.iter().filter(|way| way.is_open()).map(|way| way.kind()).collect();
        kinds.sort_unstable();
        kinds.into_iter().rev().map(|kind| kind.word()).collect()
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

    /// True when another run of the node program than this one is connected, to this replica or another.
    pub(super) fn has_other_instance(&self, instance: Uuid) -> bool {
        let ways = self.ways.read().unwrap_or_else(PoisonError::into_inner);
        ways.iter().any(|way| way.is_open() && way.instance().is_some_and(|other| other != instance))
    }

    /// Closes every way that this replica can close.
    pub(super) fn dismiss(&self) {
        self.ways.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|way| way.dismiss());
    }

    /// Takes another way in. A new tunnel replaces the old one, and a new connection is a new chance.
    pub(super) fn add(&self, way: Arc<Way>) {
        let mut ways = self.ways.write().unwrap_or_else(PoisonError::into_inner);
        ways.iter().for_each(|known| known.make_room_for(&way));
        let known = std::mem::replace(&mut ways.first, way);
        ways.rest.push(known);
        let kind = ways.first.kind();
        if kind != Kind::Replica {
            ways.rest.retain(|other| other.kind() != kind);
        }
        lock(&self.health).rejoined(Instant::now());
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

    /// Requests on it, ours and what others have brought, against its places: slots, and a few that it may let wait, so that
    /// none of its slots is idle while the next request is on its way.
    pub(super) fn room(&self) -> Option<Room> {
        let way = self.best();
        let offer = way.offer();
        Room::of(self.running(way.status()), offer.slots, offer.queue)
    }

    fn running(&self, status: NodeStatus) -> u32 {
        self.in_flight().max(status.running.saturating_add(status.waiting))
    }

    /// How soon an answer to a prompt of at most so many tokens will begin. None before the first answer.
    pub(crate) fn first_byte(&self, prompt: u64) -> Option<Duration> {
        lock(&self.health).expected_first_byte(prompt, Instant::now())
    }

    /// How busy it is, and how fast it has been of late.
    pub(crate) fn state(&self) -> (State, u32) {
        let way = self.best();
        let now = Instant::now();
        let health = lock(&self.health);
        let state = State {
            running: self.running(way.status()),
            slots: way.offer().slots,
            typical_first_byte: health.faded_first_byte(now),
            handicap_ppm: health.handicap_ppm(now),
        };
        let claimed = way.offer().models.iter().find_map(|model| model.tokens_per_second);
        (state, claimed.map_or_else(|| health.tokens_per_second(), |claimed| health.believed_speed(claimed)))
    }

    /// How long a token of an answer usually takes.
    pub(crate) fn typical_gap(&self) -> Option<Duration> {
        lock(&self.health).typical_gap()
    }

    /// How honest its counts have been, in millionths.
    pub fn honesty_ppm(&self) -> u32 {
        lock(&self.health).honesty_ppm(Instant::now())
    }

    pub(super) fn ejections(&self) -> u64 {
        lock(&self.health).ejections()
    }

    pub(crate) fn is_up(&self, now: Instant) -> bool {
        lock(&self.health).is_up(now)
    }

    pub(super) fn may_try(&self, now: Instant) -> bool {
        lock(&self.health).may_try(now)
    }

    /// When it is back, if it rests.
    pub fn rests_until(&self) -> Option<Instant> {
        lock(&self.health).until()
    }
}
