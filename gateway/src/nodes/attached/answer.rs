//! An attached server's answer on its way, translated event by event into a node's. Whoever drops it drops the request to
//! the server.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use openapi::energy::Energy;
use openapi::frame::WAITING;
use openapi::sse::{self, Event, Scanner};
use openapi::upstream::{Endpoint, Limits, Tokens, Translator};
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use super::asked::Asked;
use super::limit::Allowance;
use crate::nodes::NodeBody;

/// A node gives a sign of life this often, so this does it for a server that gives none.
const SIGN_EVERY: Duration = Duration::from_secs(2);
/// A server that has said nothing for so long never will: a long prompt, and a queue before it, take less.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(300);
/// A server ends its body at once after the end mark.
const DRY_WITHIN: Duration = Duration::from_millis(50);

/// The answer itself, or the wait for its head.
pub(super) enum Source {
    /// What does not become an answer is a fault by now: the gateway was told that one comes.
    Coming(BoxFuture<'static, Result<Incoming, String>>),
    There(Incoming),
}

/// One answer.
pub(super) struct Answer {
    source: Source,
    scanner: Scanner,
    translator: Translator,
    allowance: Allowance,
    endpoint: Endpoint,
    estimate: fn(Tokens) -> Energy,
    choices: usize,
    began: Instant,
    sign_at: Instant,
    spoke: bool,
}

impl Answer {
    pub(super) fn new(source: Source, asked: Asked, allowance: Allowance) -> Self {
        let (limits, now) = (Limits::default(), Instant::now());
        Self {
            source,
            scanner: Scanner::new(limits.event_bytes),
            translator: Translator::new(asked.facts, limits),
            allowance,
            endpoint: asked.endpoint,
            estimate: asked.estimate,
            choices: asked.choices,
            began: now,
            sign_at: now + SIGN_EVERY,
            spoke: false,
        }
    }

    /// As the body of a node's answer.
    pub(super) fn into_body(self) -> NodeBody {
        let pieces = futures_util::stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            match answer.piece().await {
                Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(answer))),
                Ok(None) => None,
                Err(reason) => Some((Err(anyhow::Error::msg(reason)), None)),
            }
        });
        BodyExt::boxed_unsync(StreamBody::new(pieces))
    }

    /// The next bytes; none after the end.
    async fn piece(&mut self) -> Result<Option<Bytes>, String> {
        while !self.translator.is_over() {
            if self.has_enough() {
                return self.cut().map(|bytes| Some(bytes.into()));
            }
            let read = tokio::select! {
                () = self.allowance.moved() => continue,
                read = timeout_at(self.sign_at, self.source.read()) => read,
            };
            let bytes = match read {
                Err(_) => self.sign()?,
                Ok(None) => self.end()?,
                Ok(Some(bytes)) => self.translate(&bytes?)?,
            };
            if self.translator.is_over() {
                self.source.run_dry().await;
            }
            if !bytes.is_empty() {
                self.sign_at = Instant::now() + SIGN_EVERY;
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    }

    fn translate(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        for event in self.scanner.push(bytes).map_err(|error| error.to_string())? {
            self.take(&event)?;
            if self.translator.is_over() {
                break;
            }
            if self.has_enough() {
                return self.cut();
            }
        }
        let translated = self.translator.write(self.estimate);
        self.spoke |= !translated.is_empty();
        Ok(translated)
    }

    fn take(&mut self, event: &Event) -> Result<(), String> {
        self.translator.take(event).map_err(|error| error.to_string())
    }

    /// True when it must end, and its server goes on.
    fn has_enough(&self) -> bool {
        self.allowance.ends(self.translator.tokens().completion) && !self.translator.is_finished()
    }

    fn end(&mut self) -> Result<Vec<u8>, String> {
        self.translator.finish(self.estimate).map_err(|error| error.to_string())
    }

    /// Ends the answer in good order where it stands, as a server does whose limit is reached.
    fn cut(&mut self) -> Result<Vec<u8>, String> {
        let (object, text) = match self.endpoint {
            Endpoint::Chat => ("chat.completion.chunk", json!({"delta": {}})),
            Endpoint::Completion => ("text_completion", json!({"text": ""})),
        };
        let choice = |index| {
            let mut choice = text.clone();
            choice["index"] = json!(index);
            choice["finish_reason"] = json!("length");
            choice
        };
        let choices: Vec<_> = (0..self.choices).map(choice).collect();
        let last = sse::data(&json!({"object": object, "choices": choices})).map_err(|error| error.to_string())?;
        self.take(&Event { raw: last.into_bytes() })?;
        self.end()
    }

    /// The server is silent, and may be so for a while.
    fn sign(&self) -> Result<Vec<u8>, String> {
        if self.spoke {
            return Ok(sse::comment("the server is computing").into_bytes());
        }
        if self.began.elapsed() > FIRST_WORD_WITHIN {
            return Err(format!("it said nothing for {} s", FIRST_WORD_WITHIN.as_secs()));
        }
        Ok(sse::comment(WAITING).into_bytes())
    }
}

impl Source {
    /// Reads what comes after the end mark, mostly nothing but the end: then the connection can be used again.
    async fn run_dry(&mut self) {
        let dry = async { while let Some(Ok(_)) = self.read().await {} };
        // One that goes on is closed.
        let _ = timeout(DRY_WITHIN, dry).await;
    }

    /// The next bytes; none at the end. It may be dropped and called again.
    async fn read(&mut self) -> Option<Result<Bytes, String>> {
        if let Self::Coming(coming) = self {
            match coming.await {
                Ok(body) => *self = Self::There(body),
                Err(reason) => return Some(Err(reason)),
            }
        }
        let Self::There(body) = self else { return None };
        loop {
            match body.frame().await? {
                Err(error) => return Some(Err(format!("the connection broke: {error}"))),
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Some(Ok(bytes));
                    }
                }
            }
        }
    }
}
