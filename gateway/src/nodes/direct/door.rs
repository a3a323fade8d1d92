//! The door of a node that is dialled. Everybody can knock at it, so it opens for nothing without the gateway's word: a
//! request that is for no attempt, and so has no ticket, gets one that allows no token.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderValue;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, Response};
use openapi::energy::EnergyTerms;
use openapi::node::{TICKET_HEADER, Ticket};
use openapi::price::Price;
use uuid::Uuid;

use super::url::NodeUrl;
use crate::nodes::connection::{CallError, Connection, NodeBody, Sender};
use crate::nodes::unix_seconds;
use crate::secrets::Secrets;

/// For a call that is made at once.
const TICKET_SECONDS: u64 = 60;

/// A connection to the door.
pub(super) struct Door {
    sender: Sender,
    secrets: Arc<Secrets>,
    /// Scheme and authority of the node's URL: a proxy before it asks for them.
    origin: String,
}

impl Door {
    pub(super) fn new(sender: Sender, secrets: Arc<Secrets>, url: &NodeUrl) -> Self {
        Self { sender, secrets, origin: url.to_string() }
    }

    /// Makes a request one for this door.
    fn address(&self, request: &mut Request<Full<Bytes>>, node: Uuid) -> anyhow::Result<()> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("{}{path}", self.origin).parse()?;
        if !request.headers().contains_key(TICKET_HEADER) {
            request.headers_mut().insert(TICKET_HEADER, ticket(&self.secrets, node)?);
        }
        Ok(())
    }
}

impl Connection for Door {
    fn is_open(&self) -> bool {
        self.sender.is_open()
    }

    fn send(
        &self,
        node: Uuid,
        mut request: Request<Full<Bytes>>,
    ) -> BoxFuture<'_, Result<Response<NodeBody>, CallError>> {
        match self.address(&mut request, node) {
            Ok(()) => self.sender.send(node, request),
            Err(error) => Box::pin(async move { Err(CallError::Failed(error.to_string())) }),
        }
    }
}

/// The gateway's word that it is the gateway, and no more.
fn ticket(secrets: &Secrets, node: Uuid) -> anyhow::Result<HeaderValue> {
    let ticket = Ticket {
        aud: node,
        request: Uuid::nil(),
        attempt: 0,
        model: String::new(),
        max_tokens: 0,
        price: Price::default(),
        energy: EnergyTerms::default(),
        seed: 0,
        salt: None,
        exp: unix_seconds() + TICKET_SECONDS,
    };
    Ok(HeaderValue::try_from(secrets.newest.sign_for_nodes(&ticket)?)?)
}
