//! Another replica, as the way to the nodes that have their tunnels there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{HeaderName, HeaderValue};
use uuid::Uuid;

use super::credentials::{CREDENTIAL_HEADER, Credentials};

/// The header that names the node for which a call is; without it the call is for the replica itself.
pub(super) const NODE_HEADER: HeaderName = HeaderName::from_static("x-commonwatt-for-node");

/// One connection to another replica.
pub(crate) struct Remote {
    credentials: Arc<Credentials>,
    stopping: AtomicBool,
}

impl Remote {
    pub(crate) fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials, stopping: AtomicBool::new(false) }
    }

    /// Says who calls and for which node.
    pub(crate) fn address<B>(&self, request: &mut hyper::Request<B>, node: Uuid) -> anyhow::Result<()> {
        let headers = request.headers_mut();
        headers.insert(CREDENTIAL_HEADER, self.credentials.sign()?);
        headers.insert(NODE_HEADER, HeaderValue::try_from(node.to_string())?);
        Ok(())
    }

    /// True when it is about to stop: its nodes can be used through it until they have moved.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn stops(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
