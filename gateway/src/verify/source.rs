//! Where a log is read: at a gateway, or in a folder that has the same files under the same paths.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use openapi::log::bundle;
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::entry::Entry;
use openapi::log::note::LONGEST_NOTE;
use openapi::log::policy::{self, NotBelieved, Policy};
use openapi::log::tile::Tile;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// The whole of an answer has to come within.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// So often a gateway that is busy or can't be reached is asked.
const TRIES: u32 = 6;
const LONGEST_PAUSE: u64 = 30;
/// Witnesses take a while: so often, and after pauses so long, the newest checkpoint is asked for again.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);
const LONGEST_KEYS: u64 = 256 << 10;
const LONGEST_ENTRIES: u64 = 256 * (2 + bundle::LONGEST_ENTRY as u64);
/// A list of a thousand epochs, and more.
const LONGEST_LIST: u64 = 16 << 20;
/// A statement has a line for each model, day and tier.
const LONGEST_DOCUMENT: u64 = 16 << 20;
const LONGEST_DOCUMENTS: u64 = 256 << 20;
/// So many documents of a bundle are asked for one by one.
const FEW: usize = 16;
/// The one thing that isn't below `/log`.
pub(super) const KEYS: &str = "jwks.json";

/// A log that can be read.
#[derive(Debug)]
pub(crate) enum Source {
    Gateway { address: String, http: reqwest::Client },
    Folder(PathBuf),
}

/// What a gateway's list says of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) number: u32,
    /// SHA-256 in hexadecimal.
    pub(crate) document: String,
    first_index: u64,
    end_index: u64,
    ended_at: String,
}

/// The list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Epochs {
    origin: String,
    pub(crate) data: Vec<Listed>,
}

impl Source {
    /// A gateway where the text has a scheme, else a folder.
    ///
    /// # Errors
    /// When there is no such folder.
    pub(crate) fn open(text: &str) -> anyhow::Result<Self> {
        if text.starts_with("https://") || text.starts_with("http://") {
            let address = text.trim_end_matches('/');
            let address = address.strip_suffix("/log").unwrap_or(address).to_owned();
            let http = reqwest::Client::builder().timeout(ANSWERED_WITHIN).connect_timeout(CONNECTED_WITHIN).build()?;
            return Ok(Self::Gateway { address, http });
        }
        let folder = PathBuf::from(text);
        if !folder.is_dir() {
            bail!("{text} is neither a folder nor an address such as https://gateway.example");
        }
        Ok(Self::Folder(folder))
    }

    /// The newest checkpoint as it came.
    ///
    /// # Errors
    /// When it can't be read or is none.
    pub(crate) async fn checkpoint(&self) -> anyhow::Result<SignedCheckpoint> {
        let text = self.need("checkpoint", LONGEST_NOTE as u64).await?;
        let text =
            String::from_utf8(text).with_context(|| format!("{} has a checkpoint that is no text", self.name()))?;
        text.parse().with_context(|| format!("{} has a checkpoint that is none", self.name()))
    }

    /// The newest checkpoint that enough witnesses have seen, which may take half a minute at a gateway. One that isn't believed
    /// for another reason, or still isn't then, is given as it is.
    ///
    /// # Errors
    /// When it can't be read or is none.
    pub(crate) async fn witnessed_checkpoint(&self, policy: &Policy) -> anyhow::Result<SignedCheckpoint> {
        let mut newest = self.checkpoint().await?;
        for _ in 1..LOOKS {
            let may_come = matches!(self, Self::Gateway { .. });
            if !may_come || !matches!(policy.judge(&newest), Err(NotBelieved::NoQuorum(_))) {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
            newest = self.checkpoint().await?;
        }
        Ok(newest)
    }

    /// Whom it proposes to believe.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) async fn policy(&self) -> anyhow::Result<Vec<u8>> {
        self.need("policy", policy::LONGEST_FILE as u64).await
    }

