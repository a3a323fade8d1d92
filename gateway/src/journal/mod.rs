//! The local journal: what was admitted and what was settled is on this machine's disk before the client sees the
//! first and the last byte. A shipper takes settled records from here, in order, and removes what Postgres has.
//!
//! Whoever admits or settles puts an operation into memory, and writes it there and then if nobody else writes and the
//! disk is quick (`writer`): a copy into the kernel's memory costs less than waking a thread. Otherwise a thread writes,
//! all that waits together, and nobody on the async side waits for fjall's lock, its throttling or a disk. Another
//! thread (`sync`) runs `fdatasync` through a file of its own, so that writing goes on meanwhile: every 10 ms, or in
//! strict mode at once, and then admissions and settlements are answered after it.

mod folder;
mod memory;
mod shared;
mod store;
mod sync;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::task::{Context as TaskContext, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use folder::Folder;
use memory::Memory;
use shared::Shared;
use store::Store;

/// How the journal is kept.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// Whether admissions and settlements wait for `fdatasync`, so that a power cut loses nothing either.
    pub strict: bool,
    /// With so many bytes of settled records waiting for Postgres, nothing more is admitted.
    pub most_bytes: u64,
    /// With fewer bytes free in the file system, nothing more is admitted. The journal itself takes up to 200 MiB.
    pub least_free_bytes: u64,
}

/// Why nothing may be admitted now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("{bytes} bytes of settled records wait for the database, and at most {most} may")]
    Waiting { bytes: u64, most: u64 },
    #[error("the journal's disk has {free} bytes free, and {least} must stay free")]
    Disk { free: u64, least: u64 },
    #[error("the journal cannot be written")]
    Failing,
}

/// Why an admission is not in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("the journal cannot be written")]
    Failed,
    #[error("the journal is closed")]
    Closed,
}

/// How the journal is, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalState {
    /// Admitted, not settled.
    pub open: usize,
    /// Settled, not shipped.
    pub waiting: usize,
    /// Refused by the database, and kept.
    pub set_aside: usize,
    /// Size of the records that wait.
    pub bytes_waiting: u64,
    /// Whether the disk takes records.
    pub writable: bool,
    /// How long the oldest record has waited.
    pub oldest_waiting: Option<Duration>,
}

/// What an earlier process left behind.
pub struct Recovered {
    pub journal: Journal,
    /// This replica, named when the folder was first used.
    pub replica: Uuid,
    /// Admitted and never settled: the process died.
    pub open: Vec<(Uuid, Vec<u8>)>,
    /// Settled, not shipped.
    pub waiting: usize,
    /// Says what was cut when the end of the journal was damaged.
    pub cut: Option<String>,
}

/// A record that the database refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub sequence: u64,
    pub reason: String,
    pub record: Vec<u8>,
}

/// The journal. Clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// The two threads, which end when the last clone of the journal is gone.
struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.change(|memory| memory.closing = true);
    }
}

impl Journal {
    /// Opens the journal in this folder, and says what an earlier process left in it. Reads the disk.
    ///
    /// # Errors
    ///
    /// When another process uses the folder, or it cannot be used: the sentence says which and what to do.
    pub fn open(path: &Path, settings: JournalSettings) -> anyhow::Result<Recovered> {
        let folder = Folder::take(path)?;
        let records = path.join("records");
        let opened = || format!("the journal in {} cannot be opened (COMMONWATT_JOURNAL)", path.display());
        let (store, cuts) = Store::open(&records).with_context(opened)?;
        let found = store.find().with_context(opened)?;
        let shared = Arc::new(Shared {
            settings,
            records,
            memory: Mutex::new(Memory::new(&found, folder::free_bytes(path))),
            work: Condvar::new(),
            dirty: Condvar::new(),
            closed: Condvar::new(),
            store: RwLock::new(Some(store)),
            ships: watch::Sender::new(found.settled.len()),
        });
        let cut = tail::describe(&cuts, path);
        let replica = folder.replica;
        let threads = Threads { shared: shared.clone(), running: Mutex::default() };
        let (writer, sync) = (shared.clone(), shared.clone());
        let running = [
            std::thread::Builder::new().name("journal-write".into()).spawn(move || writer::run(&writer, folder))?,
            std::thread::Builder::new().name("journal-sync".into()).spawn(move || sync::run(&sync))?,
        ];
        threads.running.lock().unwrap_or_else(PoisonError::into_inner).extend(running);
        let journal = Self { shared, threads: Arc::new(threads) };
        Ok(Recovered { journal, replica, open: found.open, waiting: found.settled.len(), cut })
    }

