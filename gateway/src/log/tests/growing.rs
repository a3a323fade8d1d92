//! It grows by what is enqueued, each entry once, whatever breaks it off.

use std::collections::HashMap;
use std::time::Duration;

use openapi::log::hash::Hash;
use openapi::log::key::VerifierKey;
use openapi::log::tile::{FULL, Row, Tile, new_hashes};
use openapi::log::tree::Frontier;
use sqlx::{Executor, PgPool};

use super::*;
use crate::secrets::Standing;

/// Every tile of the tree of these entries.
fn tiles_of(entries: &[Entry]) -> HashMap<String, Vec<u8>> {
    let mut rows: HashMap<u8, Vec<u8>> = HashMap::new();
    let mut frontier = Frontier::new();
    for entry in entries {
        frontier.push(entry.leaf(), |node, hash| rows.entry(node.level).or_default().extend(hash.0));
    }
    let bytes = |tile: Tile| {
        let Row::Hashes { level } = tile.row() else { unreachable!() };
        let start = usize::try_from(tile.start()).unwrap() * Hash::BYTES;
        rows[&(level * 8)][start..start + usize::from(tile.width()) * Hash::BYTES].to_vec()
    };
    new_hashes(0, entries.len() as u64).map(|tile| (tile.to_string(), bytes(tile))).collect()
}

