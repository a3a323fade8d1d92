//! Says whether a file is the pinned one: its length first, then its SHA-256.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use thiserror::Error;

use super::catalogue::CatalogueFile;

const BLOCK: usize = 1 << 20;

/// How a file differs from the pinned one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Wrong {
    /// It has another length.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// The pinned length.
        expected: u64,
        /// The length found, or announced by the source.
        found: u64,
    },
    /// It goes on after the pinned length, so it was cut off there.
    #[error("expected {expected} bytes, found more")]
    TooLong {
        /// The pinned length.
        expected: u64,
    },
    /// It has the right length and other bytes.
    #[error("expected SHA-256 {expected}, found {found}")]
    Hash {
        /// The pinned hash.
        expected: String,
        /// The hash of what was found.
        found: String,
    },
}

/// Compares the file at `path` with the pinned one; `None` when it is the same. Hashes off the async threads.
pub(super) async fn check(path: &Path, file: &CatalogueFile) -> io::Result<Option<Wrong>> {
    let (path, file) = (path.to_owned(), *file);
    blocking(move || compare(&path, &file)).await
}

/// Runs file work that may take long off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn compare(path: &Path, file: &CatalogueFile) -> io::Result<Option<Wrong>> {
    let mut opened = File::open(path)?;
    let length = opened.metadata()?.len();
    if length != file.bytes {
        return Ok(Some(Wrong::Length { expected: file.bytes, found: length }));
    }
    let mut context = digest::Context::new(&digest::SHA256);
    let mut block = vec![0; BLOCK];
    loop {
        match opened.read(&mut block)? {
            0 => break,
            read => context.update(&block[..read]),
        }
    }
    let found = HEXLOWER.encode(context.finish().as_ref());
    Ok((found != file.sha256).then(|| Wrong::Hash { expected: file.sha256.to_owned(), found }))
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Folder, hash_of},
        *,
    };

    #[tokio::test]
    async fn length_and_hash_are_both_compared() {
        let folder = Folder::new();
        let path = folder.write("weights", b"hello");
        let hash = hash_of(b"hello");
        assert_eq!(hash, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        let file = CatalogueFile { path: "weights", bytes: 5, sha256: hash.leak(), blake3: "" };
        assert_eq!(check(&path, &file).await.unwrap(), None);
        folder.write("weights", b"hellO");
        let wrong = check(&path, &file).await.unwrap().unwrap();
        assert_eq!(wrong, Wrong::Hash { expected: file.sha256.to_owned(), found: hash_of(b"hellO") });
        folder.write("weights", b"hello!");
        assert_eq!(check(&path, &file).await.unwrap(), Some(Wrong::Length { expected: 5, found: 6 }));
    }
}
