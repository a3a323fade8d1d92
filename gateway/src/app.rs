//! What every request can reach.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::key::Keys;
use crate::auth::password::Passwords;
use crate::inference::record::Recorder;
use crate::nodes::Nodes;
use crate::secrets::Secrets;

/// The gateway's parts.
pub struct Parts {
    pub database: PgPool,
    pub secrets: Arc<Secrets>,
    pub keys: Keys,
    pub passwords: Passwords,
    pub nodes: Nodes,
    pub recorder: Recorder,
    /// A node that computes and is silent for longer is taken for dead.
    pub node_silence: Duration,
    /// Tunnels and listeners, awaited at the end.
    pub tasks: TaskTracker,
    /// Given when the gateway is told to stop; running answers go on.
    pub stop: CancellationToken,
    /// Given when they have ended: tunnels close.
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
