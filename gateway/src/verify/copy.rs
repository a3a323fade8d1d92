//! `commonwatt verify copy`: a log's files in a folder, so that it can be audited without its gateway, and again.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::policy::Policy;
use openapi::log::tile::{self, Tile};

use super::epoch::Progress;
use super::source::{self, Source};
use crate::files;

/// Everybody may read what everybody can read.
const FOR_ALL: u32 = 0o644;

/// What is copied, and where to.
#[derive(Clone, Debug, Args)]
pub struct CopySettings {
    /// The gateway's address, such as `https://gateway.example`, or another such folder.
    source: String,
    /// Where the files go; what is there already is not asked for again.
    folder: PathBuf,
}

pub(super) async fn copy(settings: &CopySettings) -> anyhow::Result<String> {
    let source = Source::open(&settings.source)?;
    let folder = settings.folder.as_path();
    let own = source.policy().await?;
    let policy = Policy::read(&own).with_context(|| format!("{} has a policy that is none", source.name()))?;
    let checkpoint = source.witnessed_checkpoint(&policy).await?;
    let fetched = entries(&source, folder, &checkpoint).await?.len();
    let epochs = rest(&source, folder).await?;
    keep(folder, "policy", &own)?;
    // The last: whoever finds it finds all that it is of.
    keep(folder, "checkpoint", checkpoint.to_string().as_bytes())?;
    let (origin, size) = (checkpoint.checkpoint().origin(), checkpoint.checkpoint().tree().size);
    Ok(format!(
        "{} has the {size} entries of the log {origin}, with their documents, and {epochs} epochs; {fetched} bundles are new.",
        folder.display()
    ))
}

/// Copies all entries up to a checkpoint, and their documents. Gives the bundles that were not there.
///
/// # Errors
/// When the source can't be read, or the folder not be written.
pub(crate) async fn entries(
    source: &Source,
    folder: &Path,
    checkpoint: &SignedCheckpoint,
) -> anyhow::Result<Vec<Tile>> {
    let tree = checkpoint.checkpoint().tree();
    let mut progress = Progress::new("entries are copied");
    let mut fetched = Vec::new();
    check_origin(folder, checkpoint)?;
    for tile in tile::new_entries(0, tree.size) {
        let (entries, documents) = (source::entries_path(tile), source::documents_path(tile));
        let is_new = !folder.join(&documents).exists() || !folder.join(&entries).exists();
        if is_new {
            fetched.push(tile);
            keep(folder, &entries, &source.whole_entries(tile).await?)?;
            keep(folder, &documents, &source.whole_documents(tile).await?)?;
            forget_parts(folder, tile)?;
        }
        progress.say(tile.start(), tree.size);
    }
    Ok(fetched)
}

/// Copies what is no part of the tree: the list of epochs with their documents, and the keys. Gives how many epochs there are.
///
/// # Errors
/// When the source can't be read, or the folder not be written.
pub(crate) async fn rest(source: &Source, folder: &Path) -> anyhow::Result<usize> {
    let epochs = source.epochs().await?;
    for listed in &epochs.data {
        let path = source::document_path(&listed.document);
        if !folder.join(&path).exists() {
            let document = source.document(&listed.document).await?;
            let document =
                document.with_context(|| format!("{} has no document of epoch {}", source.name(), listed.number))?;
            keep(folder, &path, document.as_bytes())?;
        }
    }
    keep(folder, "epochs", &serde_json::to_vec(&epochs)?)?;
    keep(folder, source::KEYS, &source.keys().await?)?;
    Ok(epochs.data.len())
}

/// Writes a file of the folder, whole or not at all.
///
/// # Errors
/// When it can't be written.
pub(crate) fn keep(folder: &Path, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = folder.join(path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    files::write(&path, bytes, FOR_ALL)
}

/// Removes bundles that are not what they should be.
///
/// # Errors
/// When they can't be removed.
pub(crate) fn forget(folder: &Path, bundles: &[Tile]) -> anyhow::Result<()> {
    for path in bundles.iter().flat_map(|tile| [source::entries_path(*tile), source::documents_path(*tile)]) {
        std::fs::remove_file(folder.join(&path)).with_context(|| format!("cannot remove {path}"))?;
    }
    Ok(())
}

/// A folder is of one log.
fn check_origin(folder: &Path, checkpoint: &SignedCheckpoint) -> anyhow::Result<()> {
    let Ok(kept) = std::fs::read_to_string(folder.join("checkpoint")) else { return Ok(()) };
    let (kept, new) = (kept.lines().next().unwrap_or_default(), checkpoint.checkpoint().origin());
    if kept != new {
        bail!("{} has a copy of the log {kept}, and this is {new}: give each a folder of its own", folder.display());
    }
    Ok(())
}

/// Removes what a bundle was before it was full.
fn forget_parts(folder: &Path, tile: Tile) -> anyhow::Result<()> {
    if !tile.is_full() {
        return Ok(());
    }
    for path in [source::entries_path(tile), source::documents_path(tile)] {
        let parts = folder.join(format!("{path}.p"));
        if parts.exists() {
            std::fs::remove_dir_all(&parts).with_context(|| format!("cannot remove {}", parts.display()))?;
        }
    }
    Ok(())
}
