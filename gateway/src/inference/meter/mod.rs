//! What a request has used so far, and what becomes of it. The meter travels with the answer and owns all that was taken
//! for the request; when it is dropped, at the end or anywhere on the way, the request is settled. Private fields and
//! methods only: a closure that captured one field would leave the rest, and with it the settlement, behind. It travels
//! in a box: every future on the way would hold it once more for each step that takes it along.

mod ending;

mod growth;

mod tries;

use std::time::{Duration, Instant};

use openapi::energy::{Energy, EnergyComment, EnergyUsage};
use openapi::receipt::ReceiptId;
use openapi::receipt::commitment::Salt;
use openapi::sse::Event;
use openapi::units::{Microseconds, Nanocredits};
use uuid::Uuid;

use super::attempt::Attempt;
use super::record::{AttemptRecord, OpenRequest, Outcome};
use super::running::Entry;
use super::said::Said;
use super::terms::Terms;
use crate::admission::Hold;
use crate::app::App;
use crate::auth::Caller;
use crate::traces::{Step, Trace};

/// The status that proxies use for a client that closed its request.
const CLIENT_CLOSED_REQUEST: u16 = 499;

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
    /// How long it has waited for places.
    queued: Duration,
    first_byte: Option<Microseconds>,
    /// On nodes that have not begun to answer.
    asked: Vec<Attempt>,
    /// On the node that answers.
    running: Option<Attempt>,
    past: Vec<AttemptRecord>,
    /// What the last attempt took in energy.
    energy: Option<Energy>,
    said: Said,
    /// Hides prompt and answer in the receipts.
    salt: Salt,
    /// Tokens that the answer may have as far as is held for.
    limit: u64,
    outcome: Outcome,
    status: u16,
    settled: bool,
    trace: Option<Box<Trace>>,
}

impl Meter {
    pub(super) fn open(admission: Admission) -> Box<Self> {
        Box::new(Self {
            limit: admission.terms.held,
            started: Instant::now(),
            queued: Duration::ZERO,
            first_byte: None,
            asked: Vec::new(),
            running: None,
            past: Vec::new(),
            energy: None,
            said: Said::default(),
            salt: admission.app.receipts.salt(admission.request.id),
            // Unless somebody says otherwise: then nobody was there any more to say it.
            outcome: Outcome::ClientLeft,
            status: CLIENT_CLOSED_REQUEST,
            settled: false,
            trace: None,
            admission,
        })
    }

    /// The same for a request that arrived before it was let in, with its trace.
    pub(super) fn since(mut self: Box<Self>, arrived: Instant, trace: Option<Box<Trace>>) -> Box<Self> {
        (self.started, self.trace) = (arrived, trace);
        self.passed(Step::Admit, arrived);
        self
    }

    /// A step on the request's way is over.
    pub(super) fn passed(&mut self, step: Step, since: Instant) {
        if step == Step::Queue {
            let waited = since.elapsed();
            self.queued += waited;
            self.admission.app.metrics.queued(waited);
        }
        self.trace.iter_mut().for_each(|trace| trace.passed(step, since));
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

    /// The client gets this event of the answer now: its tokens, and the prompt, are delivered.
    pub(super) fn deliver(&mut self, event: &Event) {
        self.seal(event);
        if let Some(data) = event.data() {
            self.said.piece(data, self.admission.terms.prompt, self.limit);
        }
    }

    /// The client gets this event of the answer now, in which there is nothing to count.
    pub(super) fn seal(&mut self, event: &Event) {
        if let Some(sealed) = self.running.as_mut().and_then(|running| running.sealed.as_mut()) {
            sealed.answer.event(event);
        }
    }

    /// Which receipt there will be of the node at work.
    pub(super) fn receipt(&self) -> Option<ReceiptId> {
        let running = self.running.as_ref().filter(|_| self.admission.app.metering)?;
        Some(ReceiptId { request: running.request, attempt: running.number })
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
}
