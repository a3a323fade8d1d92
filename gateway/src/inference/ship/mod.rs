//! Moves settled requests from the journal into Postgres, in batches, exactly once. The only module that writes the tables
//! `requests` and `attempts`.
//!
//! A batch is one transaction: the rows, the ledger's events and postings, and what the leases were spent for. Should the
//! answer to a commit be lost, the batch is sent again, and rows that are there already are left out with all that hangs on
//! them. While the database is away, everything stays in the journal.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::Json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::record::RequestRecord;
use crate::admission::{Spent, lease};
use crate::journal::Journal;
use crate::ledger::settle::{self, Due};

/// Requests in one transaction.
const BATCH: usize = 500;
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// A database that takes longer for a batch is away.
const WITHIN: Duration = Duration::from_secs(20);
/// Small batches cost more, here and in the database, than they are worth to anybody.
const GATHER: Duration = Duration::from_millis(200);

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
    let records = read(journal, batch).await;
    match write(database, replica, &records).await {
        Ok(()) => {}
        Err(error) if is_about_the_data(&error) && records.len() > 1 => {
            // One of them can't be written: let the others through.
            for record in &records {
                write_or_set_aside(journal, database, replica, record).await?;
            }
        }
        Err(error) if is_about_the_data(&error) => {
            for record in &records {
                journal.set_aside(record.0, &error.to_string()).await;
            }
        }
        Err(error) => return Err(error),
    }
    let shipped: Vec<u64> = records.iter().map(|(sequence, _)| *sequence).collect();
    journal.remove(&shipped);
    Ok(())
}

async fn write_or_set_aside(
    journal: &Journal,
    database: &PgPool,
    replica: Uuid,
    record: &(u64, RequestRecord),
) -> Result<(), sqlx::Error> {
    match write(database, replica, std::slice::from_ref(record)).await {
        Err(error) if is_about_the_data(&error) => {
            journal.set_aside(record.0, &error.to_string()).await;
            Ok(())
        }
        other => other,
    }
}

async fn read(journal: &Journal, batch: &[(u64, Vec<u8>)]) -> Vec<(u64, RequestRecord)> {
    let mut records = Vec::with_capacity(batch.len());
    for (sequence, bytes) in batch {
        match serde_json::from_slice(bytes) {
            Ok(record) => records.push((*sequence, record)),
            Err(error) => journal.set_aside(*sequence, &error.to_string()).await,
        }
    }
    records
}

/// True when the database refuses what is written, rather than being away, busy or read-only: classes 22 (data) and 23
/// (constraints) of PostgreSQL's error codes, appendix A.
fn is_about_the_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

async fn write(database: &PgPool, replica: Uuid, records: &[(u64, RequestRecord)]) -> Result<(), sqlx::Error> {
    let records: Vec<&RequestRecord> = records.iter().map(|(_, record)| record).collect();
    tokio::time::timeout(WITHIN, write_all(database, replica, &records)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn write_all(database: &PgPool, replica: Uuid, records: &[&RequestRecord]) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    let new: HashSet<Uuid> = insert_requests(&mut transaction, replica, records).await?.into_iter().collect();
    let records: Vec<&RequestRecord> =
        records.iter().filter(|record| new.contains(&record.request.id)).copied().collect();
    insert_attempts(&mut transaction, &records).await?;
    let dues: Vec<Due<'_>> = records.iter().filter_map(|record| due(record)).collect();
    settle::settle(&mut transaction, replica, &dues).await?;
    let spent: Vec<Spent> = records.iter().flat_map(|record| record.spent.iter().cloned()).collect();
    lease::spend(&mut transaction, replica, &spent).await?;
    transaction.commit().await
}

/// What a request owes, if a node served it.
fn due(record: &RequestRecord) -> Option<Due<'_>> {
    Some(Due {
        request: record.request.id,
        account: record.request.account_id,
        node: record.node_id?,
        authors: &record.authors,
        cost: record.nanocredits,
        at: record.request.started_at,
    })
}

/// Returns the ids of those that were not there yet.
async fn insert_requests(
    connection: &mut sqlx::PgConnection,
    replica: Uuid,
    records: &[&RequestRecord],
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into requests (id, account_id, user_id, key_id, endpoint, model, streamed, outcome, status, node_id,
            prompt_tokens, cached_tokens, completion_tokens, nanocredits, price_version, microjoules, low_microjoules,
            high_microjoules, energy_tier, energy_boundary, energy_method, replica_id, started_at,
            first_byte_microseconds, duration_microseconds)
         select id, account_id, user_id, key_id, endpoint, model, streamed, outcome, status, node_id,
            prompt_tokens, cached_tokens, completion_tokens, nanocredits, price_version, microjoules, low_microjoules,
            high_microjoules, energy_tier, energy_boundary, energy_method, $2, started_at,
            first_byte_microseconds, duration_microseconds
         from jsonb_to_recordset($1) as r (id uuid, account_id uuid, user_id uuid, key_id uuid, endpoint text, model text,
            streamed boolean, outcome text, status smallint, node_id uuid, prompt_tokens bigint, cached_tokens bigint,
            completion_tokens bigint, nanocredits bigint, price_version bigint, microjoules bigint,
            low_microjoules bigint, high_microjoules bigint, energy_tier text, energy_boundary text, energy_method text,
            started_at timestamptz, first_byte_microseconds bigint, duration_microseconds bigint)
         on conflict (id) do nothing returning id",
        Json(records) as _,
        replica
    )
    .fetch_all(connection)
    .await
}

async fn insert_attempts(connection: &mut sqlx::PgConnection, records: &[&RequestRecord]) -> Result<(), sqlx::Error> {
    let attempts: Vec<_> = records.iter().flat_map(|record| &record.attempts).collect();
    sqlx::query!(
        "insert into attempts (request_id, attempt, node_id, outcome, prompt_tokens, completion_tokens,
            overclaimed_tokens, microjoules, duration_microseconds)
         select request_id, attempt, node_id, outcome, prompt_tokens, completion_tokens,
            overclaimed_tokens, microjoules, duration_microseconds
         from jsonb_to_recordset($1) as a (request_id uuid, attempt integer, node_id uuid, outcome text,
            prompt_tokens bigint, completion_tokens bigint, overclaimed_tokens bigint, microjoules bigint,
            duration_microseconds bigint)",
        Json(attempts) as _
    )
    .execute(connection)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests;