    /// Whether a request may be admitted. Cheap: nothing is read.
    ///
    /// # Errors
    ///
    /// When too much waits, too little disk is left, or the disk refuses.
    pub fn may_admit(&self) -> Result<(), Full> {
        self.shared.memory().may_admit(&self.shared.settings)
    }

    /// Writes down that a request was admitted. A future that is dropped before it completes takes the admission back.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or the journal is closed.
    pub fn admit(&self, id: Uuid, record: &[u8]) -> impl Future<Output = Result<(), JournalError>> + Send + 'static {
        let answer = self.shared.put(|memory| memory.admit(id, record));
        let undo = Undo { shared: Some(self.shared.clone()), id };
        async move {
            answer.await.unwrap_or(Err(JournalError::Closed))?;
            undo.not_needed();
            Ok(())
        }
    }

    /// Closes what was admitted, and adds what became of it to what is shipped: both or neither. Never waits and never
    /// fails: what the disk refuses stays in memory and is written later. Whoever shows the client a last byte waits
    /// for what this returns; a `Drop` need not.
    pub fn settle(&self, id: Uuid, record: &[u8]) -> Settled {
        Settled(self.shared.put(|memory| memory.settle(id, record)))
    }

    /// The oldest settled records, in order, with what names them here.
    pub async fn oldest(&self, limit: usize) -> Vec<(u64, Vec<u8>)> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.oldest(limit)).await.unwrap_or_default()
    }

    /// Forgets records that were shipped.
    pub fn remove(&self, sequences: &[u64]) {
        self.shared.change(|memory| memory.remove(sequences));
    }

    /// Moves a record that the database refuses out of the way, where it is kept for ever.
    pub async fn set_aside(&self, sequence: u64, reason: &str) {
        let (shared, why) = (self.shared.clone(), reason.to_owned());
        let moved = tokio::task::spawn_blocking(move || shared.set_aside(sequence, &why)).await;
        match moved.map_err(anyhow::Error::from).flatten() {
            Ok(()) => tracing::error!(sequence, reason, "a settled record is set aside"),
            Err(error) => tracing::error!(sequence, reason, "a settled record cannot be set aside: {error:#}"),
        }
    }

    /// What was set aside. Reads the disk.
    ///
    /// # Errors
    ///
    /// When the disk cannot be read.
    pub fn aside(&self) -> anyhow::Result<Vec<SetAside>> {
        self.shared.aside()
    }

    /// Completes when there is something to ship.
    pub async fn wait(&self) {
        // Cannot fail: this journal holds the sender.
        drop(self.shared.ships.subscribe().wait_for(|waiting| *waiting > 0).await);
    }

    /// How the journal is.
    #[must_use]
    pub fn state(&self) -> JournalState {
        self.shared.memory().state()
    }

    /// Writes and synchronises everything, and ends. Nothing may be settled afterwards.
    pub async fn close(&self) {
        self.shared.change(|memory| memory.closing = true);
        let running = std::mem::take(&mut *self.threads.running.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = tokio::task::spawn_blocking(|| running.into_iter().all(|thread| thread.join().is_ok())).await;
        if !matches!(ended, Ok(true)) {
            tracing::error!("the journal did not end well");
        }
    }
}

/// Completes when a settlement is on disk, or kept in memory because the disk refuses.
pub struct Settled(oneshot::Receiver<Result<(), JournalError>>);

impl Future for Settled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(task).map(|_| ())
    }
}

/// Takes an admission back unless it came to an end.
struct Undo {
    shared: Option<Arc<Shared>>,
    id: Uuid,
}

impl Undo {
    fn not_needed(mut self) {
        self.shared = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.change(|memory| memory.forget(self.id));
        }
    }
}
