//! A server that does what it is told, and the way to it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use http_body_util::{BodyExt, Full};
use openapi::energy::EnergyTerms;
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::price::Price;
use openapi::sse::{Event, Scanner};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::super::described::tests::described;
use super::super::*;
use crate::nodes::Call;
use crate::nodes::direct::url::{PlainText, Purpose};

pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const KEY: &str = "sk-upstream-secret";
pub(super) const HELLO: &str = r#"{"id":"x","object":"chat.completion.chunk","model":"org/small-instruct","choices":[{"index":0,"delta":{"content":"word "}}]}"#;
pub(super) const END: &str =
    r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
pub(super) const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;

/// A request that has reached the server, and what the server says.
pub(super) struct Heard {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// What is sent here is the next piece of the answer; it is closed when the caller has gone.
    pub(super) say: mpsc::Sender<Bytes>,
}

impl Heard {
    pub(super) async fn chunk(&self, json: &str) {
        self.say.send(format!("data: {json}\n\n").into()).await.unwrap();
    }
}

/// The server: every request is heard, and answered with this head.
pub(super) struct Upstream {
    pub(super) url: String,
    pub(super) heard: tokio::sync::Mutex<mpsc::Receiver<Heard>>,
    head: Arc<Mutex<axum::http::response::Builder>>,
    /// While it is set, heads are held back until it is told.
    pub(super) gate: Arc<Mutex<Option<Arc<Notify>>>>,
    _task: AbortOnDropHandle<()>,
}

impl Upstream {
    pub(super) async fn new() -> Self {
        let (told, heard) = mpsc::channel(16);
        let head = Arc::new(Mutex::new(stream()));
        let gate: Arc<Mutex<Option<Arc<Notify>>>> = Arc::default();
        let answer = {
            let (head, gate) = (Arc::clone(&head), Arc::clone(&gate));
            move |request: Request| answer(told.clone(), Arc::clone(&head), Arc::clone(&gate), request)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, heard: heard.into(), head, gate, _task: AbortOnDropHandle::new(task) }
    }

    /// Answers with this head from now on.
    pub(super) fn answers_with(&self, head: axum::http::response::Builder) {
        *self.head.lock().unwrap() = head;
    }

    pub(super) async fn hears(&self) -> Heard {
        tokio::time::timeout(LONG, async { self.heard.lock().await.recv().await.unwrap() }).await.unwrap()
    }

    /// The way to it, as an administrator has attached it.
    pub(super) fn attached(&self) -> Attached {
        attached(&self.url, "127.0.0.1")
    }
}

async fn answer(
    told: mpsc::Sender<Heard>,
    head: Arc<Mutex<axum::http::response::Builder>>,
    gate: Arc<Mutex<Option<Arc<Notify>>>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (say, mut said) = mpsc::channel(1);
    told.send(Heard { head: parts, body, say }).await.unwrap();
    let closed = gate.lock().unwrap().clone();
    if let Some(closed) = closed {
        closed.notified().await;
    }
    let pieces = futures_util::stream::poll_fn(move |context| said.poll_recv(context));
    let body = Body::from_stream(futures_util::StreamExt::map(pieces, Ok::<_, Infallible>));
    std::mem::take(&mut *head.lock().unwrap()).body(body).unwrap()
}

pub(super) fn stream() -> axum::http::response::Builder {
    Response::builder().header("content-type", "text/event-stream")
}

pub(super) fn attached(url: &str, allowed: &str) -> Attached {
    let dialler = Dialler::new(allowed.parse().unwrap(), None).unwrap();
    let url = NodeUrl::parse(url, Purpose::Attached, PlainText::Allowed).unwrap();
    Attached::new(Arc::new(dialler), url, Some(KEY), &described(), false).unwrap()
}

pub(super) fn call(max_tokens: u32) -> Call {
    let model = described().models[0].manifest().id();
    let (price, energy) = (Price::default(), EnergyTerms::default());
    Call { request: Uuid::now_v7(), attempt: 1, model, max_tokens, price, energy, salt: None, trace: None }
}

/// A call as the gateway makes it.
pub(super) fn request(path: &str, call: &Call, body: &str) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("x-commonwatt-ticket", "a ticket").extension(call.clone());
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const STREAMED: &str = r#"{"model":"small","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// Asks for a streamed answer, and waits until the server has heard and its head is there.
pub(super) async fn begun(upstream: &Upstream, attached: &Attached, call: &Call) -> (NodeBody, Heard) {
    let asking = attached.send(Uuid::now_v7(), request(CHAT, call, STREAMED));
    let (answer, heard) = tokio::join!(tokio::time::timeout(LONG, asking), upstream.hears());
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    (answer.into_body(), heard)
}

/// The next bytes of an answer.
pub(super) async fn next(body: &mut NodeBody) -> Option<Result<Bytes, String>> {
    let frame = tokio::time::timeout(LONG, body.frame()).await.unwrap()?;
    Some(frame.map(|frame| frame.into_data().unwrap()).map_err(|error| error.to_string()))
}

/// A whole answer, as the gateway reads it: usage, and the client's data; or why it broke off.
pub(super) async fn whole(body: &mut NodeBody) -> (Vec<UsageFrame>, Vec<String>, Option<String>) {
    let (mut frames, mut data, mut scanner) = (Vec::new(), Vec::new(), Scanner::new(usize::MAX));
    while let Some(bytes) = next(body).await {
        match bytes {
            Err(reason) => return (frames, data, Some(reason)),
            Ok(bytes) => {
                for event in scanner.push(&bytes).unwrap() {
                    take(&event, &mut frames, &mut data);
                }
            }
        }
    }
    (frames, data, None)
}

fn take(event: &Event, frames: &mut Vec<UsageFrame>, data: &mut Vec<String>) {
    match (event.name(), event.data()) {
        (Some(USAGE_EVENT), Some(frame)) => frames.push(serde_json::from_str(frame).unwrap()),
        (Some(_), Some(json)) => data.push(json.to_owned()),
        _ => {}
    }
}
