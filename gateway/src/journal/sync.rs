//! The thread that makes written records survive a power cut, and looks how much disk is left.
//!
//! It does not ask fjall, which holds the lock that writers need while it synchronises. It calls `fdatasync` on the
//! newest write-ahead file through a file of its own: the kernel writes out the same pages. fjall synchronises a file
//! itself before it starts the next, so the newest is enough.

use std::fs::File;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::folder::free_bytes;
use super::memory::{Mark, Memory};
use super::shared::Shared;
use super::tail;

/// The most that a power cut may take, unless the journal is strict.
const EVERY: Duration = Duration::from_millis(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Synchronises until the journal is closed.
pub(super) fn run(shared: &Shared) {
    let mut newest = Newest(None);
    let mut looked = Instant::now();
    loop {
        let (mark, closed) = due(shared);
        if let Some(mark) = mark {
            match newest.synchronise(shared) {
                Ok(()) => shared.memory().synchronised(mark),
                Err(error) => {
                    tracing::error!("fdatasync failed: {error}");
                    shared.change(|memory| memory.sync_failed = true);
                }
            }
        }
        if closed {
            // Who still waits, waits for what did not reach the disk.
            shared.memory().failed();
            return;
        }
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            let free = free_bytes(&shared.records);
            shared.memory().free_bytes = free;
        }
    }
}

/// Waits until something has to be synchronised, and for no longer than a while. The mark tells what that is; true when
/// the journal is closed.
fn due(shared: &Shared) -> (Option<Mark>, bool) {
    let clean = |memory: &mut Memory| (memory.sync_failed || !memory.dirty()) && !memory.is_closed();
    let waited = shared.dirty.wait_timeout_while(shared.memory(), LOOK_EVERY, clean);
    let mut memory = waited.unwrap_or_else(PoisonError::into_inner).0;
    if memory.dirty() && !shared.settings.strict {
        let rest = EVERY.saturating_sub(memory.dirty_for());
        let waited = shared.closed.wait_timeout_while(memory, rest, |memory| !memory.is_closed());
        memory = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    ((memory.dirty() && !memory.sync_failed).then(|| memory.mark()), memory.is_closed())
}

/// The newest write-ahead file and its number. It stays open, because the kernel tells a file of a failed write only if it
/// was open when that happened.
struct Newest(Option<(u64, File)>);

impl Newest {
    fn synchronise(&mut self, shared: &Shared) -> io::Result<()> {
        if let Some((number, file)) = &self.0
            // fjall counts its files up by one.
            && !tail::file(&shared.records, number + 1).try_exists()?
        {
            return file.sync_data();
        }
        let (number, path) = tail::files(&shared.records)?.pop().ok_or(io::ErrorKind::NotFound)?;
        let (_, file) = self.0.insert((number, File::open(path)?));
        file.sync_data()
    }
}
