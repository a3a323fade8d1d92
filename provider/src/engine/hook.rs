//! The per-request object that the engine calls once for every token. It chooses the token, hands its id over, and holds
//! the request's place: when the engine lets go of the sequence it drops the hook, and only then is the slot free.

use std::sync::atomic::{AtomicUsize, Ordering};

use mistralrs::{CustomLogitsProcessor, Tensor};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::sampler::Sampler;
use crate::slots::Slot;

pub(super) struct Hook {
    pub(super) sampler: Sampler,
    pub(super) prompt_tokens: usize,
    /// Tokens that the answer may still have at its start.
    pub(super) max_tokens: usize,
    pub(super) end_token: u32,
    /// Holds one message per token of the answer, which the context bounds.
    pub(super) sampled: UnboundedSender<u32>,
    pub(super) cancelled: CancellationToken,
    pub(super) emitted: AtomicUsize,
    pub(super) _slot: Slot,
}

impl CustomLogitsProcessor for Hook {
    /// `context` is the prompt and everything generated so far. Never an error: one would spoil the step of every other
    /// sequence in the batch.
    fn apply(&self, logits: &Tensor, context: &[u32]) -> mistralrs::Result<Tensor> {
        let scores: Vec<f32> = logits.to_vec1()?;
        let vocabulary = scores.len();
        let token = self.next_token(scores, context);
        // The engine takes the highest: everything else lies infinitely far below.
        let mut chosen = vec![f32::NEG_INFINITY; vocabulary];
        if let Some(score) = chosen.get_mut(token as usize) {
            *score = 1.0;
        }
        Tensor::from_vec(chosen, vocabulary, logits.device())
    }
}

impl Hook {
    fn next_token(&self, scores: Vec<f32>, context: &[u32]) -> u32 {
        let finished = self.emitted.load(Ordering::Relaxed) >= self.max_tokens;
        if finished || self.cancelled.is_cancelled() {
            return self.end_token;
        }
        let generated = context.get(self.prompt_tokens..).unwrap_or_default();
        let token = self.sampler.choose(scores, generated, context.len());
        let heard = self.sampled.send(token).is_ok();
        // An ended sequence can be stepped again by the engine; it must stay ended.
        let emitted = if token == self.end_token { self.max_tokens } else { 1 };
        self.emitted.fetch_add(emitted, Ordering::Relaxed);
        if heard { token } else { self.end_token }
    }
}
