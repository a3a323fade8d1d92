//! Reports of the node's counters, signed, chained and kept for a month: whoever was away can still read them, and nobody
//! can change them later.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openapi::energy::report::{EnergyReport, PoolWindow, SettledAttempt};
use openapi::energy::{Grid, StepCosts};
use openapi::units::Microseconds;
use tokio::sync::watch;

use crate::identity::Identity;
use crate::node::unix_seconds;

/// Files are kept this long, and as many of them.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
const MOST_FILES: usize = 64;
/// A file with more bytes is followed by another.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Reports in memory, for those who follow.
const RECENT: usize = 256;

/// A report that has no number yet.
pub struct Draft {
    pub length: Duration,
    pub busy: Microseconds,
    pub pools: Vec<PoolWindow>,
    pub costs: StepCosts,
    pub grid: Option<Grid>,
    pub settled: Vec<SettledAttempt>,
}

/// The node's reports, in files named by their first number: a number and a JWS on each line.
pub struct ReportLog {
    folder: PathBuf,
    identity: Arc<Identity>,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
}

struct State {
    sequence: u64,
    previous: String,
    until: Microseconds,
    file: Option<(File, u64)>,
    recent: VecDeque<(u64, String)>,
}

impl ReportLog {
    /// Opens the folder, or makes it. A line that was not completed is cut off.
    ///
    /// # Errors
    /// When the folder can't be read or written.
    pub fn open(folder: &Path, identity: Arc<Identity>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut state = State {
            sequence: 0,
            previous: String::new(),
            until: Microseconds::ZERO,
            file: None,
            recent: VecDeque::new(),
        };
        let files = files(folder)?;
        if let Some((_, path)) = files.last() {
            cut_torn_end(path)?;
        }
        for (_, path) in files.into_iter().rev() {
            if let Some((sequence, statement)) = lines(&path)?.pop() {
                (state.sequence, state.previous) = (sequence, hash(&statement));
                state.until = jsonwebtoken::dangerous::insecure_decode::<EnergyReport>(&statement)
                    .map(|report| report.claims.to)
                    .unwrap_or_default();
                break;
            }
        }
        let (newest, _) = watch::channel(state.sequence);
        Ok(Self { folder: folder.to_owned(), identity, state: Mutex::new(state), newest })
    }

    /// Numbers, signs and keeps a report. What the disk refuses is told to nobody, and its energy is missing from the
    /// chain: the gateway sees the gap.
    pub fn append(&self, draft: Draft) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let to = now().max(state.until + Microseconds::new(1));
        let from = (to - Microseconds::from(draft.length)).max(state.until);
        let report = EnergyReport {
            sequence: state.sequence + 1,
            previous: state.previous.clone(),
            from,
            to,
            busy_microseconds: draft.busy,
            pools: draft.pools,
            costs: draft.costs,
            grid: draft.grid,
            settled: draft.settled,
        };
        match self
            .identity
            .statement(&report)
            .map_err(io::Error::other)
            .and_then(|jws| self.write(&mut state, &report, &jws))
        {
            Ok(()) => drop(self.newest.send_replace(report.sequence)),
            Err(error) => tracing::error!(%error, folder = %self.folder.display(), "an energy report can't be kept"),
        }
    }

    fn write(&self, state: &mut State, report: &EnergyReport, statement: &str) -> io::Result<()> {
        let line = format!("{} {statement}\n", report.sequence);
        let (file, bytes) = match state.file.take().filter(|(_, bytes)| *bytes < FILE_BYTES) {
            Some(open) => open,
            None => {
                self.forget_old();
                let path = self.folder.join(format!("{}.jws", report.sequence));
                (OpenOptions::new().create(true).append(true).open(path)?, 0)
            }
        };
        let (file, bytes) = state.file.insert((file, bytes));
        if let Err(error) = file.write_all(line.as_bytes()) {
            // The next line begins where this one was to begin.
            file.set_len(*bytes)?;
            return Err(error);
        }
        *bytes += line.len() as u64;
        state.sequence = report.sequence;
        state.previous = hash(statement);
        state.until = report.to;
        state.recent.push_back((report.sequence, statement.to_owned()));
        if state.recent.len() > RECENT {
            state.recent.pop_front();
        }
        Ok(())
    }

    fn forget_old(&self) {
        let files = files(&self.folder).unwrap_or_default();
        let too_many = files.len().saturating_sub(MOST_FILES);
        for (at, (_, path)) in files.iter().enumerate() {
            let age = fs::metadata(path).and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok());
            if at >= too_many && age.is_none_or(|age| age < KEPT) {
                continue;
            }
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(%error, path = %path.display(), "old energy reports can't be deleted");
            }
        }
    }

    /// The next kept reports after this number, in order: a few hundred at a time. A number beyond all of them means that the
    /// disk has forgotten some: the next report then comes after it. A number beyond the seconds since 1970 means nothing:
    /// no node has reported so often.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn after(&self, sequence: u64) -> io::Result<Vec<(u64, String)>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if sequence > unix_seconds() {
            tracing::warn!(sequence, ours = state.sequence, "a gateway asks for energy reports that can't be");
            return Ok(Vec::new());
        }
        if sequence > state.sequence {
            state.recent.clear();
            state.file = None;
            tracing::warn!(sequence, ours = state.sequence, "energy reports were lost on this machine");
            (state.sequence, state.previous) = (sequence, String::new());
            return Ok(Vec::new());
        }
        if state.recent.front().is_some_and(|(first, _)| *first <= sequence + 1) {
            return Ok(state.recent.iter().filter(|(number, _)| *number > sequence).cloned().collect());
        }
        drop(state);
        let files = files(&self.folder)?;
        let begin = files.partition_point(|(first, _)| *first <= sequence + 1).saturating_sub(1);
        let mut found = Vec::new();
        for (_, path) in &files[begin..] {
            found.extend(lines(path)?.into_iter().filter(|(number, _)| *number > sequence));
            if found.len() >= RECENT {
                found.truncate(RECENT);
                break;
            }
        }
        Ok(found)
    }

    /// The number of the newest report, now and whenever there is another.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

