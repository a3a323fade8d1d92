//! Moves settled requests from the journal into Postgres, in batches, exactly once. The only module that writes the tables
//! `requests`, `attempts` and `request_energy`.
//!
//! A batch is one transaction: the rows, the ledger's events and postings, and what the leases were spent for. Should the
//! answer to a commit be lost, the batch is sent again, and rows that are there already are left out with all that hangs on
//! them. While the database is away, everything stays in the journal.

mod energy;

mod row;

use std::collections::HashSet;
use std::time::Duration;

use openapi::receipt::ReceiptId;
use openapi::units::Nanocredits;
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::admission::{Spent, lease};
use crate::database::begin_batch;
use crate::give_way::give_way;
use crate::journal::Journal;
use crate::ledger::settle::{self, Due};
use crate::receipts::table::{self, Expected};
pub use energy::{DayRow, adopt_energy, adopt_receipt, close_energies, energies_of_day, settle_energy};
use row::{AttemptRow, RequestRow};

/// Requests in one transaction.
const BATCH: usize = 500;
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// A database that takes longer for a batch is away.
const WITHIN: Duration = Duration::from_secs(20);
/// Small batches cost more, here and in the database, than they are worth to anybody; rows are to be there half a second
/// after the last byte.
const GATHER: Duration = Duration::from_millis(250);

/// Ships until `stop` is given and nothing waits any more.
pub async fn ship(journal: Journal, database: PgPool, replica: Uuid, stop: CancellationToken) {
    loop {
        let batch = journal.oldest(BATCH).await;
        if batch.is_empty() {
            tokio::select! {
                () = journal.wait() => {}
                () = stop.cancelled() => return,
            }
        } else if let Err(error) = ship_batch(&journal, &database, replica, &batch).await {
            tracing::warn!(%error, waiting = journal.state().waiting, "settled requests wait for the database");
            tokio::time::sleep(TRY_AGAIN).await;
        }
        // After a batch too: else those that came meanwhile would go one by one, as long as there are requests.
        if journal.state().waiting < BATCH {
            drop(tokio::time::timeout(GATHER, stop.cancelled()).await);
        }
    }
}

/// Ships all that waits.
///
/// # Errors
/// When the database is away.
pub async fn ship_all(journal: &Journal, database: &PgPool, replica: Uuid) -> Result<(), sqlx::Error> {
    loop {
        let batch = journal.oldest(BATCH).await;
        if batch.is_empty() {
            return Ok(());
        }
        ship_batch(journal, database, replica, &batch).await?;
    }
}

async fn ship_batch(
    journal: &Journal,
    database: &PgPool,
    replica: Uuid,
    batch: &[(u64, Vec<u8>)],
) -> Result<(), sqlx::Error> {
    let settled = read(journal, batch).await;
    match write(database, replica, &settled).await {
        Ok(()) => {}
        Err(error) if is_about_the_data(&error) && settled.len() > 1 => {
            // One of them can't be written: let the others through.
            for one in &settled {
                write_or_set_aside(journal, database, replica, one).await?;
            }
        }
        Err(error) if is_about_the_data(&error) => {
            for one in &settled {
                journal.set_aside(one.sequence, &error.to_string()).await;
            }
        }
        Err(error) => return Err(error),
    }
    let shipped: Vec<u64> = settled.iter().map(|one| one.sequence).collect();
    journal.remove(&shipped);
    Ok(())
}

async fn write_or_set_aside(
    journal: &Journal,
    database: &PgPool,
    replica: Uuid,
    one: &Settled<'_>,
) -> Result<(), sqlx::Error> {
    match write(database, replica, std::slice::from_ref(one)).await {
        Err(error) if is_about_the_data(&error) => {
            journal.set_aside(one.sequence, &error.to_string()).await;
            Ok(())
        }
        other => other,
    }
}

/// A settled record: its rows, and what the ledger needs of it.
struct Settled<'a> {
    sequence: u64,
    request: RequestRow,
    attempts: Vec<AttemptRow>,
    owed: Owed<'a>,
}

/// What a request owes and to whom, and what it has used of leased limits.
#[derive(Deserialize)]
struct Owed<'a> {
    id: Uuid,
    billed_as: Option<Uuid>,
    account_id: Uuid,
    node_id: Option<Uuid>,
    authors: Vec<String>,
    nanocredits: Nanocredits,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    spent: Vec<Spent>,
    #[serde(borrow)]
    attempts: Vec<Tried<'a>>,
}

/// An attempt, and what was noted of it for its receipt.
#[derive(Deserialize)]
struct Tried<'a> {
    attempt: u32,
    node_id: Uuid,
    #[serde(borrow)]
    noted: Option<&'a RawValue>,
}

impl Owed<'_> {
    /// None unless a node served it.
    fn due(&self) -> Option<Due<'_>> {
        Some(Due {
            request: self.id,
            billed_as: self.billed_as.unwrap_or(self.id),
            account: self.account_id,
            node: self.node_id?,
            authors: &self.authors,
            cost: self.nanocredits,
            at: self.started_at,
        })
    }

    /// The attempts of which there is to be a receipt.
    fn expected(&self) -> impl Iterator<Item = Expected<'_>> {
        self.attempts.iter().filter_map(|tried| {
            let id = ReceiptId { request: self.id, attempt: tried.attempt };
            Some(Expected { id, node: tried.node_id, noted: tried.noted?.get() })
        })
    }
}

