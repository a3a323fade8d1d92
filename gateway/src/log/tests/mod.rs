//! The log over a real Postgres: how it grows, what breaks it off, who tampers with it, and what others read of it.

mod damage;

mod growing;

mod serving;

mod witnessing;

use std::sync::Arc;

use clap::Parser;
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::entry::{Entry, Kind};
use openapi::log::hash::Hash;
use openapi::log::tree::{TreeHead, root_of};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sequence::Grown;
use super::{Failed, Log, checkpoints, enqueue, queue};
use crate::accounting::Accounting;
use crate::app::App;
use crate::config::ServeConfig;
use crate::secrets::Secrets;
use crate::serve::build;

const ORIGIN: &str = "gateway.example/log";

/// A log of the secret that is all ones.
pub(crate) async fn open(database: &PgPool) -> Log {
    Log::open(database, &Secrets::derive(&[1; 32]).unwrap(), Some(ORIGIN), None).await.unwrap()
}

/// Entry number so-and-so.
fn entry(number: u64) -> Entry {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    Entry { kind: Kind::ALL[usize::try_from(number % 7).unwrap()], hash }
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(entry).collect()
}

async fn add(database: &PgPool, entries: &[Entry]) {
    let mut transaction = database.begin().await.unwrap();
    enqueue(&mut transaction, entries).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Appends one batch, once nobody else holds the lock: Postgres says that a transaction failed before it lets go of it.
async fn grow_once(log: &Log, database: &PgPool) -> Result<Option<Grown>, Failed> {
    loop {
        match log.grow(database).await {
            Ok(None) if queue::oldest(database).await?.is_some() => {}
            grown => return grown,
        }
    }
}

/// Appends until nothing waits.
async fn grow(log: &Log, database: &PgPool) -> Result<Option<Grown>, Failed> {
    loop {
        match grow_once(log, database).await {
            Ok(Some(grown)) if grown.has_more => {}
            grown => return grown,
        }
    }
}

/// A log with so many leaves.
async fn grown_to(database: &PgPool, size: u64) -> Log {
    let log = open(database).await;
    add(database, &entries(0..size)).await;
    grow(&log, database).await.unwrap();
    log
}

async fn newest(log: &Log, database: &PgPool) -> SignedCheckpoint {
    let mut connection = database.acquire().await.unwrap();
    checkpoints::newest(&mut connection, &log.keys).await.unwrap().unwrap()
}

/// The head of the tree of these entries.
fn head_of(entries: &[Entry]) -> TreeHead {
    TreeHead { size: entries.len() as u64, root: root_of(entries.iter().map(Entry::leaf)) }
}

/// The entries as they stand in the log, in their order.
async fn logged(database: &PgPool) -> Vec<Entry> {
    let rows = sqlx::query!("select index, entry from log_leaves order by index").fetch_all(database).await.unwrap();
    assert!(rows.iter().enumerate().all(|(at, row)| row.index == at as i64), "there is a gap");
    rows.into_iter().map(|row| String::from_utf8(row.entry).unwrap().parse().unwrap()).collect()
}

/// What the tables hold: waiting, leaves, tiles, checkpoints.
async fn counts(database: &PgPool) -> [i64; 4] {
    let row = sqlx::query!(
        r#"select (select count(*) from log_queue) as "waiting!", (select count(*) from log_leaves) as "leaves!",
               (select count(*) from log_tiles) as "tiles!", (select count(*) from log_checkpoints) as "checkpoints!""#
    );
    let row = row.fetch_one(database).await.unwrap();
    [row.waiting, row.leaves, row.tiles, row.checkpoints]
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    config: ServeConfig,
}

/// A gateway over this database, with the same log.
pub(crate) async fn app(database: &PgPool) -> App {
    let data = std::env::temp_dir().join(format!("log-{}", Uuid::now_v7()));
    let folder = data.display().to_string();
    let line = ["gateway", "--database-url", "postgres://unused", "--data", &folder, "--log-origin", ORIGIN];
    let config = Line::parse_from(line).config;
    let secrets = Arc::new(Secrets::derive(&[1; 32]).unwrap());
    let accounting = Accounting::open(&config, database, None).await.unwrap();
    let app = build(&config, secrets, database.clone(), &accounting, CancellationToken::new()).await.unwrap();
    accounting.close().await.unwrap();
    std::fs::remove_dir_all(data).unwrap();
    app
}

/// The leaf of entry number so-and-so.
fn leaf(number: u64) -> Hash {
    entry(number).leaf()
}
