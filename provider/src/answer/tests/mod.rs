//! Answers of the operator's own server, through both doors.

mod endings;

mod passing;

mod receipts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openapi::energy::{EnergyOffer, EnergyTerms};
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::manifest::ModelManifest;
use openapi::node::{TICKET_HEADER, Ticket};
use openapi::receipt::commitment::Salt;
use openapi::sse::Scanner;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::blobs::Blobs;
use crate::energy::Ledger;
use crate::energy::Outlets;
use crate::energy::pools::Pools;
use crate::energy::setup::Metered;
use crate::identity::Identity;
use crate::keeper::Keeper;
use crate::metrics::Metrics;
use crate::node::{Backend, Node, Offered, Place};
use crate::receipts::Receipts;
use crate::router::{self, Counter};
use crate::slots::Slots;
use crate::ticket::TicketVerifier;
use crate::told::Told;
use crate::upstream::testing::{Pieces, Server, config, upstream};

const CHAT: &str = "/v1/chat/completions";
const ENDS: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;

const SALT: Salt = Salt([7; 32]);

/// A node with one slot and a queue of one before a server, and both doors to it.
struct Stage {
    server: Server,
    node: Arc<Node>,
    identity: Arc<Identity>,
    receipts: Arc<Receipts>,
    data: PathBuf,
    key: EncodingKey,
    id: Uuid,
    local: String,
    tunnelled: String,
    client: Client,
}

impl Stage {
    async fn start(silence: u64) -> Self {
        let server = Server::start(json!({"data": []})).await;
        let backend = Backend::Upstream(Arc::new(upstream(&config(&server.url), silence)));
        let manifest = ModelManifest {
            name: "m".to_owned(),
            files: Vec::new(),
            quantisation: "unknown".to_owned(),
            licence: "unknown".to_owned(),
            authors: Vec::new(),
        };
        let metrics = Arc::new(Metrics::new(&[], None).unwrap());
        let outlets = Outlets { log: None, metrics: Arc::clone(&metrics), grid: None };
        let ledger = Ledger::start(Pools { parts: Vec::new(), wall: None }, outlets).unwrap();
        let metered = Metered { ledger, metrics, offer: EnergyOffer::default(), terms: EnergyTerms::default() };
        let blobs = Blobs::new(&manifest, Path::new("nowhere"));
        let keeper = Keeper::new(backend, None);
        let offered = Offered { keeper, manifest, blobs, price: None, tokens_per_second: None };
        let node = Node::new((offered, Vec::new()), Slots::new(1, 1), metered, Place::default(), Arc::default());
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let id = Uuid::now_v7();
        let tickets = TicketVerifier::new(id, &BASE64_URL_SAFE_NO_PAD.encode(public.public_key())).unwrap();
        let (tickets, data) = (Arc::new(tickets), std::env::temp_dir().join(format!("answers-{id}")));
        std::fs::create_dir_all(&data).unwrap();
        let identity = Arc::new(Identity::open(&data).unwrap());
        let receipts = Arc::new(Receipts::open(&data, Arc::clone(&identity), Arc::clone(&tickets)).unwrap());
        let counter = Counter { tickets, receipts: Arc::clone(&receipts) };
        Self {
            server,
            local: serve(router::local(Arc::clone(&node))).await,
            tunnelled: serve(router::tunnelled(Arc::clone(&node), counter, Told::default())).await,
            node,
            identity,
            receipts,
            data,
            key: EncodingKey::from_ed_der(document.as_ref()),
            id,
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn ticket(&self, request: Uuid, max_tokens: u32) -> String {
        let ticket = Ticket {
            aud: self.id,
            request,
            attempt: 1,
            model: "m".to_owned(),
            max_tokens,
            price: openapi::price::Price::default(),
            energy: EnergyTerms::default(),
            seed: 7,
            salt: Some(SALT),
            exp: 4_102_444_800,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &ticket, &self.key).unwrap()
    }

    /// Asks as a gateway does.
    async fn post(&self, path: &str, (request, max_tokens): (Uuid, u32), body: &Value) -> Response {
        let url = format!("{}{path}", self.tunnelled);
        let ticket = self.ticket(request, max_tokens);
        self.client.post(url).header(TICKET_HEADER, ticket).json(body).send().await.unwrap()
    }

    async fn ask_locally(&self, body: &Value) -> Response {
        self.client.post(format!("{}{CHAT}", self.local)).json(body).send().await.unwrap()
    }

    /// A streamed answer that has begun, with what the server was asked.
    async fn begin(&mut self, who: (Uuid, u32), body: &Value) -> (Events, Pieces, Value) {
        let (url, ticket) = (format!("{}{CHAT}", self.tunnelled), self.ticket(who.0, who.1));
        let asking = self.client.post(url).header(TICKET_HEADER, ticket).json(body).send();
        let serving = async {
            let exchange = self.server.next().await;
            let asked = exchange.body.clone();
            let pieces = exchange.stream();
            say(&pieces, "a").await;
            (pieces, asked)
        };
        let (response, (pieces, asked)) = tokio::join!(asking, serving);
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        (Events { response, scanner: Scanner::new(1 << 20), ready: Vec::new() }, pieces, asked)
    }

    async fn idle(&self) {
        let idle = |status: &openapi::node::NodeStatus| status.running + status.waiting == 0;
        self.node.slots.status().wait_for(idle).await.unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// What a gateway reads.
struct Events {
    response: Response,
    scanner: Scanner,
    ready: Vec<openapi::sse::Event>,
}

/// An event by its name and its data.
type Named = (String, String);

impl Events {
    /// The next event that is no comment.
    async fn next(&mut self) -> Option<Named> {
        loop {
            while self.ready.is_empty() {
                let bytes = self.response.chunk().await.unwrap()?;
                self.ready = self.scanner.push(&bytes).unwrap();
            }
            let event = self.ready.remove(0);
            if let (Some(name), Some(data)) = (event.name(), event.data()) {
                return Some((name.to_owned(), data.to_owned()));
            }
        }
    }

    /// What the next piece says, and the frame before it.
    async fn piece(&mut self) -> (UsageFrame, Value) {
        let (name, frame) = self.next().await.unwrap();
        assert_eq!(name, USAGE_EVENT);
        let (_, data) = self.next().await.unwrap();
        (serde_json::from_str(&frame).unwrap(), serde_json::from_str(&data).unwrap())
    }

    /// The last frame, and the data of all that is left.
    async fn rest(&mut self) -> (UsageFrame, Vec<String>) {
        let (mut frame, mut rest) = (None, Vec::new());
        while let Some((name, data)) = self.next().await {
            match name.as_str() {
                USAGE_EVENT => frame = Some(serde_json::from_str(&data).unwrap()),
                "message" => rest.push(data),
                other => panic!("{other}: {data}"),
            }
        }
        (frame.unwrap(), rest)
    }
}

async fn say(pieces: &Pieces, text: &str) {
    let chunk = json!({"id": "x", "model": "org/m", "choices": [{"index": 0, "delta": {"content": text}}]});
    pieces.send(format!("data: {chunk}\n\n")).await.unwrap();
}

async fn send(pieces: &Pieces, chunk: &str) {
    pieces.send(format!("data: {chunk}\n\n")).await.unwrap();
}

fn conversation(more: Value) -> Value {
    let mut body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "abcdefgh"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}
