//! What is counted: credit, and each limit of a key, a user or an account.

use openapi::units::Nanocredits;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::Limits;

/// One thing that a request needs a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Nanocredits of the account.
    Credit,
    RequestsPerMinute,
    TokensPerMinute,
    ConcurrentRequests,
    NanocreditsPerDay,
    NanocreditsPerMonth,
    MicrojoulesPerDay,
}

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    None,
    Minute,
    Day,
    Month,
}

impl Span {
    /// As `date_trunc` calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl What {
    /// The limit's name in the API and in errors.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::ConcurrentRequests => "concurrent_requests",
            Self::NanocreditsPerDay => "credits_per_day",
            Self::NanocreditsPerMonth => "credits_per_month",
            Self::MicrojoulesPerDay => "joules_per_day",
        }
    }

    /// The window in which it is counted.
    pub const fn span(self) -> Span {
        match self {
            Self::Credit | Self::ConcurrentRequests => Span::None,
            Self::RequestsPerMinute | Self::TokensPerMinute => Span::Minute,
            Self::NanocreditsPerDay | Self::MicrojoulesPerDay => Span::Day,
            Self::NanocreditsPerMonth => Span::Month,
        }
    }

    /// The column in the database.
    pub const fn column(self) -> &'static str {
        match self {
            Self::NanocreditsPerDay => "nanocredits_per_day",
            Self::NanocreditsPerMonth => "nanocredits_per_month",
            Self::MicrojoulesPerDay => "microjoules_per_day",
            other => other.word(),
        }
    }

    /// True when the database keeps how much of a lease is unspent, for the day that the replica dies: not for windows of
    /// a minute, which are over by then, and not for what is given back whole.
    pub const fn is_spent_from_a_lease(self) -> bool {
        matches!(self.span(), Span::Day | Span::Month)
    }

    /// An amount for people to read.
    pub fn show(self, amount: u64) -> String {
        match self {
            Self::Credit | Self::NanocreditsPerDay | Self::NanocreditsPerMonth => {
                format!("{} credits", Nanocredits::new(amount).credits())
            }
            Self::MicrojoulesPerDay => format!("{} J", amount / 1_000_000),
            Self::RequestsPerMinute | Self::ConcurrentRequests => format!("{amount} requests"),
            Self::TokensPerMinute => format!("{amount} tokens"),
        }
    }
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    Key,
    User,
    Account,
}

impl Owner {
    /// For people to read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Account => "account",
        }
    }
}

/// What a request uses, or may use at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub requests: u64,
    pub tokens: u64,
    pub nanocredits: u64,
    pub microjoules: u64,
}

impl Amounts {
    /// The amount of one thing.
    pub const fn of(&self, what: What) -> u64 {
        match what {
            What::RequestsPerMinute => self.requests,
            // Used while it runs, and given back whole.
            What::ConcurrentRequests => self.requests,
            What::TokensPerMinute => self.tokens,
            What::Credit | What::NanocreditsPerDay | What::NanocreditsPerMonth => self.nanocredits,
            What::MicrojoulesPerDay => self.microjoules,
        }
    }
}

/// One purse that a request needs, and the most that it may hold in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub owner: Owner,
    pub subject: Uuid,
    pub what: What,
    /// None for credit: there the balance is the cap.
    pub cap: Option<u64>,
}

/// The limits that are set, as needs.
pub fn needs_of(owner: Owner, subject: Uuid, limits: &Limits) -> impl Iterator<Item = Need> {
    [
        (What::RequestsPerMinute, limits.requests_per_minute),
        (What::TokensPerMinute, limits.tokens_per_minute),
        (What::ConcurrentRequests, limits.concurrent_requests),
        (What::NanocreditsPerDay, limits.nanocredits_per_day),
        (What::NanocreditsPerMonth, limits.nanocredits_per_month),
        (What::MicrojoulesPerDay, limits.microjoules_per_day),
    ]
    .into_iter()
    .filter_map(move |(what, cap)| cap.map(|cap| Need { owner, subject, what, cap: Some(cap) }))
}
