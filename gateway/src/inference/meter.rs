//! What a request has used so far, and what becomes of it. The meter travels with the answer and owns all that was taken
//! for the request; when it is dropped, at the end or anywhere on the way, the request is settled. Private fields and
//! methods only: a closure that captured one field would leave the rest, and with it the settlement, behind.

use std::sync::Arc;
use std::time::Instant;

use openapi::chat::FinishReason;
use openapi::energy::{EnergyComment, EnergyTerms, EnergyUsage, Status, disclose};
use openapi::frame::UsageFrame;
use openapi::price::BilledTokens;
use openapi::units::{Microseconds, Nanocredits};
use serde_json::json;
use uuid::Uuid;

use super::count::Count;
use super::record::{AttemptEnergy, AttemptRecord, OpenRequest, Outcome, RequestRecord};
use super::running::Entry;
use super::terms::Terms;
use crate::admission::{Amounts, Hold};
use crate::app::App;
use crate::auth::Caller;
use crate::energy::court::Tried;
use crate::journal::Settled;
use crate::nodes::{Call, Lease, ServedModel};
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
    running: Option<Running>,
    past: Vec<AttemptRecord>,
    /// Why the node of the attempt under way was chosen, where the request had a say in it.
    choice: Option<String>,
    outcome: Outcome,
    status: u16,
    settled: bool,
}

/// The attempt under way.
struct Running {
    lease: Lease,
    price: PriceVersion,
    model: Arc<ServedModel>,
    /// What turns the node's joules into the site's, and into carbon.
    terms: EnergyTerms,
    started: Instant,
    /// Tokens that the answer may have as far as is held for.
    limit: u64,
    used: Option<UsageFrame>,
    count: Count,
    /// What was handed to the client.
    delivered: BilledTokens,
}

impl Running {
    fn cost(&self) -> Nanocredits {
        self.price.price.cost(&self.delivered)
    }

    fn finish_reason(&self) -> Option<FinishReason> {
        self.used.as_ref().and_then(|used| used.finish_reason)
    }

    fn energy(&self) -> Option<EnergyUsage> {
        let energy = &self.used.as_ref()?.energy;
        let status = if energy.settled { Status::Settled } else { Status::Provisional };
        Some(disclose(energy, &self.terms, status))
    }
}

