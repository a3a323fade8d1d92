//! What partners bill, and what of it is owed.

use openapi::log::hash::Hash;
use openapi::receipt::{ReceiptEnergy, ReceiptId};
use openapi::units::Nanocredits;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{MOST, Partner, number};
use crate::inference::ship;
use crate::ledger::account::Account;
use crate::ledger::event::{self, Kind, NewEvent, Posting, Refused};
use crate::partners::judge::Ours;

/// Whoever has been billed for an attempt once owes it once.
const BILLED_TWICE: &str = "This attempt was billed before.";

/// A receipt of a partner.
#[derive(Clone, Debug)]
pub(in crate::partners) struct Invoice {
    /// The leaf of the partner's log.
    pub(in crate::partners) index: u64,
    pub(in crate::partners) leaf: Hash,
    /// Our attempt.
    pub(in crate::partners) attempt: Option<ReceiptId>,
    pub(in crate::partners) receipt: String,
    /// What it costs, as the partner says.
    pub(in crate::partners) claimed: Nanocredits,
    /// What it took in energy, as the partner says.
    pub(in crate::partners) energy: Option<ReceiptEnergy>,
    /// What is owed, or why nothing is.
    pub(in crate::partners) judged: Result<Nanocredits, String>,
}

/// An invoice as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    pub index: u64,
    pub leaf: Hash,
    pub attempt: Option<ReceiptId>,
    pub receipt: String,
    pub nanocredits: Nanocredits,
    /// Why it is not owed.
    pub dispute: Option<String>,
    pub received_at: OffsetDateTime,
}

/// What is known of an attempt that a receipt names.
pub(in crate::partners) enum Found {
    Nothing,
    /// At the partner; none if nothing was noted, since nothing came.
    Attempt(Option<Box<Ours>>),
}

/// How many of its receipts are disputed.
///
/// # Errors
/// When the database fails.
pub(in crate::partners) async fn disputed(database: &PgPool, id: Uuid) -> Result<u64, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from invoices where partner_id = $1 and dispute is not null"#,
        id
    );
    Ok(count.fetch_one(database).await?.unsigned_abs())
}

/// What is known of our attempt of this name at the partner.
///
/// # Errors
/// When the database fails.
pub(in crate::partners) async fn ours(
    database: &PgPool,
    partner: &Partner,
    id: ReceiptId,
) -> Result<Found, sqlx::Error> {
    let row = sqlx::query!(
        r#"select a.completion_tokens, r.noted::text as noted from attempts a
           left join receipts r on r.request_id = a.request_id and r.attempt = a.attempt
           where a.request_id = $1 and a.attempt = $2 and a.node_id = $3"#,
        id.request,
        i32::try_from(id.attempt).unwrap_or(i32::MAX),
        partner.node
    );
    let Some(row) = row.fetch_optional(database).await? else { return Ok(Found::Nothing) };
    let noted = row.noted.map(|noted| serde_json::from_str(&noted)).transpose();
    let noted = noted.map_err(|error| sqlx::Error::Decode(error.into()))?;
    let completion_tokens = row.completion_tokens.unsigned_abs();
    Ok(Found::Attempt(noted.map(|noted| Box::new(Ours { noted, completion_tokens }))))
}

/// Takes in what was read between two leaves of a partner's log, once. False when somebody else did. What is owed takes the place
/// of the partner's share in what our customers have paid; the gateway gets the difference.
///
/// # Errors
/// When the database fails, or the ledger refuses.
pub(in crate::partners) async fn take(
    database: &PgPool,
    partner: &Partner,
    (from, until): (u64, u64),
    invoices: &[Invoice],
) -> Result<bool, Refused> {
    let mut transaction = database.begin().await?;
    let moved = sqlx::query!(
        "update partners set read_until = $3 where id = $1 and read_until = $2",
        partner.id,
        number(from),
        number(until)
    );
    if moved.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let mut difference = 0;
    for invoice in invoices {
        difference += keep(&mut transaction, partner, invoice).await?;
    }
    let key = format!("invoices:{}:{from}-{until}", partner.id);
    adjust(&mut transaction, partner, difference, (&key, None)).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Keeps an invoice, and says by how much the ledger owes the partner more than it has set aside.
async fn keep(connection: &mut PgConnection, partner: &Partner, invoice: &Invoice) -> Result<i64, sqlx::Error> {
    let (request, attempt) =
        invoice.attempt.map(|id| (id.request, i32::try_from(id.attempt).unwrap_or(i32::MAX))).unzip();
    let owed = match &invoice.judged {
        Ok(owed) if *owed > Nanocredits::ZERO && is_billed(connection, partner, (request, attempt)).await? => {
            Err(BILLED_TWICE)
        }
        Ok(owed) => Ok(*owed),
        Err(why) => Err(why.as_str()),
    };
    sqlx::query!(
        "insert into invoices (partner_id, index, leaf_hash, request_id, attempt, receipt, nanocredits, dispute)
         values ($1, $2, $3, $4, $5, $6, $7, left($8, 1000))",
        partner.id,
        number(invoice.index),
        invoice.leaf.0.as_slice(),
        request,
        attempt,
        invoice.receipt,
        invoice.claimed.to_bigint(),
        owed.err()
    )
    .execute(&mut *connection)
    .await?;
    if let (Ok(_), Some(id), Some(energy)) = (&owed, invoice.attempt, &invoice.energy) {
        ship::adopt_receipt(connection, id, energy).await?;
    }
    match (owed, request) {
        (Ok(owed), Some(request)) => Ok(owed.to_bigint() - set_aside(connection, partner, request, attempt).await?),
        _ => Ok(0),
    }
}

async fn is_billed(
    connection: &mut PgConnection,
    partner: &Partner,
    (request, attempt): (Option<Uuid>, Option<i32>),
) -> Result<bool, sqlx::Error> {
    let billed = sqlx::query_scalar!(
        r#"select exists (select from invoices where partner_id = $1 and request_id = $2 and attempt = $3
               and dispute is null and nanocredits > 0) as "billed!""#,
        partner.id,
        request,
        attempt
    );
    billed.fetch_one(connection).await
}

