//! Cuts a damaged tail off fjall's write-ahead files before fjall reads them.
//!
//! fjall 3.1 looks at a damaged tail in three ways: a torn batch it cuts without a word, a batch whose bytes do not
//! match its checksum it refuses to open (after a power cut pages reach the disk in any order, so that happens), and
//! a length gone wild it believes. So this module walks the same batches first, cuts at the end of the last good one,
//! and says so. The format: a start (how many items follow, sequence number), the items, an end (xxh3 of the items,
//! four fixed bytes). The rest of a file is zeros: it is made 64 MiB long at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";

/// A tail that was cut.
pub(super) struct Cut {
    pub(super) file: PathBuf,
    pub(super) at: u64,
    pub(super) removed: Vec<u8>,
}

/// The write-ahead file of this number.
pub(super) fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.jnl"))
}

/// The write-ahead files of this folder, oldest first.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.extension().is_some_and(|end| end == "jnl").then(|| path.file_stem()?.to_str()?.parse().ok());
        if let Some(Some(number)) = number {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Cuts each write-ahead file at the end of its last good batch, where something other than zeros follows.
pub(super) fn cut(folder: &Path) -> io::Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    if !folder.is_dir() {
        return Ok(cuts);
    }
    for (_, file) in files(folder)? {
        let bytes = std::fs::read(&file)?;
        let good = good(&bytes);
        let used = used(&bytes);
        if used > good {
            let opened = OpenOptions::new().write(true).open(&file)?;
            opened.set_len(good as u64)?;
            opened.sync_all()?;
            cuts.push(Cut { file, at: good as u64, removed: bytes[good..used].to_vec() });
        }
    }
    if !cuts.is_empty() {
        File::open(folder)?.sync_all()?;
    }
    Ok(cuts)
}

/// Says what was cut, and keeps the cut bytes in this folder for whoever wants to look.
pub(super) fn describe(cuts: &[Cut], folder: &Path) -> Option<String> {
    let sentences: Vec<String> = cuts
        .iter()
        .map(|cut| {
            let name = cut.file.file_name().unwrap_or_default().display();
            let kept = folder.join(format!("cut-{}-{name}-{}", Uuid::now_v7(), cut.at));
            let where_to = match std::fs::write(&kept, &cut.removed) {
                Ok(()) => format!("they are kept in {}", kept.display()),
                Err(error) => format!("they could not be kept: {error}"),
            };
            format!(
                "the journal's file {name} was damaged after byte {}: {} bytes were cut; {where_to}",
                cut.at,
                cut.removed.len()
            )
        })
        .collect();
    (!sentences.is_empty()).then(|| sentences.join(". "))
}

/// Where the zeros at the end begin.
fn used(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    // Whole blocks first: most of the file is zeros.
    let blocks = bytes.rchunks(ZEROS.len()).take_while(|block| *block == &ZEROS[..block.len()]);
    let rest = bytes.len() - blocks.map(<[u8]>::len).sum::<usize>();
    bytes[..rest].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Where the last good batch ends.
fn good(bytes: &[u8]) -> usize {
    let mut rest = Bytes(bytes);
    let mut end = 0;
    while batch(&mut rest).is_some() {
        end = bytes.len() - rest.0.len();
    }
    end
}

/// Reads past one batch; none if it is not whole.
fn batch(rest: &mut Bytes<'_>) -> Option<()> {
    if rest.byte()? != START {
        return None;
    }
    let items = rest.number::<4>()?;
    rest.take(8)?;
    let mut checksum = Xxh3::new();
    for _ in 0..items {
        let before = rest.0;
        item(rest)?;
        checksum.update(&before[..before.len() - rest.0.len()]);
    }
    let whole = rest.byte()? == END && rest.number::<8>()? == checksum.digest() && rest.take(MAGIC.len())? == MAGIC;
    whole.then_some(())
}

fn item(rest: &mut Bytes<'_>) -> Option<()> {
    match rest.byte()? {
        ITEM => {
            // kind of value, compression, keyspace
            rest.take(1 + 1 + 8)?;
            let key = rest.number::<2>()?;
            rest.take(4)?;
            let value = rest.number::<4>()?;
            rest.take(usize::try_from(key + value).ok()?)?;
        }
        CLEAR => {
            rest.take(8)?;
        }
        _ => return None,
    }
    Some(())
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    /// A little-endian number of `N` bytes.
    fn number<const N: usize>(&mut self) -> Option<u64> {
        let mut number = [0; 8];
        number[..N].copy_from_slice(self.take(N)?);
        Some(u64::from_le_bytes(number))
    }
}
