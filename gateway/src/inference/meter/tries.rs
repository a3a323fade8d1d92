//! The nodes that are tried for a request, one after the other, or two of them until one begins to answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openapi::frame::UsageFrame;
use openapi::units::Microseconds;
use uuid::Uuid;

use super::Meter;
use crate::inference::attempt::{Attempt, Sealed};
use crate::inference::attempts::Tried;
use crate::inference::record::Outcome;
use crate::nodes::{Call, Found, ServedModel};
use crate::prices::PriceVersion;
use crate::traces::Try;

impl Meter {
    /// The node at work, for the reply's headers.
    pub(in crate::inference) fn node(&self) -> Option<Uuid> {
        self.running.as_ref().map(|running| running.lease.node_id())
    }

    /// The node at work, as one that was tried.
    pub(in crate::inference) fn tried(&self) -> Tried {
        let mut tried = Tried::default();
        self.running.iter().for_each(|running| tried.push(&running.lease.node()));
        tried
    }

    /// Why the node at work was chosen, for the reply's headers.
    pub(in crate::inference) fn choice(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.choice.as_str())
    }

    /// A try on a node begins. Several may be under way until one of the nodes begins to answer.
    pub(in crate::inference) fn begin_attempt(
        &mut self,
        found: Found,
        (price, model): (PriceVersion, &Arc<ServedModel>),
        body: &[u8],
    ) -> Call {
        let Found { lease, model: name, reason: choice } = found;
        let terms = self.admission.app.energies.terms(&lease.node());
        let call = Call {
            request: self.id(),
            attempt: self.attempts() as u32 + 1,
            model: model.id.clone(),
            max_tokens: u32::try_from(self.limit).unwrap_or(u32::MAX),
            price: price.price,
            energy: terms.clone(),
            salt: self.admission.app.metering.then_some(self.salt),
            trace: self.trace.as_ref().map(|trace| trace.of_try(self.attempts() as u32 + 1)),
        };
        self.admission.app.court.begins(lease.node_id(), call.request, call.attempt);
        self.admission.entry.attempts(&lease.node(), &call);
        let shown = self.admission.app.live.began(&model.name, lease.node_id(), lease.node().offer().region);
        self.asked.push(Attempt {
            request: call.request,
            number: call.attempt,
            name,
            lease,
            price,
            model: Arc::clone(model),
            terms,
            shown,
            choice,
            started: Instant::now(),
            first_byte: None,
            before: self.said.tokens(),
            used: None,
            sealed: self.sealed(body),
        });
        call
    }

    fn sealed(&self, body: &[u8]) -> Option<Box<Sealed>> {
        let salt = self.salt;
        let sealed = || Box::new(Sealed { salt, request: salt.request(body), answer: salt.answer() });
        self.admission.app.metering.then(sealed)
    }

    /// A try on a node that has not begun to answer.
    pub(in crate::inference) fn asked(&self, number: u32) -> Option<&Attempt> {
        self.asked.iter().find(|attempt| attempt.number == number)
    }

    fn take(&mut self, number: u32) -> Option<Attempt> {
        let at = self.asked.iter().position(|attempt| attempt.number == number)?;
        Some(self.asked.remove(at))
    }

    /// A node that has not begun to answer says what it has used. Nothing of it is the answer's as long as another one may
    /// give that.
    pub(in crate::inference) fn uses(&mut self, number: u32, frame: UsageFrame) {
        if let Some(attempt) = self.asked.iter_mut().find(|attempt| attempt.number == number) {
            attempt.used = Some(frame.held());
        }
    }

    /// This node begins to answer and goes on; the others are outdone.
    pub(in crate::inference) fn begins(&mut self, number: u32) {
        let Some(attempt) = self.take(number) else { return };
        self.outdo();
        let admission = &mut self.admission;
        admission.app.hedging.learn(&attempt.model.id, attempt.started.elapsed());
        admission.request.model.clone_from(&attempt.name);
        if let Some(frame) = &attempt.used {
            self.said.frame(frame, &attempt.model);
        }
        self.running = Some(attempt);
    }

    /// Another node was first, and what these might have answered is not waited for.
    pub(in crate::inference) fn outdo(&mut self) {
        for attempt in std::mem::take(&mut self.asked) {
            let waited = attempt.started.elapsed();
            attempt.lease.silent_for(waited, self.admission.terms.prompt);
            self.admission.app.hedging.learn(&attempt.model.id, waited);
            self.close(&attempt, Outcome::Outdone);
        }
    }

    /// A node that has not begun to answer will not.
    pub(in crate::inference) fn gives_up(&mut self, number: u32, outcome: Outcome) {
        if let Some(attempt) = self.take(number) {
            self.close(&attempt, outcome);
        }
    }

    /// The client gets its first byte now.
    pub(in crate::inference) fn answers(&mut self) {
        if self.first_byte.is_none()
            && let Some(running) = &self.running
        {
            let overhead = running.started.saturating_duration_since(self.started).saturating_sub(self.queued);
            self.admission.app.metrics.overhead(overhead);
        }
        let waited = Microseconds::from(self.started.elapsed());
        self.first_byte.get_or_insert(waited);
        if let Some(running) = &mut self.running {
            running.first_byte = Some(Instant::now());
            running.lease.answered(running.started.elapsed(), self.admission.terms.prompt);
        }
    }

    /// The node has no room, and may know when it will have some.
    pub(in crate::inference) fn is_refused(&self, number: u32, retry_after: Option<Duration>) {
        if let Some(attempt) = self.asked(number) {
            attempt.lease.refused(retry_after);
        }
    }

    /// The node answers with another model than it was asked for.
    pub(in crate::inference) fn answered_as_another(&self) {
        if let Some(running) = &self.running {
            running.lease.answered_as_another();
        }
    }

    /// So much time lay between two tokens.
    pub(in crate::inference) fn paused(&self, gap: Duration) {
        if let Some(running) = &self.running {
            running.lease.paused(gap);
        }
    }

    /// The attempt is over, and the request goes on without it.
    pub(in crate::inference) fn end_attempt(&mut self, outcome: Outcome) {
        if let Some(running) = self.running.take() {
            self.close(&running, outcome);
        }
    }

    pub(super) fn close(&mut self, running: &Attempt, outcome: Outcome) {
        let admission = &self.admission;
        admission.entry.ends(running.number);
        self.energy = running.used.as_ref().map(|used| running.terms.capped(&used.energy));
        let mut record = running.close(&admission.app, &self.said, admission.terms.prompt, outcome);
        if let Some(noted) = &mut record.noted {
            noted.client_request.clone_from(&admission.request.client_request);
        }
        if let Some(trace) = &mut self.trace {
            let times = Try { began: running.started, first_byte: running.first_byte };
            trace.tried(&running.name, &admission.request.endpoint, &record, times);
        }
        let delivered = running.delivered(&self.said);
        admission.app.live.ended(running.shown, &running.model.name, delivered, &record);
        self.past.push(record);
    }

    /// Nodes that were tried and are done with.
    pub(in crate::inference) fn tries(&self) -> usize {
        self.past.len()
    }

    /// True when a node was tried and failed.
    pub(in crate::inference) fn has_failed(&self) -> bool {
        self.past.iter().any(|attempt| attempt.outcome == Outcome::NodeFailed)
    }

    /// All tries, those under way among them.
    pub(super) fn attempts(&self) -> usize {
        self.past.len() + self.asked.len() + usize::from(self.running.is_some())
    }
}