    /// The keys that it says it signs receipts with.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) async fn keys(&self) -> anyhow::Result<Vec<u8>> {
        self.need(KEYS, LONGEST_KEYS).await
    }

    /// All epochs, the newest first.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) async fn epochs(&self) -> anyhow::Result<Epochs> {
        let list = async |path: &str| -> anyhow::Result<Epochs> {
            let list: Epochs = serde_json::from_slice(&self.need(path, LONGEST_LIST).await?)
                .with_context(|| format!("{} has a list of epochs that is none", self.name()))?;
            match list.data.iter().find(|listed| !is_digest(&listed.document)) {
                Some(listed) => bail!("{} names epoch {} by what is no SHA-256", self.name(), listed.number),
                None => Ok(list),
            }
        };
        let mut all = list("epochs").await?;
        while let (Self::Gateway { .. }, Some(last)) = (self, all.data.last().filter(|last| last.number > 1)) {
            let older = list(&format!("epochs?before={}", last.number)).await?.data;
            let older: Vec<Listed> = older.into_iter().filter(|one| one.number < last.number).collect();
            if older.is_empty() {
                break;
            }
            all.data.extend(older);
        }
        Ok(all)
    }

    /// The entries of a bundle.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) async fn entries(&self, tile: Tile) -> anyhow::Result<Vec<Vec<u8>>> {
        let bytes = self.bundle(entries_path, tile, LONGEST_ENTRIES).await?;
        let (entries, _) = bundle::decode_first(&bytes, tile.width())
            .with_context(|| format!("{} has a bundle {tile} that is none", self.name()))?;
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// The documents of a bundle's entries, of those that are wanted and there.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) async fn documents(
        &self,
        tile: Tile,
        entries: &[Vec<u8>],
        wanted: &[bool],
    ) -> anyhow::Result<Vec<Option<String>>> {
        let count = wanted.iter().filter(|wanted| **wanted).count();
        let mut documents = vec![None; entries.len()];
        if count == 0 {
            return Ok(documents);
        }
        if count > FEW || matches!(self, Self::Folder(_)) {
            let bytes = self.bundle(documents_path, tile, LONGEST_DOCUMENTS).await?;
            return lines(bytes, tile.width())
                .with_context(|| format!("{} has documents of {tile} that are none", self.name()));
        }
        for (at, entry) in entries.iter().enumerate().filter(|(at, _)| wanted[*at]) {
            if let Some(entry) = std::str::from_utf8(entry).ok().and_then(|text| text.parse::<Entry>().ok()) {
                documents[at] = self.document(&HEXLOWER.encode(&entry.hash)).await?;
            }
        }
        Ok(documents)
    }

    /// The document of a digest in hexadecimal, if it is there.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) async fn document(&self, digest: &str) -> anyhow::Result<Option<String>> {
        let Some(bytes) = self.read(&document_path(digest), LONGEST_DOCUMENT).await? else { return Ok(None) };
        // What is no text is not what was logged; that it isn't the entry's is found out later.
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A bundle of documents as it is.
    ///
    /// # Errors
    /// When it can't be read, or has fewer lines.
    pub(super) async fn whole_documents(&self, tile: Tile) -> anyhow::Result<Vec<u8>> {
        let bytes = self.bundle(documents_path, tile, LONGEST_DOCUMENTS).await?;
        lines(bytes.clone(), tile.width())
            .with_context(|| format!("{} has documents of {tile} that are none", self.name()))?;
        Ok(bytes)
    }

    /// A bundle of entries as it is.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) async fn whole_entries(&self, tile: Tile) -> anyhow::Result<Vec<u8>> {
        let entries = self.entries(tile).await?;
        Ok(bundle::encode(entries.iter().map(Vec::as_slice))?)
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Gateway { address, .. } => address.clone(),
            Self::Folder(folder) => folder.display().to_string(),
        }
    }

    /// A part of a bundle, or the whole one that has taken its place.
    async fn bundle(&self, path: fn(Tile) -> String, tile: Tile, longest: u64) -> anyhow::Result<Vec<u8>> {
        match self.read(&path(tile), longest).await? {
            Some(bytes) => Ok(bytes),
            None => self.need(&path(tile.filled()), longest).await,
        }
    }

    async fn need(&self, path: &str, longest: u64) -> anyhow::Result<Vec<u8>> {
        self.read(path, longest).await?.with_context(|| format!("{} has no {path}", self.name()))
    }

    /// None where there is nothing of this path.
    async fn read(&self, path: &str, longest: u64) -> anyhow::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => read_file(&folder.join(path), longest),
            Self::Gateway { address, http } => {
                let url = match path {
                    KEYS => format!("{address}/.well-known/jwks.json"),
                    path => format!("{address}/log/{path}"),
                };
                ask(http, &url, longest).await.with_context(|| format!("cannot read {url}"))
            }
        }
    }
}

