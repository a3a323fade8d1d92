//! What everybody who shares the income has earned in an epoch: made of the receipts that the log got in it, so that whoever
//! has these makes the same statements, byte for byte. Both kinds of documents are logged as JSON without white space, fields
//! in the order of the structs.

mod close;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::units::{Microjoules, Microseconds, Nanocredits};

pub use close::{Closed, Closing, Counted};

/// The version of statements and of closed epochs.
pub const VERSION: u8 = 1;

/// A part of the log: the receipts between two sizes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// From 1.
    pub number: u32,
    /// The log's size when it began: its first leaf.
    pub first_index: u64,
    /// The log's size when it ended.
    pub end_index: u64,
    /// In microseconds since 1970, by the gateway's clock.
    pub began_at: Microseconds,
    pub ended_at: Microseconds,
}

/// What one party has earned, been paid, and is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Always [`VERSION`].
    pub v: u8,
    pub epoch: Epoch,
    /// The account of the ledger: `operator:<id>`, `author:<name>`, `gateway` or `audit_fund`.
    pub party: String,
    /// Nanocredits that were owed when the epoch began.
    pub opening: i64,
    /// What receipts brought, by model, day and tier, in this order.
    pub lines: Vec<Line>,
    /// Payouts, corrections and whatever else moved credits, in the order of their time.
    pub movements: Vec<Movement>,
    /// Nanocredits that are owed now: opening, lines and movements together.
    pub closing: i64,
    /// How many receipts the lines stand for.
    pub receipts: u64,
    /// Root of the tree (RFC 6962) of their leaves alone, in the order of the log: hexadecimal.
    pub root: String,
}

/// Receipts of a kind, added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The model id.
    pub model: String,
    /// When the requests were let in, as `2026-01-31`, UTC.
    pub day: String,
    /// How well their energy is known: a letter; empty for those that took none.
    pub tier: String,
    pub receipts: u64,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    /// What customers paid.
    pub income: Nanocredits,
    /// This party's share of that.
    pub share: Nanocredits,
    /// Of the nodes, as attributed.
    pub microjoules: Microjoules,
    /// Of CO₂ equivalent, where the grid is known.
    pub micrograms_co2e: u64,
}

/// Money that came or went by other ways than receipts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Movement {
    /// The event in the gateway's ledger. Its reason is for those whom it concerns, and not in here.
    pub event: Uuid,
    /// In microseconds since 1970.
    pub at: Microseconds,
    /// `payout`, `grant`, `adjustment`, `refund`, `invoice` or `netting`.
    pub kind: String,
    /// Below zero when it left the party.
    pub nanocredits: i64,
}

/// An epoch as a whole: what it was closed from, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClosedEpoch {
    /// Always [`VERSION`].
    pub v: u8,
    /// What the log is called.
    pub origin: String,
    pub epoch: Epoch,
    /// Root of the log's tree when the epoch ended: hexadecimal.
    pub root: String,
    /// Who earned with which node: the account of the ledger, by node.
    pub nodes: BTreeMap<Uuid, String>,
    /// SHA-256 of each party's statement in hexadecimal, by party.
    pub statements: BTreeMap<String, String>,
    pub totals: Totals,
}

/// What the whole federation did in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    pub receipts: u64,
    /// Of these, the ones that the gateway has signed alone.
    pub alone: u64,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    /// What customers paid.
    pub income: Nanocredits,
    /// What left the ledger.
    pub paid_out: Nanocredits,
    /// Of the nodes, as attributed.
    pub microjoules: Microjoules,
    /// Of the sites.
    pub facility_microjoules: Microjoules,
    /// Of CO₂ equivalent, where the grid is known.
    pub micrograms_co2e: u64,
}

/// What doesn't add up in a statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u8),
    #[error("opening, lines and movements come to {due} nanocredits, and it closes with {said}")]
    Closing { said: i64, due: i128 },
    #[error("its lines are of {due} receipts, and it says {said}")]
    Receipts { said: u64, due: u64 },
    #[error("its lines are not in order, or two are of one kind")]
    Order,
}

impl ClosedEpoch {
    /// As it is logged.
    pub fn to_document(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Statement {
    /// As it is logged.
    pub fn to_document(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it adds up.
    ///
    /// # Errors
    /// What doesn't, the first of it.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.v != VERSION {
            return Err(Wrong::Version(self.v));
        }
        let shares: i128 = self.lines.iter().map(|line| i128::from(line.share.get())).sum();
        let moved: i128 = self.movements.iter().map(|movement| i128::from(movement.nanocredits)).sum();
        let due = i128::from(self.opening) + shares + moved;
        if due != i128::from(self.closing) {
            return Err(Wrong::Closing { said: self.closing, due });
        }
        let receipts = self.lines.iter().fold(0_u64, |sum, line| sum.saturating_add(line.receipts));
        if receipts != self.receipts {
            return Err(Wrong::Receipts { said: self.receipts, due: receipts });
        }
        let order = |line: &Line| (line.model.clone(), line.day.clone(), line.tier.clone());
        if self.lines.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])) { Ok(()) } else { Err(Wrong::Order) }
    }

    /// The lines as a table that spreadsheets read, with a head.
    pub fn to_csv(&self) -> String {
        let mut table = String::from(
            "model,day,tier,receipts,prompt_tokens,cached_tokens,completion_tokens,income_nanocredits,share_nanocredits,\
             microjoules,micrograms_co2e\n",
        );
        for line in &self.lines {
            let cells = [
                line.model.clone(),
                line.day.clone(),
                line.tier.clone(),
                line.receipts.to_string(),
                line.prompt_tokens.to_string(),
                line.cached_tokens.to_string(),
                line.completion_tokens.to_string(),
                line.income.get().to_string(),
                line.share.get().to_string(),
                line.microjoules.get().to_string(),
                line.micrograms_co2e.to_string(),
            ];
            table.push_str(&cells.join(","));
            table.push('\n');
        }
        table
    }
}
