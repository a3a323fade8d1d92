//! What the account has used and what it cost: over time ([`over_time`]), and request by request ([`requests`]).
//!
//! A request's time is its id's: ids are UUIDv7, so a range of time is a range of ids, which the index of an account and
//! the monthly partitions are made for. Whole hours and days are read off the table `usage_sums` ([`parts`]), which
//! triggers and [`gather`] keep the same as the rows at every moment.

pub mod over_time;

pub mod requests;

pub mod filters;

pub mod sums;

mod parts;

mod hours;

pub mod gather;

pub mod table;

pub mod cursor;

#[cfg(test)]
pub(crate) mod synthetic;

use openapi::units::{Microjoules, Nanocredits};
use serde::{Serialize, Serializer};

/// Nanocredits of the database, shown as an exact decimal of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Cost(pub i64);

impl Cost {
    /// The same as money.
    pub fn nanocredits(self) -> Nanocredits {
        Nanocredits::new(self.0.unsigned_abs())
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.nanocredits().credits())
    }
}

/// Microjoules of the database, shown as joules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Joules(pub i64);

impl Serialize for Joules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(Microjoules::new(self.0.unsigned_abs()).joules())
    }
}
