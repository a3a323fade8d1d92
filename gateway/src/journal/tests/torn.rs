//! A damaged tail costs the damaged record and nothing before it, and is said.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{Scratch, open};
use crate::journal::{Recovered, tail};

/// A journal with some records, as a process that died left it; and the end of its write-ahead file before and after
/// the last record.
async fn written(scratch: &Scratch) -> (Vec<u8>, usize, usize) {
    let journal = open(&scratch.0).journal;
    for number in 0..10_u8 {
        let id = Uuid::now_v7();
        journal.admit(id, b"admitted").await.unwrap();
        journal.settle(id, &[number + 1; 50]).await;
    }
    let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let before = used(&std::fs::read(file(&scratch.0)).unwrap());
    journal.settle(Uuid::now_v7(), b"the last").await;
    let mut bytes = std::fs::read(file(&scratch.0)).unwrap();
    let after = used(&bytes);
    bytes.truncate(after);
    journal.close().await;
    (bytes, before, after)
}

fn file(folder: &Path) -> PathBuf {
    let mut files = tail::files(&folder.join("records")).unwrap();
    assert_eq!(files.len(), 1);
    files.remove(0).1
}

/// Opens the journal with this in its write-ahead file; the records that wait, and what it says was cut.
async fn with(scratch: &Scratch, bytes: &[u8]) -> (usize, Option<String>) {
    std::fs::write(file(&scratch.0), bytes).unwrap();
    let Recovered { journal, waiting, open, cut, .. } = open(&scratch.0);
    let records = journal.oldest(100).await;
    assert_eq!(records.len(), waiting);
    assert!(open.is_empty());
    for (number, (_, record)) in records.iter().take(10).enumerate() {
        assert_eq!(*record, [number as u8 + 1; 50]);
    }
    journal.close().await;
    (waiting, cut)
}

#[tokio::test]
async fn a_record_torn_at_any_byte_is_cut() {
    let scratch = Scratch::new("torn");
    let (bytes, before, after) = written(&scratch).await;
    assert_eq!(with(&scratch, &bytes).await, (11, None));
    assert_eq!(with(&scratch, &bytes[..before]).await, (10, None));
    for end in before + 1..after {
        for zeros in [0, 4096] {
            let mut torn = bytes[..end].to_vec();
            torn.resize(end + zeros, 0);
            let (waiting, cut) = with(&scratch, &torn).await;
            assert_eq!(waiting, 10, "torn at {end}");
            let cut = cut.unwrap();
            assert!(cut.contains(&format!("after byte {before}:")) && cut.contains("were cut"), "{cut}");
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_is_cut() {
    let scratch = Scratch::new("flipped");
    let (bytes, before, after) = written(&scratch).await;
    for place in before..after {
        let mut flipped = bytes.clone();
        flipped[place] ^= 0x41;
        let (waiting, cut) = with(&scratch, &flipped).await;
        // The sequence number of a batch is not covered by its checksum, and does no harm.
        if (before + 5..before + 13).contains(&place) {
            continue;
        }
        assert_eq!(waiting, 10, "flipped at {place}");
        assert!(cut.is_some(), "flipped at {place}");
    }
}

#[tokio::test]
async fn garbage_and_holes_are_cut() {
    let scratch = Scratch::new("garbage");
    let (bytes, before, after) = written(&scratch).await;
    for garbage in [&b"garbage"[..], &[1], &[3; 100], &[2; 30], &bytes[before..after - 1], &bytes[before + 1..after]] {
        let (waiting, cut) = with(&scratch, &[&bytes, garbage].concat()).await;
        assert_eq!(waiting, 11);
        assert!(cut.unwrap().contains(&format!("{} bytes were cut", garbage.len())));
    }
    // After a power cut a page can be missing and a later one be there.
    let mut hole = [&bytes[..], &bytes[before..]].concat();
    hole[before + 30..before + 40].fill(0);
    let (waiting, cut) = with(&scratch, &hole).await;
    assert_eq!(waiting, 10);
    // It goes on from there.
    let journal = open(&scratch.0).journal;
    journal.settle(Uuid::now_v7(), b"more").await;
    journal.close().await;
    let again = open(&scratch.0);
    assert_eq!((again.waiting, again.cut), (11, None));
    let kept = cut.unwrap().rsplit_once("kept in ").unwrap().1.to_owned();
    assert_eq!(std::fs::read(kept).unwrap(), hole[before..]);
}