/// BLAKE3 of a statement, in hexadecimal.
fn hash(statement: &str) -> String {
    blake3::hash(statement.as_bytes()).to_hex().to_string()
}

fn now() -> Microseconds {
    Microseconds::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The files of the folder by their first number, in order.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let first = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let first = path.file_stem()?.to_str()?.parse().ok()?;
        (path.extension()? == "jws").then_some((first, path))
    };
    let mut files: Vec<(u64, PathBuf)> = fs::read_dir(folder)?.filter_map(first).collect();
    files.sort();
    Ok(files)
}

fn lines(path: &Path) -> io::Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        if let Some((number, statement)) = line.split_once(' ')
            && let Ok(number) = number.parse()
        {
            found.push((number, statement.to_owned()));
        }
    }
    Ok(found)
}

fn cut_torn_end(path: &Path) -> io::Result<()> {
    let content = fs::read(path)?;
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < content.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            length: Duration::from_secs(1),
            busy: Microseconds::ZERO,
            pools: Vec::new(),
            costs: StepCosts::default(),
            grid: None,
            settled: Vec::new(),
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("commonwatt-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn open(folder: &Path) -> ReportLog {
        ReportLog::open(&folder.join("energy"), Arc::new(Identity::open(folder).unwrap())).unwrap()
    }

    fn read(statement: &str) -> EnergyReport {
        jsonwebtoken::dangerous::insecure_decode::<EnergyReport>(statement).unwrap().claims
    }

    #[test]
    fn reports_are_chained_and_outlive_the_process_and_a_torn_end() {
        let folder = folder("chain");
        let log = open(&folder);
        (0..3).for_each(|_| log.append(draft()));
        drop(log);
        let (_, path) = files(&folder.join("energy")).unwrap().pop().unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"4 torn.wri").unwrap();
        let log = open(&folder);
        log.append(draft());
        let all = log.after(0).unwrap();
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        for pair in all.windows(2) {
            let (before, after) = (read(&pair[0].1), read(&pair[1].1));
            assert_eq!(after.previous, hash(&pair[0].1));
            assert!(before.from <= before.to && before.to <= after.from, "no time is reported twice");
        }
        assert_eq!(log.after(3).unwrap().len(), 1);
        assert_eq!(*log.newest().borrow(), 4);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_gateway_that_knows_more_than_the_disk_is_not_told_the_same_numbers_again() {
        let folder = folder("lost");
        let log = open(&folder);
        log.append(draft());
        assert_eq!(log.after(9).unwrap(), []);
        log.append(draft());
        let (number, statement) = log.after(9).unwrap().pop().unwrap();
        assert_eq!((number, read(&statement).previous), (10, String::new()));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_gateway_that_claims_an_absurd_number_breaks_nothing_for_the_others() {
        let folder = folder("absurd");
        let log = open(&folder);
        log.append(draft());
        for absurd in [u64::MAX, u64::MAX - 1, i64::MAX as u64, 10_u64.pow(18)] {
            assert_eq!(log.after(absurd).unwrap(), []);
        }
        log.append(draft());
        let all = log.after(0).unwrap();
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(read(&all[1].1).previous, hash(&all[0].1), "the chain goes on");
        fs::remove_dir_all(folder).unwrap();
    }
}
