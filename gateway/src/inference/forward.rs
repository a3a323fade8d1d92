//! Sends a request to a node and listens until its answer begins. Says whose fault a failure is: the client has seen
//! nothing yet, so what is the node's fault may be tried elsewhere.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request as HttpRequest, Response, StatusCode};
use openapi::continuation::{CONTINUE_PATH, Continuation};
use openapi::error::{ApiError, ErrorBody};
use openapi::frame::{USAGE_EVENT, UsageFrame, WAITING};
use openapi::node::TICKET_HEADER;
use openapi::sse::{self, Event, Scanner};
use serde::Deserialize;

use super::meter::Meter;
use super::price;
use super::record::Outcome;
use super::request::Request;
use super::said::Said;
use crate::app::App;
use crate::nodes::{Found, NodeBody, StallWatch};

/// A node acknowledges a request at once, even when it must wait for a slot.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);
/// The longest event: an unstreamed answer is one.
const LONGEST_EVENT: usize = 8 * 1024 * 1024;
const LONGEST_ERROR: usize = 64 * 1024;

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The request is wrong and would be everywhere.
    Client(ApiError),
    /// The node has no room.
    Busy(ApiError),
    /// The node is dead, silent or lying; the reason is for the log.
    Node(String),
}

/// An answer that has begun: its first event, and where the rest comes from.
pub(super) struct Answer {
    pub(super) first: Event,
    pub(super) events: Events,
}

/// Sends the request to the leased node.
pub(super) async fn forward(app: &App, meter: &mut Meter, found: Found, request: &Request) -> Result<Answer, Fault> {
    let answer = try_node(app, meter, found, request).await;
    match &answer {
        Ok(_) => meter.answers(),
        Err(Fault::Client(_)) => meter.end_attempt(Outcome::Refused),
        Err(Fault::Busy(busy)) => {
            meter.is_refused(busy.retry_after.map(|seconds| Duration::from_secs(seconds.into())));
            meter.end_attempt(Outcome::Refused);
        }
        Err(Fault::Node(reason)) => {
            tracing::warn!(request = %meter.id(), node = ?meter.node(), reason, "an attempt failed");
            meter.end_attempt(Outcome::NodeFailed);
        }
    }
    answer
}

async fn try_node(app: &App, meter: &mut Meter, found: Found, request: &Request) -> Result<Answer, Fault> {
    let node = found.lease.node();
    let withdrawn = || Fault::Node("it withdrew the model".to_owned());
    let model = node.model_named(&found.model).ok_or_else(withdrawn)?;
    let price = price(app, &node, &found.model, meter.terms().at).ok_or_else(withdrawn)?;
    let body = request.body_for(&found.model);
    let call = meter.begin_attempt(found, price, &model);
    let ticket = node.ticket(&app.secrets, &call).map_err(|error| Fault::Node(error.to_string()))?;
    let asked = body.and_then(|body| ask(request, body, meter.said()));
    let (path, body) = asked.map_err(|error| Fault::Node(error.to_string()))?;
    let call = HttpRequest::post(path)
        .header(CONTENT_TYPE, "application/json")
        .header(TICKET_HEADER, ticket)
        .extension(call)
        .body(Full::new(body))
        .map_err(|error| Fault::Node(error.to_string()))?;
    let response = tokio::time::timeout(HEADERS_WITHIN, node.call(call)).await;
    let response = response
        .map_err(|_| Fault::Node("it did not answer".to_owned()))?
        .map_err(|error| Fault::Node(error.to_string()))?;
    if response.status() != StatusCode::OK {
        return Err(match refusal(response).await {
            // The client's request was good enough for the node that began.
            Fault::Client(error) if meter.said().model().is_some() => Fault::Node(error.detail.message),
            fault => fault,
        });
    }
    let mut events = Events {
        body: response.into_body(),
        scanner: Scanner::new(LONGEST_EVENT),
        ready: VecDeque::new(),
        watch: StallWatch::new(node.typical_gap(), app.node_silence, Instant::now()),
        // A node that computes them once more makes no new one for as long as that takes.
        tokens: meter.said().tokens(),
    };
    let first = events.next_of_answer(meter).await.map_err(|broken| match broken {
        Broken::Request(error) if meter.said().model().is_none() => Fault::Client(error),
        broken => Fault::Node(broken.to_string()),
    })?;
    let first = first.ok_or_else(|| Fault::Node("it ended without an answer".to_owned()))?;
    // All that is missing may be the end mark.
    if first.data() != Some("[DONE]") {
        check_model(&first, &model.name).map_err(|reason| {
            meter.answered_as_another();
            Fault::Node(reason)
        })?;
    }
    Ok(Answer { first, events })
}

/// What the node is asked for: the answer, or what is missing of it.
fn ask(request: &Request, body: Bytes, said: &Said) -> serde_json::Result<(&'static str, Bytes)> {
    let path = request.endpoint.path();
    if said.is_nothing() {
        return Ok((path, body));
    }
    let request = serde_json::from_slice(&body)?;
    let continuation = Continuation { path: path.to_owned(), request, so_far: said.so_far() };
    Ok((CONTINUE_PATH, serde_json::to_vec(&continuation)?.into()))
}

