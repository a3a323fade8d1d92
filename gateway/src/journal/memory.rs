//! What the journal knows without reading the disk: which records are open or waiting, and the operations that are
//! not safely on disk yet, in order. An operation stays here until it has been synchronised, so a failed write or
//! synchronisation is repeated from here.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::store::{Found, Operation};
use super::{Full, JournalError, JournalSettings, JournalState};

/// Limits of what is written at once.
const MOST_OPERATIONS: usize = 1000;
const MOST_BYTES: usize = 256 * 1024;

/// A write that takes longer was held up by the disk.
const SLOW: Duration = Duration::from_millis(5);
/// So long after somebody else waited for that, only the writing thread waits for the disk.
const APART: Duration = Duration::from_secs(1);
/// So long after a flush, or after the writing thread waited: a flush is over then, where the disk is quick.
const FLUSHING: Duration = Duration::from_millis(100);

type Answer = Result<(), JournalError>;

struct Entry {
    operation: Operation,
    /// Who waits for it to be on disk.
    waiter: Option<oneshot::Sender<Answer>>,
}

impl Entry {
    fn answer(&mut self, answer: Answer) {
        if let Some(waiter) = self.waiter.take() {
            // Whether somebody still listens does not matter.
            let _ = waiter.send(answer);
        }
    }
}

struct Waiting {
    bytes: u32,
    /// The record itself, until it is safely on disk.
    held: Option<Arc<[u8]>>,
}

/// See the module.
pub(super) struct Memory {
    queue: VecDeque<Entry>,
    /// How many operations were ever synchronised, and how many were written. The queue begins at the first number.
    synced: u64,
    written: u64,
    /// When the first operation was written that is not synchronised.
    dirty_since: Option<Instant>,
    open: HashSet<Uuid>,
    waiting: BTreeMap<u64, Waiting>,
    bytes_waiting: u64,
    set_aside: usize,
    last: u64,
    pub(super) free_bytes: u64,
    /// Somebody writes.
    pub(super) writing: bool,
    /// Somebody other than the writing thread failed to write; that thread does not know yet.
    pub(super) write_failed: Option<anyhow::Error>,
    /// The memtables are to be flushed by the writing thread.
    pub(super) flush_due: bool,
    /// Until then only the writing thread writes.
    apart_until: Option<Instant>,
    /// Writing failed and is being repaired.
    failing: bool,
    /// How often it failed: what was synchronised before a failure says nothing about what is repeated after it.
    failures: u64,
    /// Synchronising failed; the writer does not know yet.
    pub(super) sync_failed: bool,
    pub(super) closing: bool,
    closed: bool,
}

impl Memory {
    pub(super) fn new(found: &Found, free_bytes: u64) -> Self {
        let waiting = found.settled.iter().map(|(sequence, bytes)| (*sequence, Waiting { bytes: *bytes, held: None }));
        Self {
            queue: VecDeque::new(),
            synced: 0,
            written: 0,
            dirty_since: None,
            open: found.open.iter().map(|(id, _)| *id).collect(),
            waiting: waiting.collect(),
            bytes_waiting: found.settled.iter().map(|(_, bytes)| u64::from(*bytes)).sum(),
            set_aside: found.aside,
            last: found.last,
            free_bytes,
            writing: false,
            write_failed: None,
            flush_due: false,
            apart_until: None,
            failing: false,
            failures: 0,
            sync_failed: false,
            closing: false,
            closed: false,
        }
    }

    pub(super) fn may_admit(&self, settings: &JournalSettings) -> Result<(), Full> {
        if self.failing || self.sync_failed || self.closing {
            Err(Full::Failing)
        } else if self.bytes_waiting >= settings.most_bytes {
            Err(Full::Waiting { bytes: self.bytes_waiting, most: settings.most_bytes })
        } else if self.free_bytes < settings.least_free_bytes {
            Err(Full::Disk { free: self.free_bytes, least: settings.least_free_bytes })
        } else {
            Ok(())
        }
    }

