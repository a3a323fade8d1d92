//! Who writes: the thread of whoever has just queued something, or a thread of its own that waits for the disk where
//! nobody else should. One at a time, and whoever writes does so for all.
//!
//! After a failure the thread opens the database anew and repeats what was not safely on disk: fjall takes nothing more
//! once a write has failed, and may have written half of it.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::folder::{Folder, free_bytes};
use super::memory::Memory;
use super::shared::Shared;
use super::store::{Operation, Store};
use super::tail;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Below this no repair is tried: it would only fail again.
const LEAST_FREE_TO_REPAIR: u64 = 1024 * 1024;

/// Writes what waits, on this thread, if the disk has been quick of late and nobody else writes.
pub(super) fn write_here(shared: &Shared, memory: MutexGuard<'_, Memory>) {
    if shared.settings.strict || !memory.may_write_here() {
        return shared.wake_writer(&memory);
    }
    let group = memory.unwritten();
    let turn = Turn::take(shared, memory, false);
    if let Err(error) = turn.write(&group) {
        shared.memory().write_failed = Some(error);
    }
}

/// Writes until the journal is closed and everything is written. The folder is this process's until then.
pub(super) fn run(shared: &Shared, folder: Folder) {
    let mut last_try = false;
    while let Some(result) = next(shared) {
        if let Err(error) = result {
            if !repair(shared, &folder, &error) || last_try {
                break;
            }
            last_try = shared.memory().closing;
        }
    }
    let lost = shared.memory().close();
    if lost > 0 {
        tracing::error!(lost, "the journal ends and the disk does not take its last records");
    }
    // Frees the files before the folder is given back.
    *shared.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    shared.dirty.notify_one();
    shared.closed.notify_one();
    drop(folder);
}

/// Waits for something to do, and does it. None when the journal closes and everything is done. After a failure nobody
/// else writes until it is repaired.
fn next(shared: &Shared) -> Option<anyhow::Result<()>> {
    let memory = shared.work.wait_while(shared.memory(), |memory| memory.idle());
    let mut memory = memory.unwrap_or_else(PoisonError::into_inner);
    let failed = memory.sync_failed.then(|| anyhow::anyhow!("fdatasync failed")).or(memory.write_failed.take());
    if let Some(error) = failed {
        memory.failed();
        return Some(Err(error));
    }
    let (group, flush_due) = (memory.unwritten(), memory.flush_due);
    if group.is_empty() && !flush_due {
        return None;
    }
    let turn = Turn::take(shared, memory, true);
    let done = if flush_due { turn.flush() } else { Ok(()) }.and_then(|()| turn.write(&group));
    if done.is_err() {
        shared.memory().failed();
    }
    Some(done)
}

/// The right to write.
struct Turn<'a> {
    shared: &'a Shared,
    is_thread: bool,
}

impl<'a> Turn<'a> {
    fn take(shared: &'a Shared, mut memory: MutexGuard<'_, Memory>, is_thread: bool) -> Self {
        memory.writing = true;
        Self { shared, is_thread }
    }

    /// Writes these operations, which are the next.
    fn write(&self, group: &[Operation]) -> anyhow::Result<()> {
        let began = Instant::now();
        let flush_due = self.shared.read(|store| store.write(group))?;
        let mut memory = self.shared.memory();
        memory.flush_due |= flush_due;
        memory.took(began.elapsed(), self.is_thread);
        let first = !memory.dirty();
        memory.wrote(group.len(), self.shared.settings.strict);
        if first {
            self.shared.dirty.notify_one();
        }
        Ok(())
    }

    /// fjall's own thread goes on with it, and has the lock that writers need meanwhile.
    fn flush(&self) -> anyhow::Result<()> {
        self.shared.read(Store::flush)?;
        self.shared.memory().flushed();
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut memory = self.shared.memory();
        memory.writing = false;
        self.shared.wake_writer(&memory);
    }
}

/// Tries until the database is open again; not so when the journal closes meanwhile and the one try then fails.
fn repair(shared: &Shared, folder: &Folder, error: &anyhow::Error) -> bool {
    tracing::error!("the journal cannot be written, nothing is admitted until it can: {error:#}");
    let mut pause = FIRST_PAUSE;
    loop {
        let waited = shared.work.wait_timeout_while(shared.memory(), pause, |memory| !memory.closing);
        let closing = waited.unwrap_or_else(PoisonError::into_inner).0.closing;
        if closing || free_bytes(&folder.path) >= LEAST_FREE_TO_REPAIR {
            match open_again(shared) {
                Ok(()) => {
                    tracing::info!("the journal can be written again");
                    shared.memory().repaired();
                    return true;
                }
                Err(error) => tracing::error!("the journal cannot be opened again: {error:#}"),
            }
        }
        if closing {
            return false;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn open_again(shared: &Shared) -> anyhow::Result<()> {
    let mut store = shared.store.write().unwrap_or_else(PoisonError::into_inner);
    // The old one must be gone, with its lock, before a new one can be opened.
    *store = None;
    let (opened, cuts) = Store::open(&shared.records)?;
    for tail::Cut { at, .. } in cuts {
        tracing::info!(at, "half a write was cut; it is repeated");
    }
    *store = Some(opened);
    Ok(())
}
