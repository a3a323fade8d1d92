//! One try of a request on one node: the place it holds there, the terms it runs under, and what the node says of it.

use std::sync::Arc;
use std::time::Instant;

use openapi::chat::FinishReason;
use openapi::energy::{EnergyTerms, EnergyUsage, Status, disclose};
use openapi::frame::UsageFrame;
use openapi::model::ModelKind;
use openapi::receipt::commitment::{Commitment, Committing, Salt};
use uuid::Uuid;

use super::record::{AttemptEnergy, AttemptRecord, Noted, Outcome};
use super::said::Said;
use crate::app::App;
use crate::energy::court::Tried;
use crate::nodes::{Lease, ServedModel};
use crate::prices::PriceVersion;

/// An attempt under way.
pub(super) struct Attempt {
    pub(super) request: Uuid,
    /// From 1.
    pub(super) number: u32,
    /// The model, as the request names it.
    pub(super) name: String,
    pub(super) lease: Lease,
    pub(super) price: PriceVersion,
    pub(super) model: Arc<ServedModel>,
    /// What turns the node's joules into the site's, and into carbon.
    pub(super) terms: EnergyTerms,
    /// Its number for whoever watches.
    pub(super) shown: u64,
    /// Why this node.
    pub(super) choice: String,
    pub(super) started: Instant,
    /// When the client got the first byte of it.
    pub(super) first_byte: Option<Instant>,
    /// Tokens of the answer that other nodes had said before.
    pub(super) before: u64,
    /// The node's last word on what it has used.
    pub(super) used: Option<UsageFrame>,
    /// What its receipt names prompt and answer by; none where accounting is switched off. In a box: whoever moves an attempt
    /// would move two kilobytes of it.
    pub(super) sealed: Option<Box<Sealed>>,
}

/// A prompt and an answer, for whoever has the salt.
pub(super) struct Sealed {
    pub(super) salt: Salt,
    pub(super) request: Commitment,
    pub(super) answer: Committing,
}

impl Attempt {
    /// Tokens of the answer as the node counts them, those of others included.
    pub(super) fn claimed(&self) -> u64 {
        self.used.as_ref().map_or(0, |used| used.completion_tokens)
    }

    /// Tokens of it that the client has: of the texts, where the answer is vectors.
    pub(super) fn delivered(&self, said: &Said) -> u64 {
        match self.model.kind {
            ModelKind::Text => self.completion(said),
            ModelKind::Embedding => said.delivered().prompt,
        }
    }

    /// Tokens of the answer that the client has of it.
    fn completion(&self, said: &Said) -> u64 {
        said.delivered().completion.saturating_sub(self.before)
    }

    pub(super) fn finish_reason(&self) -> Option<FinishReason> {
        self.used.as_ref().and_then(|used| used.finish_reason)
    }

    /// What it has cost in energy so far.
    pub(super) fn energy(&self) -> Option<EnergyUsage> {
        let energy = &self.used.as_ref()?.energy;
        let status = if energy.settled { Status::Settled } else { Status::Provisional };
        Some(disclose(energy, &self.terms, status))
    }

    /// It is over: the node's standing hears of it, and a record remains. `most_prompt` bounds what a node may claim.
    pub(super) fn close(&self, app: &App, said: &Said, most_prompt: u64, outcome: Outcome) -> AttemptRecord {
        match outcome {
            Outcome::NodeFailed => self.lease.failed(),
            // Who leaves before anything came says nothing about the node.
            Outcome::Refused | Outcome::ClientLeft if self.used.is_none() => {}
            // Who was not waited for may have been about to answer, or dead.
            Outcome::Outdone => {}
            _ => self.lease.succeeded(),
        }
        self.lease.spoke(self.completion(said), self.started.elapsed());
        let overclaimed = said.count().overclaimed(most_prompt, self.finish_reason().is_some());
        if overclaimed > 0 && outcome != Outcome::ClientLeft {
            tracing::warn!(node = %self.lease.node_id(), request = %self.request, overclaimed, "a node claims tokens that it did not stream");
        }
        if matches!(outcome, Outcome::Completed | Outcome::CutShort) {
            self.lease.judged(said.count().claimed(), said.count().completion());
        }
        self.judge(app, said, outcome);
        let used = self.used.as_ref();
        // The answer's energy is that of the node that brought it to its end; what others spent on it is shown beside.
        let delivered_it = !said.is_unseen() && !matches!(outcome, Outcome::NodeFailed | Outcome::Outdone);
        AttemptRecord {
            request_id: self.request,
            attempt: self.number,
            node_id: self.lease.node_id(),
            outcome,
            choice: Some(self.choice.clone()),
            prompt_tokens: used.map_or(0, |used| used.prompt_tokens),
            completion_tokens: self.claimed().saturating_sub(self.before),
            overclaimed_tokens: overclaimed,
            microjoules: used.map(|used| used.energy.microjoules).unwrap_or_default(),
            energy: used.map(|used| AttemptEnergy::new(&used.energy, &self.terms, delivered_it)),
            duration_microseconds: self.started.elapsed().into(),
            noted: used.and(self.sealed.as_deref()).map(|sealed| self.noted(sealed, said, most_prompt, outcome)),
        }
    }

    /// What was seen of it. Who pays for it is known later.
    fn noted(&self, sealed: &Sealed, said: &Said, most_prompt: u64, outcome: Outcome) -> Noted {
        let ended = matches!(outcome, Outcome::Completed | Outcome::CutShort | Outcome::Cancelled);
        let heard = ended && self.finish_reason().is_some();
        Noted {
            salt: sealed.salt,
            model: self.model.id.clone(),
            price: self.price.price,
            price_version: self.price.version,
            is_paid: false,
            is_attached: self.lease.node().is_attached(),
            most_prompt_tokens: most_prompt,
            completion_tokens: heard.then(|| said.count().completion().saturating_sub(self.before)),
            request_commitment: sealed.request,
            answer_commitment: self.first_byte.map(|_| sealed.answer.end()),
            authors: self.model.authors.clone(),
            client_request: None,
        }
    }

    /// What the node claims for the energy of an answer that is complete is held against what was counted here.
    fn judge(&self, app: &App, said: &Said, outcome: Outcome) {
        let node = self.lease.node();
        let used = self.used.as_ref().filter(|_| outcome != Outcome::Outdone);
        let Some(used) = used else { return app.court.came_to_nothing(node.id, self.request, self.number) };
        // What an attached server takes is the gateway's own estimate.
        if !self.model.names_tokens {
            return app.court.came_to_nothing(node.id, self.request, self.number);
        }
        if outcome == Outcome::Completed && used.energy.settled {
            let tried = Tried {
                request: self.request,
                attempt: self.number,
                model: &self.model.id,
                // What others had said was read like a prompt.
                prompt_tokens: said.delivered().prompt + self.before,
                completion_tokens: self.completion(said),
                took: self.started.elapsed().into(),
                claim: Some(&used.energy),
            };
            app.court.hear(app, &node, &tried);
            // Samples are chats.
            if self.model.kind == ModelKind::Text {
                app.samples.after(node.id, &self.model.name);
            }
        }
    }
}
