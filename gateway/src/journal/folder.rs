//! The journal's folder: one process at a time, and the replica's name, which lives as long as the folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use uuid::Uuid;

const LET_GO_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The folder, held by this process until it is dropped.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) replica: Uuid,
    _lock: File,
}

impl Folder {
    /// Takes the folder; makes it, and the replica's name in it, the first time.
    pub(super) fn take(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("the journal's folder {} cannot be used (COMMONWATT_JOURNAL)", path.display());
        std::fs::create_dir_all(path).with_context(what)?;
        let file = path.join("replica");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file).with_context(what)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another process uses the journal in {}: give each replica its own with COMMONWATT_JOURNAL",
                path.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        let mut name = String::new();
        file.read_to_string(&mut name).with_context(what)?;
        let replica = match name.trim() {
            "" => name_it(&mut file, path).with_context(what)?,
            name => name.parse().with_context(|| format!("{}/replica does not hold a UUID", path.display()))?,
        };
        Ok(Self { path: path.to_owned(), replica, _lock: file })
    }
}

/// Whoever held it before may be on its way out, or have a child that has not let go of its files yet.
fn lock(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LET_GO_WITHIN;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::park_timeout(LOOK_AGAIN),
            locked => return locked,
        }
    }
}

/// The name is on disk before anybody uses it.
fn name_it(file: &mut File, path: &Path) -> std::io::Result<Uuid> {
    let replica = Uuid::now_v7();
    writeln!(file, "{replica}")?;
    file.sync_all()?;
    File::open(path)?.sync_all()?;
    Ok(replica)
}

/// Bytes that the file system of this folder has left for this process.
pub(super) fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::Folder;
    use crate::journal::tests::Scratch;

    #[test]
    fn a_folder_keeps_its_name_and_serves_one_at_a_time() {
        let scratch = Scratch::new("folder");
        let first = Folder::take(&scratch.0).unwrap();
        let refused = Folder::take(&scratch.0).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("COMMONWATT_JOURNAL") && refused.contains("another process"), "{refused}");
        let replica = first.replica;
        drop(first);
        assert_eq!(Folder::take(&scratch.0).unwrap().replica, replica);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let scratch = Scratch::new("no-folder");
        std::fs::write(&scratch.0, "x").unwrap();
        let refused = Folder::take(&scratch.0).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("cannot be used") && refused.contains("COMMONWATT_JOURNAL"), "{refused}");
        std::fs::remove_file(&scratch.0).unwrap();
    }
}
