//! What every request can reach.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admissions;
use crate::aliases::Aliases;
use crate::auth::address::TrustedProxies;
use crate::auth::guesses::Guesses;
use crate::auth::key::Keys;
use crate::auth::password::Passwords;
use crate::changes::LastLook;
use crate::energy::Energies;
use crate::energy::court::Court;
use crate::energy::sample::Samples;
use crate::epochs::Epochs;
use crate::idempotency::Idempotency;
use crate::inference::hedging::Hedging;
use crate::inference::running::Running;
use crate::inference::typical::Typicals;
use crate::journal::Journal;
use crate::live::Live;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::nodes::blobs::Blobs;
use crate::nodes::direct::dial::Dialler;
use crate::partners::Partners;
use crate::prices::Prices;
use crate::receipts::Receipts;
use crate::replicas::Replica;
use crate::responses;
use crate::secrets::Secrets;
use crate::traces::Traces;

/// The gateway's parts.
pub struct Parts {
    pub database: PgPool,
    pub secrets: Arc<Secrets>,
    /// Says whether this replica hears of changes.
    pub last_look: Arc<LastLook>,
    pub keys: Keys,
    pub passwords: Passwords,
    pub guesses: Guesses,
    pub nodes: Arc<Nodes>,
    pub blobs: Blobs,
    /// Reaches the hosts that others have named.
    pub(crate) dialler: Arc<Dialler>,
    pub prices: Prices,
    pub receipts: Receipts,
    pub aliases: Aliases,
    /// Other gateways.
    pub partners: Partners,
    pub admissions: Arc<Admissions>,
    pub journal: Journal,
    pub running: Arc<Running>,
    pub typicals: Typicals,
    pub hedging: Hedging,
    pub energies: Energies,
    pub court: Court,
    pub samples: Samples,
    pub metrics: Arc<Metrics>,
    pub traces: Arc<Traces>,
    /// What everybody can read.
    pub log: Arc<Log>,
    pub epochs: Arc<Epochs>,
    /// For whoever watches.
    pub live: Arc<Live>,
    pub replica: Arc<Replica>,
    /// False only to measure what accounting costs.
    pub metering: bool,
    pub trusted_proxies: TrustedProxies,
    /// Administrators have a listener of their own.
    pub admin_apart: bool,
    pub idempotency: Idempotency,
    pub responses: responses::Settings,
    /// So long before it counts a split is announced, at least.
    pub split_notice: time::Duration,
    /// So long a request waits for a place on a node.
    pub queue_patience: Duration,
    /// A node that computes and is silent for longer is taken for dead.
    pub node_silence: Duration,
    /// Tunnels and listeners, awaited at the end.
    pub tasks: TaskTracker,
    /// Calls of other replicas that this one hands on to its nodes.
    pub relayed: TaskTracker,
    /// Given when the gateway is told to stop; running answers go on.
    pub stop: CancellationToken,
    /// Given when they have ended and nobody needs the tunnels any more: these close.
    pub closing: CancellationToken,
}

/// The gateway, shared by all requests; handlers take it as an argument.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl App {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRequestParts<Self> for App {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &Self) -> Result<Self, Self::Rejection> {
        State::<Self>::from_request_parts(parts, app).await.map(|State(app)| app)
    }
}
