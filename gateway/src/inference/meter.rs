//! What a request has used so far, and what becomes of it. The meter travels with the answer and owns all that was taken
//! for the request; when it is dropped, at the end or anywhere on the way, the request is settled. Private fields and
//! methods only: a closure that captured one field would leave the rest, and with it the settlement, behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openapi::chat::FinishReason;
use openapi::energy::{Energy, EnergyComment, EnergyUsage};
use openapi::frame::UsageFrame;
use openapi::units::{Microseconds, Nanocredits};
use serde_json::json;
use uuid::Uuid;

use super::attempt::Attempt;
use super::attempts::Tried;
use super::record::{AttemptRecord, OpenRequest, Outcome, RequestRecord};
use super::running::Entry;
use super::said::Said;
use super::terms::Terms;
use crate::admission::{Amounts, Hold};
use crate::app::App;
use crate::auth::Caller;
use crate::journal::Settled;
use crate::nodes::{Call, Found, ServedModel};
use crate::prices::PriceVersion;

/// The status that proxies use for a client that closed its request.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// A node that has not heard of its limit yet may pass it by this many tokens.
const TOKENS_ON_THE_WAY: u64 = 64;
/// An open-ended answer is topped up by the first of these numbers of tokens that can be held.
const TOP_UPS: [u64; 4] = [1024, 256, 64, 16];
/// It is topped up when no more than this are left.
const RUNS_LOW: u64 = 512;

/// What was taken for a request before it ran.
pub(super) struct Admission {
    pub(super) app: App,
    /// Kept for its watch: the key is in use as long as the request runs.
    pub(super) _caller: Caller,
    pub(super) entry: Entry,
    /// None where accounting is switched off.
    pub(super) hold: Option<Hold>,
    pub(super) request: OpenRequest,
    pub(super) terms: Terms,
}

/// Counts one request.
pub(super) struct Meter {
    admission: Admission,
    started: Instant,
    first_byte: Option<Microseconds>,
    /// On nodes that have not begun to answer.
    asked: Vec<Attempt>,
    /// On the node that answers.
    running: Option<Attempt>,
    past: Vec<AttemptRecord>,
    /// What the last attempt took in energy.
    energy: Option<Energy>,
    said: Said,
    /// Tokens that the answer may have as far as is held for.
    limit: u64,
    outcome: Outcome,
    status: u16,
    settled: bool,
}

impl Meter {
    pub(super) fn open(admission: Admission) -> Self {
        Self {
            limit: admission.terms.held,
            admission,
            started: Instant::now(),
            first_byte: None,
            asked: Vec::new(),
            running: None,
            past: Vec::new(),
            energy: None,
            said: Said::default(),
            // Unless somebody says otherwise: then nobody was there any more to say it.
            outcome: Outcome::ClientLeft,
            status: CLIENT_CLOSED_REQUEST,
            settled: false,
        }
    }

    /// The request.
    pub(super) fn id(&self) -> Uuid {
        self.admission.request.id
    }

    /// The bounds that were agreed.
    pub(super) fn terms(&self) -> &Terms {
        &self.admission.terms
    }

    /// The most that it may cost; none where nothing is counted.
    pub(super) fn held(&self) -> Option<Nanocredits> {
        self.admission.hold.as_ref().map(Hold::nanocredits)
    }

    /// Where the client stands with its limits, in headers.
    pub(super) fn limit_headers(&self) -> axum::http::HeaderMap {
        self.admission.hold.as_ref().map(Hold::headers).unwrap_or_default()
    }

    /// Tokens that the answer may have, as far as is held for.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Who pays.
    pub(super) fn account(&self) -> Uuid {
        self.admission.request.account_id
    }

    /// What has been said of the answer.
    pub(super) fn said(&self) -> &Said {
        &self.said
    }

    /// The answer begins anew: its client has seen nothing of it.
    pub(super) fn forget_what_was_said(&mut self) {
        self.said = Said::default();
    }

    /// The node at work, for the reply's headers.
    pub(super) fn node(&self) -> Option<Uuid> {
        self.running.as_ref().map(|running| running.lease.node_id())
    }

    /// The node at work, as one that was tried.
    pub(super) fn tried(&self) -> Tried {
        let mut tried = Tried::default();
        self.running.iter().for_each(|running| tried.push(&running.lease.node()));
        tried
    }