/// Where a bundle of entries is.
pub(super) fn entries_path(tile: Tile) -> String {
    tile.to_string().trim_start_matches('/').to_owned()
}

/// Where the documents of a bundle's entries are.
pub(super) fn documents_path(tile: Tile) -> String {
    tile.to_string().replacen("/tile/entries", "documents", 1)
}

/// Where a document is, alone.
pub(super) fn document_path(digest: &str) -> String {
    format!("document/{digest}")
}

/// What somebody else says is the name of a file before it is known to be none but a digest.
fn is_digest(text: &str) -> bool {
    HEXLOWER.decode(text.as_bytes()).is_ok_and(|bytes| bytes.len() == 32)
}

fn lines(bytes: Vec<u8>, width: u16) -> anyhow::Result<Vec<Option<String>>> {
    let text = String::from_utf8(bytes)?;
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(&text).split('\n').collect();
    if lines.len() < usize::from(width) {
        bail!("it has {} lines, and {width} entries", lines.len());
    }
    let line = |line: &&str| if line.is_empty() { None } else { Some((*line).to_owned()) };
    Ok(lines.iter().take(usize::from(width)).map(line).collect())
}

fn read_file(path: &Path, longest: u64) -> anyhow::Result<Option<Vec<u8>>> {
    use std::io::{ErrorKind, Read};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > longest => bail!("{} has more than {longest} bytes", path.display()),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Asks until there is an answer that is one: a gateway that is busy says when to come again.
async fn ask(http: &reqwest::Client, url: &str, longest: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let mut tries = 1;
    loop {
        let pause = match http.get(url).send().await {
            Ok(answer)
                if matches!(answer.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) =>
            {
                if tries == TRIES {
                    bail!("it is busy ({}), also after {tries} tries", answer.status());
                }
                let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
                after.unwrap_or(1).min(LONGEST_PAUSE)
            }
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Ok(None),
            Ok(answer) if answer.status().is_success() => return body(answer, longest).await.map(Some),
            Ok(answer) => bail!("it answers with {}", answer.status()),
            Err(error) if tries == TRIES => return Err(error.into()),
            Err(_) => 1,
        };
        tries += 1;
        sleep(Duration::from_secs(pause)).await;
    }
}

async fn body(mut answer: reqwest::Response, longest: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > longest {
            bail!("it is longer than {longest} bytes");
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use openapi::log::tile::Row;

    use super::*;

    #[test]
    fn files_are_where_a_gateway_has_them() {
        let tile = Tile::new(Row::Entries, 1_067, 12).unwrap();
        assert_eq!(entries_path(tile), "tile/entries/x001/067.p/12");
        assert_eq!(documents_path(tile.filled()), "documents/x001/067");
        assert!(Source::open("/no/such/folder").is_err());
        let Source::Gateway { address, .. } = Source::open("https://gateway.example/log/").unwrap() else { panic!() };
        assert_eq!(address, "https://gateway.example");
    }

    #[test]
    fn a_line_is_a_document_and_an_empty_one_is_none() {
        let some = |text: &str| Some(text.to_owned());
        for text in ["a\n\nb\n", "a\n\nb", "a\n\nb\nmore\n"] {
            assert_eq!(lines(text.into(), 3).unwrap(), [some("a"), None, some("b")]);
        }
        assert_eq!(lines("a\n\n".into(), 2).unwrap(), [some("a"), None]);
        assert!(lines("a\n".into(), 2).is_err() && lines(vec![0xff], 1).is_err());
    }

    #[test]
    fn nothing_but_a_digest_names_a_file() {
        assert!(is_digest(&"0f".repeat(32)));
        for bad in ["", "../../etc/passwd", &"0F".repeat(32), &"0f".repeat(31)] {
            assert!(!is_digest(bad), "{bad}");
        }
    }
}
