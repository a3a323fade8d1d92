//! Gateways are killed while they append to the public log, at any instant: nothing that was enqueued is missing or there twice,
//! no two heads of one size were signed, and each head continues the one before.

use std::collections::HashSet;
use std::time::Duration;

use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::entry::{Entry, Kind};
use openapi::log::hash::Hash;
use openapi::log::key::VerifierKey;
use openapi::log::tree::{Frontier, TreeHead};
use sqlx::PgPool;
use tests::{Gateway, eventually};

use crate::stage::{say, sized, some_instant};

/// Enqueued in a moment, by two sides that have some of it in common.
const AT_ONCE: u64 = 400;

#[tokio::test]
async fn a_killed_sequencer_leaves_no_gap_and_nothing_twice() {
    let kills = sized(4, 100);
    let mut gateways = Gateway::replicas(2, &[]).await;
    let pool = gateways[0].database.pool.clone();
    let mut enqueued = 0;
    let mut seen: Vec<TreeHead> = Vec::new();
    for kill in 0..kills {
        enqueue(&pool, enqueued..enqueued + AT_ONCE).await;
        enqueue(&pool, enqueued + AT_ONCE / 2..enqueued + AT_ONCE).await;
        enqueued += AT_ONCE;
        some_instant().await;
        let gateway = &mut gateways[(kill % 2) as usize];
        gateway.kill().await;
        gateway.restart().await;
        seen.extend(head(&gateways[0]).await);
    }
    eventually("everything is logged", Duration::from_secs(60), || async {
        (count(&pool, "select count(*) from log_queue").await == 0).then_some(())
    })
    .await;
    let keys = gateways[0].client.get(gateways[0].url("/log/key")).send().await.unwrap().text().await.unwrap();
    let keys: Vec<VerifierKey> = keys.lines().map(|key| key.parse().unwrap()).collect();
    let heads = check(&pool, &keys, enqueued).await;
    assert!(seen.iter().all(|seen| heads.contains(seen)), "a head that was served is another one now");
    say(format!("sequencer killed {kills} times: {enqueued} entries, {} heads, 0 missing, 0 twice", heads.len()));
}

/// Entry number so-and-so.
fn entry(number: u64) -> Entry {
    let mut hash = [1; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    Entry { kind: Kind::Receipt, hash }
}

async fn enqueue(pool: &PgPool, numbers: std::ops::Range<u64>) {
    let hashes: Vec<Vec<u8>> = numbers.map(|number| entry(number).hash.to_vec()).collect();
    let insert = sqlx::query("insert into log_queue (kind, hash) select 'receipt', unnest($1::bytea[])");
    insert.bind(hashes).execute(pool).await.unwrap();
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

/// What a gateway says of the log, if it is there.
async fn head(gateway: &Gateway) -> Option<TreeHead> {
    let answer = gateway.client.get(gateway.url("/log/checkpoint")).send().await.ok()?.error_for_status().ok()?;
    let signed: SignedCheckpoint = answer.text().await.ok()?.parse().unwrap();
    Some(signed.checkpoint().tree())
}

/// Grows the tree anew from what is logged, and holds every head against it.
async fn check(pool: &PgPool, keys: &[VerifierKey], enqueued: u64) -> Vec<TreeHead> {
    let leaves: Vec<(i64, Vec<u8>, Vec<u8>)> =
        sqlx::query_as("select index, entry, leaf_hash from log_leaves order by index").fetch_all(pool).await.unwrap();
    let notes: Vec<String> =
        sqlx::query_scalar("select note from log_checkpoints order by size").fetch_all(pool).await.unwrap();
    let signed = notes.iter().map(|note| note.parse::<SignedCheckpoint>().unwrap());
    let mut heads = signed
        .map(|signed| {
            signed.note().verify(keys).unwrap();
            signed.checkpoint().tree()
        })
        .peekable();
    let (mut frontier, mut entries, mut grown) = (Frontier::new(), HashSet::new(), Vec::new());
    for (at, (index, entry, hash)) in leaves.into_iter().enumerate() {
        assert_eq!(index, at as i64, "there is a gap");
        assert_eq!(Hash::leaf(&entry).0.as_slice(), hash);
        assert!(entries.insert(String::from_utf8(entry.clone()).unwrap()), "leaf {index} is there twice");
        frontier.push(Hash::leaf(&entry), |_, _| ());
        if let Some(head) = heads.next_if(|head| head.size == frontier.size()) {
            assert_eq!(head, frontier.head());
            grown.push(head);
        }
    }
    assert_eq!(heads.next(), None, "a head was signed of leaves that are not there");
    assert_eq!(grown.last(), Some(&frontier.head()), "the last leaves are not signed");
    // Keys and splits are in it too.
    entries.retain(|entry| entry.starts_with(Kind::Receipt.word()));
    let missing = (0..enqueued).find(|number| !entries.contains(&entry(*number).to_string()));
    assert_eq!((missing, entries.len() as u64), (None, enqueued));
    grown
}
