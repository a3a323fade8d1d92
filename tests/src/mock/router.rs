//! What the gateway can ask of a mock node through its tunnel.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use openapi::manifest::{ManifestFile, ModelManifest};
use openapi::node::{
    COUNT_PATH, LIMIT_PATH, NodeStatus, OFFER_PATH, Offer, OfferedModel, PromptCount, STATUS_PATH, Ticket, moved_limit,
};
use openapi::receipt::RECEIPTS_PATH;
use openapi::sse;
use provider::ticket::TicketVerifier;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::answer::Answer;
use super::facts::Facts;
use super::receipt::Receipts;
use super::trouble::{HANGS_FOR, Luck, Trouble};
use super::{MockOffer, Order};
use crate::MODEL;

/// What the mock node reads of a request.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(skip)]
    pub(super) order: Order,
    #[serde(default, rename = "user", deserialize_with = "order")]
    named: Option<Order>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(default)]
    pub(super) stream_options: StreamOptions,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

impl Asked {
    /// Reads a request's body. The order is its `user`; some gateways leave that out on the way, and then it is the text of the
    /// first message.
    pub(super) fn read(body: &[u8]) -> serde_json::Result<Self> {
        let asked: Self = serde_json::from_slice(body)?;
        let order = asked.named.or_else(|| {
            let Prompt { messages } = serde_json::from_slice(body).ok()?;
            serde_json::from_str(messages.first()?.get("content")?.as_str()?).ok()
        });
        Ok(Self { order: order.unwrap_or_default(), ..asked })
    }

    /// The most tokens that the client wants.
    pub(super) fn most(&self) -> u32 {
        self.max_completion_tokens.or(self.max_tokens).unwrap_or(u32::MAX)
    }
}

#[derive(Deserialize)]
struct Prompt {
    messages: Vec<Value>,
}

fn order<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Order>, D::Error> {
    let text = String::deserialize(from)?;
    serde_json::from_str(&text).map(Some).map_err(serde::de::Error::custom)
}

/// One mock node at work.
pub(super) struct Work {
    pub(super) verifier: TicketVerifier,
    pub(super) facts: Arc<Facts>,
    pub(super) offer: MockOffer,
    pub(super) receipts: Receipts,
    pub(super) luck: Arc<Luck>,
    /// The limits of the answers that run.
    pub(super) running: Mutex<HashMap<Uuid, Arc<AtomicU32>>>,
}

impl Work {
    pub(super) fn forget(&self, request: Uuid) {
        self.running.lock().unwrap().remove(&request);
    }
}

pub(super) fn router(work: Arc<Work>) -> Router {
    Router::new()
        .route(OFFER_PATH, get(offer))
        .route(STATUS_PATH, get(status))
        .route(LIMIT_PATH, post(limit))
        .route(COUNT_PATH, post(count))
        .route(RECEIPTS_PATH, get(receipts))
        .route("/v1/chat/completions", post(chat))
        .with_state(work)
}

async fn offer(State(work): State<Arc<Work>>) -> String {
    let manifest = ModelManifest {
        name: MODEL.to_owned(),
        files: vec![ManifestFile { path: "mock.gguf".to_owned(), bytes: 1, sha256: "00".repeat(32), blake3: None }],
        quantisation: "none".to_owned(),
        licence: "Apache-2.0".to_owned(),
        authors: vec!["somebody".to_owned(), "somebody else".to_owned()],
    };
    let MockOffer { context_length, price, .. } = work.offer;
    let models = vec![OfferedModel { manifest, context_length, price, ..OfferedModel::default() }];
    let offer = Offer { version: "mock".to_owned(), models, slots: 10_000, ..Offer::default() };
    serde_json::to_string(&offer).expect("JSON")
}

async fn status() -> Response {
    let well = sse::data(&NodeStatus::default()).expect("JSON");
    let events = stream::iter([Ok::<_, Infallible>(well)]).chain(stream::pending());
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn chat(State(work): State<Arc<Work>>, headers: HeaderMap, body: Bytes) -> Response {
    let ticket = match work.verifier.verify(&headers) {
        Ok(ticket) => ticket,
        Err(error) => return refusal(error.status, &error.detail.message),
    };
    let asked = match Asked::read(&body) {
        Ok(asked) => asked,
        Err(error) => return refusal(400, &error.to_string()),
    };
    // At its first try: where all nodes there are had bad luck in turn, there would rightly be no answer.
    let trouble = work.luck.draw(asked.order.trouble.filter(|_| ticket.attempt == 1));
    if asked.order.die_after == Some(0) || trouble == Some(Trouble::Fails) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "unplugged").into_response();
    }
    let limit = Arc::new(AtomicU32::new(ticket.max_tokens));
    work.running.lock().unwrap().insert(ticket.request, Arc::clone(&limit));
    let answer = Answer::new(work, (asked, &body), limit, ticket);
    let pieces = stream::unfold(Some(answer), move |answer| async move {
        let answer = answer?;
        if trouble == Some(Trouble::Hangs) && answer.is_new() {
            sleep(HANGS_FOR).await;
        }
        answer.piece().await
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}

/// Which receipts a gateway has already.
#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn receipts(State(work): State<Arc<Work>>, Query(After { after }): Query<After>) -> Response {
    provider::calls::statements(Arc::clone(&work.receipts.chain), after)
}

async fn limit(State(work): State<Arc<Work>>, headers: HeaderMap) -> StatusCode {
    let Ok(Ticket { request, max_tokens, .. }) = work.verifier.verify(&headers) else {
        return StatusCode::UNAUTHORIZED;
    };
    match work.running.lock().unwrap().get(&request) {
        Some(limit) => {
            limit.update(Ordering::Relaxed, Ordering::Relaxed, |now| moved_limit(now, max_tokens));
            StatusCode::NO_CONTENT
        }
        None => StatusCode::NOT_FOUND,
    }
}

async fn count(State(work): State<Arc<Work>>, body: Bytes) -> Response {
    let asked = match Asked::read(&body) {
        Ok(asked) => asked,
        Err(error) => return refusal(400, &error.to_string()),
    };
    let prompt_tokens = asked.order.prompt_tokens;
    let room = u64::from(work.offer.context_length).saturating_sub(prompt_tokens);
    let count = PromptCount { prompt_tokens, max_completion_tokens: room.min(u64::from(asked.most())) };
    serde_json::to_string(&count).expect("JSON").into_response()
}

fn refusal(status: u16, message: &str) -> Response {
    let error = openapi::error::ApiError::invalid(message);
    let body = serde_json::to_string(&error.body()).expect("JSON");
    (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), body).into_response()
}
