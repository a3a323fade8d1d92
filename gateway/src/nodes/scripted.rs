//! For tests: a node that does what it is told, at the end of a real HTTP/2 connection.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openapi::manifest::ModelManifest;
use openapi::node::{Offer, OfferedModel};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::connection::{self, Sender};
use super::way::Way;
use crate::replicas::Credentials;
use crate::replicas::remote::Remote;

pub(crate) const MODEL: &str = "scripted";

/// What reached the node.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What is sent here is the answer's next piece; it is closed when the caller has gone.
    pub(crate) answer: mpsc::Sender<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Abrupt,
    Graceful,
}

/// A node and the other end of its connections.
pub(crate) struct Scripted {
    pub(crate) id: Uuid,
    pub(crate) calls: tokio::sync::Mutex<mpsc::Receiver<Call>>,
    told: mpsc::Sender<Call>,
    status: Arc<Mutex<StatusCode>>,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        let (told, calls) = mpsc::channel(64);
        Self { id: Uuid::now_v7(), calls: calls.into(), told, status: Arc::new(Mutex::new(StatusCode::OK)) }
    }

    /// Answers everything with this status from now on.
    pub(crate) fn answers_with(&self, status: StatusCode) {
        *self.status.lock().unwrap() = status;
    }

    pub(crate) fn offer() -> Offer {
        let manifest = ModelManifest {
            name: MODEL.to_owned(),
            files: Vec::new(),
            quantisation: "none".to_owned(),
            licence: "Apache-2.0".to_owned(),
            authors: Vec::new(),
        };
        let model = OfferedModel { manifest, context_length: 512, ..OfferedModel::default() };
        Offer { version: "1".to_owned(), models: vec![model], slots: 1, queue: 1, ..Offer::default() }
    }

    /// Answers every call at once, from now on.
    pub(crate) async fn answer_all(&self) {
        let mut calls = self.calls.lock().await;
        while let Some(call) = calls.recv().await {
            // A caller that has gone needs none.
            let _ = call.answer.send("answer".into()).await;
        }
    }

    /// Opens a tunnel. The token breaks it.
    pub(crate) async fn dial(&self) -> (Arc<Way>, CancellationToken) {
        self.dial_with(Self::offer()).await
    }

    /// The same with an offer of its own.
    pub(crate) async fn dial_with(&self, offer: Offer) -> (Arc<Way>, CancellationToken) {
        let (sender, broken) = self.connect(Ending::Abrupt).await;
        (Arc::new(Way::tunnel(offer, sender, CancellationToken::new())), broken)
    }

    /// Opens a tunnel. The token lets it end as soon as the answers on it are complete.
    pub(crate) async fn dial_for_a_while(&self) -> (Arc<Way>, CancellationToken) {
        let (sender, leaves) = self.connect(Ending::Graceful).await;
        (Arc::new(Way::tunnel(Self::offer(), sender, CancellationToken::new())), leaves)
    }

    /// Opens a way as there is one when the tunnel is at another replica. The token breaks it.
    pub(crate) async fn dial_elsewhere(&self, credentials: Credentials) -> (Arc<Way>, CancellationToken) {
        let (sender, broken) = self.connect(Ending::Abrupt).await;
        let remote = Arc::new(Remote::new(Arc::new(credentials)));
        (Arc::new(Way::over_replica(Uuid::now_v7(), 0, Self::offer(), sender, remote)), broken)
    }

    async fn connect(&self, ending: Ending) -> (Sender, CancellationToken) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let broken = CancellationToken::new();
        let (told, status, end) = (self.told.clone(), Arc::clone(&self.status), broken.clone());
        let service = service_fn(move |request| answer(told.clone(), *status.lock().unwrap(), request));
        tokio::spawn(async move {
            let http = http2::Builder::new(TokioExecutor::new());
            let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(theirs), service));
            let ended = end.run_until_cancelled(serving.as_mut()).await;
            if ended.is_none() && ending == Ending::Graceful {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        });
        let (sender, _) = connection::open(ours, &TaskTracker::new()).await.unwrap();
        (sender, broken)
    }

    /// The next call that reaches it.
    pub(crate) async fn called(&self) -> Call {
        self.calls.lock().await.recv().await.unwrap()
    }
}

async fn answer(
    told: mpsc::Sender<Call>,
    status: StatusCode,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (pieces, mut sent) = mpsc::channel(1);
    let path = head.uri.path().to_owned();
    told.send(Call { method: head.method, path, headers: head.headers, body, answer: pieces }).await.unwrap();
    let pieces = futures_util::stream::poll_fn(move |context| sent.poll_recv(context));
    let body = Body::from_stream(futures_util::StreamExt::map(pieces, Ok::<_, Infallible>));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}