/// The first event of every answer names the model that computes it.
fn check_model(first: &Event, model: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Head {
        model: String,
    }
    let head: Head = first
        .data()
        .and_then(|data| serde_json::from_str(data).ok())
        .ok_or_else(|| "its answer is not OpenAI's JSON".to_owned())?;
    if head.model == model {
        Ok(())
    } else {
        Err(format!("it answered as the model '{}'", openapi::error::echo(&head.model)))
    }
}

/// Reads a node's error. Only a verdict on the request itself is passed on to the client.
async fn refusal(response: Response<NodeBody>) -> Fault {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), LONGEST_ERROR).collect().await;
    let detail =
        body.ok().and_then(|body| serde_json::from_slice::<ErrorBody>(&body.to_bytes()).ok()).map(|body| body.error);
    match (status.as_u16(), detail) {
        (400 | 413 | 415 | 422, Some(detail)) => {
            Fault::Client(ApiError { status: status.as_u16(), detail, retry_after: None })
        }
        (429 | 503, Some(_)) => {
            const SECONDS: u32 = 5;
            let message = "All nodes that serve this model are busy. Try again shortly.";
            Fault::Busy(ApiError::overloaded(message, seconds.unwrap_or(SECONDS)))
        }
        _ => Fault::Node(format!("it answered {status}")),
    }
}

/// Why an answer did not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The node is dead, silent or lying; the reason is for the log.
    #[error("{0}")]
    Node(String),
    /// The node finds the request wrong.
    #[error("it refused the request")]
    Request(ApiError),
}

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Self::Node(reason)
    }
}

impl Broken {
    /// What a node says when it ends an answer with an error event.
    fn said(data: Option<&str>) -> Self {
        match data.and_then(|data| serde_json::from_str::<ErrorBody>(data).ok()) {
            Some(ErrorBody { error: detail }) if detail.kind == "invalid_request_error" => {
                Self::Request(ApiError { status: 400, detail, retry_after: None })
            }
            _ => Self::Node("it failed while computing".to_owned()),
        }
    }
}

/// The events of an answer as they arrive.
pub(super) struct Events {
    body: NodeBody,
    scanner: Scanner,
    ready: VecDeque<Event>,
    watch: StallWatch,
    /// Of the answer, as far as the node has said.
    tokens: u64,
}

impl Events {
    /// The next event for the client, comments left out; usage frames on the way go to the meter.
    async fn next_of_answer(&mut self, meter: &mut Meter) -> Result<Option<Event>, Broken> {
        loop {
            match self.next(meter).await? {
                Some(event) if event.data().is_none() => {}
                event => return Ok(event),
            }
        }
    }

    /// The next event for the client, comments included; usage frames on the way go to the meter.
    ///
    /// # Errors
    /// What the node did wrong.
    pub(super) async fn next(&mut self, meter: &mut Meter) -> Result<Option<Event>, Broken> {
        loop {
            let event = match self.ready.pop_front() {
                Some(event) => event,
                None if self.read().await? => continue,
                None => return Ok(None),
            };
            match event.name() {
                Some(USAGE_EVENT) => {
                    let frame = event.data().and_then(|data| serde_json::from_str::<UsageFrame>(data).ok());
                    let frame = frame.ok_or_else(|| "its usage frame is no usage frame".to_owned())?;
                    if frame.completion_tokens > std::mem::replace(&mut self.tokens, frame.completion_tokens)
                        && let Some(gap) = self.watch.token(Instant::now())
                    {
                        meter.paused(gap);
                    }
                    meter.observe(frame)?;
                }
                None if event.data().is_none() && event.raw == sse::comment(WAITING).as_bytes() => {
                    self.watch.waits(Instant::now())
                }
                Some("error") => return Err(Broken::said(event.data())),
                _ => return Ok(Some(event)),
            }
        }
    }

    /// True when an event for the client can be taken without waiting.
    pub(super) fn has_ready(&self) -> bool {
        self.ready.iter().any(|event| event.name() != Some(USAGE_EVENT))
    }

    /// Reads a chunk; false at the end.
    async fn read(&mut self) -> Result<bool, String> {
        self.watch.listens(Instant::now());
        let frame = tokio::time::timeout_at(self.watch.deadline().into(), self.body.frame()).await;
        let now = Instant::now();
        let stalled =
            || self.watch.verdict(now).map_or_else(|| "it fell silent".to_owned(), |stalled| stalled.to_string());
        let frame = frame.map_err(|_| stalled())?;
        self.watch.heard(now);
        match frame {
            None if self.scanner.is_empty() => Ok(false),
            None => Err("it broke off within an event".to_owned()),
            Some(Err(error)) => Err(format!("the connection broke: {error}")),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    self.ready.extend(self.scanner.push(&bytes).map_err(|error| error.to_string())?);
                }
                Ok(true)
            }
        }
    }
}
