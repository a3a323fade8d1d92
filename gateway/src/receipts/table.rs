//! The only module that writes the tables `receipts`, `node_receipts` and `receipt_chains`.

use std::collections::HashMap;

use openapi::energy::{Boundary, Grid, Status, Tier};
use openapi::log::entry::Entry;
use openapi::receipt::{NodeReceipt, ReceiptEnergy, ReceiptId, check, jws};
use openapi::units::{Microjoules, Microseconds, Nanocredits};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::inference::record::Noted;

/// An attempt of which there is to be a receipt.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    pub id: ReceiptId,
    pub node: Uuid,
    /// [`Noted`], as JSON.
    pub noted: &'a str,
}

/// A receipt that a node has signed.
#[derive(Clone, Debug)]
pub struct Received {
    pub receipt: NodeReceipt,
    pub public_key: Vec<u8>,
    pub statement: String,
    /// [`Derived::vouch`](crate::secrets::Derived::vouch) for key and statement.
    pub voucher: [u8; 32],
}

/// What a node has said of an attempt.
#[derive(Clone, Debug)]
pub struct NodeSaid {
    pub statement: String,
    pub public_key: Vec<u8>,
    pub voucher: Option<Vec<u8>>,
}

/// All that is known of an attempt whose receipt can be signed.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: ReceiptId,
    pub node: Uuid,
    pub noted: Noted,
    pub outcome: String,
    /// When the request was let in.
    pub started_at: OffsetDateTime,
    pub duration: Microseconds,
    /// Tokens that were delivered of the request's answer, by whichever attempts.
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    /// What the request cost in the end.
    pub nanocredits: Nanocredits,
    /// By which the ledger has shared that.
    pub split_version: Option<i32>,
    pub energy: Option<ReceiptEnergy>,
    /// What the node has signed, and the key that it has signed it with.
    pub node_said: Option<NodeSaid>,
    /// The receipt of the gateway that has answered, if one has.
    pub partner_said: Option<String>,
}

/// A receipt that is signed.
#[derive(Clone, Debug)]
pub struct Signed {
    pub id: ReceiptId,
    pub receipt: String,
    /// Its entry in the log.
    pub entry: Entry,
    /// The node's part is in it.
    pub has_node_s: bool,
}

/// A receipt, for whoever may see its salt.
#[derive(Clone, Debug)]
pub struct Kept {
    pub id: ReceiptId,
    pub noted: Noted,
    /// None until it is signed.
    pub signed: Option<(String, String)>,
}

