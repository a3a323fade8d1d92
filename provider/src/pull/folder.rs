//! Where a model lies: `models/<address>/` only ever holds verified files. What is still on its way lies in
//! `models/<address>.staging/` on the same disk, so that a rename puts it in place; `models/<address>.lock` lets one
//! pull in at a time.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    catalogue::{CatalogueEntry, CatalogueFile},
    error::PullError,
    progress,
    verify::{self, Wrong, blocking},
};

const LOCK_POLL: Duration = Duration::from_millis(100);

/// What lies at a file's place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Verified,
    Damaged(Wrong),
}

/// The places of one model inside the data folder.
pub(super) struct ModelFolder {
    name: &'static str,
    files: PathBuf,
    staging: PathBuf,
    lock: PathBuf,
}

/// The right to write into one model's folder. Given back on drop.
pub(super) struct Lock(#[expect(dead_code, reason = "held for its drop, which unlocks")] File);

impl ModelFolder {
    /// Only names the places; creates nothing.
    pub(super) fn new(entry: &CatalogueEntry, data_dir: &Path) -> Self {
        let (models, address) = (data_dir.join("models"), entry.address());
        Self {
            name: entry.name,
            files: models.join(&address),
            staging: models.join(format!("{address}.staging")),
            lock: models.join(format!("{address}.lock")),
        }
    }

    /// The folder with the verified files.
    pub(super) fn files(&self) -> &Path {
        &self.files
    }

    /// Where a download of `file` grows, across runs.
    pub(super) fn partial(&self, file: &CatalogueFile) -> PathBuf {
        self.staging.join(format!("{}.partial", file.path))
    }

    /// Where `file` is put by a source that doesn't resume.
    pub(super) fn staged(&self, file: &CatalogueFile) -> PathBuf {
        self.staging.join(file.path)
    }

    /// Creates the folders and waits until no other pull works in them.
    pub(super) async fn lock(&self) -> Result<Lock, PullError> {
        for folder in [&self.files, &self.staging] {
            fs::create_dir_all(folder).map_err(PullError::at(folder))?;
        }
        let mut options = File::options();
        let lock =
            options.create(true).truncate(false).write(true).open(&self.lock).map_err(PullError::at(&self.lock))?;
        let mut shown = None;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    shown.get_or_insert_with(|| self.say_waiting());
                    tokio::time::sleep(LOCK_POLL).await;
                }
                // Some network file systems have no locks. Two pulls could then spoil each other's partial file, which
                // the hash finds out.
                Err(TryLockError::Error(error)) => {
                    tracing::warn!(path = %self.lock.display(), %error, "this disk has no file locks; going on");
                    break;
                }
            }
        }
        // The pull that held the lock may have cleared the staging folder meanwhile.
        fs::create_dir_all(&self.staging).map_err(PullError::at(&self.staging))?;
        Ok(Lock(lock))
    }

    fn say_waiting(&self) -> indicatif::ProgressBar {
        tracing::info!(model = self.name, "another pull of this model is running; waiting for it to end");
        progress::waiting(&format!("another pull of {} is running; waiting for it to end", self.name))
    }

    /// Looks at the place of `file` and verifies what is there.
    pub(super) async fn presence(&self, file: &CatalogueFile) -> Result<Presence, PullError> {
        let path = self.files.join(file.path);
        match verify::check(&path, file).await {
            Ok(None) => Ok(Presence::Verified),
            Ok(Some(wrong)) => Ok(Presence::Damaged(wrong)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Presence::Absent),
            Err(error) => Err(PullError::at(&path)(error)),
        }
    }

    /// Takes a damaged file away, so that nothing serves it.
    pub(super) fn remove(&self, file: &CatalogueFile) -> Result<(), PullError> {
        let path = self.files.join(file.path);
        fs::remove_file(&path).map_err(PullError::at(&path))
    }

    /// Puts a verified file in its place: its bytes reach the disk before its name does.
    pub(super) async fn place(&self, staged: &Path, file: &CatalogueFile) -> Result<(), PullError> {
        let place = self.files.join(file.path);
        let (from, to, folder) = (staged.to_owned(), place.clone(), self.files.clone());
        let moved = blocking(move || {
            File::open(&from)?.sync_all()?;
            fs::rename(&from, &to)?;
            File::open(&folder)?.sync_all()?;
            folder.parent().map_or(Ok(()), |models| File::open(models)?.sync_all())
        });
        moved.await.map_err(PullError::at(&place))
    }

    /// Removes the staging folder; called when nothing in it is wanted any more.
    pub(super) fn clear_staging(&self) -> Result<(), PullError> {
        remove_tree(&self.staging).map_err(PullError::at(&self.staging))
    }
}

/// Removes a folder and all in it; one that isn't there is fine.
pub(super) fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file; one that isn't there is fine.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::{
        super::testing::{Folder, entry_of},
        *,
    };

    #[tokio::test]
    async fn the_second_lock_waits_for_the_first() {
        let data = Folder::new();
        let model = ModelFolder::new(&entry_of(b"hello", &[]), data.path());
        let first = model.lock().await.unwrap();
        let mut second = pin!(model.lock());
        assert!((&mut second).now_or_never().is_none());
        model.clear_staging().unwrap();
        drop(first);
        let _second = second.await.unwrap();
        assert!(model.staging.is_dir());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let data = Folder::new();
        let model = ModelFolder::new(&entry_of(b"hello", &[]), &data.write("file", b""));
        let told = model.lock().await.err().unwrap().to_string();
        assert!(told.contains("file/models/"), "{told}");
    }
}
