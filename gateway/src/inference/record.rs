//! Writes what became of each request. The only module that writes the tables `requests` and `attempts`.
//!
//! Records wait in memory until Postgres has them. While it is away they stay there and are written when it is back;
//! beyond a limit no new request is admitted, so that nothing is ever thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openapi::energy::Energy;
use openapi::units::{Microjoules, Microseconds};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Records in one transaction.
const BATCH: usize = 200;
/// Beyond this many waiting records no request is admitted.
const MOST_WAITING: usize = 100_000;
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// What became of a request.
#[derive(Debug)]
pub struct RequestRecord {
    pub id: Uuid,
    pub account: Uuid,
    pub key: Uuid,
    pub endpoint: &'static str,
    pub model: String,
    pub streamed: bool,
    pub outcome: &'static str,
    pub status: u16,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub energy: Option<Energy>,
    pub started_at: OffsetDateTime,
    pub first_byte: Option<Microseconds>,
    pub duration: Microseconds,
    pub attempts: Vec<AttemptRecord>,
}

/// What became of one try.
#[derive(Debug)]
pub struct AttemptRecord {
    pub attempt: i32,
    pub node: Uuid,
    pub outcome: &'static str,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub microjoules: Microjoules,
    pub duration: Microseconds,
    pub energy: Option<Energy>,
}

impl RequestRecord {
    /// The one line that the log has for a request. Never what was asked or answered.
    pub(super) fn log(&self) {
        tracing::info!(
            request = %self.id,
            account = %self.account,
            model = self.model,
            node = ?self.attempts.last().map(|last| last.node),
            attempts = self.attempts.len(),
            outcome = self.outcome,
            status = self.status,
            prompt_tokens = self.prompt_tokens,
            completion_tokens = self.completion_tokens,
            microjoules = self.energy.as_ref().map_or(0, |energy| energy.microjoules.get()),
            first_byte_us = self.first_byte.map(Microseconds::get),
            duration_us = self.duration.get(),
            "request"
        );
    }
}

/// Takes records from everywhere.
#[derive(Clone)]
pub struct Recorder {
    /// Holds at most one record per admitted request, and admission stops at [`MOST_WAITING`].
    records: mpsc::UnboundedSender<RequestRecord>,
    waiting: Arc<AtomicUsize>,
}

/// Writes records until every [`Recorder`] is gone and nothing waits any more.
pub struct Writer {
    records: mpsc::UnboundedReceiver<RequestRecord>,
    waiting: Arc<AtomicUsize>,
    database: PgPool,
}

/// The two ends.
pub fn recorder(database: PgPool) -> (Recorder, Writer) {
    let (to, from) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Recorder { records: to, waiting: Arc::clone(&waiting) }, Writer { records: from, waiting, database })
}

impl Recorder {
    /// Hands a record over.
    pub fn write(&self, record: RequestRecord) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(lost) = self.records.send(record) {
            tracing::error!(request = %lost.0.id, "the writer is gone: this record exists in the log alone");
        }
    }

    /// Records that Postgres does not have yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// True when no more may be added.
    pub fn is_overfull(&self) -> bool {
        self.waiting() >= MOST_WAITING
    }
}

impl Writer {
    /// Runs until every recorder is gone.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.records.recv_many(&mut batch, BATCH).await > 0 {
            while let Err(error) = write_batch(&self.database, &batch).await {
                tracing::warn!(%error, waiting = self.waiting.load(Ordering::Relaxed), "records wait for the database");
                tokio::time::sleep(TRY_AGAIN).await;
            }
            self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
            batch.clear();
        }
    }
}

async fn write_batch(database: &PgPool, batch: &[RequestRecord]) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    for record in batch {
        write_request(&mut transaction, record).await?;
        for attempt in &record.attempts {
            write_attempt(&mut transaction, record.id, attempt).await?;
        }
    }
    transaction.commit().await
}

