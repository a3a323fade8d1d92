//! Files that are there whole or not at all.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Nobody but this program's user reads it.
pub(crate) const OWNER_ONLY: u32 = 0o600;

/// Writes a file, with these permissions, in place of what may be there.
///
/// # Errors
/// When it can't be written; the sentence names it.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let fresh = write_beside(path, bytes, mode)?;
    std::fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file, with these permissions, unless there is one.
///
/// # Errors
/// When it can't be written, or there is one already; the sentence names it.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let fresh = write_beside(path, bytes, mode)?;
    let linked = std::fs::hard_link(&fresh, path);
    std::fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("there is a file {} already, which stays as it is: choose another name", path.display())
        }
        linked => linked.with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Writes to a file beside `path`, and gives its path.
///
/// # Errors
/// When it can't be written; the sentence names `path`.
pub(crate) fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<PathBuf> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fresh)
}