/// Leaves word of attempts of which there is to be a receipt.
///
/// # Errors
/// When the database fails.
pub async fn expect(connection: &mut PgConnection, expected: &[Expected<'_>]) -> Result<(), sqlx::Error> {
    if expected.is_empty() {
        return Ok(());
    }
    let (requests, attempts) = names(expected.iter().map(|one| one.id));
    let nodes: Vec<Uuid> = expected.iter().map(|one| one.node).collect();
    let noted: Vec<&str> = expected.iter().map(|one| one.noted).collect();
    sqlx::query!(
        "insert into receipts (request_id, attempt, node_id, noted)
         select request, attempt, node, noted::jsonb
         from unnest($1::uuid[], $2::integer[], $3::uuid[], $4::text[]) as e (request, attempt, node, noted)
         on conflict do nothing",
        &requests,
        &attempts,
        &nodes,
        &noted as &[&str]
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Ids as the database has them.
fn names(ids: impl Iterator<Item = ReceiptId>) -> (Vec<Uuid>, Vec<i32>) {
    ids.map(|id| (id.request, i32::try_from(id.attempt).unwrap_or(i32::MAX))).unzip()
}

/// The number of the last receipt of a node.
///
/// # Errors
/// When the database fails.
pub async fn newest(database: &PgPool, node: Uuid) -> Result<u64, sqlx::Error> {
    let newest = sqlx::query_scalar!("select sequence from receipt_chains where node_id = $1", node);
    Ok(newest.fetch_optional(database).await?.unwrap_or_default().unsigned_abs())
}

/// Keeps what a node has signed, once, and says how many of these do not go on from the one before.
///
/// # Errors
/// When the database fails.
pub async fn keep(database: &PgPool, node: Uuid, received: &[Received]) -> Result<u64, sqlx::Error> {
    let mut transaction = database.begin().await?;
    // One way at a time, should two lead to the node.
    let lock = sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", format!("receipts of {node}"));
    lock.execute(&mut *transaction).await?;
    let known = sqlx::query!("select sequence, digest from receipt_chains where node_id = $1", node);
    let known = known.fetch_optional(&mut *transaction).await?;
    let (mut last, mut digest) = known.map_or((0, String::new()), |row| (row.sequence.unsigned_abs(), row.digest));
    let (mut new, mut breaks) = (Vec::new(), 0);
    for one in received {
        if one.receipt.sequence <= last {
            continue;
        }
        if one.receipt.sequence != last + 1 || one.receipt.previous != digest {
            breaks += 1;
        }
        (last, digest) = (one.receipt.sequence, jws::digest(&one.statement));
        new.push(one);
    }
    if new.is_empty() {
        return Ok(0);
    }
    insert_received(&mut transaction, node, &new).await?;
    sqlx::query!(
        "insert into receipt_chains (node_id, sequence, digest, breaks) values ($1, $2, $3, $4)
         on conflict (node_id) do update set sequence = excluded.sequence, digest = excluded.digest,
            breaks = receipt_chains.breaks + excluded.breaks",
        node,
        i64::try_from(last).unwrap_or(i64::MAX),
        digest,
        i64::try_from(breaks).unwrap_or(i64::MAX)
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(breaks)
}

async fn insert_received(connection: &mut PgConnection, node: Uuid, new: &[&Received]) -> Result<(), sqlx::Error> {
    let ids = new.iter().map(|one| ReceiptId { request: one.receipt.request, attempt: one.receipt.attempt });
    let (requests, attempts) = names(ids);
    let sequences: Vec<i64> = new.iter().map(|one| i64::try_from(one.receipt.sequence).unwrap_or(i64::MAX)).collect();
    let keys: Vec<&[u8]> = new.iter().map(|one| one.public_key.as_slice()).collect();
    let statements: Vec<&str> = new.iter().map(|one| one.statement.as_str()).collect();
    let vouchers: Vec<&[u8]> = new.iter().map(|one| one.voucher.as_slice()).collect();
    sqlx::query!(
        "insert into node_receipts (node_id, sequence, request_id, attempt, public_key, statement, voucher)
         select $1, * from unnest($2::bigint[], $3::uuid[], $4::integer[], $5::bytea[], $6::text[], $7::bytea[])",
        node,
        &sequences,
        &requests,
        &attempts,
        &keys as &[&[u8]],
        &statements as &[&str],
        &vouchers as &[&[u8]]
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Attempts whose receipts may be due, those that come first in time first. Of all that wait, which are many while a node is
/// away, no more is looked at: a node's word that came long ago belongs to what is overdue.
///
/// # Errors
/// When the database fails.
pub async fn may_be_due(connection: &mut PgConnection, most: i64) -> Result<Vec<ReceiptId>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select request_id as "request!", attempt as "attempt!" from (
               select request_id, attempt, due_at from receipts where receipt is null and due_at < now()
               -- Looked up one by one: the planner takes those without a receipt for one or two, and compares all with all.
               union select n.request_id, n.attempt, r.due_at from node_receipts n
                   cross join lateral (select due_at, receipt from receipts r
                       where r.request_id = n.request_id and r.attempt = n.attempt offset 0) r
                   where n.received_at > now() - interval '1 minute' and r.receipt is null
               union select request_id, attempt, due_at from receipts
                   where receipt is null and (noted ->> 'is_attached')::boolean) perhaps
           order by due_at, request_id, attempt limit $1"#,
        most
    );
    let id = |request, attempt: i32| ReceiptId { request, attempt: attempt.unsigned_abs() };
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| id(row.request, row.attempt)).collect())
}

/// Those of these attempts whose receipts can be signed: the node has said its part, or time is up: a minute later for
/// another gateway's, whose receipt has to be in its log first.
///
/// # Errors
/// When the database fails.
pub async fn due(connection: &mut PgConnection, of: &[ReceiptId]) -> Result<Vec<Due>, sqlx::Error> {
    let (requests, attempts) = names(of.iter().copied());
    let rows = sqlx::query_as!(
        DueRow,
        r#"select r.request_id, r.attempt, r.node_id, r.noted::text as "noted!", a.outcome, q.started_at,
               a.duration_microseconds, q.prompt_tokens, q.cached_tokens, q.completion_tokens, q.nanocredits,
               (select s.split_version from events s where s.request_id = r.request_id and s.kind = 'settlement' limit 1)
                   as split_version,
               e.microjoules as "microjoules?", e.low_microjoules as "low_microjoules?",
               e.high_microjoules as "high_microjoules?", e.marginal_microjoules as "marginal_microjoules?",
               e.prefill_microjoules as "prefill_microjoules?", e.idle_microjoules as "idle_microjoules?",
               e.tier as "tier?", e.boundary as "boundary?", e.method as "method?", e.status as "status?",
               e.believed as "believed?", e.grid_zone, e.grid_mg_per_kwh, e.grid_source, e.grid_basis,
               e.pue_milli as "pue_milli?", n.statement as "statement?", n.public_key as "public_key?", n.voucher as "voucher?",
               (select i.receipt from invoices i where i.request_id = r.request_id and i.attempt = r.attempt
                   and i.dispute is null order by i.nanocredits desc, i.index desc limit 1) as partner_receipt
           from unnest($1::uuid[], $2::integer[]) as p (request_id, attempt)
           cross join lateral (select * from receipts r
               where r.request_id = p.request_id and r.attempt = p.attempt offset 0) r
           join requests q on q.id = r.request_id
           join attempts a on a.request_id = r.request_id and a.attempt = r.attempt
           left join request_energy e on e.request_id = r.request_id and e.attempt = r.attempt
           left join lateral (select n.statement, n.public_key, n.voucher from node_receipts n
               where n.request_id = r.request_id and n.attempt = r.attempt and n.node_id = r.node_id
               order by n.sequence limit 1) n on true
           where r.receipt is null and (r.due_at + case when (r.noted ->> 'is_attached')::boolean then interval '1 minute' else '0' end < now()
               or (coalesce(e.status, '') <> 'provisional'
               and (n.statement is not null or (r.noted ->> 'is_attached')::boolean)))
           order by r.due_at, r.request_id, r.attempt"#,
        &requests,
        &attempts
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Due::try_from).collect()
}

/// A row of [`due`], as the database has it.
struct DueRow {
    request_id: Uuid,
    attempt: i32,
    node_id: Uuid,
    noted: String,
    outcome: String,
    started_at: OffsetDateTime,
    duration_microseconds: i64,
    prompt_tokens: i64,
    cached_tokens: i64,
    completion_tokens: i64,
    nanocredits: i64,
    split_version: Option<i32>,
    microjoules: Option<i64>,
    low_microjoules: Option<i64>,
    high_microjoules: Option<i64>,
    marginal_microjoules: Option<i64>,
    prefill_microjoules: Option<i64>,
    idle_microjoules: Option<i64>,
    tier: Option<String>,
    boundary: Option<String>,
    method: Option<String>,
    status: Option<String>,
    believed: Option<bool>,
    grid_zone: Option<String>,
    grid_mg_per_kwh: Option<i64>,
    grid_source: Option<String>,
    grid_basis: Option<String>,
    pue_milli: Option<i32>,
    statement: Option<String>,
    voucher: Option<Vec<u8>>,
    public_key: Option<Vec<u8>>,
    partner_receipt: Option<String>,
}

impl TryFrom<DueRow> for Due {
    type Error = sqlx::Error;

    fn try_from(row: DueRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: ReceiptId { request: row.request_id, attempt: row.attempt.unsigned_abs() },
            node: row.node_id,
            noted: noted(&row.noted)?,
            energy: row.energy(),
            outcome: row.outcome,
            started_at: row.started_at,
            duration: Microseconds::new(row.duration_microseconds.unsigned_abs()),
            prompt_tokens: row.prompt_tokens.unsigned_abs(),
            cached_tokens: row.cached_tokens.unsigned_abs(),
            completion_tokens: row.completion_tokens.unsigned_abs(),
            nanocredits: Nanocredits::new(row.nanocredits.unsigned_abs()),
            split_version: row.split_version,
            node_said: row.statement.zip(row.public_key).map(|(statement, public_key)| NodeSaid {
                statement,
                public_key,
                voucher: row.voucher,
            }),
            partner_said: row.partner_receipt,
        })
    }
}

