//! Many cycles of admission, settlement and shipping leave a folder of bounded size.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::{SETTINGS, Scratch};
use crate::journal::{Journal, JournalSettings};

const MIB: u64 = 1024 * 1024;

/// Bytes that a folder takes on disk.
fn taken(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => taken(&entry.path()),
            Ok(found) => found.blocks() * 512,
            // Removed meanwhile.
            Err(_) => 0,
        })
        .sum()
}

/// Processor time of this process so far.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: u64 =
        stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Ships so many records; returns the most bytes and write-ahead files that the folder had meanwhile.
async fn ship(journal: Journal, count: usize, folder: PathBuf) -> (u64, usize) {
    let (mut most, mut most_files, mut shipped) = (0, 0, 0);
    let mut looked = Instant::now();
    while shipped < count {
        journal.wait().await;
        let records = journal.oldest(500).await;
        assert!(records.iter().all(|(_, record)| record.len() == 800));
        shipped += records.len();
        journal.remove(&records.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>());
        if looked.elapsed() > Duration::from_millis(50) {
            looked = Instant::now();
            most = most.max(taken(&folder));
            most_files = most_files.max(journal.shared.read(|store| Ok(store.files())).unwrap_or(0));
        }
    }
    (most, most_files)
}

/// Runs so many cycles, so many at a time; returns the most bytes that the folder took.
async fn cycles(scratch: &Scratch, strict: bool, count: usize, at_once: usize) -> u64 {
    let journal = Journal::open(&scratch.0, JournalSettings { strict, ..SETTINGS }).unwrap().journal;
    let shipper = tokio::spawn(ship(journal.clone(), count, scratch.0.clone()));
    let (began, used) = (Instant::now(), processor());
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let journal = journal.clone();
        tasks.spawn(async move {
            let (mut longest, record) = (Duration::ZERO, [7; 800]);
            for _ in 0..count / at_once {
                let (id, began) = (Uuid::now_v7(), Instant::now());
                journal.admit(id, &record).await.unwrap();
                journal.settle(id, &record).await;
                longest = longest.max(began.elapsed());
            }
            longest
        });
    }
    let longest = tasks.join_all().await.into_iter().max().unwrap_or_default();
    let (took, worked) = (began.elapsed(), processor() - used);
    let (most, files) = shipper.await.unwrap();
    let before = taken(&scratch.0);
    let closing = Instant::now();
    journal.close().await;
    let closed = closing.elapsed();
    let opening = Instant::now();
    let again = super::open(&scratch.0);
    assert_eq!((again.waiting, again.open.len()), (0, 0));
    eprintln!(
        "{count} cycles, {at_once} at once, strict {strict}: {:.1} µs each, {:.1} µs of processor, longest {longest:?}; at most {} MiB, \
         {files} write-ahead files, {} MiB at the end, {} MiB resident; closed in {closed:?}, opened again in {:?}",
        took.as_secs_f64() * 1e6 / count as f64,
        worked.as_secs_f64() * 1e6 / count as f64,
        most / MIB,
        before / MIB,
        resident() / MIB,
        opening.elapsed(),
    );
    again.journal.close().await;
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_stays_small() {
    let scratch = Scratch::new("small");
    assert!(cycles(&scratch, false, 10_000, 50).await < 192 * MIB);
    assert!(cycles(&scratch, true, 1_000, 50).await < 192 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; for figures"]
async fn a_million_cycles() {
    let scratch = Scratch::new("million");
    cycles(&scratch, false, 2_000, 1).await;
    cycles(&scratch, true, 500, 1).await;
    cycles(&scratch, true, 20_000, 100).await;
    cycles(&scratch, false, 20_000, 100).await;
    assert!(cycles(&scratch, false, 1_000_000, 100).await < 192 * MIB);
}
