//! How long the answer may become: as far as is held for, and more is held as it grows.

use openapi::frame::UsageFrame;

use super::Meter;
use crate::inference::terms::Terms;

/// A node that has not heard of its limit yet may pass it by this many tokens.
const TOKENS_ON_THE_WAY: u64 = 64;
/// An open-ended answer is topped up by the first of these numbers of tokens that can be held.
const TOP_UPS: [u64; 4] = [1024, 256, 64, 16];
/// It is topped up when no more than this are left.
const RUNS_LOW: u64 = 512;

impl Meter {
    /// Tokens that the answer may have, as far as is held for.
    pub(in crate::inference) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes what the node says it has used, and holds more for an answer that grows.
    ///
    /// # Errors
    /// When the node goes on beyond what it was allowed.
    pub(in crate::inference) fn observe(&mut self, frame: UsageFrame) -> Result<(), String> {
        // What no request takes would not fit the database, and keep the whole record out of it.
        let mut frame = frame.held();
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
}
