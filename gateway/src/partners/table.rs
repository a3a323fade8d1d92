//! The only module that writes the tables `partners`, `invoices` and `nettings`.

use openapi::log::hash::Hash;
use openapi::receipt::{ReceiptEnergy, ReceiptId};
use openapi::units::Nanocredits;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::judge::Ours;
use crate::inference::ship;
use crate::ledger::account::Account;
use crate::ledger::event::{self, Kind, NewEvent, Posting, Refused};

/// Invoices in one answer.
pub(super) const MOST: i64 = 200;
/// Whoever has been billed for an attempt once owes it once.
const BILLED_TWICE: &str = "This attempt was billed before.";

/// Another gateway.
#[derive(Clone, Debug)]
pub struct Partner {
    pub id: Uuid,
    /// Whose keys it asks with, and whose earnings are what it answers.
    pub account: Uuid,
    pub name: String,
    /// What comes before `/v1`.
    pub url: String,
    /// What its log is called.
    pub origin: String,
    /// The keys of its log that count, as lines of a policy.
    pub log_keys: String,
    /// As a node here, if it answers us.
    pub node: Option<Uuid>,
    /// Leaves of its log that were looked at.
    pub read_until: u64,
    /// Why nothing is read or netted now.
    pub failure: Option<String>,
    pub created_at: OffsetDateTime,
}

/// A partner to be.
pub(super) struct NewPartner<'a> {
    pub(super) account: Uuid,
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) origin: &'a str,
    pub(super) log_keys: &'a str,
    pub(super) by: Uuid,
}

/// A receipt of a partner.
#[derive(Clone, Debug)]
pub(super) struct Invoice {
    /// The leaf of the partner's log.
    pub(super) index: u64,
    pub(super) leaf: Hash,
    /// Our attempt.
    pub(super) attempt: Option<ReceiptId>,
    pub(super) receipt: String,
    /// What it costs, as the partner says.
    pub(super) claimed: Nanocredits,
    /// What it took in energy, as the partner says.
    pub(super) energy: Option<ReceiptEnergy>,
    /// What is owed, or why nothing is.
    pub(super) judged: Result<Nanocredits, String>,
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

/// What was offset.
#[derive(Clone, Debug)]
pub struct Netted {
    pub number: u32,
    /// SHA-256 of the document.
    pub digest: Vec<u8>,
    pub our_end: u64,
    pub their_end: u64,
    pub we_owe: Nanocredits,
    pub they_owe: Nanocredits,
    pub agreed_at: OffsetDateTime,
}

/// What is known of an attempt that a receipt names.
pub(super) enum Found {
    Nothing,
    /// At the partner; none if nothing was noted, since nothing came.
    Attempt(Option<Box<Ours>>),
}

/// Partners, the first ones first.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool) -> Result<Vec<Partner>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, account_id, name, url, origin, log_keys, node_id, read_until, failure, created_at from partners
         where ended_at is null order by id"
    );
    let rows = rows.fetch_all(database).await?.into_iter();
    Ok(rows
        .map(|row| Partner {
            id: row.id,
            account: row.account_id,
            name: row.name,
            url: row.url,
            origin: row.origin,
            log_keys: row.log_keys,
            node: row.node_id,
            read_until: row.read_until.unsigned_abs(),
            failure: row.failure,
            created_at: row.created_at,
        })
        .collect())
}

/// The partner of an id.
///
/// # Errors
/// When the database fails.
pub(super) async fn find(database: &PgPool, id: Uuid) -> Result<Option<Partner>, sqlx::Error> {
    Ok(list(database).await?.into_iter().find(|partner| partner.id == id))
}

/// How many of its receipts are disputed.
///
/// # Errors
/// When the database fails.
pub(super) async fn disputed(database: &PgPool, id: Uuid) -> Result<u64, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from invoices where partner_id = $1 and dispute is not null"#,
        id
    );
    Ok(count.fetch_one(database).await?.unsigned_abs())
}

/// Adds one. None when the account is a partner's already, or there is no such account.
///
/// # Errors
/// When the database fails.
pub(super) async fn add(database: &PgPool, new: &NewPartner<'_>) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into partners (id, account_id, name, url, origin, log_keys, created_by)
         select $1, a.id, $3, $4, $5, $6, $7 from accounts a where a.id = $2
         on conflict do nothing returning id",
        Uuid::now_v7(),
        new.account,
        new.name,
        new.url,
        new.origin,
        new.log_keys,
        new.by
    )
    .fetch_optional(database)
    .await
}

/// The partner answers as this node from now on.
///
/// # Errors
/// When the database fails.
pub(crate) async fn answers_as(connection: &mut PgConnection, id: Uuid, node: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set node_id = $2 where id = $1", id, node).execute(connection).await.map(drop)
}

/// Other keys of a partner's log count.
///
/// # Errors
/// When the database fails.
pub(super) async fn trust(database: &PgPool, id: Uuid, log_keys: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set log_keys = $2 where id = $1", id, log_keys).execute(database).await.map(drop)
}

/// It is a partner no more. What it has billed is kept.
///
/// # Errors
/// When the database fails.
pub(super) async fn end(database: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set ended_at = now() where id = $1 and ended_at is null", id)
        .execute(database)
        .await
        .map(drop)
}

/// Says why nothing is read of a partner now, or that something is.
///
/// # Errors
/// When the database fails.
pub(super) async fn fails(database: &PgPool, id: Uuid, failure: Option<&str>) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set failure = $2 where id = $1", id, failure).execute(database).await.map(drop)
}

/// What is known of our attempt of this name at the partner.
///
/// # Errors
/// When the database fails.
pub(super) async fn ours(database: &PgPool, partner: &Partner, id: ReceiptId) -> Result<Found, sqlx::Error> {
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
pub(super) async fn take(
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
pub(super) async fn own_up(database: &PgPool, partner: &Partner, index: u64, by: Uuid) -> Result<bool, Refused> {
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
pub(super) async fn invoices(
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

/// What was offset with a partner, the newest first.
///
/// # Errors
/// When the database fails.
pub(super) async fn nettings(connection: &mut PgConnection, partner: Uuid) -> Result<Vec<Netted>, sqlx::Error> {
    let rows = sqlx::query!(
        "select number, digest, our_end, their_end, we_owe, they_owe, agreed_at from nettings
         where partner_id = $1 order by number desc limit $2",
        partner,
        MOST
    );
    let netted = rows.fetch_all(connection).await?.into_iter().map(|row| Netted {
        number: row.number.unsigned_abs(),
        digest: row.digest,
        our_end: row.our_end.unsigned_abs(),
        their_end: row.their_end.unsigned_abs(),
        we_owe: Nanocredits::new(row.we_owe.unsigned_abs()),
        they_owe: Nanocredits::new(row.they_owe.unsigned_abs()),
        agreed_at: row.agreed_at,
    });
    Ok(netted.collect())
}

/// Keeps what was offset.
///
/// # Errors
/// When the database fails, or there is one of this number.
pub(super) async fn net(
    connection: &mut PgConnection,
    partner: Uuid,
    netted: &Netted,
    event: Option<Uuid>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into nettings (partner_id, number, digest, our_end, their_end, we_owe, they_owe, event_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        partner,
        i32::try_from(netted.number).unwrap_or(i32::MAX),
        netted.digest,
        number(netted.our_end),
        number(netted.their_end),
        netted.we_owe.to_bigint(),
        netted.they_owe.to_bigint(),
        event
    )
    .execute(connection)
    .await
    .map(drop)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