impl Meter {
    pub(super) fn open(admission: Admission) -> Self {
        Self {
            admission,
            started: Instant::now(),
            first_byte: None,
            running: None,
            past: Vec::new(),
            choice: None,
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

    /// The node at work, for the reply's headers.
    pub(super) fn node(&self) -> Option<Uuid> {
        self.running.as_ref().map(|running| running.lease.node_id())
    }

    /// Why the next attempt's node was chosen.
    pub(super) fn chosen(&mut self, reason: String) {
        self.choice = Some(reason);
    }

    /// The same, for the reply's headers.
    pub(super) fn choice(&self) -> Option<&str> {
        self.choice.as_deref()
    }

    /// A try on a node begins.
    pub(super) fn begin_attempt(&mut self, lease: Lease, price: PriceVersion, model: &Arc<ServedModel>) -> Call {
        let limit = self.admission.terms.held;
        let terms = self.admission.app.energies.terms(&lease.node());
        let call = Call {
            request: self.id(),
            attempt: self.past.len() as u32 + 1,
            model: model.id.clone(),
            max_tokens: u32::try_from(limit).unwrap_or(u32::MAX),
            price: price.price,
            energy: terms.clone(),
        };
        self.admission.app.court.begins(lease.node_id(), call.request, call.attempt);
        self.admission.entry.attempts(&lease.node(), &call);
        self.running = Some(Running {
            lease,
            price,
            model: Arc::clone(model),
            terms,
            started: Instant::now(),
            limit,
            used: None,
            count: Count::default(),
            delivered: BilledTokens::default(),
        });
        call
    }

    /// Takes what the node says it has used, and holds more for an answer that grows.
    ///
    /// # Errors
    /// When the node goes on beyond what it was allowed.
    pub(super) fn observe(&mut self, mut frame: UsageFrame) -> Result<(), String> {
        // What no request takes would not fit the database, and keep the whole record out of it.
        frame.energy = frame.energy.held();
        let Some(running) = &mut self.running else { return Ok(()) };
        if frame.completion_tokens > running.limit.saturating_add(TOKENS_ON_THE_WAY) {
            return Err(format!("it went on after its limit of {} tokens", running.limit));
        }
        running.count.frame(&frame);
        running.used = Some(frame);
        self.top_up();
        Ok(())
    }

    fn top_up(&mut self) {
        let Some(running) = &mut self.running else { return };
        let claimed = running.used.as_ref().map_or(0, |used| used.completion_tokens);
        let most = self.admission.terms.most;
        if running.limit >= most || running.finish_reason().is_some() || claimed + RUNS_LOW < running.limit {
            return;
        }
        let microjoules = self.admission.app.typicals.microjoules_per_token(&self.admission.request.model);
        let steps = TOP_UPS.map(|step| step.min(most - running.limit));
        let amounts = steps.map(|more| Terms::more(more, &running.price.price, microjoules));
        let held = self.admission.hold.as_mut().map_or(Some(0), |hold| hold.top_up(&amounts));
        if let Some(more) = held.and_then(|step| steps.get(step)) {
            running.limit += more;
            self.admission.entry.raise_limit(u32::try_from(running.limit).unwrap_or(u32::MAX));
        }
    }

    /// The client gets this event of the answer now: its tokens, and the prompt, are delivered.
    pub(super) fn deliver(&mut self, data: &str) {
        let most_prompt = self.admission.terms.prompt;
        let Some(running) = &mut self.running else { return };
        running.count.piece(data);
        running.delivered = BilledTokens {
            prompt: running.count.prompt(most_prompt),
            cached: 0,
            completion: running.count.completion().min(running.limit),
        };
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
        if let Some(running) = self.running.take() {
            self.close(&running, outcome);
        }
    }

    fn close(&mut self, running: &Running, outcome: Outcome) {
        match outcome {
            Outcome::NodeFailed => running.lease.failed(),
            _ => running.lease.succeeded(),
        }
        let used = running.used.as_ref();
        running.lease.spoke(running.delivered.completion, running.started.elapsed());
        let overclaimed = running.count.overclaimed(self.admission.terms.prompt, running.finish_reason().is_some());
        if overclaimed > 0 && outcome != Outcome::ClientLeft {
            tracing::warn!(node = %running.lease.node_id(), request = %self.id(), overclaimed, "a node claims tokens that it did not stream");
        }
        self.judge(running, outcome);
        let delivered = running.delivered != BilledTokens::default();
        self.past.push(AttemptRecord {
            request_id: self.id(),
            attempt: self.past.len() as u32 + 1,
            node_id: running.lease.node_id(),
            outcome,
            prompt_tokens: used.map_or(0, |used| used.prompt_tokens),
            completion_tokens: used.map_or(0, |used| used.completion_tokens),
            overclaimed_tokens: overclaimed,
            microjoules: used.map(|used| used.energy.microjoules).unwrap_or_default(),
            energy: used.map(|used| AttemptEnergy::new(&used.energy, &running.terms, delivered)),
            duration_microseconds: running.started.elapsed().into(),
        });
    }

    /// What the node claims for the energy of an answer that is complete is held against what was counted here.
    fn judge(&self, running: &Running, outcome: Outcome) {
        let (app, node) = (&self.admission.app, running.lease.node());
        let attempt = self.past.len() as u32 + 1;
        let Some(used) = &running.used else {
            return app.court.came_to_nothing(node.id, self.id(), attempt);
        };
        if outcome == Outcome::Completed && used.energy.settled {
            let tried = Tried {
                request: self.id(),
                attempt,
                model: &running.model.id,
                prompt_tokens: running.delivered.prompt,
                completion_tokens: running.delivered.completion,
                took: running.started.elapsed().into(),
                claim: Some(&used.energy),
            };
            app.court.hear(app, &node, &tried);
        }
    }

    /// What becomes of the request, and the status that the client sees.
    pub(super) fn end(&mut self, outcome: Outcome, status: u16) {
        self.outcome = outcome;
        self.status = status;
    }

    /// The answer has come to its end: the model's, or the one that credit or its account has set.
    pub(super) fn complete(&mut self) {
        let running = self.running.as_ref();
        let ended_early = running.is_some_and(|running| {
            let claimed = running.used.as_ref().map_or(0, |used| used.completion_tokens);
            running.finish_reason() == Some(FinishReason::Length) && claimed < self.admission.terms.most
        });
        let at_limit = running
            .is_some_and(|running| running.used.as_ref().is_some_and(|used| used.completion_tokens >= running.limit));
        let outcome = match (ended_early, self.admission.entry.is_cancelled()) {
            (true, true) => Outcome::Cancelled,
            (true, false) if at_limit => Outcome::CutShort,
            _ => Outcome::Completed,
        };
        self.end(outcome, 200);
    }

    /// Set when the answer was ended before the model did.
    pub(super) fn outcome_header(&self) -> Option<axum::http::HeaderValue> {
        (self.outcome != Outcome::Completed).then(|| axum::http::HeaderValue::from_static(self.outcome.word()))
    }

    /// True when a node was tried and failed.
    pub(super) fn has_failed(&self) -> bool {
        self.past.iter().any(|attempt| attempt.outcome == Outcome::NodeFailed)
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
        self.running.as_ref().map(Running::cost).unwrap_or_default()
    }

    /// The request in one line, for the comment at the end of every stream.
    pub(super) fn summary(&self) -> String {
        let delivered = self.running.as_ref().map(|running| running.delivered);
        json!({
            "request": self.id(),
            "node": self.node(),
            "attempts": self.past.len() + 1,
            "outcome": self.outcome,
            "prompt_tokens": delivered.map(|delivered| delivered.prompt),
            "completion_tokens": delivered.map(|delivered| delivered.completion),
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

    fn record(&mut self) -> RequestRecord {
        let mut record = RequestRecord::without_answer(self.admission.request.clone(), self.outcome, self.status);
        record.first_byte_microseconds = self.first_byte;
        record.duration_microseconds = self.started.elapsed().into();
        if let Some(running) = self.running.take() {
            self.close(&running, self.outcome);
            let delivered = running.delivered;
            record.prompt_tokens = delivered.prompt;
            record.cached_tokens = delivered.cached;
            record.completion_tokens = delivered.completion;
            record.price_version = Some(running.price.version);
            if self.outcome.is_paid() {
                record.nanocredits = running.cost();
            }
            record.authors.clone_from(&running.model.authors);
            if let Some(used) = &running.used {
                record.set_energy(&used.energy);
                if self.outcome == Outcome::Completed {
                    let app = &self.admission.app;
                    let model = &record.request.model;
                    app.typicals.learn(
                        model,
                        used.completion_tokens,
                        used.energy.microjoules,
                        running.started.elapsed().into(),
                    );
                }
            }
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
