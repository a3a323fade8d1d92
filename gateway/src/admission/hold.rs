//! What is reserved for one request. However the request ends, dropping the hold gives back what it did not use.

use std::sync::Arc;

use openapi::units::Nanocredits;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::account::{Account, Standing};
use super::purse::Held;
use super::what::{Amounts, Need, What};

/// A part of one purse.
pub(super) struct Part {
    pub(super) need: Need,
    pub(super) held: Held,
    pub(super) window_at: Option<OffsetDateTime>,
}

/// What was spent of a leased limit, for the row of that lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub subject: Uuid,
    pub what: What,
    #[serde(with = "time::serde::rfc3339")]
    pub window_at: OffsetDateTime,
    pub amount: u64,
}

/// All that one request has reserved. Private fields and methods only, as for every guard.
pub struct Hold {
    account: Arc<Account>,
    needs: Vec<Need>,
    parts: Vec<Part>,
    amounts: Amounts,
    refill: mpsc::UnboundedSender<Arc<Account>>,
}

impl Hold {
    pub(super) fn new(
        account: Arc<Account>,
        needs: Vec<Need>,
        parts: Vec<Part>,
        amounts: Amounts,
        refill: mpsc::UnboundedSender<Arc<Account>>,
    ) -> Self {
        let hold = Self { account, needs, parts, amounts, refill };
        hold.ask_for_refill();
        hold
    }

    /// What is reserved.
    pub fn nanocredits(&self) -> Nanocredits {
        Nanocredits::new(self.amounts.nanocredits)
    }

    /// Reserves more for a request that runs: the first of these steps, which grow smaller, that is there, and says which.
    /// When none is, the first is leased meanwhile, or as many of the last as there are.
    pub fn top_up(&mut self, steps: &[Amounts]) -> Option<usize> {
        let mut missing = Vec::new();
        let held = steps.iter().position(|more| match self.account.try_hold(&self.needs, more) {
            Ok(parts) => {
                self.parts.extend(parts);
                self.amounts.tokens += more.tokens;
                self.amounts.nanocredits += more.nanocredits;
                self.amounts.microjoules += more.microjoules;
                true
            }
            Err(needs) => {
                missing = needs;
                false
            }
        });
        if let (None, [most, .., least]) = (held, steps) {
            self.account.fall_short(&missing, most, least);
        }
        self.ask_for_refill();
        held
    }

    fn ask_for_refill(&self) {
        if self.account.runs_low() {
            // Nobody refills any more once the gateway stops.
            let _ = self.refill.send(Arc::clone(&self.account));
        }
    }

    /// Ends the hold with what was used, and says what of it belongs to leased limits.
    pub fn settle(mut self, used: &Amounts) -> Vec<Spent> {
        let parts = std::mem::take(&mut self.parts);
        let mut spent = Vec::new();
        for need in &self.needs {
            let mut left = if need.what == What::ConcurrentRequests { 0 } else { used.of(need.what) };
            let mut of_need = parts.iter().filter(|part| part.need == *need).peekable();
            while let Some(part) = of_need.next() {
                // The last part bears what was used beyond the hold.
                let amount = if of_need.peek().is_some() { left.min(part.held.amount) } else { left };
                left -= amount;
                self.account.settle(part, amount);
                if let (Some(window_at), true) = (part.window_at, amount > 0 && need.what.is_spent_from_a_lease()) {
                    spent.push(Spent { subject: need.subject, what: need.what, window_at, amount });
                }
            }
        }
        spent
    }

    /// How the tightest limit of a kind stands.
    pub(super) fn standing(&self, what: What) -> Option<Standing> {
        let of_kind = self.needs.iter().filter(|need| need.what == what);
        of_kind.filter_map(|need| self.account.standing(need)).min_by_key(|standing| standing.remaining)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // What was let in counts as a request even when nothing came of it.
        for part in &self.parts {
            let spent = if part.need.what == What::RequestsPerMinute { part.held.amount } else { 0 };
            self.account.settle(part, spent);
        }
    }
}
