//! The auditor: compares what the gateway wrote down with what clients received and what the mock node sent.

mod ledger;

mod requests;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use openapi::price::Price;
use openapi::units::Nanocredits;
use sqlx::FromRow;
use uuid::Uuid;

use crate::load::Seen;
use crate::mock::Fact;
use crate::{Database, Gateway, eventually};

pub use ledger::{balance, leases_left, number, unsigned};

/// What a token costs where no node names a price.
pub const LIST_PRICE: Price =
    Price { prompt: Nanocredits::new(100), cached: Nanocredits::new(25), completion: Nanocredits::new(400) };

/// Journals are short: what was journaled is in the database a moment later.
const SHIPPED_WITHIN: Duration = Duration::from_secs(60);
/// So many complaints are worth reading.
const SHOWN: usize = 12;

/// A request as the gateway wrote it down.
#[derive(Clone, Debug, FromRow)]
pub struct Row {
    pub id: Uuid,
    pub outcome: String,
    pub status: i16,
    pub prompt_tokens: i64,
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    pub nanocredits: i64,
    pub attempts: i64,
    pub overclaimed_tokens: i64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Audit {
    pub rows: Vec<Row>,
    /// How many requests came to which end.
    outcomes: HashMap<String, u64>,
    wrong: Vec<String>,
    /// Answers that were settled whole and whose client did not get the end. A gateway settles before the last byte, so
    /// one that dies in between leaves such a row; nothing else may.
    pub undelivered: u64,
}

/// Looks through everything. All gateways have shipped what they had: see [`shipped`].
pub async fn audit(database: &Database, seen: &[Seen], facts: &[Fact], price: Price) -> Audit {
    let mut audit = Audit { rows: requests::read(database).await, ..Audit::default() };
    for row in &audit.rows {
        *audit.outcomes.entry(row.outcome.clone()).or_default() += 1;
    }
    let (wrong, undelivered) = requests::compare(&audit.rows, seen, facts, price);
    audit.undelivered = undelivered;
    audit.wrong.extend(wrong);
    audit.wrong.extend(ledger::check(database).await);
    audit
}

impl Audit {
    /// # Panics
    /// When anything was wrong.
    pub fn must_be_right(&self) {
        self.must_be_right_but_for(0);
    }

    /// The same, when a gateway was killed that may have settled so many answers in that instant.
    ///
    /// # Panics
    /// When anything else was wrong.
    pub fn must_be_right_but_for(&self, undelivered: u64) {
        let found = self.undelivered;
        assert!(found <= undelivered, "{found} answers are paid for whose end nobody got: {self}");
        let shown = self.wrong.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
        assert!(self.wrong.is_empty(), "{} things are wrong with {self}:\n  {shown}", self.wrong.len());
    }

    /// Everything that was wrong.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// How many requests ended so.
    pub fn ended(&self, outcome: &str) -> u64 {
        self.outcomes.get(outcome).copied().unwrap_or_default()
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcomes: Vec<String> = self.outcomes.iter().map(|(word, count)| format!("{count} {word}")).collect();
        outcomes.sort();
        write!(to, "{} rows ({})", self.rows.len(), outcomes.join(", "))
    }
}

/// Waits until this gateway's journal is empty: everything is in Postgres, or set aside.
pub async fn shipped(gateway: &Gateway) {
    let ready = gateway.url("/readyz");
    eventually("an empty journal", SHIPPED_WITHIN, || async {
        let state: serde_json::Value = gateway.client.get(&ready).send().await.ok()?.json().await.ok()?;
        let journal = &state["journal"];
        let left = ["open", "waiting", "set_aside"].map(|part| journal[part].as_u64());
        (left == [Some(0); 3]).then_some(())
    })
    .await;
}
