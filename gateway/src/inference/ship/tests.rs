//! Batches in a real database: rows, ledger and leases, once each.

use std::path::PathBuf;

use openapi::units::{Microjoules, Microseconds};
use sqlx::{Executor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::inference::record::{AttemptRecord, OpenRequest, Outcome, RequestRecord};
use crate::journal::JournalSettings;
use crate::ledger::tests::customer;

/// An account with credit, a node of somebody else's, and a replica that has leased part of the credit.
struct World {
    database: PgPool,
    account: Uuid,
    operator: Uuid,
    node: Uuid,
    replica: Uuid,
}

impl World {
    async fn new(database: PgPool, credit: u64, leased: i64) -> Self {
        let account = customer(&database, "user@example.com", credit).await;
        let operator = customer(&database, "op@example.com", 0).await;
        let (node, replica) = (Uuid::now_v7(), Uuid::now_v7());
        sqlx::query!(
            "insert into nodes (id, account_id, name, public_key) values ($1, $2, 'n', $3)",
            node,
            operator,
            [0u8; 32].as_slice()
        )
        .execute(&database)
        .await
        .unwrap();
        sqlx::query!("insert into replicas (id, version) values ($1, 'test')", replica)
            .execute(&database)
            .await
            .unwrap();
        sqlx::query!("insert into credit_leases values ($1, $2, $3)", replica, account, leased)
            .execute(&database)
            .await
            .unwrap();
        Self { database, account, operator, node, replica }
    }

    fn record(&self, nanocredits: u64) -> RequestRecord {
        let request = OpenRequest {
            id: Uuid::now_v7(),
            billed_as: None,
            account_id: self.account,
            user_id: Uuid::now_v7(),
            key_id: Uuid::now_v7(),
            endpoint: "chat.completions".to_owned(),
            model: "m".to_owned(),
            streamed: true,
            started_at: OffsetDateTime::now_utc(),
            client_request: None,
        };
        let attempt = |attempt, outcome| AttemptRecord {
            request_id: request.id,
            attempt,
            node_id: self.node,
            outcome,
            choice: None,
            prompt_tokens: 3,
            completion_tokens: 2,
            overclaimed_tokens: 0,
            microjoules: Microjoules::new(5_000),
            duration_microseconds: Microseconds::new(7),
            energy: None,
            noted: None,
        };
        let attempts = vec![attempt(1, Outcome::NodeFailed), attempt(2, Outcome::Completed)];
        let mut record = RequestRecord::without_answer(request, Outcome::Completed, 200);
        record.nanocredits = Nanocredits::new(nanocredits);
        record.node_id = Some(self.node);
        record.attempts = attempts;
        record.authors = vec!["Ada".to_owned(), " Grace ".to_owned(), String::new()];
        record
    }

    async fn write(&self, records: &[RequestRecord]) -> Result<(), sqlx::Error> {
        let records: Vec<Vec<u8>> = records.iter().map(RequestRecord::to_bytes).collect();
        let settled: Vec<Settled<'_>> = records.iter().map(|record| Settled::read(0, record).unwrap()).collect();
        write_all(&self.database, self.replica, &settled).await
    }

    async fn balance(&self, account: &str) -> i64 {
        let balance = sqlx::query_scalar!("select nanocredits from balances where account = $1", account);
        balance.fetch_optional(&self.database).await.unwrap().unwrap_or(0)
    }

    async fn customer(&self) -> i64 {
        self.balance(&format!("customer:{}", self.account)).await
    }

    async fn leased(&self) -> i64 {
        sqlx::query_scalar!(r#"select sum(nanocredits)::bigint as "sum!" from credit_leases"#)
            .fetch_one(&self.database)
            .await
            .unwrap()
    }

    /// Requests, attempts, settlements, and the sum of all postings.
    async fn counts(&self) -> (i64, i64, i64, i64) {
        let row = sqlx::query!(
            r#"select (select count(*) from requests) as "requests!", (select count(*) from attempts) as "attempts!",
                   (select count(*) from events where kind = 'settlement') as "settlements!",
                   (select sum(nanocredits)::bigint from postings) as "sum!""#
        )
        .fetch_one(&self.database)
        .await
        .unwrap();
        (row.requests, row.attempts, row.settlements, row.sum)
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_batch_that_is_repeated_is_written_and_paid_once(database: PgPool) {
    let world = World::new(database, 10_000, 5_000).await;
    let batch = [world.record(1_000), world.record(0), world.record(37)];
    world.write(&batch).await.unwrap();
    world.write(&batch).await.unwrap();
    assert_eq!(world.counts().await, (3, 6, 2, 0), "what cost nothing has no settlement");
    assert_eq!((world.customer().await, world.leased().await), (10_000 - 1_037, 5_000 - 1_037));
    let earned = world.balance(&format!("operator:{}", world.operator)).await;
    assert_eq!(earned, 850 + 31, "85 % of 1000, and of 37 by the largest remainder");
    assert_eq!(world.balance("author:Ada").await, 25 + 1);
    assert_eq!(world.balance("author:Grace").await, 25 + 1, "a name of nothing earns nothing");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_was_computed_twice_under_one_name_is_paid_once(database: PgPool) {
    let world = World::new(database, 10_000, 5_000).await;
    let (first, mut heir) = (world.record(1_000), world.record(900));
    heir.request.billed_as = Some(first.request.id);
    // The heir's gateway ships it before the dead one is started again.
    world.write(&[heir.clone(), world.record(50)]).await.unwrap();
    world.write(&[world.record(7), first.clone()]).await.unwrap();
    world.write(&[heir, first]).await.unwrap();
    assert_eq!(world.counts().await, (4, 8, 3, 0));
    assert_eq!((world.customer().await, world.leased().await), (10_000 - 957, 5_000 - 957));
    let rows = sqlx::query_scalar!("select nanocredits from requests order by nanocredits");
    assert_eq!(rows.fetch_all(&world.database).await.unwrap(), [0, 7, 50, 900], "what is not paid costs nothing");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn two_under_one_name_in_one_batch_are_paid_once(database: PgPool) {
    let world = World::new(database, 10_000, 5_000).await;
    let (first, mut heir) = (world.record(1_000), world.record(1_000));
    heir.request.billed_as = Some(first.request.id);
    world.write(&[first, heir]).await.unwrap();
    assert_eq!(world.counts().await, (2, 4, 1, 0));
    assert_eq!(world.customer().await, 9_000);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nobody_is_overdrawn_when_the_lease_is_lost(database: PgPool) {
    let world = World::new(database, 1_000, 1_000).await;
    sqlx::query!("update credit_leases set nanocredits = 0").execute(&world.database).await.unwrap();
    world.write(&[world.record(700), world.record(700)]).await.unwrap();
    assert_eq!((world.customer().await, world.balance("losses").await), (0, -400));
    assert_eq!(world.balance(&format!("operator:{}", world.operator)).await, 2 * 595, "who computed is paid in full");
    assert_eq!(world.counts().await, (2, 4, 2, 0));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_others_have_leased_is_not_touched(database: PgPool) {
    let world = World::new(database, 1_000, 100).await;
    let other = Uuid::now_v7();
    sqlx::query!("insert into replicas (id, version) values ($1, 'test')", other)
        .execute(&world.database)
        .await
        .unwrap();
    sqlx::query!("insert into credit_leases values ($1, $2, 800)", other, world.account)
        .execute(&world.database)
        .await
        .unwrap();
    world.write(&[world.record(300)]).await.unwrap();
    // 100 from its lease, 100 that nobody had leased, and 100 that the gateway bears.
    assert_eq!((world.customer().await, world.leased().await, world.balance("losses").await), (800, 800, -100));
}

/// An empty journal and its folder.
fn journal() -> (Journal, PathBuf) {
    let folder = std::env::temp_dir().join(format!("journal-{}", Uuid::now_v7()));
    let settings = JournalSettings { strict: false, most_bytes: 1 << 20, least_free_bytes: 0 };
    (Journal::open(&folder, settings).unwrap().journal, folder)
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn one_bad_record_does_not_stop_the_others(database: PgPool) {
    let world = World::new(database, 10_000, 5_000).await;
    let (journal, folder) = journal();
    let mut wrong = world.record(100);
    wrong.low_microjoules = Microjoules::new(1);
    for record in [world.record(100), wrong, world.record(100)] {
        let id = record.request.id;
        journal.admit(id, &record.request.to_bytes()).await.unwrap();
        journal.settle(id, &record.to_bytes()).await;
    }
    ship_all(&journal, &world.database, world.replica).await.unwrap();
    assert_eq!(world.counts().await, (2, 4, 2, 0));
    assert_eq!((journal.state().waiting, journal.state().set_aside), (0, 1));
    journal.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_dies_in_a_deadlock_is_shipped_again(database: PgPool) {
    let world = World::new(database, 10_000, 5_000).await;
    let (journal, folder) = journal();
    let record = world.record(1_000);
    journal.admit(record.request.id, &record.request.to_bytes()).await.unwrap();
    journal.settle(record.request.id, &record.to_bytes()).await;
    let mut other = world.database.begin().await.unwrap();
    // The other one looks for a deadlock later than the shipper, which is therefore the one to die.
    other
        .execute("set local deadlock_timeout = '1min'; update credit_leases set nanocredits = nanocredits")
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let shipping = tokio::spawn(ship(journal.clone(), world.database.clone(), world.replica, stop.clone()));
    while !somebody_waits(&world.database).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    other.execute("select from balances for update").await.unwrap();
    other.commit().await.unwrap();
    stop.cancel();
    shipping.await.unwrap();
    assert_eq!(world.counts().await, (1, 2, 1, 0));
    assert_eq!((journal.state().waiting, journal.state().set_aside), (0, 0));
    journal.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}

async fn somebody_waits(database: &PgPool) -> bool {
    let waiting = sqlx::query_scalar!(
        r#"select count(*) as "count!" from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock'"#
    );
    waiting.fetch_one(database).await.unwrap() > 0
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn two_replicas_settle_the_same_accounts_at_once(database: PgPool) {
    let world = World::new(database, 1_000_000, 0).await;
    let batches: Vec<Vec<RequestRecord>> = (0..8).map(|_| (0..50).map(|_| world.record(10)).collect()).collect();
    let writing = batches.iter().map(|batch| world.write(batch));
    for written in futures_util::future::join_all(writing).await {
        written.unwrap();
    }
    assert_eq!(world.counts().await, (400, 800, 400, 0));
    assert_eq!(world.customer().await, 1_000_000 - 4_000);
}
