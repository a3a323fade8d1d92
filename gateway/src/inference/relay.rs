//! The answer on its way to the client: every event byte for byte as the node wrote it, usage frames aside.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use openapi::error::ApiError;
use openapi::sse::{self, Event};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempts::{self, Failed, Tried};
use super::forward::{Answer, Events};
use super::meter::Meter;
use super::node_failed;
use super::record::Outcome;
use super::request::Request;
use crate::app::App;
use crate::auth;
use crate::error::Failure;

/// The node that answered.
const NODE_HEADER: HeaderName = HeaderName::from_static("x-commonwatt-node");
/// Why this node was chosen, where the request had a say in it.
const CHOICE_HEADER: HeaderName = HeaderName::from_static("x-commonwatt-choice");
/// The request, to look up at `GET /api/requests/{id}`.
const REQUEST_HEADER: HeaderName = HeaderName::from_static("x-commonwatt-request-id");
/// The receipt, to fetch at `GET /v1/receipts/{id}`.
const RECEIPT_HEADER: HeaderName = HeaderName::from_static("x-commonwatt-receipt");
const JOULES_HEADER: HeaderName = HeaderName::from_static("x-energy-joules");
const GRAMS_HEADER: HeaderName = HeaderName::from_static("x-energy-co2-grams");
const TIER_HEADER: HeaderName = HeaderName::from_static("x-energy-tier");
/// Credits, as an exact decimal.
const COST_HEADER: HeaderName = HeaderName::from_static("x-cost");
/// Says that an unstreamed answer was ended before the model did.
const OUTCOME_HEADER: HeaderName = HeaderName::from_static("x-commonwatt-outcome");

/// Answers with an event stream. When the client leaves, the stream is dropped, and with it the call to the node.
pub(super) fn stream(
    app: &App,
    request: Arc<Request>,
    answer: Answer,
    meter: Box<Meter>,
    revoked: CancellationToken,
) -> Response {
    let mut headers = headers(&meter);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Tells reverse proxies not to collect the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    let Answer { first, events } = answer;
    let relay = Relay { app: app.clone(), request, events, meter, revoked, first: Some(first), lost: None };
    let pieces = futures_util::stream::unfold(Some(Box::new(relay)), |relay| async { relay?.piece().await });
    (headers, Body::from_stream(pieces)).into_response()
}

/// Answers with the whole JSON.
pub(super) async fn whole(answer: Answer, mut meter: Box<Meter>) -> Result<Response, Failure> {
    let Some(json) = answer.first.data().map(str::to_owned) else {
        meter.end(Outcome::NodeFailed, 502);
        meter.finish().await;
        return Err(node_failed().into());
    };
    meter.deliver(&answer.first);
    meter.complete();
    let mut headers = headers(&meter);
    headers.extend(HeaderValue::try_from(meter.cost().credits()).map(|cost| (COST_HEADER, cost)));
    headers.extend(meter.outcome_header().map(|outcome| (OUTCOME_HEADER, outcome)));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(energy) = meter.energy() {
        let figure = |figure: Option<f64>| HeaderValue::try_from(figure?.to_string()).ok();
        headers.extend(figure(energy.joules).map(|joules| (JOULES_HEADER, joules)));
        headers.extend(figure(energy.g_co2e).map(|grams| (GRAMS_HEADER, grams)));
        headers.insert(TIER_HEADER, HeaderValue::from_static(energy.tier.letter()));
    }
    meter.finish().await;
    Ok((headers, json).into_response())
}

/// In a box, since it is handed on with each piece.
struct Relay {
    app: App,
    request: Arc<Request>,
    events: Events,
    meter: Box<Meter>,
    revoked: CancellationToken,
    first: Option<Event>,
    /// Set when the node was lost: another one goes on.
    lost: Option<Tried>,
}

/// What goes out next, and who goes on.
type Piece = Option<(Result<Bytes, Infallible>, Option<Box<Relay>>)>;

