//! Another replica, as the way to the nodes that have their tunnels there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue};
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use uuid::Uuid;

use super::credentials::{CREDENTIAL_HEADER, Credentials};
use crate::nodes::CallError;
use crate::nodes::connection::{Connection, NodeBody, Sender};

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
    fn address<B>(&self, request: &mut hyper::Request<B>, node: Uuid) -> anyhow::Result<()> {
        let headers = request.headers_mut();
        headers.insert(CREDENTIAL_HEADER, self.credentials.sign()?);
        headers.insert(NODE_HEADER, HeaderValue::try_from(node.to_string())?);
        Ok(())
    }

    /// True when it is about to stop: its nodes can be used through it until they have moved.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn stops(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Carries requests to the nodes that have their tunnels at another replica.
pub(crate) struct ThroughReplica {
    pub(crate) sender: Sender,
    pub(crate) remote: Arc<Remote>,
}

impl Connection for ThroughReplica {
    fn is_open(&self) -> bool {
        self.sender.is_open()
    }

    fn is_stopping(&self) -> bool {
        self.remote.is_stopping()
    }

    fn send(
        &self,
        node: Uuid,
        mut request: Request<Full<Bytes>>,
    ) -> BoxFuture<'_, Result<Response<NodeBody>, CallError>> {
        Box::pin(async move {
            self.remote.address(&mut request, node).map_err(|_| CallError::Unreached)?;
            let response = self.sender.send(node, request).await?;
            // The replica's word that the tunnel is there no longer.
            let is_gone = response.status() == StatusCode::MISDIRECTED_REQUEST;
            if is_gone { Err(CallError::Unreached) } else { Ok(response) }
        })
    }
}
