//! The mock node's receipts: chained, signed and sent as a real node's are.

use std::sync::Arc;

use openapi::chat::FinishReason;
use openapi::energy::Energy;
use openapi::node::Ticket;
use openapi::receipt::commitment::{Commitment, Committing};
use openapi::receipt::{NodeReceipt, VERSION};
use openapi::sse::Scanner;
use openapi::units::Microseconds;
use provider::chain::Chain;

use super::Fact;

/// What the mock node signs with.
pub(super) struct Receipts {
    pub(super) chain: Arc<Chain>,
    /// The key of the gateway's tickets.
    pub(super) gateway: String,
}

/// A receipt that is not written yet.
pub(super) struct Draft {
    ticket: Ticket,
    request: Commitment,
    answer: Committing,
    scanner: Scanner,
}

impl Draft {
    /// None where the gateway wants no receipt.
    pub(super) fn new(ticket: Ticket, body: &[u8]) -> Option<Self> {
        let salt = ticket.salt?;
        Some(Self { request: salt.request(body), answer: salt.answer(), scanner: Scanner::new(usize::MAX), ticket })
    }

    /// Takes note of what leaves.
    pub(super) fn tell(&mut self, text: &str) {
        for event in self.scanner.push(text.as_bytes()).unwrap_or_default() {
            self.answer.event(&event);
        }
    }

    /// Signs it. Nobody waits for that.
    pub(super) fn sign(
        self,
        receipts: &Receipts,
        fact: &Fact,
        (tokens, energy, finish_reason): (u32, Energy, Option<FinishReason>),
    ) {
        let Self { ticket, request, answer, .. } = self;
        let (chain, gateway, fact) = (Arc::clone(&receipts.chain), receipts.gateway.clone(), *fact);
        tokio::task::spawn_blocking(move || {
            let signed = chain.append(|sequence, previous| NodeReceipt {
                v: VERSION,
                node: ticket.aud,
                gateway,
                sequence,
                previous,
                request: ticket.request,
                attempt: ticket.attempt,
                model: ticket.model,
                engine: "mock".to_owned(),
                prompt_tokens: fact.prompt_tokens,
                cached_tokens: 0,
                begun_tokens: 0,
                completion_tokens: u64::from(tokens),
                started_at: Microseconds::new(fact.began_us),
                duration_microseconds: Microseconds::new(fact.ended_us.saturating_sub(fact.began_us)),
                energy,
                price: ticket.price,
                seed: ticket.seed,
                request_commitment: request,
                answer_commitment: answer.end(),
                finish_reason,
            });
            signed.expect("a receipt is written");
        });
    }
}