/// What the ledger has given the partner of what our customer paid for the request, if this attempt has brought that and this is
/// the first receipt of it.
async fn set_aside(
    connection: &mut PgConnection,
    partner: &Partner,
    request: Uuid,
    attempt: Option<i32>,
) -> Result<i64, sqlx::Error> {
    let share = sqlx::query_scalar!(
        r#"select coalesce(sum(p.nanocredits), 0)::bigint as "share!" from events e join postings p on p.event_id = e.id
           where e.request_id = $1 and e.kind = 'settlement' and p.account = $2
               and $3 = (select max(attempt) from attempts where request_id = $1)
               and 1 = (select count(*) from invoices where partner_id = $4 and request_id = $1 and attempt = $3
                   and dispute is null)"#,
        request,
        Account::Operator(partner.account).to_string(),
        attempt,
        partner.id
    );
    share.fetch_one(connection).await
}

/// Moves what the partner is owed more, or less, than was set aside, from the gateway or back to it.
async fn adjust(
    connection: &mut PgConnection,
    partner: &Partner,
    difference: i64,
    (key, by): (&str, Option<Uuid>),
) -> Result<(), Refused> {
    if difference == 0 {
        return Ok(());
    }
    let reason = format!("what {} has billed", partner.name);
    let new = NewEvent {
        kind: Kind::Invoice,
        idempotency_key: key,
        request: None,
        split_version: None,
        reason: Some(&reason),
        created_by: by,
    };
    let postings = vec![
        Posting { account: Account::Gateway, nanocredits: -difference },
        Posting { account: Account::Operator(partner.account), nanocredits: difference },
    ];
    event::post(connection, new, postings).await.map(drop)
}

/// Owns up to an invoice that was disputed. False when there is no such one.
///
/// # Errors
/// When the database fails, the attempt was billed before, or the ledger refuses.
pub(in crate::partners) async fn own_up(
    database: &PgPool,
    partner: &Partner,
    index: u64,
    by: Uuid,
) -> Result<bool, Refused> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query!(
        "update invoices set dispute = null where partner_id = $1 and index = $2 and dispute is not null
         returning nanocredits, request_id, attempt",
        partner.id,
        number(index)
    );
    let Some(row) = row.fetch_optional(&mut *transaction).await? else { return Ok(false) };
    let mut owed = row.nanocredits;
    if let Some(request) = row.request_id {
        owed -= set_aside(&mut transaction, partner, request, row.attempt).await?;
    }
    let key = format!("invoice:{}:{index}", partner.id);
    adjust(&mut transaction, partner, owed, (&key, Some(by))).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Invoices of a partner from a leaf on, before another; only disputed ones if that is asked.
///
/// # Errors
/// When the database fails.
pub(in crate::partners) async fn invoices(
    database: &PgPool,
    partner: Uuid,
    (from, before): (u64, u64),
    disputed: bool,
) -> Result<Vec<Kept>, sqlx::Error> {
    let rows = sqlx::query!(
        "select index, leaf_hash, request_id, attempt, receipt, nanocredits, dispute, received_at from invoices
         where partner_id = $1 and index >= $2 and index < $3 and (dispute is not null or not $4)
         order by index limit $5",
        partner,
        number(from),
        number(before),
        disputed,
        MOST
    );
    let kept = rows.fetch_all(database).await?.into_iter().map(|row| {
        let leaf = row.leaf_hash.try_into().map_err(|_| sqlx::Error::Decode("a leaf's hash has 32 bytes".into()))?;
        let attempt = row.request_id.zip(row.attempt);
        Ok(Kept {
            index: row.index.unsigned_abs(),
            leaf: Hash(leaf),
            attempt: attempt.map(|(request, attempt)| ReceiptId { request, attempt: attempt.unsigned_abs() }),
            receipt: row.receipt,
            nanocredits: Nanocredits::new(row.nanocredits.unsigned_abs()),
            dispute: row.dispute,
            received_at: row.received_at,
        })
    });
    kept.collect()
}
