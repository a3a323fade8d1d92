//! What the two threads and the journal's users share: the memory, the database, and who wakes whom.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::Context;
use tokio::sync::watch;

use super::memory::Memory;
use super::store::Store;
use super::{JournalSettings, SetAside, writer};

/// See the module.
pub(super) struct Shared {
    pub(super) settings: JournalSettings,
    pub(super) records: PathBuf,
    pub(super) memory: Mutex<Memory>,
    /// Tells the writer that there is work.
    pub(super) work: Condvar,
    /// Tells the other thread that there is something to synchronise.
    pub(super) dirty: Condvar,
    /// Tells it that the journal is closed.
    pub(super) closed: Condvar,
    /// None while it is opened anew after a failure.
    pub(super) store: RwLock<Option<Store>>,
    /// How many records wait.
    pub(super) ships: watch::Sender<usize>,
}

impl Shared {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is in memory, and wakes who waits for that.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let (changed, memory) = self.changed(change);
        self.wake_writer(&memory);
        changed
    }

    /// Changes what is in memory, and writes it if it can be written at once.
    pub(super) fn put<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let (changed, memory) = self.changed(change);
        writer::write_here(self, memory);
        changed
    }

    fn changed<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> (T, MutexGuard<'_, Memory>) {
        let mut memory = self.memory();
        let changed = change(&mut memory);
        let waiting = memory.waiting();
        self.ships.send_if_modified(|known| std::mem::replace(known, waiting) != waiting);
        (changed, memory)
    }

    /// Wakes the writing thread if there is something to do. Whoever writes does so at the end.
    pub(super) fn wake_writer(&self, memory: &Memory) {
        if !memory.idle() {
            self.work.notify_one();
        }
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Store) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        read(store.as_ref().context("the journal is being repaired")?)
    }

    pub(super) fn oldest(&self, limit: usize) -> Vec<(u64, Vec<u8>)> {
        let oldest = self.memory().oldest(limit);
        let mut found = Vec::with_capacity(oldest.len());
        for (sequence, held) in oldest {
            match held.map_or_else(|| self.read(|store| store.settled(sequence)), |held| Ok(Some(held.to_vec()))) {
                Ok(Some(record)) => found.push((sequence, record)),
                // Removed meanwhile.
                Ok(None) => {}
                Err(error) => tracing::error!(sequence, "a settled record cannot be read: {error:#}"),
            }
        }
        found
    }

    pub(super) fn set_aside(&self, sequence: u64, reason: &str) -> anyhow::Result<()> {
        let held = self.memory().held(sequence);
        let Some(held) = held else { return Ok(()) };
        let record = match held {
            Some(held) => held.to_vec(),
            None => self.read(|store| store.settled(sequence))?.context("the record is gone")?,
        };
        let mut kept = u32::try_from(reason.len())?.to_le_bytes().to_vec();
        kept.extend_from_slice(reason.as_bytes());
        kept.extend_from_slice(&record);
        self.change(|memory| memory.set_aside(sequence, kept));
        Ok(())
    }

    pub(super) fn aside(&self) -> anyhow::Result<Vec<SetAside>> {
        let parts = |(sequence, kept): (u64, Vec<u8>)| {
            let (length, rest) = kept.split_first_chunk::<4>()?;
            let (reason, record) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            Some(SetAside { sequence, reason: String::from_utf8_lossy(reason).into_owned(), record: record.to_vec() })
        };
        let kept = self.read(Store::aside)?;
        kept.into_iter().map(|kept| parts(kept).context("a record set aside is damaged")).collect()
    }
}
