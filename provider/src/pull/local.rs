//! A model file that is already on this machine: linked where that works, copied otherwise, never moved or changed.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{
    catalogue::CatalogueFile,
    error::SourceError,
    folder::remove_file,
    verify::{Wrong, blocking},
};

/// Brings the file at `given` (or in the folder `given`) to `staged`.
pub(super) async fn fetch(given: &Path, file: &CatalogueFile, staged: PathBuf) -> Result<PathBuf, SourceError> {
    let found = locate(given, file)?;
    remove_file(&staged).map_err(SourceError::at(&staged))?;
    let (from, to) = (found.clone(), staged.clone());
    // A link is refused across disks, by some file systems, and for other users' files.
    let brought = blocking(move || fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)));
    match brought.await {
        Ok(()) => Ok(staged),
        Err(error) => {
            // Half a copy is of no use, and in the way when it is the disk that is full.
            remove_file(&staged).map_err(SourceError::at(&staged))?;
            Err(whose_fault(&found, &staged, error))
        }
    }
}

/// The real file that is meant, if it can be the pinned one. Its length is compared before anything is copied.
fn locate(given: &Path, file: &CatalogueFile) -> Result<PathBuf, SourceError> {
    let path = if given.is_dir() { given.join(file.path) } else { given.to_owned() };
    let missing = |cause: String| SourceError::NoFile { path: path.clone(), cause };
    // Links are followed first (Hugging Face's own cache is made of them): a hard link to a symbolic link is no file.
    let real = path.canonicalize().map_err(|error| missing(error.to_string()))?;
    let metadata = real.metadata().map_err(|error| missing(error.to_string()))?;
    if !metadata.is_file() {
        return Err(missing("not a file".to_owned()));
    }
    if metadata.len() != file.bytes {
        let wrong = Wrong::Length { expected: file.bytes, found: metadata.len() };
        return Err(SourceError::Wrong { file: file.path, wrong });
    }
    Ok(real)
}

/// Says whether reading or writing was refused, so that the message names the right path.
fn whose_fault(from: &Path, to: &Path, error: io::Error) -> SourceError {
    match fs::File::open(from) {
        Err(refused) if error.kind() != ErrorKind::StorageFull => {
            SourceError::NoFile { path: from.to_owned(), cause: refused.to_string() }
        }
        _ => SourceError::at(to)(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{
        super::testing::{Folder, entry_of},
        *,
    };

    #[tokio::test]
    async fn a_file_a_folder_and_a_link_all_serve_and_stay_as_they_are() {
        let folder = Folder::new();
        let file = &entry_of(b"hello", &[]).files[0];
        let original = folder.write(file.path, b"hello");
        let link = folder.path().join("link");
        symlink(&original, &link).unwrap();
        for given in [original.as_path(), folder.path(), &link] {
            let staged = fetch(given, file, folder.path().join("staged")).await.unwrap();
            assert!(!fs::symlink_metadata(&staged).unwrap().is_symlink());
            fs::remove_file(&staged).unwrap();
            assert_eq!(fs::read(&original).unwrap(), b"hello");
        }
    }

    #[tokio::test]
    async fn what_is_not_the_file_is_told_apart() {
        let folder = Folder::new();
        let file = &entry_of(b"hello", &[]).files[0];
        let staged = folder.path().join("staged");
        let told = |given: PathBuf| {
            let staged = staged.clone();
            async move { fetch(&given, file, staged).await.unwrap_err().to_string() }
        };
        assert!(told("/dev/null".into()).await.starts_with("/dev/null: not a file; give the path"));
        assert!(told("hugingface".into()).await.starts_with("hugingface: No such file or directory"));
        assert!(told(folder.write("long", b"hello!")).await.ends_with("expected 5 bytes, found 6"));
        assert!(!staged.exists());
    }
}
