//! Statements that are numbered, signed, chained and kept for a month: whoever was away can still read them, and nobody can
//! change them later.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::identity::Identity;
use crate::node::unix_seconds;

/// Files are kept this long, and as many of them.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
const MOST_FILES: usize = 64;
/// A file with more bytes is followed by another.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Statements in memory, for those who follow.
const RECENT: usize = 256;

/// How one statement refers to the one before it.
pub type Digest = fn(&str) -> String;

/// The statements, in files named by their first number: a number and a JWS on each line.
pub struct Chain {
    folder: PathBuf,
    identity: Arc<Identity>,
    digest: Digest,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
}

struct State {
    sequence: u64,
    previous: String,
    file: Option<(File, u64)>,
    recent: VecDeque<(u64, String)>,
}

impl Chain {
    /// Opens the folder, or makes it. A line that was not completed is cut off. Returns the newest statement too.
    ///
    /// # Errors
    /// When the folder can't be read or written.
    pub fn open(folder: &Path, identity: Arc<Identity>, digest: Digest) -> io::Result<(Self, Option<String>)> {
        fs::create_dir_all(folder)?;
        let mut state = State { sequence: 0, previous: String::new(), file: None, recent: VecDeque::new() };
        let files = files(folder)?;
        if let Some((_, path)) = files.last() {
            cut_torn_end(path)?;
        }
        let mut newest = None;
        for (_, path) in files.into_iter().rev() {
            if let Some((sequence, statement)) = lines(&path)?.pop() {
                (state.sequence, state.previous) = (sequence, digest(&statement));
                newest = Some(statement);
                break;
            }
        }
        let (sender, _) = watch::channel(state.sequence);
        let state = Mutex::new(state);
        Ok((Self { folder: folder.to_owned(), identity, digest, state, newest: sender }, newest))
    }

    /// Signs and keeps a statement, made of its number and of what the one before it is called.
    ///
    /// # Errors
    /// When it can't be signed, or the disk refuses it: then it is told to nobody.
    pub fn append<Claims: Serialize>(&self, claims: impl FnOnce(u64, String) -> Claims) -> io::Result<()> {
        let mut state = self.lock();
        let sequence = state.sequence + 1;
        let claims = claims(sequence, state.previous.clone());
        let statement = self.identity.statement(&claims).map_err(io::Error::other)?;
        self.write(&mut state, sequence, statement)?;
        self.newest.send_replace(sequence);
        Ok(())
    }

    fn write(&self, state: &mut State, sequence: u64, statement: String) -> io::Result<()> {
        let line = format!("{sequence} {statement}\n");
        let (file, bytes) = match state.file.take().filter(|(_, bytes)| *bytes < FILE_BYTES) {
            Some(open) => open,
            None => {
                self.forget_old();
                let path = self.folder.join(format!("{sequence}.jws"));
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
        state.sequence = sequence;
        state.previous = (self.digest)(&statement);
        state.recent.push_back((sequence, statement));
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
                tracing::warn!(%error, path = %path.display(), "old statements can't be deleted");
            }
        }
    }

    /// The next kept statements after this number, in order: a few hundred at a time. A number beyond all of them means that
    /// the disk has forgotten some: the next statement then comes after it. A number beyond the microseconds since 1970 means
    /// nothing: no node has said so much.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn after(&self, sequence: u64) -> io::Result<Vec<(u64, String)>> {
        let mut state = self.lock();
        if sequence > unix_seconds().saturating_mul(1_000_000) {
            tracing::warn!(sequence, ours = state.sequence, "a gateway asks for statements that can't be");
            return Ok(Vec::new());
        }
        if sequence > state.sequence {
            state.recent.clear();
            state.file = None;
            tracing::warn!(sequence, ours = state.sequence, "statements were lost on this machine");
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

    /// The number of the newest statement, now and whenever there is another.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Said {
        sequence: u64,
        previous: String,
    }

    fn digest(statement: &str) -> String {
        blake3::hash(statement.as_bytes()).to_hex().to_string()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("commonwatt-chain-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn open(folder: &Path) -> Chain {
        Chain::open(&folder.join("said"), Arc::new(Identity::open(folder).unwrap()), digest).unwrap().0
    }

    fn say(chain: &Chain) {
        chain.append(|sequence, previous| Said { sequence, previous }).unwrap();
    }

    fn read(statement: &str) -> Said {
        jsonwebtoken::dangerous::insecure_decode(statement).unwrap().claims
    }

    #[test]
    fn statements_are_chained_and_outlive_the_process_and_a_torn_end() {
        let folder = folder("chain");
        let chain = open(&folder);
        (0..3).for_each(|_| say(&chain));
        drop(chain);
        let (_, path) = files(&folder.join("said")).unwrap().pop().unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"4 torn.wri").unwrap();
        let chain = open(&folder);
        say(&chain);
        let all = chain.after(0).unwrap();
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        for pair in all.windows(2) {
            assert_eq!(read(&pair[1].1).previous, digest(&pair[0].1));
        }
        assert_eq!((read(&all[0].1).sequence, read(&all[3].1).sequence), (1, 4));
        assert_eq!(chain.after(3).unwrap().len(), 1);
        assert_eq!(*chain.newest().borrow(), 4);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_gateway_that_knows_more_than_the_disk_is_not_told_the_same_numbers_again() {
        let folder = folder("lost");
        let chain = open(&folder);
        say(&chain);
        assert_eq!(chain.after(9).unwrap(), []);
        say(&chain);
        let (number, statement) = chain.after(9).unwrap().pop().unwrap();
        assert_eq!((number, read(&statement).previous), (10, String::new()));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_gateway_that_claims_an_absurd_number_breaks_nothing_for_the_others() {
        let folder = folder("absurd");
        let chain = open(&folder);
        say(&chain);
        for absurd in [u64::MAX, u64::MAX - 1, i64::MAX as u64, 10_u64.pow(18)] {
            assert_eq!(chain.after(absurd).unwrap(), []);
        }
        say(&chain);
        let all = chain.after(0).unwrap();
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(read(&all[1].1).previous, digest(&all[0].1), "the chain goes on");
        fs::remove_dir_all(folder).unwrap();
    }
}
