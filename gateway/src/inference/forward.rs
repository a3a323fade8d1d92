//! Sends a request to a node and listens until its answer begins. Says whose fault a failure is: the client has seen
//! nothing yet, so what is the node's fault may be tried elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt;
use openapi::error::{ApiError, ErrorBody};
use openapi::frame::{USAGE_EVENT, UsageFrame, WAITING};
use openapi::sse::{self, Event, Scanner};
use serde::Deserialize;

use super::attempts::Tried;
use super::meter::Meter;
use super::race::{Begun, race};
use super::record::Outcome;
use super::request::Request;
use crate::app::App;
use crate::nodes::{Found, NodeBody, ServedModel, StallWatch};

const NO_ANSWER: &str = "it ended without an answer";

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

/// Sends the request to the leased node, and where it is hedged perhaps to a second one; the answer is that of whoever
/// begins first. All that were asked are added to `tried`.
pub(super) async fn forward(
    app: &App,
    meter: &mut Meter,
    found: Found,
    request: &Arc<Request>,
    tried: &mut Tried,
) -> Result<Answer, Fault> {
    tried.push(&found.lease.node());
    let Begun { model, events } = race(app, meter, found, request, tried).await?;
    let answer = first_of(meter, events, &model).await;
    match &answer {
        Ok(_) => meter.answers(),
        Err(Fault::Client(_)) => meter.end_attempt(Outcome::Refused),
        Err(fault) => {
            tracing::warn!(request = %meter.id(), node = ?meter.node(), ?fault, "an attempt failed");
            meter.end_attempt(Outcome::NodeFailed);
        }
    }
    answer
}

/// The first event for the client, of an answer that has begun.
async fn first_of(meter: &mut Meter, mut events: Box<Events>, model: &ServedModel) -> Result<Answer, Fault> {
    let first = events.next_of_answer(meter).await.map_err(|broken| broken.fault(meter.said().model().is_some()))?;
    let first = first.ok_or_else(|| Fault::Node(NO_ANSWER.to_owned()))?;
    // All that is missing may be the end mark.
    if first.data() != Some("[DONE]") {
        check_model(&first, &model.name).map_err(|reason| {
            meter.answered_as_another();
            Fault::Node(reason)
        })?;
    }
    Ok(Answer { first, events: *events })
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
    /// The same for an attempt that gave no answer. Whose request was good enough for the node that began is not to blame.
    pub(super) fn fault(self, goes_on: bool) -> Fault {
        match self {
            Self::Request(error) if !goes_on => Fault::Client(error),
            broken => Fault::Node(broken.to_string()),
        }
    }

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

/// What a node says before its answer, or that this begins.
pub(super) enum Beginning {
    /// It has used so much, and made no token yet.
    Used(UsageFrame),
    /// The next event is the answer's first, or says what it has used for that.
    Begun,
}

/// Reads a usage frame.
fn usage(event: &Event) -> Result<UsageFrame, String> {
    let frame = event.data().and_then(|data| serde_json::from_str(data).ok());
    frame.ok_or_else(|| "its usage frame is no usage frame".to_owned())
}

/// The events of an answer as they arrive.
pub(super) struct Events {
    body: NodeBody,
    scanner: Scanner,
    ready: VecDeque<Event>,
    /// What the node has used for the first of them, where that was read to find out whether the answer begins.
    begins_with: Option<UsageFrame>,
    watch: StallWatch,
    /// It has waited for the bytes that come next before, and was asked to do something else.
    listens: bool,
    /// Of the answer, as far as the node has said.
    tokens: u64,
}

impl Events {
    /// Those of an answer of which so many `tokens` are known: a node that computes them once more makes no new one for as
    /// long as that takes. No event may have more than `longest` bytes.
    pub(super) fn new(body: NodeBody, watch: StallWatch, tokens: u64, longest: usize) -> Self {
        let (scanner, ready) = (Scanner::new(longest), VecDeque::new());
        Self { body, scanner, ready, begins_with: None, watch, listens: false, tokens }
    }

    /// Waits until the answer begins. Nothing is lost when this is dropped half way.
    pub(super) async fn beginning(&mut self) -> Result<Beginning, Broken> {
        loop {
            let event = match self.ready.pop_front() {
                Some(event) => event,
                None if self.read().await? => continue,
                None => return Err(NO_ANSWER.to_owned().into()),
            };
            match event.name() {
                Some(USAGE_EVENT) => {
                    let frame = usage(&event)?;
                    if frame.completion_tokens == 0 && frame.finish_reason.is_none() {
                        return Ok(Beginning::Used(frame));
                    }
                    self.begins_with = Some(frame);
                    return Ok(Beginning::Begun);
                }
                None if event.data().is_none() => {
                    self.heed(&event);
                    continue;
                }
                Some("error") => return Err(Broken::said(event.data())),
                _ => {}
            }
            self.ready.push_front(event);
            return Ok(Beginning::Begun);
        }
    }

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
        if let Some(frame) = self.begins_with.take() {
            self.used(frame, meter)?;
        }
        loop {
            let event = match self.ready.pop_front() {
                Some(event) => event,
                None if self.read().await? => continue,
                None => return Ok(None),
            };
            match event.name() {
                Some(USAGE_EVENT) => self.used(usage(&event)?, meter)?,
                None if self.heed(&event) => {}
                Some("error") => return Err(Broken::said(event.data())),
                _ => return Ok(Some(event)),
            }
        }
    }

    /// Tells the meter what the node has used, and how long it has paused if there is a token more.
    fn used(&mut self, frame: UsageFrame, meter: &mut Meter) -> Result<(), String> {
        if frame.completion_tokens > std::mem::replace(&mut self.tokens, frame.completion_tokens)
            && let Some(gap) = self.watch.token(Instant::now())
        {
            meter.paused(gap);
        }
        meter.observe(frame)
    }

    /// Takes note of a node's word that it waits. False when the event is something else.
    fn heed(&mut self, event: &Event) -> bool {
        let waits = event.data().is_none() && event.raw == sse::comment(WAITING).as_bytes();
        if waits {
            self.watch.waits(Instant::now());
        }
        waits
    }

    /// True when an event for the client can be taken without waiting.
    pub(super) fn has_ready(&self) -> bool {
        self.ready.iter().any(|event| event.name() != Some(USAGE_EVENT))
    }

    /// Reads a chunk; false at the end.
    async fn read(&mut self) -> Result<bool, String> {
        let now = Instant::now();
        if !std::mem::replace(&mut self.listens, true) {
            self.watch.listens(now);
        }
        let patience = self.watch.deadline().saturating_duration_since(now);
        let frame = tokio::time::timeout(patience, self.body.frame()).await;
        self.listens = false;
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
