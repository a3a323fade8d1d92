//! How likely a text is, token by token: what evaluations ask for.

use std::sync::Arc;

use super::generate::{EngineError, Said, Task};
use super::{Chances, Engine};
use crate::energy::Presence;
use crate::limits::Limit;
use crate::slots::Slot;

impl Engine {
    /// How likely each token of a text is after those before it, and which `top` tokens would have been likelier. Nothing
    /// precedes the first one, so nothing is known of it. Each token takes a step of the engine.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn score(
        &self,
        tokens: &[u32],
        top: usize,
        (slot, presence): (Arc<Slot>, Option<Arc<Presence>>),
    ) -> Result<Vec<Option<Chances>>, EngineError> {
        let Some((first, rest)) = tokens.split_first() else { return Ok(Vec::new()) };
        let mut chances = vec![None];
        if rest.is_empty() {
            return Ok(chances);
        }
        let task = Task {
            prompt: vec![*first],
            said: Said { tokens: rest.to_vec(), same_build: true },
            sampling: openapi::sampling::Sampling::default(),
            seed: 0,
            logprobs: Some(top),
            guided: None,
            max_tokens: rest.len(),
            limit: Limit::none(),
            spent: 0,
            presence,
        };
        let mut scoring = self.generate(task, slot).await?.of_given_text();
        while let Some(step) = scoring.next().await {
            chances.extend(step?.tokens.into_iter().map(|token| token.chances.map(|chances| *chances)));
        }
        Ok(chances)
    }
}
