//! The journal against a real disk: killed processes, torn tails, full disks, many cycles.

mod basics;
mod bounded;
mod full;
mod kill;
mod repeated;
mod torn;

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{Journal, JournalSettings, Recovered};

/// A folder of this test's own, gone with it.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("journal-{name}-{}", Uuid::now_v7())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const SETTINGS: JournalSettings = JournalSettings { strict: false, most_bytes: 1 << 30, least_free_bytes: 0 };

fn open(folder: &Path) -> Recovered {
    Journal::open(folder, SETTINGS).unwrap()
}
