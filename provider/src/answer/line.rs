//! The way to the client of one answer, whatever computes it.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use openapi::error::ApiError;
use openapi::frame::WAITING;
use openapi::sse;
use opentelemetry::KeyValue;
use tokio::sync::mpsc;
use tokio::time::{Interval, interval};

use crate::energy::Share;
use crate::limits::Limit;
use crate::receipts::Draft;
use crate::slots::{Place, Slot};
use crate::traces::Trace;

/// A waiting stream says this often that it is alive; the gateway takes a silent node for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// In which form the answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// To a local client, as OpenAI streams.
    Stream,
    /// To a local client, in one piece.
    Whole,
    /// To a gateway: usage frames beside either of the two.
    Frames { stream: bool },
}

/// Why writing ended early.
#[derive(Debug)]
pub(super) enum Stopped {
    ClientLeft,
    /// The client may read this; the reason is in the log.
    Failed(ApiError),
}

/// Takes an answer's bytes while the client is there, and tells it in the meantime that the node is alive.
pub(super) struct Line {
    to: mpsc::Sender<Bytes>,
    output: Output,
    alive: Interval,
    /// The client has the head of a stream, so an error can only be an event of it.
    begun: bool,
    notes: Notes,
}

/// What is noted of an answer beside it.
#[derive(Default)]
pub(super) struct Notes {
    /// Where it is traced.
    pub(super) trace: Option<Trace>,
    /// Where a gateway wants a receipt.
    pub(super) draft: Option<Draft>,
}

impl Line {
    pub(super) fn new(to: mpsc::Sender<Bytes>, output: Output, begun: bool) -> Self {
        let mut alive = interval(KEEP_ALIVE);
        alive.reset();
        Self { to, output, alive, begun, notes: Notes::default() }
    }

    /// The same, for an answer of which something is noted.
    pub(super) fn noted(mut self, notes: Notes) -> Self {
        self.notes = notes;
        self
    }

    /// The answer is computed from now on, and metered so.
    pub(super) fn metered(&mut self, share: &Share) {
        self.notes.draft.iter_mut().for_each(|draft| draft.metered(share));
    }

    /// A part of the answer is over.
    pub(super) fn passed(&mut self, part: &'static str, since: Instant) {
        self.notes.trace.iter_mut().for_each(|trace| trace.passed(part, since));
    }

    /// The tokens of the answer, now that it is complete.
    pub(super) fn counted(&mut self, model: &str, prompt: u64, completion: u64) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(trace) = &mut self.notes.trace {
            trace.say(KeyValue::new("gen_ai.request.model", model.to_owned()));
            trace.say(KeyValue::new("gen_ai.usage.input_tokens", signed(prompt)));
            trace.say(KeyValue::new("gen_ai.usage.output_tokens", signed(completion)));
        }
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }

    /// Waits for a slot; none is needed when the answer may have no token at all.
    pub(super) async fn slot(&mut self, place: Place, limit: &mut Limit) -> Result<Option<Slot>, Stopped> {
        let waiting = async {
            tokio::select! {
                biased;
                () = limit.reached(0) => None,
                slot = place.slot() => Some(slot),
            }
        };
        let since = Instant::now();
        let slot = self.during(WAITING, waiting).await;
        self.passed("wait", since);
        slot
    }

    /// Does something for as long as the client is there.
    pub(super) async fn during<T>(&mut self, doing: &str, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.to.closed() => return Err(Stopped::ClientLeft),
                done = &mut work => return Ok(done),
                _ = self.alive.tick() => {}
            }
            if self.output != Output::Whole {
                // Whether the client is still there is asked for at the next turn.
                let _ = self.to.send(sse::comment(doing).into()).await;
                self.begun = true;
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Stopped> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Ok(());
        }
        self.begun = true;
        self.notes.draft.iter_mut().for_each(|draft| draft.told(&bytes));
        self.to.send(bytes).await.map_err(|_| Stopped::ClientLeft)
    }

    /// The last word on an answer. Gives the error to answer with when nothing could be written.
    pub(super) async fn close(self, written: Result<(), Stopped>) -> Option<ApiError> {
        if let Some(draft) = self.notes.draft {
            draft.sign();
        }
        let Err(Stopped::Failed(failure)) = written else { return None };
        if self.begun && self.output != Output::Whole {
            let event = sse::named("error", &failure.body()).unwrap_or_default();
            // A client that has left needs no error.
            let _ = self.to.send(event.into()).await;
        }
        Some(failure)
    }
}
