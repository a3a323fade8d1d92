//! What a request has used so far, and what becomes of it. The meter travels with the answer; when it is dropped, at the
//! end or anywhere on the way, its record goes to the [`Recorder`]. Private fields and methods only: a closure that
//! captured one field would leave the rest, and with it the record, behind.

use std::time::Instant;

use openapi::energy::EnergyUsage;
use openapi::frame::UsageFrame;
use openapi::units::Microseconds;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::record::{AttemptRecord, Recorder, RequestRecord};
use super::request::Request;
use crate::auth::Caller;
use crate::nodes::Lease;

/// What became of a request or an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer was delivered to its end.
    Completed,
    /// The request itself was wrong.
    Refused,
    /// The client went away before the end.
    ClientLeft,
    /// The node died, fell silent or sent garbage.
    NodeFailed,
    /// No node could take it.
    NoNode,
    /// The key was revoked while it ran.
    KeyRevoked,
}

impl Outcome {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::ClientLeft => "client_left",
            Self::NodeFailed => "node_failed",
            Self::NoNode => "no_node",
            Self::KeyRevoked => "key_revoked",
        }
    }
}

/// The status that proxies use for a client that closed its request.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Counts one request.
pub(super) struct Meter {
    caller: Caller,
    recorder: Recorder,
    id: Uuid,
    endpoint: &'static str,
    model: String,
    streamed: bool,
    started: Instant,
    started_at: OffsetDateTime,
    first_byte: Option<Microseconds>,
    running: Option<Running>,
    past: Vec<AttemptRecord>,
    outcome: Outcome,
    status: u16,
}

/// The attempt under way.
struct Running {
    lease: Lease,
    started: Instant,
    used: Option<UsageFrame>,
}

impl Meter {
    pub(super) fn open(id: Uuid, caller: Caller, request: &Request, recorder: Recorder) -> Self {
        Self {
            caller,
            recorder,
            id,
            endpoint: request.endpoint.word(),
            model: request.model.clone(),
            streamed: request.stream,
            started: Instant::now(),
            started_at: OffsetDateTime::now_utc(),
            first_byte: None,
            running: None,
            past: Vec::new(),
            // Unless somebody says otherwise: then nobody was there any more to say it.
            outcome: Outcome::ClientLeft,
            status: CLIENT_CLOSED_REQUEST,
        }
    }

    /// The request.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// The node at work, for the reply's headers.
    pub(super) fn node(&self) -> Option<Uuid> {
        self.running.as_ref().map(|running| running.lease.node_id())
    }

    /// A try on a node begins. Returns its number, from 1.
    pub(super) fn begin_attempt(&mut self, lease: Lease) -> u32 {
        self.running = Some(Running { lease, started: Instant::now(), used: None });
        self.past.len() as u32 + 1
    }

    /// Takes what the node says it has used.
    pub(super) fn observe(&mut self, frame: UsageFrame) {
        if let Some(running) = &mut self.running {
            running.used = Some(frame);
        }
    }

    /// The client gets its first byte now.
    pub(super) fn answers(&mut self) {
        let waited = Microseconds::from(self.started.elapsed());
        self.first_byte.get_or_insert(waited);
        if let Some(running) = &self.running {
            running.lease.answered(running.started.elapsed());
        }
    }

    /// The attempt is over without an answer, and the request goes on.
    pub(super) fn end_attempt(&mut self, outcome: Outcome) {
        let Some(running) = self.running.take() else { return };
        match outcome {
            Outcome::NodeFailed => running.lease.failed(),
            _ => running.lease.succeeded(),
        }
        let used = running.used.as_ref();
        self.past.push(AttemptRecord {
            attempt: self.past.len() as i32 + 1,
            node: running.lease.node_id(),
            outcome: outcome.word(),
            prompt_tokens: used.map_or(0, |used| used.prompt_tokens),
            completion_tokens: used.map_or(0, |used| used.completion_tokens),
            microjoules: used.map(|used| used.energy.microjoules).unwrap_or_default(),
            duration: running.started.elapsed().into(),
            energy: running.used.map(|used| used.energy),
        });
    }

    /// What becomes of the request, and the status that the client sees.
    pub(super) fn end(&mut self, outcome: Outcome, status: u16) {
        self.outcome = outcome;
        self.status = status;
    }

    /// True when a node was tried and failed.
    pub(super) fn has_failed(&self) -> bool {
        self.past.iter().any(|attempt| attempt.outcome == Outcome::NodeFailed.word())
    }

    /// What the attempt has cost in energy so far.
    pub(super) fn energy(&self) -> Option<EnergyUsage> {
        self.running.as_ref()?.used.as_ref().map(|used| EnergyUsage::from(&used.energy))
    }

    /// The request in one line, for the comment at the end of every stream.
    pub(super) fn summary(&self) -> String {
        let used = self.running.as_ref().and_then(|running| running.used.as_ref());
        json!({
            "request": self.id,
            "node": self.node(),
            "attempts": self.past.len() + 1,
            "prompt_tokens": used.map(|used| used.prompt_tokens),
            "completion_tokens": used.map(|used| used.completion_tokens),
            "energy": self.energy(),
        })
        .to_string()
    }

    fn record(&mut self) -> RequestRecord {
        self.end_attempt(self.outcome);
        let attempts = std::mem::take(&mut self.past);
        let last = attempts.last();
        RequestRecord {
            id: self.id,
            account: self.caller.key.account,
            key: self.caller.key.id,
            endpoint: self.endpoint,
            model: std::mem::take(&mut self.model),
            streamed: self.streamed,
            outcome: self.outcome.word(),
            status: self.status,
            prompt_tokens: last.map_or(0, |last| last.prompt_tokens),
            completion_tokens: last.map_or(0, |last| last.completion_tokens),
            energy: last.and_then(|last| last.energy.clone()),
            started_at: self.started_at,
            first_byte: self.first_byte,
            duration: self.started.elapsed().into(),
            attempts,
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let record = self.record();
        record.log();
        self.recorder.write(record);
    }
}
