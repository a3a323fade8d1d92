//! The journal after its disk has lied: whatever was flipped, torn, cut out or doubled in its write-ahead file, it opens,
//! and yields no record that was not written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway::journal::{Journal, JournalSettings, Recovered};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

const SETTINGS: JournalSettings = JournalSettings { strict: false, most_bytes: 1 << 30, least_free_bytes: 0 };
/// Its write-ahead file.
const FILE: &str = "records/0.jnl";
const REQUESTS: u8 = 6;
/// Bytes that say one kind of damage.
const EDIT: usize = 5;
const MOST_EDITS: usize = 8;

/// Records that lie open, and those that wait for the database, in order.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    open: BTreeMap<Uuid, Vec<u8>>,
    waiting: Vec<Vec<u8>>,
}

/// A journal as a process left it that was killed.
struct Written {
    /// Every file but the write-ahead file, by its path.
    others: Vec<(PathBuf, Vec<u8>)>,
    bytes: Vec<u8>,
    /// Where each operation ends in those bytes, and what the journal holds then.
    states: Vec<(usize, State)>,
    records: BTreeSet<Vec<u8>>,
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().unwrap());
static WRITTEN: LazyLock<Written> = LazyLock::new(|| RUNTIME.block_on(write()));

/// Damages a journal as the bytes say, and opens it.
pub fn check(bytes: &[u8]) {
    let damaged = bytes.chunks_exact(EDIT).take(MOST_EDITS).fold(WRITTEN.bytes.clone(), damaged);
    let folder = Scratch::new();
    for (path, bytes) in &WRITTEN.others {
        let path = folder.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::write(folder.0.join(FILE), &damaged).unwrap();
    let (found, _) = RUNTIME.block_on(read(&folder.0));
    let records = found.open.values().chain(&found.waiting);
    records.for_each(|record| assert!(WRITTEN.records.contains(record), "never written: {record:?}"));
    let whole = damaged.iter().zip(&WRITTEN.bytes).take_while(|(now, then)| now == then).count();
    let used = damaged.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (_, before) = WRITTEN.states.iter().rev().find(|(end, _)| *end <= whole).unwrap();
    if used <= whole {
        assert_eq!(found, *before, "what was torn off costs what was torn off");
    }
    let (again, cut) = RUNTIME.block_on(read(&folder.0));
    assert_eq!((again, cut), (found, None), "once it was repaired, it is whole");
}

/// One kind of damage at one place: `[kind, place, place, length, byte]`.
fn damaged(mut bytes: Vec<u8>, edit: &[u8]) -> Vec<u8> {
    let &[kind, high, low, length, byte] = edit else { return bytes };
    let at = usize::from(u16::from_be_bytes([high, low])) % (bytes.len() + 1);
    let piece = at..(at + usize::from(length)).min(bytes.len());
    match kind % 7 {
        0 => bytes[piece].iter_mut().take(1).for_each(|flipped| *flipped ^= byte),
        1 => bytes[piece].fill(byte),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(piece)),
        4 => bytes.extend_from_within(piece),
        5 => drop(bytes.splice(at..at, vec![byte; usize::from(length)])),
        _ => bytes.resize(bytes.len() + 16 * usize::from(length), 0),
    }
    bytes
}

async fn write() -> Written {
    let folder = Scratch::new();
    let journal = Journal::open(&folder.0, SETTINGS).unwrap().journal;
    let file = folder.0.join(FILE);
    let mut state = State::default();
    let mut states = vec![(0, State::default()), (used(&file), State::default())];
    let mut records = BTreeSet::new();
    for number in 1..=REQUESTS {
        let (id, admitted, settled) = (Uuid::from_u128(number.into()), vec![number; 9], vec![number + 100; 30]);
        records.extend([admitted.clone(), settled.clone()]);
        journal.admit(id, &admitted).await.unwrap();
        state.open.insert(id, admitted);
        states.push((used(&file), state.clone()));
        // Every third one still runs.
        if number % 3 != 0 {
            journal.settle(id, &settled).await;
            state.open.remove(&id);
            state.waiting.push(settled);
            states.push((used(&file), state.clone()));
        }
    }
    let (mut others, mut bytes) = (Vec::new(), Vec::new());
    for path in files(&folder.0) {
        let within = path.strip_prefix(&folder.0).unwrap().to_owned();
        match fs::read(&path).unwrap() {
            found if within == Path::new(FILE) => bytes = found[..used(&path)].to_vec(),
            found => others.push((within, found)),
        }
    }
    journal.close().await;
    Written { others, bytes, states, records }
}

async fn read(folder: &Path) -> (State, Option<String>) {
    let Recovered { journal, open, waiting, cut, .. } = Journal::open(folder, SETTINGS).unwrap();
    let records = journal.oldest(100).await;
    assert_eq!(records.len(), waiting);
    journal.close().await;
    let waiting = records.into_iter().map(|(_, record)| record).collect();
    (State { open: open.into_iter().collect(), waiting }, cut)
}

/// How many bytes of a file stand before the zeros at its end.
fn used(file: &Path) -> usize {
    fs::read(file).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A folder that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("journal-fuzz-{}-{number}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
