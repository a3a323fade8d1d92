//! What is on disk: three keyspaces of a fjall database, and how operations are written to them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, UserKey};
use uuid::Uuid;

use super::tail;

const MIB: u64 = 1024 * 1024;
/// Beyond so many bytes, memtables are flushed.
const MEMTABLES: usize = 2 * 1024 * 1024;

/// One change of what is on disk. Written twice, it changes nothing more.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Admit {
        id: Uuid,
        record: Arc<[u8]>,
    },
    /// Takes back an admission that failed or that nobody waited for.
    Forget {
        id: Uuid,
    },
    Settle {
        id: Uuid,
        sequence: u64,
        record: Arc<[u8]>,
    },
    Remove {
        sequences: Vec<u64>,
    },
    SetAside {
        sequence: u64,
        kept: Arc<[u8]>,
    },
}

impl Operation {
    /// Roughly what it takes on disk.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Admit { record, .. } | Self::Settle { record, .. } => record.len() + 100,
            Self::SetAside { kept, .. } => kept.len() + 100,
            Self::Remove { sequences } => sequences.len() * 30,
            Self::Forget { .. } => 40,
        }
    }
}

/// The open database.
pub(super) struct Store {
    database: Database,
    /// Bytes in the memtables that were not handed to be flushed, roughly.
    unflushed: AtomicUsize,
    open: Keyspace,
    settled: Keyspace,
    aside: Keyspace,
}

/// What a database held when it was opened.
pub(super) struct Found {
    pub(super) open: Vec<(Uuid, Vec<u8>)>,
    /// Sequence and size.
    pub(super) settled: Vec<(u64, u32)>,
    pub(super) aside: usize,
    /// The highest sequence ever seen here.
    pub(super) last: u64,
}

impl Store {
    /// Opens the database in this folder, after cutting a damaged tail.
    pub(super) fn open(folder: &Path) -> anyhow::Result<(Self, Vec<tail::Cut>)> {
        let cuts = tail::cut(folder)?;
        let database = Database::builder(folder)
            .cache_size(4 * MIB)
            .max_cached_files(Some(64))
            .max_journaling_size(64 * MIB)
            .worker_threads(1)
            .open()?;
        let open = database.keyspace("open", options)?;
        let settled = database.keyspace("settled", options)?;
        let aside = database.keyspace("aside", options)?;
        Ok((Self { database, unflushed: AtomicUsize::new(0), open, settled, aside }, cuts))
    }

    /// Writes these in order, all or nothing: when it returns well, the kernel has them. True when a flush is due.
    pub(super) fn write(&self, operations: &[Operation]) -> anyhow::Result<bool> {
        let mut batch = self.database.batch();
        for operation in operations {
            match operation {
                Operation::Admit { id, record } => batch.insert(&self.open, open_key(*id), &record[..]),
                Operation::Forget { id } => batch.remove(&self.open, open_key(*id)),
                Operation::Settle { id, sequence, record } => {
                    batch.remove(&self.open, open_key(*id));
                    batch.insert(&self.settled, sequence_key(*sequence), &record[..]);
                }
                Operation::Remove { sequences } => {
                    sequences.iter().for_each(|sequence| batch.remove(&self.settled, sequence_key(*sequence)));
                }
                Operation::SetAside { sequence, kept } => {
                    batch.remove(&self.settled, sequence_key(*sequence));
                    batch.insert(&self.aside, sequence_key(*sequence), &kept[..]);
                }
            }
        }
        catch_unwind(AssertUnwindSafe(|| batch.commit())).map_err(|_| anyhow::anyhow!("fjall panicked"))??;
        let size = operations.iter().map(Operation::size).sum::<usize>();
        Ok(self.unflushed.fetch_add(size, Ordering::Relaxed) + size > MEMTABLES)
    }

    /// Hands all memtables to fjall's worker, which makes tables of them and then removes old write-ahead files.
    ///
    /// Left to itself, fjall asks its worker for this again with each write until it is done, and each time the worker
    /// waits for the lock that the writer keeps taking: under load it never got round to it.
    pub(super) fn flush(&self) -> anyhow::Result<()> {
        self.unflushed.store(0, Ordering::Relaxed);
        for keyspace in [&self.open, &self.settled, &self.aside] {
            keyspace.rotate_memtable()?;
        }
        Ok(())
    }

    /// One settled record.
    pub(super) fn settled(&self, sequence: u64) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.settled.get(sequence_key(sequence))?.map(|record| record.to_vec()))
    }

    /// Everything set aside, as it was kept.
    pub(super) fn aside(&self) -> anyhow::Result<Vec<(u64, Vec<u8>)>> {
        let mut found = Vec::new();
        for entry in self.aside.iter() {
            let (key, kept) = entry.into_inner()?;
            found.push((sequence(&key)?, kept.to_vec()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads what was there at the start.
    pub(super) fn find(&self) -> anyhow::Result<Found> {
        let mut found = Found { open: Vec::new(), settled: Vec::new(), aside: 0, last: 0 };
        for entry in self.open.iter() {
            let (key, record) = entry.into_inner()?;
            found.open.push((Uuid::from_bytes(gathered(&key)?), record.to_vec()));
        }
        found.open.sort_unstable();
        for entry in self.settled.iter() {
            let (key, record) = entry.into_inner()?;
            found.settled.push((sequence(&key)?, u32::try_from(record.len())?));
        }
        for entry in self.aside.iter() {
            found.last = found.last.max(sequence(&entry.key()?)?);
            found.aside += 1;
        }
        found.last = found.settled.iter().map(|(sequence, _)| *sequence).chain([found.last]).max().unwrap_or(0);
        Ok(found)
    }

    /// Write-ahead files on disk.
    #[cfg(test)]
    pub(super) fn files(&self) -> usize {
        self.database.journal_count()
    }
}

/// Small tables and memtables: what is written is removed soon, and little of it is ever read.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(u64::MAX)
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(4 * MIB)))
}

/// Keys are in order of time, four times over. Simply in order of time, each table would cover a range of its own, and
/// fjall moves such tables down as they are, with the marks of what was removed: they would never go. So all tables
/// overlap, are merged, and what was removed leaves nothing behind. Keys that go all over the place would do that as well,
/// but find their places in memory that no cache holds.
fn spread<const LENGTH: usize>(key: [u8; LENGTH]) -> UserKey {
    const STRANDS: u8 = 4;
    let strand = key.last().map_or(0, |last| last % STRANDS);
    [&[strand], &key[..]].concat().into()
}

fn gathered<const LENGTH: usize>(key: &[u8]) -> anyhow::Result<[u8; LENGTH]> {
    let found = key.split_first().and_then(|(_, key)| key.try_into().ok());
    found.context("a key of the journal is damaged")
}

fn sequence_key(sequence: u64) -> UserKey {
    spread(sequence.to_be_bytes())
}

fn sequence(key: &[u8]) -> anyhow::Result<u64> {
    gathered(key).map(u64::from_be_bytes)
}

fn open_key(id: Uuid) -> UserKey {
    spread(id.into_bytes())
}