impl DueRow {
    /// None when the node had not begun to compute.
    fn energy(&self) -> Option<ReceiptEnergy> {
        let joules = |count: Option<i64>| Microjoules::new(count.unwrap_or_default().unsigned_abs());
        let (pue_milli, idle) = (self.pue_milli.unwrap_or_default().unsigned_abs(), joules(self.idle_microjoules));
        let facility = check::facility(joules(self.microjoules), idle, pue_milli);
        let grid = self.grid_mg_per_kwh.map(|intensity| Grid {
            zone: self.grid_zone.clone().unwrap_or_default(),
            mg_per_kwh: intensity.unsigned_abs(),
            source: self.grid_source.clone().unwrap_or_default(),
            basis: self.grid_basis.clone().unwrap_or_default(),
        });
        Some(ReceiptEnergy {
            microjoules: joules(self.microjoules),
            low_microjoules: joules(self.low_microjoules),
            high_microjoules: joules(self.high_microjoules),
            marginal_microjoules: joules(self.marginal_microjoules),
            prefill_microjoules: joules(self.prefill_microjoules),
            idle_microjoules: idle,
            tier: Tier::from_letter(self.tier.as_deref()?).unwrap_or(Tier::X),
            boundary: self.boundary.as_deref().and_then(Boundary::from_word).unwrap_or(Boundary::Device),
            method: self.method.clone().unwrap_or_default(),
            status: self.status.as_deref().and_then(Status::from_word).unwrap_or(Status::Provisional),
            believed: self.believed.unwrap_or_default(),
            pue_milli,
            facility_microjoules: facility,
            micrograms_co2e: grid.as_ref().map(|grid| check::carbon(facility, grid.mg_per_kwh)),
            grid,
        })
    }
}

