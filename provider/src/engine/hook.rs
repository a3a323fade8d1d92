//! The per-request object that the engine calls once for every token. It chooses the token, hands its id over, and holds
//! the request's place: when the engine lets go of the sequence it drops the hook, and only then is the slot free.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mistralrs::{CustomLogitsProcessor, Tensor};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::sampler::Sampler;
use crate::energy::{Presence, StepKind};
use crate::slots::Slot;

/// What the hook hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampled {
    Token(u32),
    /// The ticket's limit was reached, and the sequence is ended: raising the limit now is too late.
    LimitReached,
}

pub(super) struct Hook {
    pub(super) sampler: Sampler,
    pub(super) prompt_tokens: usize,
    /// Tokens that the first step reads: the prompt, and what another build has said of the answer.
    pub(super) read_tokens: usize,
    /// What another node of this build has said of the answer: chosen before, and told.
    pub(super) forced: Vec<u32>,
    /// Tokens that the answer can have at most, whatever its ticket allows.
    pub(super) max_tokens: usize,
    /// Tokens that its ticket allows, which may change at any time.
    pub(super) limit: watch::Receiver<usize>,
    pub(super) end_token: u32,
    /// Holds one message per token of the answer, which the context bounds.
    pub(super) sampled: UnboundedSender<Sampled>,
    pub(super) cancelled: CancellationToken,
    /// Tokens handed over; `max_tokens` once the sequence has ended.
    pub(super) emitted: AtomicUsize,
    /// Where its energy is metered.
    pub(super) presence: Option<Presence>,
    pub(super) _slot: Slot,
}

impl CustomLogitsProcessor for Hook {
    /// `context` is the prompt and everything generated so far. Never an error: one would spoil the step of every other
    /// sequence in the batch.
    fn apply(&self, logits: &Tensor, context: &[u32]) -> mistralrs::Result<Tensor> {
        let begun = Instant::now();
        let scores: Vec<f32> = logits.to_vec1()?;
        let vocabulary = scores.len();
        let token = self.next_token(scores, context);
        // The engine takes the highest: everything else lies infinitely far below.
        let mut chosen = vec![f32::NEG_INFINITY; vocabulary];
        if let Some(score) = chosen.get_mut(token as usize) {
            *score = 1.0;
        }
        let chosen = Tensor::from_vec(chosen, vocabulary, logits.device());
        if let Some(presence) = &self.presence {
            presence.mark(begun, self.step(context), self.work(context));
        }
        chosen
    }
}

impl Hook {
    /// The first step of a sequence reads what there is.
    fn step(&self, context: &[u32]) -> StepKind {
        if context.len() > self.read_tokens { StepKind::Decode } else { StepKind::Prefill }
    }

    /// Tokens that the step has computed, and those before them.
    fn work(&self, context: &[u32]) -> (usize, usize) {
        match self.step(context) {
            StepKind::Prefill => (self.read_tokens, 0),
            StepKind::Decode => (1, context.len()),
        }
    }

    fn next_token(&self, scores: Vec<f32>, context: &[u32]) -> u32 {
        let emitted = self.emitted.load(Ordering::Relaxed);
        if emitted >= self.max_tokens || self.cancelled.is_cancelled() {
            return self.end_token;
        }
        // Looked at here too: a slow client's answer is computed ahead of where it is read.
        if emitted >= *self.limit.borrow() {
            return self.end_with(Sampled::LimitReached);
        }
        let generated = context.get(self.prompt_tokens..).unwrap_or_default();
        if let Some(token) = self.forced.get(generated.len()) {
            return *token;
        }
        let token = self.sampler.choose(scores, generated, context.len());
        if token == self.end_token {
            return self.end_with(Sampled::Token(token));
        }
        self.emitted.fetch_add(1, Ordering::Relaxed);
        let heard = self.sampled.send(Sampled::Token(token)).is_ok();
        if heard { token } else { self.end_token }
    }

    /// An ended sequence can be stepped again by the engine; it must stay ended.
    fn end_with(&self, last: Sampled) -> u32 {
        self.emitted.store(self.max_tokens, Ordering::Relaxed);
        // Nobody listens when the answer was dropped.
        let _ = self.sampled.send(last);
        self.end_token
    }
}
