//! Reading the ledger: an account's lines and its balance.

use std::fmt;
use std::str::FromStr;

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::account::Account;

/// A line and the event that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub event: Uuid,
    pub seq: i16,
    pub kind: String,
    pub account: String,
    pub nanocredits: i64,
    pub request: Option<Uuid>,
    pub reason: Option<String>,
    pub created_at: OffsetDateTime,
}

/// A place between two lines: `<event>.<line>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    event: Uuid,
    seq: i16,
}

impl Line {
    /// The place right after this line.
    pub fn cursor(&self) -> Cursor {
        Cursor { event: self.event, seq: self.seq }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.event, self.seq)
    }
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (event, seq) = text.split_once('.').ok_or(NoCursor)?;
        Ok(Self { event: event.parse().map_err(|_| NoCursor)?, seq: seq.parse().map_err(|_| NoCursor)? })
    }
}

/// Which lines to read.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// From this time on.
    pub from: Option<OffsetDateTime>,
    /// Before this time.
    pub to: Option<OffsetDateTime>,
    /// Older than this place.
    pub before: Option<Cursor>,
    /// At most this many.
    pub limit: i64,
}

/// What an account's ledger accounts, as customer and as operator, have seen, newest first. Events have UUIDv7 for ids, so
/// their order is the order in time.
///
/// # Errors
/// When the database fails.
pub async fn lines(database: &PgPool, account: Uuid, part: Part) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"select e.id as event, line.seq, e.kind, mine.account as "account!", line.nanocredits, e.request_id as request,
               e.reason, e.created_at
           from unnest($1::text[]) as mine (account)
           cross join lateral (
               select event_id, seq, nanocredits from postings p where p.account = mine.account
                   and ($2::timestamptz is null or p.event_id >= first_id_at($2))
                   and ($3::timestamptz is null or p.event_id < first_id_at($3))
                   and ($4::uuid is null or (p.event_id, p.seq) < ($4, $5::smallint))
               order by p.event_id desc, p.seq desc limit $6) as line
           join events e on e.id = line.event_id
           order by line.event_id desc, line.seq desc limit $6"#,
        &Account::texts(&[Account::Customer(account), Account::Operator(account)]),
        part.from,
        part.to,
        part.before.map(|cursor| cursor.event),
        part.before.map(|cursor| cursor.seq),
        part.limit
    )
    .fetch_all(database)
    .await
}

/// What an account has, in nanocredits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// As a customer, running requests not yet taken off.
    pub customer: i64,
    /// The part of it that replicas hold for requests.
    pub leased: i64,
    /// What its nodes have earned and was not paid out.
    pub operator: i64,
}

/// An account's balance at one moment. `None` when there is no such account.
///
/// # Errors
/// When the database fails.
pub async fn balance(database: &PgPool, account: Uuid) -> Result<Option<Balance>, sqlx::Error> {
    sqlx::query_as!(
        Balance,
        r#"select
               coalesce((select nanocredits from balances where account = $2), 0) as "customer!",
               coalesce((select sum(nanocredits) from credit_leases where account_id = a.id), 0)::bigint as "leased!",
               coalesce((select nanocredits from balances where account = $3), 0) as "operator!"
           from accounts a where a.id = $1"#,
        account,
        Account::Customer(account).to_string(),
        Account::Operator(account).to_string()
    )
    .fetch_optional(database)
    .await
}