async fn stored_tiles(database: &PgPool) -> HashMap<String, Vec<u8>> {
    let rows = sqlx::query!("select level, index, hashes from log_tiles").fetch_all(database).await.unwrap();
    let path = |level: i16, index: i64, width: usize| {
        let row = Row::Hashes { level: u8::try_from(level).unwrap() };
        Tile::new(row, index.unsigned_abs(), u16::try_from(width).unwrap()).unwrap().to_string()
    };
    rows.into_iter().map(|row| (path(row.level, row.index, row.hashes.len() / Hash::BYTES), row.hashes)).collect()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn batches_of_odd_sizes_make_the_tree_of_all_leaves(database: PgPool) {
    let log = open(&database).await;
    assert_eq!(log.grow(&database).await.unwrap(), None, "nothing waits, nothing is signed");
    let full = u64::from(FULL);
    let mut size = 0;
    for more in [1, 2, full - 3, 1, full - 1, full, full + 1, 1, 700, 1000, 3 * full, 13] {
        add(&database, &entries(size..size + more)).await;
        let grown = grow_once(&log, &database).await.unwrap().unwrap();
        size += more;
        assert_eq!((grown.to, grown.has_more), (size, more == 1000));
        let all = entries(0..size);
        let signed = newest(&log, &database).await;
        assert_eq!((signed.checkpoint().tree(), signed.checkpoint().origin()), (head_of(&all), ORIGIN));
        assert_eq!(stored_tiles(&database).await, tiles_of(&all), "at {size}");
    }
    assert_eq!(logged(&database).await, entries(0..size));
    assert_eq!(counts(&database).await[3], 12, "a checkpoint for each batch");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn more_than_a_batch_is_appended_in_several(database: PgPool) {
    let log = open(&database).await;
    add(&database, &entries(0..2345)).await;
    let mut sizes = Vec::new();
    while let Some(grown) = grow_once(&log, &database).await.unwrap() {
        sizes.push((grown.to, grown.has_more));
    }
    assert_eq!(sizes, [(1000, true), (2000, true), (2345, false)]);
    assert_eq!(logged(&database).await, entries(0..2345));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_same_entry_twice_is_one_leaf(database: PgPool) {
    let log = open(&database).await;
    add(&database, &[entry(1), entry(2), entry(1)]).await;
    grow(&log, &database).await.unwrap();
    add(&database, &[entry(2), entry(3), entry(1)]).await;
    grow(&log, &database).await.unwrap();
    add(&database, &[entry(3)]).await;
    let grown = grow_once(&log, &database).await.unwrap().unwrap();
    assert_eq!(grown.touched(), None);
    assert_eq!(logged(&database).await, [entry(1), entry(2), entry(3)]);
    assert_eq!(counts(&database).await, [0, 3, 1, 2], "nothing new signs nothing");
    let other = Entry { kind: Kind::Verdict, ..entry(1) };
    add(&database, &[other]).await;
    grow(&log, &database).await.unwrap();
    assert_eq!(logged(&database).await.last(), Some(&other), "another kind is another entry");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_was_rolled_back_is_never_logged(database: PgPool) {
    let log = open(&database).await;
    let mut transaction = database.begin().await.unwrap();
    enqueue(&mut transaction, &entries(0..5)).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(log.grow(&database).await.unwrap(), None);
    enqueue(&mut database.acquire().await.unwrap(), &[]).await.unwrap();
    assert_eq!(counts(&database).await, [0; 4]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn several_replicas_at_once_leave_no_gap_and_nothing_twice(database: PgPool) {
    let logs = [open(&database).await, open(&database).await, open(&database).await];
    let writing = async {
        for number in 0..40 {
            // Each entry comes from two sides.
            add(&database, &entries(number * 30..number * 30 + 60)).await;
        }
    };
    let pool = &database;
    let sequencers = logs.iter().map(|log| async move {
        let mut rounds = 0;
        while rounds < 60 {
            log.grow(pool).await.unwrap();
            rounds += 1;
            tokio::task::yield_now().await;
        }
    });
    tokio::join!(writing, futures_util::future::join_all(sequencers));
    grow(&logs[0], &database).await.unwrap();
    let mut found = logged(&database).await;
    let signed = newest(&logs[0], &database).await;
    assert_eq!(signed.checkpoint().tree(), head_of(&found));
    found.sort_unstable_by_key(|entry| entry.hash);
    assert_eq!(found, entries(0..40 * 30 + 30));
}

/// Every statement of the transaction, and its commit, fails once.
#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_abort_at_any_step_changes_nothing(database: PgPool) {
    let log = grown_to(&database, 300).await;
    add(&database, &entries(300..700)).await;
    let before = counts(&database).await;
    assert_eq!(before[0], 400);
    database
        .execute(
            "create function fail() returns trigger language plpgsql as $$ begin raise exception 'told to fail'; end $$",
        )
        .await
        .unwrap();
    for (table, kind) in [
        ("log_queue", "trigger failing after delete on log_queue for each statement"),
        ("log_leaves", "trigger failing after insert on log_leaves for each statement"),
        ("log_tiles", "trigger failing after insert or update on log_tiles for each row"),
        ("log_checkpoints", "trigger failing after insert on log_checkpoints for each row"),
        (
            "log_checkpoints",
            "constraint trigger failing after insert on log_checkpoints deferrable initially deferred for each row",
        ),
    ] {
        let create = format!("create {kind} execute function fail()");
        database.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
        let failed = grow_once(&log, &database).await.unwrap_err();
        assert!(matches!(&failed, Failed::Database(error) if error.to_string().contains("told to fail")), "{failed}");
        assert_eq!(counts(&database).await, before, "{kind}");
        let drop = format!("drop trigger failing on {table}");
        database.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
    }
    grow(&log, &database).await.unwrap();
    assert_eq!(logged(&database).await, entries(0..700));
    assert_eq!(newest(&log, &database).await.checkpoint().tree(), head_of(&entries(0..700)));
}

/// Whoever asks for a commit and hears no answer does not know whether it happened.
#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_sequencer_that_is_broken_off_anywhere_is_gone_on_with(database: PgPool) {
    let log = open(&database).await;
    let mut broken = 0;
    for round in 0..60 {
        add(&database, &entries(round * 9..round * 9 + 9)).await;
        let within = Duration::from_micros(fastrand::u64(200..12_000));
        if let Ok(grown) = tokio::time::timeout(within, log.grow(&database)).await {
            grown.unwrap();
        } else {
            broken += 1;
        }
    }
    // Whoever was broken off may hold the lock for a moment yet.
    while counts(&database).await[0] > 0 {
        grow(&log, &database).await.unwrap();
    }
    assert!(broken > 0, "none was broken off");
    assert_eq!(logged(&database).await, entries(0..540));
    let signed = newest(&log, &database).await;
    assert_eq!(signed.checkpoint().tree(), head_of(&entries(0..540)));
    let sizes = sqlx::query_scalar!("select size from log_checkpoints order by size").fetch_all(&database).await;
    for size in sizes.unwrap() {
        let mut connection = database.acquire().await.unwrap();
        let signed = checkpoints::of_size(&mut connection, &log.keys, size.unsigned_abs()).await.unwrap().unwrap();
        assert_eq!(signed.checkpoint().tree(), head_of(&entries(0..size.unsigned_abs())));
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn whoever_knows_an_older_key_verifies_until_that_is_trusted_no_more(database: PgPool) {
    let (one, two) = ([1; 32], [2; 32]);
    let secrets = |newest: &[u8; 32], other: Option<(&[u8; 32], Standing)>| {
        let secrets = Secrets::derive(newest).unwrap();
        other.into_iter().fold(secrets, |secrets, (other, standing)| secrets.beside(other, standing).unwrap())
    };
    let mut number = 0;
    let mut step = async |secrets: Secrets| {
        let log = Log::open(&database, &secrets, None, Some(ORIGIN)).await.unwrap();
        add(&database, &[entry(number)]).await;
        number += 1;
        grow(&log, &database).await.unwrap();
        (newest(&log, &database).await, log.keys.trusted().cloned().collect::<Vec<VerifierKey>>())
    };
    let (signed, first) = step(secrets(&one, None)).await;
    assert!(signed.note().verify(&first).is_ok());
    let (signed, both) = step(secrets(&two, Some((&one, Standing::Trusted)))).await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    assert!(both.iter().all(|key| signed.note().verify([key]).is_ok()));
    let (signed, _) = step(secrets(&two, Some((&one, Standing::Retired)))).await;
    assert!(signed.note().verify(&first).is_err() && signed.note().verify(&both[..1]).is_ok());
    let (signed, _) = step(secrets(&two, None)).await;
    assert!(signed.note().verify(&both[..1]).is_ok());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_secret_may_be_forgotten_although_nothing_was_logged_since_it_was_the_newest(database: PgPool) {
    grown_to(&database, 3).await;
    let promoted = Secrets::derive(&[2; 32]).unwrap().beside(&[1; 32], Standing::Trusted).unwrap();
    Log::open(&database, &promoted, None, None).await.unwrap();
    let forgotten = Log::open(&database, &Secrets::derive(&[2; 32]).unwrap(), None, None).await.unwrap();
    assert_eq!(newest(&forgotten, &database).await.checkpoint().tree().size, 3);
    add(&database, &[entry(3)]).await;
    grow(&forgotten, &database).await.unwrap();
    let stranger = Log::open(&database, &Secrets::derive(&[3; 32]).unwrap(), None, None).await.unwrap();
    add(&database, &[entry(4)]).await;
    let failed = grow(&stranger, &database).await.unwrap_err().to_string();
    assert!(failed.contains("nobody who is known has signed"), "{failed}");
    assert_eq!(counts(&database).await[..2], [1, 4], "a gateway with another secret appends nothing");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_log_keeps_the_name_under_which_it_first_signed(database: PgPool) {
    let secrets = Secrets::derive(&[1; 32]).unwrap();
    let name = async |wanted: Option<&str>, otherwise: Option<&str>| {
        Log::open(&database, &secrets, wanted, otherwise).await.map(|log| log.keys.origin().to_owned())
    };
    let own = name(None, None).await.unwrap();
    assert!(own.starts_with("commonwatt.invalid/"), "{own}");
    assert_eq!(name(None, Some("acme.example/log")).await.unwrap(), "acme.example/log");
    grown_to(&database, 1).await;
    for otherwise in [None, Some("acme.example/log")] {
        assert_eq!(name(None, otherwise).await.unwrap(), ORIGIN);
    }
    assert_eq!(name(Some(ORIGIN), None).await.unwrap(), ORIGIN);
    let refused = name(Some("other.example/log"), None).await.unwrap_err().to_string();
    assert!(refused.contains("COMMONWATT_LOG_ORIGIN=gateway.example/log"), "{refused}");
}
