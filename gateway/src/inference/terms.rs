//! What a request can cost at most: the terms under which it is let in, and by which it is billed.

use openapi::model::ModelKind;
use openapi::price::{BilledTokens, Price};
use openapi::units::Nanocredits;
use time::OffsetDateTime;

use super::request::Request;
use crate::admission::Amounts;

/// A model's chat template may add this many tokens, such as a system prompt or words about tools, to what the client wrote.
const TEMPLATE_TOKENS: u64 = 256;
/// Tokens that are held for an answer whose length the client left open; a longer one is topped up as it grows.
const OPEN_ENDED: u64 = 1024;
/// With little credit an open-ended answer begins with fewer.
const SMALLEST: u64 = 16;

/// The bounds of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// A byte of text is at most one token, so the body's length bounds the prompt without a tokeniser.
    pub(super) prompt: u64,
    /// The most that all answers can have: the client's own limit, and the model's context.
    pub(super) most: u64,
    /// What is held for at first.
    pub(super) held: u64,
    /// Decides which price is in force.
    pub(super) at: OffsetDateTime,
    open_ended: bool,
}

impl Terms {
    pub(super) fn of(request: &Request, context: u64, at: OffsetDateTime) -> Self {
        let each = request.max_tokens.map_or(context, |most| u64::from(most).min(context));
        let most = each.saturating_mul(request.answers);
        let open_ended = request.max_tokens.is_none();
        // What is added around a text to embed is less than what is written around it in the body.
        let template = if request.endpoint.kind() == ModelKind::Text { TEMPLATE_TOKENS } else { 0 };
        Self {
            prompt: (request.body.len() as u64 + template).min(context.saturating_mul(request.prompts)),
            most,
            held: if open_ended { most.min(OPEN_ENDED) } else { most },
            at,
            open_ended,
        }
    }

    /// The same for a shorter beginning, if the answer's length is open and can begin shorter.
    pub(super) fn smaller(&self) -> Option<Self> {
        let held = self.held / 4;
        (self.open_ended && held >= SMALLEST).then_some(Self { held, ..*self })
    }

    /// What the prompt and this many tokens of an answer cost at most.
    pub(super) fn cost(&self, price: &Price) -> Nanocredits {
        self.cost_of(self.held, price)
    }

    /// The same for another number of tokens.
    pub(super) fn cost_of(&self, tokens: u64, price: &Price) -> Nanocredits {
        let dearer = Price { prompt: price.prompt.max(price.cached), cached: Nanocredits::ZERO, ..*price };
        dearer.cost(&BilledTokens { prompt: self.prompt, cached: 0, completion: tokens })
    }

    /// Everything that has to be held, given the dearest price and what a token takes in energy.
    pub(super) fn amounts(&self, cost: Nanocredits, microjoules_per_token: u64) -> Amounts {
        Amounts {
            requests: 1,
            tokens: self.prompt + self.held,
            nanocredits: cost.get(),
            microjoules: self.held.saturating_mul(microjoules_per_token),
        }
    }

    /// What has to be held for so many more tokens of the answer.
    pub(super) fn more(tokens: u64, price: &Price, microjoules_per_token: u64) -> Amounts {
        Amounts {
            requests: 0,
            tokens,
            nanocredits: price.cost(&BilledTokens { completion: tokens, ..BilledTokens::default() }).get(),
            microjoules: tokens.saturating_mul(microjoules_per_token),
        }
    }
}