/// Written at most once, also when a batch is repeated because nobody heard of its success.
async fn write_request(connection: &mut sqlx::PgConnection, record: &RequestRecord) -> Result<(), sqlx::Error> {
    let energy = record.energy.as_ref();
    let microjoules = |pick: fn(&Energy) -> Microjoules| energy.map_or(0, |energy| pick(energy).to_bigint());
    sqlx::query!(
        "insert into requests (id, account_id, key_id, endpoint, model, streamed, outcome, status, prompt_tokens,
            completion_tokens, microjoules, low_microjoules, high_microjoules, energy_tier, energy_boundary, energy_method,
            started_at, first_byte_microseconds, duration_microseconds)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         on conflict (id) do nothing",
        record.id,
        record.account,
        record.key,
        record.endpoint,
        record.model,
        record.streamed,
        record.outcome,
        i16::try_from(record.status).unwrap_or(i16::MAX),
        bigint(record.prompt_tokens),
        bigint(record.completion_tokens),
        microjoules(|energy| energy.microjoules),
        microjoules(|energy| energy.low_microjoules),
        microjoules(|energy| energy.high_microjoules),
        energy.map(|energy| energy.tier.letter()),
        energy.map(|energy| energy.boundary.word()),
        energy.map(|energy| energy.method.as_str()),
        record.started_at,
        record.first_byte.map(Microseconds::to_bigint),
        record.duration.to_bigint()
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn write_attempt(
    connection: &mut sqlx::PgConnection,
    request: Uuid,
    attempt: &AttemptRecord,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into attempts (request_id, attempt, node_id, outcome, prompt_tokens, completion_tokens, microjoules,
            duration_microseconds)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (request_id, attempt) do nothing",
        request,
        attempt.attempt,
        attempt.node,
        attempt.outcome,
        bigint(attempt.prompt_tokens),
        bigint(attempt.completion_tokens),
        attempt.microjoules.to_bigint(),
        attempt.duration.to_bigint()
    )
    .execute(connection)
    .await
    .map(drop)
}

fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Tier};

    use super::*;
    use crate::auth::user::{self, NewUser};

    /// A user with a key and a node.
    async fn somebody(database: &PgPool) -> (Uuid, Uuid, Uuid) {
        let new = NewUser { email: "a@example.com", name: "A", password_hash: "-", is_admin: false };
        let id = user::create(database, new).await.unwrap().unwrap();
        let account = user::find(database, id).await.unwrap().unwrap().account_id;
        let (key, node) = (Uuid::now_v7(), Uuid::now_v7());
        sqlx::query!(
            "with made as (insert into nodes (id, account_id, name, public_key) values ($4, $2, 'n', $5))
             insert into keys (id, public_id, account_id, created_by, name, scope, secret_hash)
             values ($1, 'p', $2, $3, 'k', 'inference', $5)",
            key,
            account,
            id,
            node,
            [0u8; 32].as_slice()
        )
        .execute(database)
        .await
        .unwrap();
        (account, key, node)
    }

    fn record((account, key, node): (Uuid, Uuid, Uuid)) -> RequestRecord {
        let microjoules = Microjoules::new(5_000);
        let energy = Energy {
            microjoules,
            low_microjoules: Microjoules::new(2_000),
            high_microjoules: Microjoules::new(12_500),
            tier: Tier::E,
            boundary: Boundary::Device,
            method: "test/1".to_owned(),
        };
        let attempt = |attempt, outcome| AttemptRecord {
            attempt,
            node,
            outcome,
            prompt_tokens: 3,
            completion_tokens: 2,
            microjoules,
            duration: Microseconds::new(7),
            energy: Some(energy.clone()),
        };
        RequestRecord {
            id: Uuid::now_v7(),
            account,
            key,
            endpoint: "completions",
            model: "m".to_owned(),
            streamed: true,
            outcome: "completed",
            status: 200,
            prompt_tokens: 3,
            completion_tokens: 2,
            energy: Some(energy.clone()),
            started_at: OffsetDateTime::now_utc(),
            first_byte: None,
            duration: Microseconds::new(9),
            attempts: vec![attempt(1, "node_failed"), attempt(2, "completed")],
        }
    }

    async fn counts(database: &PgPool) -> (i64, i64) {
        let requests =
            sqlx::query_scalar!(r#"select count(*) as "count!" from requests"#).fetch_one(database).await.unwrap();
        let attempts =
            sqlx::query_scalar!(r#"select count(*) as "count!" from attempts"#).fetch_one(database).await.unwrap();
        (requests, attempts)
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_batch_that_is_repeated_is_written_once(database: PgPool) {
        let owner = somebody(&database).await;
        let batch = [record(owner), record(owner)];
        write_batch(&database, &batch).await.unwrap();
        write_batch(&database, &batch).await.unwrap();
        assert_eq!(counts(&database).await, (2, 4));
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn every_record_handed_over_is_written_before_the_writer_ends(database: PgPool) {
        let owner = somebody(&database).await;
        let (recorder, writer) = recorder(database.clone());
        let writing = tokio::spawn(writer.run());
        for _ in 0..500 {
            recorder.clone().write(record(owner));
        }
        drop(recorder);
        writing.await.unwrap();
        assert_eq!(counts(&database).await, (500, 1000));
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn figures_that_contradict_themselves_are_refused_by_the_database(database: PgPool) {
        let owner = somebody(&database).await;
        let mut wrong = record(owner);
        wrong.energy.as_mut().unwrap().low_microjoules = Microjoules::new(5_001);
        assert!(write_batch(&database, &[wrong]).await.is_err());
        assert_eq!(counts(&database).await, (0, 0));
    }
}
