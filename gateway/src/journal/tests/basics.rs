//! What the journal promises, on a disk that works.

use std::time::Duration;

use uuid::Uuid;

use super::{SETTINGS, Scratch, open};
use crate::journal::memory::Memory;
use crate::journal::store::Found;
use crate::journal::{Full, Journal, JournalError, JournalSettings};

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let scratch = Scratch::new("restart");
    let recovered = open(&scratch.0);
    assert!(recovered.open.is_empty() && recovered.waiting == 0 && recovered.cut.is_none());
    let journal = recovered.journal;
    let [left, settled, unknown] = [(); 3].map(|()| Uuid::now_v7());
    journal.admit(left, b"left open").await.unwrap();
    journal.admit(settled, b"will settle").await.unwrap();
    journal.settle(settled, b"settled").await;
    journal.settle(unknown, b"never admitted").await;
    assert_eq!((journal.state().open, journal.state().waiting), (1, 2));
    journal.close().await;

    let again = open(&scratch.0);
    assert_eq!(again.replica, recovered.replica);
    assert_eq!(again.open, [(left, b"left open".to_vec())]);
    assert_eq!(again.waiting, 2);
    assert_eq!(again.cut, None);
    let records: Vec<_> = again.journal.oldest(10).await.into_iter().map(|(_, record)| record).collect();
    assert_eq!(records, [b"settled".to_vec(), b"never admitted".to_vec()]);
    assert_eq!(again.journal.state().bytes_waiting, 21);
}

#[tokio::test]
async fn records_come_in_order_and_go_when_removed() {
    let scratch = Scratch::new("order");
    let journal = open(&scratch.0).journal;
    for number in 0..300_u32 {
        drop(journal.settle(Uuid::now_v7(), &number.to_le_bytes()));
    }
    let first = journal.oldest(100).await;
    let numbers: Vec<u32> = first.iter().map(|(_, r)| u32::from_le_bytes(r[..].try_into().unwrap())).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    journal.remove(&first.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>());
    assert_eq!(journal.oldest(1).await[0].1, 100_u32.to_le_bytes());
    assert_eq!(journal.state().waiting, 200);
    journal.close().await;
    let again = open(&scratch.0);
    assert_eq!(again.waiting, 200);
    assert_eq!(again.journal.oldest(1).await[0].1, 100_u32.to_le_bytes());
}

/// The sequence is a time, so that records of all replicas have an order that means something.
#[test]
fn a_clock_that_jumps_back_changes_no_order() {
    let ahead = 4_000_000_000_000_000;
    let settled = vec![(ahead - 5, 1), (ahead, 1)];
    let mut memory = Memory::new(&Found { open: Vec::new(), settled, aside: 0, last: ahead }, 0);
    for _ in 0..3 {
        drop(memory.settle(Uuid::now_v7(), b"later"));
    }
    let order: Vec<u64> = memory.oldest(10).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(order, [ahead - 5, ahead, ahead + 1, ahead + 2, ahead + 3]);
    assert_eq!(memory.state().oldest_waiting, Some(Duration::ZERO), "not older than the time is");
}

#[tokio::test]
async fn the_shipper_is_woken() {
    let scratch = Scratch::new("wake");
    let journal = open(&scratch.0).journal;
    let waiting = tokio::spawn({
        let journal = journal.clone();
        async move { journal.wait().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(journal.settle(Uuid::now_v7(), b"x"));
    waiting.await.unwrap();
    journal.wait().await;
}

#[tokio::test]
async fn a_refused_record_is_set_aside_for_ever() {
    let scratch = Scratch::new("aside");
    let journal = open(&scratch.0).journal;
    journal.settle(Uuid::now_v7(), b"bad").await;
    journal.settle(Uuid::now_v7(), b"good").await;
    let bad = journal.oldest(1).await[0].0;
    journal.set_aside(bad, "no such account").await;
    journal.set_aside(bad, "twice").await;
    assert_eq!(journal.oldest(10).await.len(), 1);
    journal.close().await;
    let again = open(&scratch.0).journal;
    assert_eq!((again.state().set_aside, again.state().waiting), (1, 1));
    let kept = again.aside().unwrap();
    assert_eq!((kept[0].sequence, &kept[0].reason[..], &kept[0].record[..]), (bad, "no such account", &b"bad"[..]));
}

#[tokio::test]
async fn an_admission_nobody_waited_for_is_taken_back() {
    let scratch = Scratch::new("undo");
    let journal = open(&scratch.0).journal;
    drop(journal.admit(Uuid::now_v7(), b"x"));
    journal.admit(Uuid::now_v7(), b"y").await.unwrap();
    assert_eq!(journal.state().open, 1);
    journal.close().await;
    let again = open(&scratch.0);
    assert_eq!(again.open.len(), 1);
    assert_eq!(again.open[0].1, b"y");
}

#[tokio::test]
async fn too_much_waiting_admits_nothing_more() {
    let scratch = Scratch::new("bound");
    let journal = Journal::open(&scratch.0, JournalSettings { most_bytes: 10, ..SETTINGS }).unwrap().journal;
    assert_eq!(journal.may_admit(), Ok(()));
    journal.settle(Uuid::now_v7(), b"ten bytes!").await;
    assert_eq!(journal.may_admit(), Err(Full::Waiting { bytes: 10, most: 10 }));
    let sequence = journal.oldest(1).await[0].0;
    journal.remove(&[sequence]);
    assert_eq!(journal.may_admit(), Ok(()));
    journal.close().await;
    assert_eq!(journal.admit(Uuid::now_v7(), b"late").await, Err(JournalError::Closed));
}

#[tokio::test]
async fn strict_answers_are_shared_by_many() {
    let scratch = Scratch::new("strict");
    let journal = Journal::open(&scratch.0, JournalSettings { strict: true, ..SETTINGS }).unwrap().journal;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let journal = journal.clone();
        tasks.spawn(async move {
            let id = Uuid::now_v7();
            journal.admit(id, b"admitted").await.unwrap();
            journal.settle(id, b"settled").await;
        });
    }
    tasks.join_all().await;
    assert_eq!((journal.state().open, journal.state().waiting), (0, 200));
}

#[test]
fn one_process_at_a_time() {
    let scratch = Scratch::new("twice");
    let _first = open(&scratch.0);
    let refused = Journal::open(&scratch.0, SETTINGS).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("give each replica its own with COMMONWATT_JOURNAL"), "{refused}");
}
