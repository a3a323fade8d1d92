//! What becomes of a request: its outcome, its record, and the settlement of what was held.

use openapi::chat::FinishReason;
use serde_json::json;

use super::Meter;
use crate::admission::Amounts;
use crate::inference::attempt::Attempt;
use crate::inference::record::{Outcome, RequestRecord};
use crate::journal::Settled;

impl Meter {
    /// What becomes of the request, and the status that the client sees.
    pub(in crate::inference) fn end(&mut self, outcome: Outcome, status: u16) {
        self.outcome = outcome;
        self.status = status;
    }

    /// The answer has come to its end: the model's, or the one that credit or its account has set.
    pub(in crate::inference) fn complete(&mut self) {
        self.said.deliver_all(self.admission.terms.prompt, self.limit);
        let running = self.running.as_ref();
        let claimed = running.map_or(0, Attempt::claimed);
        let at_length = running.is_some_and(|running| running.finish_reason() == Some(FinishReason::Length));
        let ended_early = at_length && claimed < self.admission.terms.most;
        let outcome = match (ended_early, self.admission.entry.is_cancelled()) {
            (true, true) => Outcome::Cancelled,
            (true, false) if claimed >= self.limit => Outcome::CutShort,
            _ => Outcome::Completed,
        };
        self.end(outcome, 200);
    }

    /// Set when the answer was ended before the model did.
    pub(in crate::inference) fn outcome_header(&self) -> Option<axum::http::HeaderValue> {
        (self.outcome != Outcome::Completed).then(|| axum::http::HeaderValue::from_static(self.outcome.word()))
    }

    /// The request in one line, for the comment at the end of every stream.
    pub(in crate::inference) fn summary(&self) -> String {
        let delivered = self.said.delivered();
        json!({
            "request": self.id(),
            "node": self.node(),
            "receipt": self.receipt(),
            "attempts": self.attempts(),
            "outcome": self.outcome,
            "prompt_tokens": delivered.prompt,
            "completion_tokens": delivered.completion,
            "cost": self.cost().credits(),
            "energy": self.energy(),
        })
        .to_string()
    }

    /// Settles the request, and waits until that is safe: call it before the client gets the last byte.
    pub(in crate::inference) async fn finish(mut self: Box<Self>) {
        if let Some(settled) = self.settle() {
            settled.await;
        }
    }

    /// Gives back what was held, and puts into the journal what became of the request.
    fn settle(&mut self) -> Option<Settled> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        let mut record = self.record();
        if let Some(hold) = self.admission.hold.take() {
            record.spent = hold.settle(&Amounts {
                requests: 1,
                tokens: record.prompt_tokens + record.completion_tokens,
                nanocredits: record.nanocredits.get(),
                microjoules: record.microjoules.get(),
            });
        }
        record.log();
        self.admission.app.metrics.record(&record);
        self.trace.iter_mut().for_each(|trace| trace.ended(&record));
        let app = &self.admission.app;
        app.metering.then(|| app.journal.settle(record.request.id, &record.to_bytes()))
    }

    pub(in crate::inference) fn record(&mut self) -> RequestRecord {
        let mut record = RequestRecord::without_answer(self.admission.request.clone(), self.outcome, self.status);
        record.first_byte_microseconds = self.first_byte;
        record.duration_microseconds = self.started.elapsed().into();
        if self.outcome.is_paid() {
            record.nanocredits = self.cost();
        }
        for attempt in std::mem::take(&mut self.asked) {
            self.close(&attempt, self.outcome);
        }
        if let Some(running) = self.running.take() {
            self.close(&running, self.outcome);
            if let Some(noted) = self.past.last_mut().and_then(|last| last.noted.as_mut()) {
                noted.is_paid = self.outcome.is_paid();
            }
            record.price_version = Some(running.price.version);
            record.authors.clone_from(&running.model.authors);
            if let Some(used) = &running.used
                && self.outcome == Outcome::Completed
                && running.before == 0
            {
                let took = running.started.elapsed().into();
                let app = &self.admission.app;
                app.typicals.learn(&record.request.model, used.completion_tokens, used.energy.microjoules, took);
            }
        }
        let delivered = self.said.delivered();
        record.prompt_tokens = delivered.prompt;
        record.cached_tokens = delivered.cached;
        record.completion_tokens = delivered.completion;
        if let Some(energy) = &self.energy {
            record.set_energy(energy);
        }
        record.attempts = std::mem::take(&mut self.past);
        record.node_id = record.attempts.last().map(|last| last.node_id);
        record
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Nobody is there any more to wait for the disk.
        drop(self.settle());
        self.trace.take().into_iter().for_each(|trace| self.admission.app.traces.write(trace.finish()));
    }
}
