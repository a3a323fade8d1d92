//! One way to a node: the tunnel that it opened to this replica, its URL that this replica has dialled, the other replica
//! to which it opened a tunnel, or, where the node is an attached server, that server's URL.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use openapi::node::{NodeStatus, Offer};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connection::{CallError, Connection, NodeBody, Sender};
use super::{ServedModel, lock, unix_seconds};
use crate::replicas::remote::{Remote, ThroughReplica};

/// Leads to a node as long as one connection of it lasts.
pub(crate) struct Way {
    /// A node that dials in again has another.
    pub(crate) connection: Uuid,
    /// Seconds since 1970.
    pub(crate) connected_at: u64,
    offer: Arc<Offer>,
    models: Vec<Arc<ServedModel>>,
    kind: Kind,
    carrier: Box<dyn Connection>,
    /// Given when the node is removed by its operator.
    dismissed: CancellationToken,
    /// Which run of the node program is at the other end, where that is known.
    instance: Option<Uuid>,
    /// Given when another machine with the node's key has taken its place.
    displaced: CancellationToken,
    status: Mutex<NodeStatus>,
}

/// What lies between this replica and the node, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::nodes) enum Kind {
    /// The replica that has the tunnel.
    Replica,
    /// A URL that this replica has dialled; a node of ours is there.
    Direct,
    /// The URL of somebody else's server with OpenAI's API.
    Attached,
    /// Nothing but its tunnel.
    Tunnel,
}

impl Kind {
    /// The word for it in the API.
    pub(in crate::nodes) const fn word(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Direct => "direct",
            Self::Attached => "attached",
            Self::Tunnel => "tunnel",
        }
    }
}

impl Way {
    /// A node that has opened a tunnel; `dismissed` closes it.
    pub(crate) fn tunnel(offer: Offer, sender: Sender, dismissed: CancellationToken) -> Self {
        Self::new((Uuid::now_v7(), unix_seconds()), offer, (Kind::Tunnel, Box::new(sender)), dismissed)
    }

    /// What the gateway has dialled; `dismissed` closes it.
    pub(in crate::nodes) fn dialled(
        kind: Kind,
        offer: Offer,
        carrier: impl Connection + 'static,
        dismissed: CancellationToken,
    ) -> Self {
        Self::new((Uuid::now_v7(), unix_seconds()), offer, (kind, Box::new(carrier)), dismissed)
    }

    /// A node whose tunnel is at another replica; `sender` leads there.
    pub(crate) fn over_replica(
        connection: Uuid,
        connected_at: u64,
        offer: Offer,
        sender: Sender,
        remote: Arc<Remote>,
    ) -> Self {
        let carrier = Box::new(ThroughReplica { sender, remote });
        Self::new((connection, connected_at), offer, (Kind::Replica, carrier), CancellationToken::new())
    }

    fn new(
        (connection, connected_at): (Uuid, u64),
        offer: Offer,
        (kind, carrier): (Kind, Box<dyn Connection>),
        dismissed: CancellationToken,
    ) -> Self {
        let served = |model: &openapi::node::OfferedModel| {
            Arc::new(ServedModel {
                name: model.manifest.name.clone(),
                id: model.manifest.id(),
                kind: model.kind,
                context_length: model.context_length,
                authors: model.manifest.authors.clone(),
                fingerprint: model.fingerprint.clone(),
                continues: model.continues,
                caches_prefixes: model.caches_prefixes,
                quantisation: model.manifest.quantisation.clone(),
                parameters: model.parameters.clone(),
                names_tokens: kind != Kind::Attached && !model.unnamed_tokens,
            })
        };
        let models = offer.models.iter().map(served).collect();
        let (offer, status, displaced) = (Arc::new(offer), Mutex::default(), CancellationToken::new());
        Self { connection, connected_at, offer, models, kind, carrier, dismissed, instance: None, displaced, status }
    }

    /// The same way, to this run of the node program.
    pub(crate) fn of_instance(self, instance: Option<Uuid>) -> Self {
        Self { instance, ..self }
    }

    /// Which run of the node program is at the other end, where that is known.
    pub(crate) fn instance(&self) -> Option<Uuid> {
        self.instance
    }

    /// A newer connection, of another machine with the same key, takes the place of this one if it is a tunnel.
    pub(super) fn make_room_for(&self, newer: &Self) {
        let is_another = self.instance.zip(newer.instance).is_some_and(|(this, other)| this != other);
        // Connections are numbered by time. One that is on its way out has given up its place.
        if self.is_tunnel() && is_another && self.connection < newer.connection && !self.status().draining {
            self.displaced.cancel();
        }
    }

    /// Waits until another machine has taken this one's place.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }

    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.is_cancelled()
    }

    /// Sends a request to the node at the end of this way.
    pub(crate) async fn send(
        &self,
        node: Uuid,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<NodeBody>, CallError> {
        self.carrier.send(node, request).await
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

    pub(in crate::nodes) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.kind == Kind::Tunnel
    }

    /// False when the connection has ended or the node is on its way out.
    pub(crate) fn is_open(&self) -> bool {
        self.carrier.is_open() && !self.status().draining
    }

    /// What makes a way better than another, most important first; the newest leads where the node has moved to.
    pub(super) fn rank(&self) -> (bool, Kind, bool, Uuid) {
        (self.is_open(), self.kind, !self.carrier.is_stopping(), self.connection)
    }

    /// Closes it, unless the connection is another replica's.
    pub(super) fn dismiss(&self) {
        self.dismissed.cancel();
    }
}