    pub(super) fn state(&self) -> JournalState {
        JournalState {
            open: self.open.len(),
            waiting: self.waiting.len(),
            set_aside: self.set_aside,
            bytes_waiting: self.bytes_waiting,
            writable: !(self.failing || self.sync_failed || self.closed),
            oldest_waiting: self
                .waiting
                .first_key_value()
                .map(|(sequence, _)| Duration::from_micros(now().saturating_sub(*sequence))),
        }
    }

    pub(super) fn admit(&mut self, id: Uuid, record: &[u8]) -> oneshot::Receiver<Answer> {
        if self.failing || self.closing {
            let (waiter, answer) = oneshot::channel();
            let _ = waiter.send(Err(if self.closing { JournalError::Closed } else { JournalError::Failed }));
            return answer;
        }
        self.open.insert(id);
        self.push(Operation::Admit { id, record: record.into() })
    }

    /// Takes back an admission, unless it was settled meanwhile.
    pub(super) fn forget(&mut self, id: Uuid) {
        if self.open.remove(&id) {
            drop(self.push(Operation::Forget { id }));
        }
    }

    pub(super) fn settle(&mut self, id: Uuid, record: &[u8]) -> oneshot::Receiver<Answer> {
        self.open.remove(&id);
        self.last = now().max(self.last + 1);
        let record: Arc<[u8]> = record.into();
        let bytes = u32::try_from(record.len()).unwrap_or(u32::MAX);
        self.bytes_waiting += u64::from(bytes);
        self.waiting.insert(self.last, Waiting { bytes, held: Some(record.clone()) });
        self.push(Operation::Settle { id, sequence: self.last, record })
    }

    pub(super) fn remove(&mut self, sequences: &[u64]) {
        let known: Vec<u64> = sequences.iter().copied().filter(|sequence| self.take_out(*sequence)).collect();
        if !known.is_empty() {
            drop(self.push(Operation::Remove { sequences: known }));
        }
    }

    pub(super) fn set_aside(&mut self, sequence: u64, kept: Vec<u8>) {
        if self.take_out(sequence) {
            self.set_aside += 1;
            drop(self.push(Operation::SetAside { sequence, kept: kept.into() }));
        }
    }

