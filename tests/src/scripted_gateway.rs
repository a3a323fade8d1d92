//! A gateway without a database that does to a real node what it is told. Enrolment, tunnel and tickets are the real ones;
//! it believes every node.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openapi::energy::EnergyTerms;
use openapi::node::{ENROL_PATH, Enrolled, TICKET_HEADER, TUNNEL_PATH, TUNNEL_PROTOCOL, Ticket};
use openapi::sse::{Event, Scanner};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::MODEL;

/// Far in the future: the year 2100.
const NEVER: u64 = 4_102_444_800;

/// One replica of a scripted gateway.
pub struct ScriptedGateway {
    pub url: String,
    identity: Arc<Identity>,
    tunnels: mpsc::UnboundedReceiver<SendRequest<Full<Bytes>>>,
}

/// What the replicas share.
struct Identity {
    enrolled: Enrolled,
    key: EncodingKey,
}

impl ScriptedGateway {
    /// Starts a gateway.
    ///
    /// # Panics
    /// When it can't listen.
    pub async fn start() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let public = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        let ticket_key = BASE64_URL_SAFE_NO_PAD.encode(public.public_key());
        let enrolled = Enrolled { node: Uuid::now_v7(), ticket_key };
        Self::with(Arc::new(Identity { enrolled, key: EncodingKey::from_ed_der(document.as_ref()) })).await
    }

    /// Starts another replica of it.
    pub async fn replica(&self) -> Self {
        Self::with(Arc::clone(&self.identity)).await
    }

    async fn with(identity: Arc<Identity>) -> Self {
        let (tunnels_to, tunnels) = mpsc::unbounded_channel();
        let enrolled = serde_json::to_string(&identity.enrolled).expect("JSON");
        let router = Router::new()
            .route(ENROL_PATH, post(|| async { ([(header::CONTENT_TYPE, "application/json")], enrolled) }))
            .route(TUNNEL_PATH, get(|request| async { open(request, tunnels_to) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, identity, tunnels }
    }

    /// What it answers to every enrolment.
    pub fn enrolled(&self) -> &Enrolled {
        &self.identity.enrolled
    }

    /// The next tunnel that a node opens.
    ///
    /// # Panics
    /// When the gateway is gone.
    pub async fn tunnel(&mut self) -> Tunnel {
        let sender = self.tunnels.recv().await.expect("the gateway listens");
        Tunnel { sender, identity: Arc::clone(&self.identity) }
    }
}

/// Swaps the roles, as the real gateway does.
fn open(mut request: Request, tunnels: mpsc::UnboundedSender<SendRequest<Full<Bytes>>>) -> impl IntoResponse {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().expect("a node asks for an upgrade");
    tokio::spawn(async move {
        let upgraded = upgrade.await.expect("the node upgrades");
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(upgraded).await.expect("the node speaks HTTP/2");
        // The test may be over.
        let _ = tunnels.send(sender);
        // However the connection ends, the test sees it in its calls.
        let _ = connection.await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, TUNNEL_PROTOCOL)])
}

/// A connection to a node.
#[derive(Clone)]
pub struct Tunnel {
    sender: SendRequest<Full<Bytes>>,
    identity: Arc<Identity>,
}

impl Tunnel {
    /// A ticket for the first attempt of a request.
    pub fn ticket(&self, request: Uuid, max_tokens: u32) -> Ticket {
        let model = MODEL.to_owned();
        let (aud, price) = (self.identity.enrolled.node, openapi::price::Price::default());
        Ticket {
            aud,
            request,
            attempt: 1,
            model,
            max_tokens,
            price,
            energy: EnergyTerms::default(),
            seed: 7,
            salt: None,
            exp: NEVER,
        }
    }

    /// Calls the node.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn post(&self, path: &str, ticket: &Ticket, body: &Value) -> Reply {
        self.post_with(path, &self.sign(ticket), body).await
    }

    /// A ticket as the node gets it.
    ///
    /// # Panics
    /// When it can't be signed.
    pub fn sign(&self, ticket: &Ticket) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), ticket, &self.identity.key).expect("a ticket")
    }

    /// Calls the node with whatever goes for a ticket.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn post_with(&self, path: &str, ticket: &str, body: &Value) -> Reply {
        let request = hyper::Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(TICKET_HEADER, ticket)
            .body(Full::from(body.to_string()))
            .expect("a request");
        let mut sender = self.sender.clone();
        sender.ready().await.expect("a connection");
        let response = sender.send_request(request).await.expect("an answer");
        Reply {
            status: response.status().as_u16(),
            body: response.into_body(),
            scanner: Scanner::new(1 << 20),
            ready: Vec::new(),
        }
    }
}

/// What a node answers.
pub struct Reply {
    pub status: u16,
    body: Incoming,
    scanner: Scanner,
    ready: Vec<Event>,
}

impl Reply {
    /// The next event; `None` at the end.
    ///
    /// # Panics
    /// When the node breaks off.
    pub async fn event(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let frame = self.body.frame().await?.expect("the node goes on");
            if let Ok(bytes) = frame.into_data() {
                self.ready = self.scanner.push(&bytes).expect("events");
            }
        }
        Some(self.ready.remove(0))
    }

    /// Every event that is left.
    pub async fn events(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub async fn json(self) -> Value {
        let bytes = self.body.collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&bytes).expect("JSON")
    }
}