impl<'a> Settled<'a> {
    fn read(sequence: u64, bytes: &'a [u8]) -> anyhow::Result<Self> {
        let json = std::str::from_utf8(bytes)?;
        let (request, attempts) = row::read(json)?;
        Ok(Self { sequence, request, attempts, owed: serde_json::from_str(json)? })
    }
}

async fn read<'a>(journal: &Journal, batch: &'a [(u64, Vec<u8>)]) -> Vec<Settled<'a>> {
    let mut settled = Vec::with_capacity(batch.len());
    for (index, (sequence, bytes)) in batch.iter().enumerate() {
        give_way(index).await;
        match Settled::read(*sequence, bytes) {
            Ok(one) => settled.push(one),
            Err(error) => journal.set_aside(*sequence, &error.to_string()).await,
        }
    }
    settled
}

/// True when the database refuses what is written, rather than being away, busy or read-only: classes 22 (data) and 23
/// (constraints) of PostgreSQL's error codes, appendix A.
pub(crate) fn is_about_the_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

async fn write(database: &PgPool, replica: Uuid, settled: &[Settled<'_>]) -> Result<(), sqlx::Error> {
    tokio::time::timeout(WITHIN, write_all(database, replica, settled)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn write_all(database: &PgPool, replica: Uuid, settled: &[Settled<'_>]) -> Result<(), sqlx::Error> {
    let mut transaction = begin_batch(database).await?;
    let new: HashSet<Uuid> = insert(&mut transaction, replica, settled).await?.into_iter().collect();
    let new: Vec<&Owed<'_>> = settled.iter().map(|one| &one.owed).filter(|owed| new.contains(&owed.id)).collect();
    let expected: Vec<Expected<'_>> = new.iter().flat_map(|owed| owed.expected()).collect();
    table::expect(&mut transaction, &expected).await?;
    let dues: Vec<Due<'_>> = new.iter().filter_map(|owed| owed.due()).collect();
    let paid_before = settle::settle(&mut transaction, replica, &dues).await?;
    if !paid_before.is_empty() {
        make_free(&mut transaction, &paid_before).await?;
    }
    let spent: Vec<Spent> = new.iter().flat_map(|owed| owed.spent.iter().cloned()).collect();
    lease::spend(&mut transaction, replica, &spent).await?;
    transaction.commit().await
}

/// Writes the rows of requests and of their attempts. Returns the ids of those that were not there yet.
async fn insert(
    connection: &mut PgConnection,
    replica: Uuid,
    settled: &[Settled<'_>],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let requests: Vec<&RequestRow> = settled.iter().map(|one| &one.request).collect();
    let attempts: Vec<&AttemptRow> = settled.iter().flat_map(|one| &one.attempts).collect();
    sqlx::query_scalar!(
        r#"with written as (
            insert into requests (id, account_id, user_id, key_id, endpoint, model, streamed, outcome, status, node_id,
                prompt_tokens, cached_tokens, completion_tokens, nanocredits, price_version, microjoules,
                low_microjoules, high_microjoules, energy_tier, energy_boundary, energy_method, started_at,
                first_byte_microseconds, duration_microseconds, replica_id)
            select r.*, $3 from unnest($1::request_row[]) r on conflict (id) do nothing returning id),
         tried as (
            insert into attempts (request_id, attempt, node_id, outcome, choice, prompt_tokens, completion_tokens,
                overclaimed_tokens, microjoules, duration_microseconds)
            select a.request_id, a.attempt, a.node_id, a.outcome, a.choice, a.prompt_tokens, a.completion_tokens,
                a.overclaimed_tokens, a.microjoules, a.duration_microseconds
            from unnest($2::attempt_row[]) a join written on written.id = a.request_id),
         energised as (
            insert into request_energy (request_id, attempt, node_id, delivered, microjoules, low_microjoules,
                high_microjoules, marginal_microjoules, prefill_microjoules, idle_microjoules, tier, boundary, method,
                status, believed, tier_cap, grid_zone, grid_mg_per_kwh, grid_source, grid_basis, pue_milli,
                embodied_nanograms_per_joule)
            select e.request_id, e.attempt, e.node_id, e.delivered, e.microjoules, e.low_microjoules,
                e.high_microjoules, e.marginal_microjoules, e.prefill_microjoules, e.idle_microjoules, e.tier,
                e.boundary, e.method, e.energy_status, e.believed, e.tier_cap, (e.grid).zone, (e.grid).mg_per_kwh,
                (e.grid).source, (e.grid).basis, e.pue_milli, e.embodied_nanograms_per_joule
            from unnest($2::attempt_row[]) e join written on written.id = e.request_id where e.tier is not null)
         select id as "id!" from written"#,
        &requests as &[&RequestRow],
        &attempts as &[&AttemptRow],
        replica
    )
    .fetch_all(connection)
    .await
}

/// What was computed again, and is paid under another request, costs nothing.
async fn make_free(connection: &mut PgConnection, requests: &[Uuid]) -> Result<(), sqlx::Error> {
    tracing::warn!(?requests, "computed again under an Idempotency-Key, and paid once");
    sqlx::query!("update requests set nanocredits = 0 where id = any($1)", requests).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests;
