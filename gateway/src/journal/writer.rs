//! The thread that writes. After a failure it opens the database anew and repeats what was not safely on disk: fjall
//! takes nothing more once a write has failed, and may have written half of it.

use std::sync::PoisonError;
use std::time::Duration;

use super::folder::{Folder, free_bytes};
use super::shared::Shared;
use super::store::{Operation, Store};
use super::tail;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Below this no repair is tried: it would only fail again.
const LEAST_FREE_TO_REPAIR: u64 = 1024 * 1024;

/// Writes until the journal is closed and everything is written. The folder is this process's until then.
pub(super) fn run(shared: &Shared, folder: Folder) {
    let mut last_try = false;
    loop {
        let (group, sync_failed) = next(shared);
        let result = if sync_failed {
            Err(anyhow::anyhow!("fdatasync failed"))
        } else if group.is_empty() {
            break;
        } else {
            shared.read(|store| store.write(&group))
        };
        match result {
            Ok(()) => wrote(shared, group.len()),
            Err(error) => {
                if !repair(shared, &folder, &error) || last_try {
                    break;
                }
                last_try = shared.memory().closing;
            }
        }
    }
    let lost = shared.memory().close();
    if lost > 0 {
        tracing::error!(lost, "the journal ends and the disk does not take its last records");
    }
    // Frees the files before the folder is given back.
    *shared.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    shared.dirty.notify_one();
    drop(folder);
}

/// Waits for something to write; nothing when the journal closes.
fn next(shared: &Shared) -> (Vec<Operation>, bool) {
    let memory = shared.work.wait_while(shared.memory(), |memory| memory.idle());
    let memory = memory.unwrap_or_else(PoisonError::into_inner);
    (memory.unwritten(), memory.sync_failed)
}

fn wrote(shared: &Shared, count: usize) {
    let mut memory = shared.memory();
    let first = !memory.dirty();
    memory.wrote(count, shared.settings.strict);
    if first {
        shared.dirty.notify_one();
    }
}

/// Tries until the database is open again; not so when the journal closes meanwhile and the one try then fails.
fn repair(shared: &Shared, folder: &Folder, error: &anyhow::Error) -> bool {
    tracing::error!("the journal cannot be written, nothing is admitted until it can: {error:#}");
    shared.memory().failed();
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