    /// Why the node at work was chosen, for the reply's headers.
    pub(super) fn choice(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.choice.as_str())
    }

    /// A try on a node begins. Several may be under way until one of the nodes begins to answer.
    pub(super) fn begin_attempt(&mut self, found: Found, price: PriceVersion, model: &Arc<ServedModel>) -> Call {
        let Found { lease, model: name, reason: choice } = found;
        let terms = self.admission.app.energies.terms(&lease.node());
        let call = Call {
            request: self.id(),
            attempt: self.attempts() as u32 + 1,
            model: model.id.clone(),
            max_tokens: u32::try_from(self.limit).unwrap_or(u32::MAX),
            price: price.price,
            energy: terms.clone(),
        };
        self.admission.app.court.begins(lease.node_id(), call.request, call.attempt);
        self.admission.entry.attempts(&lease.node(), &call);
        self.asked.push(Attempt {
            request: call.request,
            number: call.attempt,
            name,
            lease,
            price,
            model: Arc::clone(model),
            terms,
            choice,
            started: Instant::now(),
            before: self.said.tokens(),
            used: None,
        });
        call
    }

    /// A try on a node that has not begun to answer.
    pub(super) fn asked(&self, number: u32) -> Option<&Attempt> {
        self.asked.iter().find(|attempt| attempt.number == number)
    }

    fn take(&mut self, number: u32) -> Option<Attempt> {
        let at = self.asked.iter().position(|attempt| attempt.number == number)?;
        Some(self.asked.remove(at))
    }

    /// A node that has not begun to answer says what it has used. Nothing of it is the answer's as long as another one may
    /// give that.
    pub(super) fn uses(&mut self, number: u32, mut frame: UsageFrame) {
        frame.energy = frame.energy.held();
        if let Some(attempt) = self.asked.iter_mut().find(|attempt| attempt.number == number) {
            attempt.used = Some(frame);
        }
    }

    /// This node begins to answer and goes on; the others are outdone.
    pub(super) fn begins(&mut self, number: u32) {
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
    pub(super) fn outdo(&mut self) {
        for attempt in std::mem::take(&mut self.asked) {
            let waited = attempt.started.elapsed();
            attempt.lease.silent_for(waited, self.admission.terms.prompt);
            self.admission.app.hedging.learn(&attempt.model.id, waited);
            self.close(&attempt, Outcome::Outdone);
        }
    }

    /// A node that has not begun to answer will not.
    pub(super) fn gives_up(&mut self, number: u32, outcome: Outcome) {
        if let Some(attempt) = self.take(number) {
            self.close(&attempt, outcome);
        }
    }

    /// Takes what the node says it has used, and holds more for an answer that grows.
    ///
    /// # Errors
    /// When the node goes on beyond what it was allowed.
    pub(super) fn observe(&mut self, mut frame: UsageFrame) -> Result<(), String> {
        // What no request takes would not fit the database, and keep the whole record out of it.
        frame.energy = frame.energy.held();
        let Some(running) = &mut self.running else { return Ok(()) };
        if frame.completion_tokens > self.limit.saturating_add(TOKENS_ON_THE_WAY) {
            if running.model.names_tokens {
                return Err(format!("it went on after its limit of {} tokens", self.limit));
            }
            // A server whose pieces hold several tokens says only at its end how many they were.
            frame.completion_tokens = self.reach(frame.completion_tokens);
        }
        let Some(running) = &mut self.running else { return Ok(()) };
        self.said.frame(&frame, &running.model);
        running.used = Some(frame);
        self.top_up();
        Ok(())
    }

    /// Holds more until the answer may have so many tokens, or as near to them as can be held; says how many.
    fn reach(&mut self, tokens: u64) -> u64 {
        while self.limit < tokens && self.grow() {}
        self.limit.min(tokens)
    }

    fn top_up(&mut self) {
        let Some(running) = &self.running else { return };
        let most = self.admission.terms.most;
        if self.limit >= most || running.finish_reason().is_some() || running.claimed() + RUNS_LOW < self.limit {
            return;
        }
        self.grow();
    }

    /// Holds more for the answer. False when nothing more can be had.
    fn grow(&mut self) -> bool {
        let Some(running) = &self.running else { return false };
        let most = self.admission.terms.most;
        if self.limit >= most {
            return false;
        }
        let microjoules = self.admission.app.typicals.microjoules_per_token(&self.admission.request.model);
        let steps = TOP_UPS.map(|step| step.min(most - self.limit));
        let amounts = steps.map(|more| Terms::more(more, &running.price.price, microjoules));
        let held = self.admission.hold.as_mut().map_or(Some(0), |hold| hold.top_up(&amounts));
        let Some(more) = held.and_then(|step| steps.get(step)) else { return false };
        self.limit += more;
        self.admission.entry.raise_limit(u32::try_from(self.limit).unwrap_or(u32::MAX));
        true
    }

    /// The client gets this event of the answer now: its tokens, and the prompt, are delivered.
    pub(super) fn deliver(&mut self, data: &str) {
        self.said.piece(data, self.admission.terms.prompt, self.limit);
    }

    /// The client gets its first byte now.
    pub(super) fn answers(&mut self) {
        let waited = Microseconds::from(self.started.elapsed());
        self.first_byte.get_or_insert(waited);
        if let Some(running) = &self.running {
            running.lease.answered(running.started.elapsed(), self.admission.terms.prompt);
        }
    }

    /// The node has no room, and may know when it will have some.
    pub(super) fn is_refused(&self, number: u32, retry_after: Option<Duration>) {
        if let Some(attempt) = self.asked(number) {
            attempt.lease.refused(retry_after);
        }
    }

    /// The node answers with another model than it was asked for.
    pub(super) fn answered_as_another(&self) {
        if let Some(running) = &self.running {
            running.lease.answered_as_another();
        }
    }

    /// So much time lay between two tokens.
    pub(super) fn paused(&self, gap: Duration) {
        if let Some(running) = &self.running {
            running.lease.paused(gap);
        }
    }

    /// The attempt is over, and the request goes on without it.
    pub(super) fn end_attempt(&mut self, outcome: Outcome) {
        if let Some(running) = self.running.take() {
            self.close(&running, outcome);
        }
    }

    fn close(&mut self, running: &Attempt, outcome: Outcome) {
        let admission = &self.admission;
        admission.entry.ends(running.number);
        self.energy = running.used.as_ref().map(|used| running.terms.capped(&used.energy));
        self.past.push(running.close(&admission.app, &self.said, admission.terms.prompt, outcome));
    }

    /// What becomes of the request, and the status that the client sees.
    pub(super) fn end(&mut self, outcome: Outcome, status: u16) {
        self.outcome = outcome;
        self.status = status;
    }

    /// The answer has come to its end: the model's, or the one that credit or its account has set.
    pub(super) fn complete(&mut self) {
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
    pub(super) fn outcome_header(&self) -> Option<axum::http::HeaderValue> {
        (self.outcome != Outcome::Completed).then(|| axum::http::HeaderValue::from_static(self.outcome.word()))
    }

    /// Nodes that were tried and are done with.
    pub(super) fn tries(&self) -> usize {
        self.past.len()
    }

    /// True when a node was tried and failed.
    pub(super) fn has_failed(&self) -> bool {
        self.past.iter().any(|attempt| attempt.outcome == Outcome::NodeFailed)
    }

    /// All tries, those under way among them.
    fn attempts(&self) -> usize {
        self.past.len() + self.asked.len() + usize::from(self.running.is_some())
    }

    /// What the attempt has cost in energy so far.
    pub(super) fn energy(&self) -> Option<EnergyUsage> {
        self.running.as_ref()?.energy()
    }

    /// The same for the comment before the end of every stream, under the names that others give it.
    pub(super) fn energy_comment(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        let worked = Microseconds::from(running.started.elapsed());
        let comment = EnergyComment::new(running.energy()?, running.lease.node_id().to_string(), worked.get());
        serde_json::to_string(&comment).ok()
    }

    /// What the delivered part of the answer costs.
    pub(super) fn cost(&self) -> Nanocredits {
        let delivered = self.said.delivered();
        self.running.as_ref().map(|running| running.price.price.cost(&delivered)).unwrap_or_default()
    }

    /// The request in one line, for the comment at the end of every stream.
    pub(super) fn summary(&self) -> String {
        let delivered = self.said.delivered();
        json!({
            "request": self.id(),
            "node": self.node(),
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
    pub(super) async fn finish(mut self) {
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
        let app = &self.admission.app;
        app.metering.then(|| app.journal.settle(record.request.id, &record.to_bytes()))
    }

    pub(super) fn record(&mut self) -> RequestRecord {
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
    }
}