impl Relay {
    /// The next bytes for the client: all events that are there, in one piece.
    async fn piece(mut self: Box<Self>) -> Piece {
        if let Some(lost) = self.lost.take()
            && let Err((outcome, error)) = Box::pin(self.go_on(lost)).await
        {
            return self.broken_off(Vec::new(), outcome, &error).await;
        }
        let mut bytes = Vec::new();
        loop {
            let event = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => {
                    let revoked = self.revoked.clone();
                    tokio::select! {
                        biased;
                        () = revoked.cancelled() => return self.broken_off(bytes, Outcome::KeyRevoked, &auth::revoked()).await,
                        event = self.events.next(&mut self.meter) => event,
                    }
                }
            };
            match event {
                Ok(Some(event)) if event.data() == Some("[DONE]") => return self.completed(bytes, &event).await,
                Ok(Some(event)) => {
                    bytes.extend_from_slice(&event.raw);
                    self.meter.deliver(&event);
                }
                Ok(None) => return self.failed(bytes, "it ended before the answer did").await,
                Err(broken) => return self.failed(bytes, &broken.to_string()).await,
            }
            if !self.events.has_ready() {
                return Some((Ok(bytes.into()), Some(self)));
            }
        }
    }

    /// What the request used stands before the end mark, in a comment that every client skips.
    async fn completed(mut self: Box<Self>, mut bytes: Vec<u8>, done: &Event) -> Piece {
        self.meter.seal(done);
        self.meter.complete();
        if let Some(energy) = self.meter.energy_comment() {
            bytes.extend_from_slice(sse::comment(&format!("energy {energy}")).as_bytes());
        }
        bytes.extend_from_slice(sse::comment(&format!("commonwatt {}", self.meter.summary())).as_bytes());
        bytes.extend_from_slice(&done.raw);
        self.meter.finish().await;
        Some((Ok(bytes.into()), None))
    }

    /// The node is lost. The client gets what there is at once, and a sign that it goes on.
    async fn failed(mut self: Box<Self>, mut bytes: Vec<u8>, reason: &str) -> Piece {
        tracing::warn!(request = %self.meter.id(), node = ?self.meter.node(), reason, "a node was lost in mid-stream");
        if self.meter.said().is_stuck() {
            return self.broken_off(bytes, Outcome::NodeFailed, &node_failed()).await;
        }
        self.lost = Some(self.meter.tried());
        self.meter.end_attempt(Outcome::NodeFailed);
        bytes.extend_from_slice(sse::comment("the node was lost, another one goes on").as_bytes());
        Some((Ok(bytes.into()), Some(self)))
    }

    async fn go_on(&mut self, lost: Tried) -> Result<(), Failed> {
        let answer = tokio::select! {
            biased;
            () = self.revoked.cancelled() => return Err((Outcome::KeyRevoked, auth::revoked())),
            answer = attempts::go_on(&self.app, &mut self.meter, &self.request, lost) => answer?,
        };
        self.events = answer.events;
        self.first = Some(answer.first);
        Ok(())
    }

    /// Ends the stream with an error that OpenAI's SDKs raise.
    async fn broken_off(mut self: Box<Self>, mut bytes: Vec<u8>, outcome: Outcome, error: &ApiError) -> Piece {
        bytes.extend_from_slice(sse::data(&error.body()).unwrap_or_default().as_bytes());
        self.meter.end(outcome, error.status);
        self.meter.finish().await;
        Some((Ok(bytes.into()), None))
    }
}

fn headers(meter: &Meter) -> HeaderMap {
    let value = |id: Uuid| HeaderValue::try_from(id.to_string()).ok();
    let request = value(meter.id()).map(|id| (REQUEST_HEADER, id));
    let node = meter.node().and_then(value).map(|id| (NODE_HEADER, id));
    let mut headers: HeaderMap = request.into_iter().chain(node).collect();
    headers.extend(
        meter.choice().and_then(|choice| HeaderValue::try_from(choice).ok()).map(|choice| (CHOICE_HEADER, choice)),
    );
    headers.extend(
        meter
            .receipt()
            .and_then(|receipt| HeaderValue::try_from(receipt.to_string()).ok())
            .map(|id| (RECEIPT_HEADER, id)),
    );
    headers.extend(meter.limit_headers());
    headers
}
