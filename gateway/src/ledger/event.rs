//! Events and their postings: the one place where lines enter the ledger.

use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::Account;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A request was paid for and its income shared.
    Settlement,
    /// Credits were bought.
    TopUp,
    /// Credits were given by the gateway.
    Grant,
    /// A request's price, or a part of it, was given back.
    Refund,
    /// Something was put right by hand.
    Adjustment,
    /// Earnings left the ledger.
    Payout,
    /// What a partner has billed is another amount than its share of what was paid here.
    Invoice,
    /// What a partner has earned pays for what it has used.
    Netting,
}

impl Kind {
    /// The word that stands in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Settlement => "settlement",
            Self::TopUp => "top_up",
            Self::Grant => "grant",
            Self::Refund => "refund",
            Self::Adjustment => "adjustment",
            Self::Payout => "payout",
            Self::Invoice => "invoice",
            Self::Netting => "netting",
        }
    }
}

/// One signed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub account: Account,
    /// Never zero; an event's add up to zero.
    pub nanocredits: i64,
}

/// An event to be posted.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    pub kind: Kind,
    /// 1 to 300 characters. Asking twice with one key is asking once.
    pub idempotency_key: &'a str,
    pub request: Option<Uuid>,
    /// Of settlements, and only of these.
    pub split_version: Option<i32>,
    pub reason: Option<&'a str>,
    pub created_by: Option<Uuid>,
}

/// An event as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: Uuid,
    pub kind: String,
    pub request: Option<Uuid>,
    pub reason: Option<String>,
    pub created_at: OffsetDateTime,
    pub postings: Vec<Posting>,
}

/// Whether this call was the first with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// The event is new.
    Now(Event),
    /// The same was asked before: this is what came of it.
    Before(Event),
}

/// Why an event is not posted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("An event has at least two postings, none of them zero, that add up to zero.")]
    Unbalanced,
    #[error("This idempotency key was used for another event. Take a new key for a new event.")]
    KeyUsed,
    #[error("{0}")]
    Wrong(&'static str),
    #[error("There is no account {0}.")]
    NoAccount(Account),
    #[error("This account was never charged for a request of this id.")]
    NoRequest,
    #[error("There are not enough credits: at most {available} can be taken.")]
    NotEnough { available: String },
    #[error("A customer's balance would fall below zero.")]
    Overdrawn,
    #[error("The amount is too large: a balance would be beyond what the ledger can hold.")]
    TooMuch,
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";
        let known = error.as_database_error();
        if known.and_then(|known| known.constraint()) == Some("customers_are_never_overdrawn") {
            return Self::Overdrawn;
        }
        match known.and_then(|known| known.code()) {
            Some(code) if code == NUMERIC_VALUE_OUT_OF_RANGE => Self::TooMuch,
            _ => Self::Database(error),
        }
    }
}

/// Posts an event, once for its key, within the caller's transaction. When it is refused the caller rolls back.
///
/// # Errors
/// [`Refused`] says why; nothing may be committed then.
pub async fn post(connection: &mut PgConnection, new: NewEvent<'_>, postings: Vec<Posting>) -> Result<Posted, Refused> {
    let posted = enter(connection, new, postings).await?;
    if let Posted::Now(event) = &posted {
        write_postings(connection, event).await?;
    }
    Ok(posted)
}

/// Enters the event without its postings, or finds the one that the key stands for. From here until the transaction ends
/// everybody else with the same key waits.
pub(super) async fn enter(
    connection: &mut PgConnection,
    new: NewEvent<'_>,
    postings: Vec<Posting>,
) -> Result<Posted, Refused> {
    let sum: i128 = postings.iter().map(|posting| i128::from(posting.nanocredits)).sum();
    if postings.len() < 2 || sum != 0 || postings.iter().any(|posting| posting.nanocredits == 0) {
        return Err(Refused::Unbalanced);
    }
    let id = Uuid::now_v7();
    let created_at = sqlx::query_scalar!(
        "insert into events (id, kind, idempotency_key, request_id, split_version, reason, created_by)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (idempotency_key) do nothing returning created_at",
        id,
        new.kind.word(),
        new.idempotency_key,
        new.request,
        new.split_version,
        new.reason,
        new.created_by
    )
    .fetch_optional(&mut *connection)
    .await?;
    let kind = new.kind.word().to_owned();
    let reason = new.reason.map(str::to_owned);
    if let Some(created_at) = created_at {
        return Ok(Posted::Now(Event { id, kind, request: new.request, reason, created_at, postings }));
    }
    let before = with_key(connection, new.idempotency_key).await?;
    let same =
        (&before.kind, before.request, &before.reason, &before.postings) == (&kind, new.request, &reason, &postings);
    if same { Ok(Posted::Before(before)) } else { Err(Refused::KeyUsed) }
}

/// Writes the lines of an event just entered; the trigger moves the balances.
pub(super) async fn write_postings(connection: &mut PgConnection, event: &Event) -> Result<(), Refused> {
    let accounts = Account::texts(event.postings.iter().map(|posting| &posting.account));
    let nanocredits: Vec<i64> = event.postings.iter().map(|posting| posting.nanocredits).collect();
    sqlx::query!(
        "insert into postings (event_id, seq, account, nanocredits)
         select $1, seq, account, nanocredits
         from unnest($2::text[], $3::bigint[]) with ordinality as line (account, nanocredits, seq)",
        event.id,
        &accounts,
        &nanocredits
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn with_key(connection: &mut PgConnection, key: &str) -> Result<Event, sqlx::Error> {
    let row =
        sqlx::query!("select id, kind, request_id, reason, created_at from events where idempotency_key = $1", key)
            .fetch_one(&mut *connection)
            .await?;
    let lines = sqlx::query!("select account, nanocredits from postings where event_id = $1 order by seq", row.id)
        .fetch_all(connection)
        .await?;
    let read = |(account, nanocredits): (String, i64)| {
        let account = account.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Posting { account, nanocredits })
    };
    let postings = lines.into_iter().map(|line| read((line.account, line.nanocredits)));
    Ok(Event {
        id: row.id,
        kind: row.kind,
        request: row.request_id,
        reason: row.reason,
        created_at: row.created_at,
        postings: postings.collect::<Result<_, sqlx::Error>>()?,
    })
}