fn noted(json: &str) -> Result<Noted, sqlx::Error> {
    serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Keeps receipts that were signed with one key, and forgets what nodes had sent that is in them now. What contradicts stays,
/// as evidence.
///
/// # Errors
/// When the database fails.
pub async fn sign(connection: &mut PgConnection, signed: &[Signed], kid: &str) -> Result<(), sqlx::Error> {
    let (requests, attempts) = names(signed.iter().map(|one| one.id));
    let receipts: Vec<&str> = signed.iter().map(|one| one.receipt.as_str()).collect();
    let digests: Vec<&[u8]> = signed.iter().map(|one| one.entry.hash.as_slice()).collect();
    sqlx::query!(
        "update receipts r set receipt = s.receipt, kid = $4, digest = s.digest
         from unnest($1::uuid[], $2::integer[], $3::text[], $5::bytea[]) as s (request, attempt, receipt, digest)
         where r.request_id = s.request and r.attempt = s.attempt",
        &requests,
        &attempts,
        &receipts as &[&str],
        kid,
        &digests as &[&[u8]]
    )
    .execute(&mut *connection)
    .await?;
    let (requests, attempts) = names(signed.iter().filter(|one| one.has_node_s).map(|one| one.id));
    sqlx::query!(
        "delete from node_receipts n using unnest($1::uuid[], $2::integer[]) as s (request, attempt)
         where n.request_id = s.request and n.attempt = s.attempt",
        &requests,
        &attempts
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The receipt of this SHA-256.
///
/// # Errors
/// When the database fails.
pub async fn of_digest(database: &PgPool, digest: &[u8]) -> Result<Option<String>, sqlx::Error> {
    let receipt = sqlx::query_scalar!(r#"select receipt as "receipt!" from receipts where digest = $1"#, digest);
    receipt.fetch_optional(database).await
}

/// Those of the receipts of these SHA-256s that are kept, by these.
///
/// # Errors
/// When the database fails.
pub async fn of_digests(
    connection: &mut PgConnection,
    digests: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, String>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select digest as "digest!", receipt as "receipt!" from receipts where digest = any($1)"#,
        digests
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.digest, row.receipt)).collect())
}

/// The receipts of a request of an account, the first attempt's first.
///
/// # Errors
/// When the database fails.
pub async fn of_request(database: &PgPool, account: Uuid, request: Uuid) -> Result<Vec<Kept>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.attempt, r.noted::text as "noted!", r.receipt, r.kid from receipts r
           join requests q on q.id = r.request_id
           where r.request_id = $1 and q.account_id = $2 order by r.attempt"#,
        request,
        account
    );
    let rows = rows.fetch_all(database).await?;
    let kept = rows.into_iter().map(|row| {
        let noted = noted(&row.noted)?;
        let id = ReceiptId { request, attempt: row.attempt.unsigned_abs() };
        Ok(Kept { id, noted, signed: row.receipt.zip(row.kid) })
    });
    kept.collect()
}

/// Of the receipts of these SHA-256s those that this account has paid for, by these.
///
/// # Errors
/// When the database fails.
pub async fn of_account(
    connection: &mut PgConnection,
    account: Uuid,
    digests: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, Kept>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.request_id, r.attempt, r.noted::text as "noted!", r.receipt, r.kid, r.digest as "digest!" from receipts r
           join requests q on q.id = r.request_id where r.digest = any($1) and q.account_id = $2"#,
        digests,
        account
    );
    let kept = rows.fetch_all(connection).await?.into_iter().map(|row| {
        let id = ReceiptId { request: row.request_id, attempt: row.attempt.unsigned_abs() };
        Ok((row.digest, Kept { id, noted: noted(&row.noted)?, signed: row.receipt.zip(row.kid) }))
    });
    kept.collect()
}
