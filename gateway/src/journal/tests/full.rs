//! A full disk: admissions stop early, settlements are kept, and all of them are written once there is space.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use uuid::Uuid;

use super::{SETTINGS, Scratch};
use crate::journal::{Full, Journal, JournalError, JournalSettings};

const MIB: usize = 1024 * 1024;

/// A small file system, gone with it.
struct Small(Scratch);

impl Small {
    /// None where this process may not mount.
    fn new(name: &str, mebibytes: usize) -> Option<Self> {
        let scratch = Scratch::new(name);
        std::fs::create_dir_all(&scratch.0).unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&scratch.0).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(scratch));
        }
        eprintln!("SKIPPED: a full disk needs a small file system, and this process may not mount one");
        None
    }

    fn ballast(&self) -> PathBuf {
        self.0.0.join("ballast")
    }

    /// Takes the space of this file system but for so many bytes.
    fn fill(&self, but: usize) {
        let free = crate::journal::folder::free_bytes(&self.0.0) as usize;
        std::fs::write(self.ballast(), vec![1; free.saturating_sub(but)]).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0.0).status());
    }
}

/// Waits until this holds.
async fn until(holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("what was waited for did not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn admissions_stop_before_the_disk_is_full() {
    let Some(small) = Small::new("nearly", 24) else { return };
    let settings = JournalSettings { least_free_bytes: 4 * MIB as u64, ..SETTINGS };
    let journal = Journal::open(&small.0.0.join("journal"), settings).unwrap().journal;
    assert_eq!(journal.may_admit(), Ok(()));
    let id = Uuid::now_v7();
    journal.admit(id, b"admitted").await.unwrap();
    small.fill(3 * MIB);
    until(|| matches!(journal.may_admit(), Err(Full::Disk { .. }))).await;
    journal.settle(id, b"settled").await;
    assert!(journal.state().writable);
    std::fs::remove_file(small.ballast()).unwrap();
    until(|| journal.may_admit().is_ok()).await;
    journal.close().await;
}

async fn full(strict: bool) {
    let Some(small) = Small::new("full", 24) else { return };
    let folder = small.0.0.join("journal");
    let settings = JournalSettings { strict, ..SETTINGS };
    let journal = Journal::open(&folder, settings.clone()).unwrap().journal;
    let ids: Vec<Uuid> = (0..100).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        journal.admit(*id, b"admitted").await.unwrap();
    }
    small.fill(0);
    let record = |number: usize| [&number.to_le_bytes()[..], &[9; 3000]].concat();
    for (number, id) in ids.iter().enumerate().take(90) {
        journal.settle(*id, &record(number)).await;
    }
    until(|| !journal.state().writable).await;
    assert_eq!(journal.may_admit(), Err(Full::Failing));
    assert_eq!(journal.admit(Uuid::now_v7(), b"refused").await, Err(JournalError::Failed));
    let kept = journal.oldest(1000).await;
    assert_eq!(kept.len(), 90);
    assert!(kept.iter().enumerate().all(|(number, (_, found))| *found == record(number)));
    // The database is there: some are shipped from memory.
    journal.remove(&kept[..20].iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>());

    std::fs::remove_file(small.ballast()).unwrap();
    until(|| journal.state().writable).await;
    journal.settle(ids[90], &record(90)).await;
    journal.admit(Uuid::now_v7(), b"again").await.unwrap();
    journal.close().await;

    let again = Journal::open(&folder, settings).unwrap();
    let found = again.journal.oldest(1000).await;
    assert_eq!(
        found.iter().map(|(_, found)| found.clone()).collect::<Vec<_>>(),
        (20..91).map(record).collect::<Vec<_>>()
    );
    assert_eq!(again.open.len(), 10);
    assert_eq!(again.cut, None);
    again.journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing() {
    full(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_in_strict_mode() {
    full(true).await;
}
