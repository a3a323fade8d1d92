//! One way to a node: the tunnel that it opened to this replica, or the other replica to which it opened one.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use openapi::node::{NodeStatus, Offer};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connection::Sender;
use super::{ServedModel, lock, unix_seconds};
use crate::replicas::remote::Remote;

/// Leads to a node as long as one connection of it lasts.
pub(crate) struct Way {
    /// A node that dials in again has another.
    pub(crate) connection: Uuid,
    /// Seconds since 1970.
    pub(crate) connected_at: u64,
    offer: Arc<Offer>,
    models: Vec<Arc<ServedModel>>,
    sender: Sender,
    over: Over,
    status: Mutex<NodeStatus>,
}

/// What lies between this replica and the node.
enum Over {
    /// Nothing but its tunnel.
    Tunnel {
        /// Given when the node is removed by its operator.
        dismissed: CancellationToken,
    },
    /// The replica that has the tunnel.
    Replica(Arc<Remote>),
}

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection leads to the node at the moment: it has not seen the request.
    #[error("no connection leads to it")]
    Unreached,
    /// The connection ended when the node may have seen the request.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
}

impl Way {
    /// A node that has opened a tunnel; `dismissed` closes it.
    pub(crate) fn tunnel(offer: Offer, sender: Sender, dismissed: CancellationToken) -> Self {
        Self::new(Uuid::now_v7(), unix_seconds(), offer, sender, Over::Tunnel { dismissed })
    }

    /// A node whose tunnel is at another replica; `sender` leads there.
    pub(crate) fn over_replica(
        connection: Uuid,
        connected_at: u64,
        offer: Offer,
        sender: Sender,
        remote: Arc<Remote>,
    ) -> Self {
        Self::new(connection, connected_at, offer, sender, Over::Replica(remote))
    }

    fn new(connection: Uuid, connected_at: u64, offer: Offer, sender: Sender, over: Over) -> Self {
        let served = |model: &openapi::node::OfferedModel| {
            Arc::new(ServedModel {
                name: model.manifest.name.clone(),
                id: model.manifest.id(),
                context_length: model.context_length,
                authors: model.manifest.authors.clone(),
                fingerprint: model.fingerprint.clone(),
                continues: model.continues,
                caches_prefixes: model.caches_prefixes,
                quantisation: model.manifest.quantisation.clone(),
                parameters: model.parameters.clone(),
            })
        };
        let models = offer.models.iter().map(served).collect();
        Self { connection, connected_at, offer: Arc::new(offer), models, sender, over, status: Mutex::default() }
    }

    /// Sends a request to the node at the end of this way.
    pub(crate) async fn send(
        &self,
        node: Uuid,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, CallError> {
        if let Over::Replica(remote) = &self.over {
            remote.address(&mut request, node).map_err(|_| CallError::Unreached)?;
        }
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(|_| CallError::Unreached)?;
        match sender.try_send_request(request).await {
            // The replica's word that the tunnel is there no longer.
            Ok(response) if !self.is_tunnel() && response.status() == StatusCode::MISDIRECTED_REQUEST => {
                Err(CallError::Unreached)
            }
            Ok(response) => Ok(response),
            // A request that comes back was never sent.
            Err(failed) if failed.message().is_some() => Err(CallError::Unreached),
            Err(failed) => Err(CallError::Broken(failed.into_error())),
        }
    }

    pub(super) fn model_named(&self, name: &str) -> Option<&Arc<ServedModel>> {
        self.models.iter().find(|model| model.name == name || model.id == name)
    }

    pub(crate) fn models(&self) -> &[Arc<ServedModel>] {
        &self.models
    }

    pub(crate) fn offer(&self) -> &Arc<Offer> {
        &self.offer
    }

    /// What the node said last of its own state.
    pub(crate) fn status(&self) -> NodeStatus {
        *lock(&self.status)
    }

    pub(super) fn set_status(&self, status: NodeStatus) {
        *lock(&self.status) = status;
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.over, Over::Tunnel { .. })
    }

    /// False when the connection has ended or the node is on its way out.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.status().draining
    }

    /// What makes a way better than another, most important first; the newest leads where the node has moved to.
    pub(super) fn rank(&self) -> (bool, bool, bool, Uuid) {
        let stays = match &self.over {
            Over::Tunnel { .. } => true,
            Over::Replica(remote) => !remote.is_stopping(),
        };
        (self.is_open(), self.is_tunnel(), stays, self.connection)
    }

    /// Closes the tunnel, if this way is one.
    pub(super) fn dismiss(&self) {
        if let Over::Tunnel { dismissed } = &self.over {
            dismissed.cancel();
        }
    }
}
