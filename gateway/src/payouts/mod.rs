//! What operators and authors are paid. The close of an epoch makes a payout of whatever somebody is owed from a minimum on
//! ([`owe`]); whoever moves the money in the world outside, a program or a person, reads what is due and says what they have
//! paid ([`routes`], [`csv`]), and that moment it leaves the ledger, in one transaction. What is disputed is held meanwhile.

pub mod csv;

pub mod routes;

pub mod table;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use openapi::units::Nanocredits;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ledger::account::Account;
use crate::ledger::event::{Posted, Refused};
use crate::ledger::movement::{self, Movement, Order, move_within};
use table::Payout;

pub use table::owe;

/// Where a payout stands. What is paid or cancelled stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// To be paid.
    Due,
    /// Not to be paid until a question is answered.
    Held,
    Paid,
    Cancelled,
}

/// What is to become of a payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Hold {
        reason: String,
    },
    Release,
    /// It was paid, and whoever did has it under this reference.
    Pay {
        reference: String,
    },
    Cancel {
        reason: String,
    },
}

/// Why nothing becomes of a payout.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    #[error("There is no such payout.")]
    NotThere,
    #[error("This payout was paid, with the reference '{0}', and stays so.")]
    Paid(String),
    #[error("This payout was cancelled ('{0}') and stays so.")]
    Cancelled(String),
    #[error("This payout is held ('{0}'). Release it first, with the state 'due'.")]
    Held(String),
    #[error("Nobody claims what this author has earned any more. Cancel the payout; with a claim it comes again.")]
    Unclaimed,
    #[error(
        "The ledger holds {available} credits for {party} only: some were paid out otherwise. Cancel the payout; what is left is \
         paid after the next epoch."
    )]
    NotCovered { party: String, available: String },
    #[error(transparent)]
    Ledger(Refused),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl State {
    /// As the table has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Held => "held",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Due, Self::Held, Self::Paid, Self::Cancelled].into_iter().find(|state| state.word() == word)
    }
}

impl Change {
    /// The state that it leads to.
    pub fn state(&self) -> State {
        match self {
            Self::Hold { .. } => State::Held,
            Self::Release => State::Due,
            Self::Pay { .. } => State::Paid,
            Self::Cancel { .. } => State::Cancelled,
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Hold { reason } | Self::Cancel { reason } => Some(reason),
            Self::Release | Self::Pay { .. } => None,
        }
    }

    fn reference(&self) -> Option<&str> {
        match self {
            Self::Pay { reference } => Some(reference),
            _ => None,
        }
    }

    /// Whether it was made before.
    fn is_made(&self, of: &Payout) -> bool {
        (of.state, of.reason.as_deref(), of.reference.as_deref()) == (self.state(), self.reason(), self.reference())
    }

    /// Whether it can be made.
    fn check(&self, of: &Payout) -> Result<(), NotChanged> {
        let reason = || of.reason.clone().unwrap_or_default();
        match (of.state, self) {
            (State::Paid, _) => Err(NotChanged::Paid(of.reference.clone().unwrap_or_default())),
            (State::Cancelled, _) => Err(NotChanged::Cancelled(reason())),
            (State::Held, Self::Pay { .. }) => Err(NotChanged::Held(reason())),
            (State::Due, Self::Pay { .. }) if of.account.is_none() => Err(NotChanged::Unclaimed),
            (State::Due | State::Held, _) => Ok(()),
        }
    }
}

/// Changes a payout, or finds that it was changed so before.
///
/// # Errors
/// [`NotChanged`] says why; then nothing has changed.
pub async fn change(database: &PgPool, id: Uuid, change: &Change, by: Uuid) -> Result<Payout, NotChanged> {
    let mut transaction = database.begin().await?;
    let payout = table::lock(&mut transaction, &[id]).await?.pop().ok_or(NotChanged::NotThere)?;
    if !change.is_made(&payout) {
        make(&mut transaction, &payout, change, by).await?;
    }
    let changed = table::lock(&mut transaction, &[id]).await?.pop().ok_or(NotChanged::NotThere)?;
    transaction.commit().await?;
    Ok(changed)
}

async fn make(connection: &mut PgConnection, payout: &Payout, change: &Change, by: Uuid) -> Result<(), NotChanged> {
    change.check(payout)?;
    let event = match change {
        Change::Pay { reference } => Some(pay(connection, payout, reference, by).await?),
        Change::Hold { .. } | Change::Release | Change::Cancel { .. } => None,
    };
    table::write(connection, payout, change, event, by).await?;
    Ok(())
}

/// Takes it off the ledger. Gives the event.
async fn pay(connection: &mut PgConnection, payout: &Payout, reference: &str, by: Uuid) -> Result<Uuid, NotChanged> {
    let (key, reason) = (format!("payout:{}", payout.id), format!("epoch {}: {reference}", payout.epoch));
    let order = Order { idempotency_key: &key, reason: &reason, created_by: Some(by) };
    let amount = Nanocredits::new(payout.nanocredits.unsigned_abs());
    match move_within(connection, &Movement::Payout(payout.party.clone()), amount, order).await {
        Ok(Posted::Now(event) | Posted::Before(event)) => Ok(event.id),
        Err(Refused::NotEnough { available }) => {
            Err(NotChanged::NotCovered { party: payout.party.to_string(), available })
        }
        Err(Refused::Database(error)) => Err(error.into()),
        Err(refused) => Err(NotChanged::Ledger(refused)),
    }
}

/// A text that people give, without blanks around it, if it is not too long. It is shown in tables and terminals, so it can't
/// control them.
fn checked_text(text: &str, longest: usize) -> Option<String> {
    let text = text.trim();
    let is_text = (1..=longest).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    is_text.then(|| text.to_owned())
}

/// How many payouts of a list were paid now, and how many before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Told {
    pub paid: u64,
    /// With the same references.
    pub paid_before: u64,
}

/// Takes note of everything that whoever pays has paid, or of nothing. Gives the lines that are wrong as sentences.
///
/// # Errors
/// When the database fails.
pub async fn pay_all(
    database: &PgPool,
    lines: &[csv::Line],
    by: Uuid,
) -> Result<Result<Told, Vec<String>>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let ids: Vec<Uuid> = lines.iter().map(|line| line.payout).collect();
    let payouts = table::lock(&mut transaction, &ids).await?;
    // Before any money moves: whoever settles meanwhile takes these locks in the same order.
    let parties: Vec<Account> = payouts.iter().map(|payout| payout.party.clone()).collect();
    movement::lock(&mut transaction, &parties).await?;
    let payouts: HashMap<Uuid, Payout> = payouts.into_iter().map(|payout| (payout.id, payout)).collect();
    let (mut told, mut wrong) = (Told::default(), Vec::new());
    for line in lines {
        let change = Change::Pay { reference: line.reference.clone() };
        let made = match payouts.get(&line.payout) {
            None => Err(NotChanged::NotThere),
            Some(payout) if change.is_made(payout) => Ok(&mut told.paid_before),
            Some(payout) => make(&mut transaction, payout, &change, by).await.map(|()| &mut told.paid),
        };
        match made {
            Ok(count) => *count += 1,
            Err(NotChanged::Database(error)) => return Err(error),
            Err(why) => wrong.push(format!("Line {}: {why}", line.number)),
        }
    }
    if !wrong.is_empty() {
        return Ok(Err(wrong));
    }
    transaction.commit().await?;
    Ok(Ok(told))
}