    fn take_out(&mut self, sequence: u64) -> bool {
        let taken = self.waiting.remove(&sequence);
        self.bytes_waiting -= taken.as_ref().map_or(0, |waiting| u64::from(waiting.bytes));
        taken.is_some()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest waiting records: each with its bytes if they are not safely on disk yet.
    pub(super) fn oldest(&self, limit: usize) -> Vec<(u64, Option<Arc<[u8]>>)> {
        self.waiting.iter().take(limit).map(|(sequence, waiting)| (*sequence, waiting.held.clone())).collect()
    }

    /// One waiting record, if there is one: its bytes if they are not safely on disk yet.
    pub(super) fn held(&self, sequence: u64) -> Option<Option<Arc<[u8]>>> {
        self.waiting.get(&sequence).map(|waiting| waiting.held.clone())
    }

    /// While the disk refuses, what is kept here is all that anybody can wait for.
    fn push(&mut self, operation: Operation) -> oneshot::Receiver<Answer> {
        let (waiter, answer) = oneshot::channel();
        let mut entry = Entry { operation, waiter: Some(waiter) };
        if self.closed {
            tracing::error!("the journal was used after it was closed: a record is lost with this process");
        }
        if self.failing || self.closed {
            entry.answer(Ok(()));
        }
        self.queue.push_back(entry);
        answer
    }

    /// Whether the writing thread has nothing to do.
    pub(super) fn idle(&self) -> bool {
        let calm = !self.sync_failed && self.write_failed.is_none() && !self.flush_due && !self.closing;
        self.writing || (calm && self.written == self.synced + self.queue.len() as u64)
    }

    /// Whether anybody may write: nobody does, and a write is as quick as one to any file.
    pub(super) fn may_write_here(&self) -> bool {
        let well = !self.sync_failed && self.write_failed.is_none() && !self.failing;
        let quick = !self.flush_due && self.apart_until.is_none_or(|until| until <= Instant::now());
        !self.writing && !self.closing && well && quick
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether something was written and not synchronised.
    pub(super) fn dirty(&self) -> bool {
        self.written > self.synced
    }

    /// How long the oldest of it has been.
    pub(super) fn dirty_for(&self) -> Duration {
        self.dirty_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What to write next.
    pub(super) fn unwritten(&self) -> Vec<Operation> {
        let mut size = 0;
        let offset = usize::try_from(self.written - self.synced).unwrap_or(usize::MAX);
        self.queue
            .iter()
            .skip(offset)
            .take(MOST_OPERATIONS)
            .take_while(|entry| {
                let first = size == 0;
                size += entry.operation.size();
                first || size <= MOST_BYTES
            })
            .map(|entry| entry.operation.clone())
            .collect()
    }

    /// A write took so long, of the writing thread or of somebody else.
    pub(super) fn took(&mut self, time: Duration, is_thread: bool) {
        if time >= SLOW {
            self.keep_apart(if is_thread { FLUSHING } else { APART });
        }
    }

    fn keep_apart(&mut self, time: Duration) {
        self.apart_until = self.apart_until.max(Some(Instant::now() + time));
    }

    /// The memtables were handed over to be flushed, which takes a while.
    pub(super) fn flushed(&mut self) {
        self.flush_due = false;
        self.keep_apart(FLUSHING);
    }

    /// The kernel has the next so many operations. In strict mode their waiters wait on.
    pub(super) fn wrote(&mut self, count: usize, strict: bool) {
        if !self.dirty() {
            self.dirty_since = Some(Instant::now());
        }
        let offset = usize::try_from(self.written - self.synced).unwrap_or(usize::MAX);
        self.written += count as u64;
        if !strict {
            self.queue.iter_mut().skip(offset).take(count).for_each(|entry| entry.answer(Ok(())));
        }
    }

    /// What a synchronisation that begins now will cover.
    pub(super) fn mark(&self) -> Mark {
        Mark { written: self.written, failures: self.failures, at: Instant::now() }
    }

    /// The disk has everything up to this mark.
    pub(super) fn synchronised(&mut self, mark: Mark) {
        if mark.failures != self.failures {
            return;
        }
        self.dirty_since = Some(mark.at);
        while self.synced < mark.written {
            let Some(mut entry) = self.queue.pop_front() else { return };
            self.synced += 1;
            entry.answer(Ok(()));
            if let Operation::Settle { sequence, .. } = entry.operation
                && let Some(waiting) = self.waiting.get_mut(&sequence)
            {
                waiting.held = None;
            }
        }
    }

    /// The disk refused: everything that is not safely there is kept and repeated later, but for admissions, which
    /// fail. Parts of them may be on disk, so they are taken back there.
    pub(super) fn failed(&mut self) {
        self.failing = true;
        self.sync_failed = false;
        self.write_failed = None;
        self.failures += 1;
        self.written = self.synced;
        for entry in &mut self.queue {
            match entry.operation {
                Operation::Admit { id, .. } if entry.waiter.is_some() => {
                    self.open.remove(&id);
                    entry.operation = Operation::Forget { id };
                    entry.answer(Err(JournalError::Failed));
                }
                _ => entry.answer(Ok(())),
            }
        }
    }

    /// The disk takes records again.
    pub(super) fn repaired(&mut self) {
        self.failing = false;
    }

    /// Nobody writes any more. How many operations are not on disk.
    pub(super) fn close(&mut self) -> usize {
        self.closing = true;
        self.closed = true;
        self.queue.len() - usize::try_from(self.written - self.synced).unwrap_or(0)
    }
}

/// How far a synchronisation reaches.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    written: u64,
    failures: u64,
    at: Instant,
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
