//! The per-request object that the engine calls once for every token. It chooses the token, hands its id over, and holds
//! the request's place: when the engine lets go of the sequence it drops the hook, and only then is the slot free.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mistralrs::{CustomLogitsProcessor, Model, Tensor};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::guide::{Guide, Lost};
use super::instances::Lent;
use super::sampler::{Chances, Sampler};
use crate::energy::{Presence, StepKind};
use crate::slots::Slot;

/// What the hook hands over.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sampled {
    /// With how likely it was, where that is asked for.
    Token(u32, Option<Box<Chances>>),
    /// The ticket's limit was reached, and the sequence is ended: raising the limit now is too late.
    LimitReached,
    /// The form that the answer must have has no way on. The reason is for the log.
    Lost(String),
}

pub(super) struct Hook {
    pub(super) sampler: Sampler,
    /// The form that the answer is held to.
    pub(super) guide: Option<Mutex<Guide>>,
    /// Chances are to be given, with those of so many likely tokens.
    pub(super) top: Option<usize>,
    pub(super) prompt_tokens: usize,
    /// Tokens that the first step reads: the prompt, and what another build has said of the answer.
    pub(super) read_tokens: usize,
    /// Tokens that are not chosen: what another node has said of the answer.
    pub(super) forced: Vec<u32>,
    /// They are handed over like those that are chosen here.
    pub(super) hands_over_forced: bool,
    /// Tokens that the answer can have at most, whatever its ticket allows.
    pub(super) max_tokens: usize,
    /// Tokens that its ticket allows, which may change at any time, and those of it that other answers have had.
    pub(super) limit: watch::Receiver<usize>,
    pub(super) spent: usize,
    pub(super) end_tokens: Arc<[u32]>,
    /// Holds one message per token of the answer, which the context bounds.
    pub(super) sampled: UnboundedSender<Sampled>,
    pub(super) cancelled: CancellationToken,
    /// Tokens handed over; `max_tokens` once the sequence has ended.
    pub(super) emitted: AtomicUsize,
    /// Where its energy is metered.
    pub(super) presence: Option<Arc<Presence>>,
    /// Given back before the slot, so that whoever gets the slot finds it.
    pub(super) _instance: Lent<Model>,
    pub(super) _slot: Arc<Slot>,
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

    /// A token that ends the answer.
    fn end_token(&self) -> u32 {
        self.end_tokens.first().copied().unwrap_or_default()
    }

    fn next_token(&self, mut scores: Vec<f32>, context: &[u32]) -> u32 {
        let generated = context.get(self.prompt_tokens..).unwrap_or_default();
        let forced = self.forced.get(generated.len()).copied();
        let emitted = self.emitted.load(Ordering::Relaxed);
        if self.cancelled.is_cancelled() || (emitted >= self.max_tokens && forced.is_none()) {
            return self.end_token();
        }
        // Looked at here too: a slow client's answer is computed ahead of where it is read.
        if self.spent + emitted >= *self.limit.borrow() && forced.is_none() {
            return self.end_with(Sampled::LimitReached);
        }
        if let Some(token) = forced.filter(|_| !self.hands_over_forced) {
            return self.take(token).map_or_else(|lost| self.end_with(lost), |()| token);
        }
        self.sampler.adjust(&mut scores, generated);
        if let Err(lost) = self.mask(&mut scores) {
            return self.end_with(lost);
        }
        let token = forced.unwrap_or_else(|| self.sampler.choose(&scores, context.len()));
        let chances = self.top.map(|top| Box::new(self.sampler.chances(&scores, token, top)));
        if forced.is_none() && self.end_tokens.contains(&token) {
            return self.end_with(Sampled::Token(token, None));
        }
        if forced.is_none() {
            self.emitted.fetch_add(1, Ordering::Relaxed);
        }
        let taken = self.take(token);
        if self.sampled.send(Sampled::Token(token, chances)).is_err() {
            return self.end_token();
        }
        match taken {
            Ok(()) if self.is_complete() => {
                self.end_with(Sampled::Token(self.end_token(), None));
                token
            }
            Ok(()) => token,
            Err(lost) => self.end_with(lost),
        }
    }

    /// An ended sequence can be stepped again by the engine; it must stay ended.
    fn end_with(&self, last: Sampled) -> u32 {
        self.emitted.store(self.max_tokens, Ordering::Relaxed);
        // Nobody listens when the answer was dropped.
        let _ = self.sampled.send(last);
        self.end_token()
    }

    fn mask(&self, scores: &mut [f32]) -> Result<(), Sampled> {
        self.guided(|guide| guide.mask(scores, &self.end_tokens)).unwrap_or(Ok(()))
    }

    fn take(&self, token: u32) -> Result<(), Sampled> {
        self.guided(|guide| guide.take(token)).unwrap_or(Ok(()))
    }

    /// True when the form leaves nothing to say.
    fn is_complete(&self) -> bool {
        self.guide.as_ref().is_some_and(|guide| guide.lock().unwrap_or_else(PoisonError::into_inner).is_complete())
    }

    fn guided(&self, act: impl FnOnce(&mut Guide) -> Result<(), Lost>) -> Option<Result<(), Sampled>> {
        let mut guide = self.guide.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(act(&mut guide).map_err(|lost| Sampled::Lost(lost.to_string())))
    }
}
