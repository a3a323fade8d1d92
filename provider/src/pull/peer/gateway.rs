//! Asks the gateway, and keeps in mind which nodes not to hear from again.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Bytes;
use openapi::blob::{AVOID_HEADER, BadGroup, BlobAddress, SOURCE_HEADER};
use openapi::node::Enrolled;
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use url::Url;
use uuid::Uuid;

use super::super::{
    error::{SourceError, innermost},
    hugging_face::{cause_of, client},
    source::PullSettings,
};
use crate::identity::Identity;

/// The way to the other nodes of a gateway.
#[derive(Clone)]
pub struct Peers {
    gateways: Vec<Url>,
    identity: Arc<Identity>,
    enrolled: Enrolled,
}

impl Peers {
    /// The way that a node has once it is enrolled with the gateway that has these addresses; `None` before.
    ///
    /// # Errors
    /// When the node's key or enrolments can't be read.
    pub fn of(gateways: &[Url], data_dir: &Path) -> anyhow::Result<Option<Self>> {
        // A node that was never here before has no key either.
        if gateways.is_empty() || !data_dir.is_dir() {
            return Ok(None);
        }
        let identity = Arc::new(Identity::open(data_dir)?);
        let enrolled = identity.enrolled_with(gateways)?;
        Ok(enrolled.map(|enrolled| Self { gateways: gateways.to_vec(), identity, enrolled }))
    }

    /// The way through the first of these gateways that the node is enrolled with; `None` when there is none.
    ///
    /// # Errors
    /// As [`Peers::of`].
    pub fn among(gateways: &[crate::gateway::Gateway], data_dir: &Path) -> anyhow::Result<Option<Self>> {
        gateways.iter().find_map(|gateway| Self::of(&gateway.addresses, data_dir).transpose()).transpose()
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Peers").field("gateways", &self.gateways).field("node", &self.enrolled.node).finish()
    }
}

/// One download's side of the conversation.
pub(super) struct Gateway<'a> {
    client: Client,
    peers: &'a Peers,
    settings: &'a PullSettings,
    /// Which of the gateway's addresses is asked.
    turn: AtomicUsize,
    avoided: Mutex<Avoided>,
}

/// Nodes that shall not be asked.
#[derive(Default)]
struct Avoided {
    /// Gave what is not the file: never again.
    wrong: BTreeSet<Uuid>,
    /// Broke off or was too slow: only when nobody else is left.
    failing: BTreeSet<Uuid>,
}

/// What came, or still comes, from a node.
pub(super) struct Answer {
    pub(super) source: Option<Uuid>,
    response: Response,
    received: u64,
    expected: u64,
}

impl<'a> Gateway<'a> {
    pub(super) fn new(peers: &'a Peers, settings: &'a PullSettings) -> Result<Self, SourceError> {
        Ok(Self { client: client(settings)?, peers, settings, turn: AtomicUsize::new(0), avoided: Mutex::default() })
    }

    /// Asks for a file's outline.
    pub(super) async fn outline(&self, address: &BlobAddress) -> Result<Answer, SourceError> {
        let request = self.client.get(self.url(&address.outline_path())?);
        self.ask(request, StatusCode::OK, address.outline_bytes()).await
    }

    /// Asks for some bytes of a file.
    pub(super) async fn range(&self, address: &BlobAddress, bytes: Range<u64>) -> Result<Answer, SourceError> {
        let range = format!("bytes={}-{}", bytes.start, bytes.end - 1);
        let request = self.client.get(self.url(&address.path())?).header(header::RANGE, range);
        self.ask(request, StatusCode::PARTIAL_CONTENT, bytes.end - bytes.start).await
    }

    async fn ask(&self, request: RequestBuilder, good: StatusCode, expected: u64) -> Result<Answer, SourceError> {
        let mut request = request.bearer_auth(self.greeting()?).timeout(self.settings.piece_timeout);
        if let Some(avoided) = self.avoided() {
            request = request.header(AVOID_HEADER, avoided);
        }
        let response = request.send().await.map_err(|error| {
            self.turn.fetch_add(1, Ordering::Relaxed);
            let url = error.url().map(Url::to_string).unwrap_or_default();
            SourceError::Unreachable { url, cause: cause_of(&error) }
        })?;
        let source = response.headers().get(SOURCE_HEADER).and_then(|source| source.to_str().ok()?.parse().ok());
        if response.status() == good {
            return Ok(Answer { source, response, received: 0, expected });
        }
        let passing = match response.status() {
            StatusCode::NOT_FOUND => self.forgive(),
            status => status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
        };
        let (url, answer) = (response.url().to_string(), response.status().to_string());
        Err(SourceError::Answer { url, answer, passing })
    }

    /// The next bytes. A node that breaks off or takes too long is avoided.
    pub(super) async fn next(&self, answer: &mut Answer) -> Result<Option<Bytes>, SourceError> {
        match answer.response.chunk().await {
            Ok(chunk) => {
                answer.received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                Ok(chunk)
            }
            Err(error) => Err(self.failed(answer, cause_of(&error))),
        }
    }

    /// There should have been more. The node is avoided.
    pub(super) fn ended_early(&self, answer: &Answer) -> SourceError {
        self.failed(answer, "the answer ended".to_owned())
    }

    fn failed(&self, answer: &Answer, cause: String) -> SourceError {
        self.lock().failing.extend(answer.source);
        let (url, received) = (answer.response.url().to_string(), answer.received);
        SourceError::Interrupted { url, received, expected: answer.expected, cause }
    }

    /// The node that gave this is never asked again.
    pub(super) fn is_wrong(&self, answer: &Answer, error: &dyn fmt::Display) -> SourceError {
        self.lock().wrong.extend(answer.source);
        let from = answer.source.map_or_else(|| "an unnamed node".to_owned(), |source| format!("node {source}"));
        let (url, answer) = (answer.response.url().to_string(), format!("with what {from} gave: {error}"));
        SourceError::Answer { url, answer, passing: true }
    }

    /// Tells the gateway, which looks for itself. Whatever comes of it, the download goes on elsewhere.
    pub(super) async fn report(&self, address: &BlobAddress, bad: BadGroup) {
        let (Ok(url), Ok(greeting)) = (self.url(&address.bad_group_path()), self.greeting()) else { return };
        let request = self.client.post(url).bearer_auth(greeting).timeout(self.settings.piece_timeout).json(&bad);
        let answer = request.send().await.map(|answer| answer.status()).map_err(|error| innermost(&error));
        tracing::warn!(source = %bad.source, group = bad.group, ?answer, "a bad group was reported to the gateway");
    }

    fn url(&self, path: &str) -> Result<Url, SourceError> {
        let turn = self.turn.load(Ordering::Relaxed) % self.peers.gateways.len().max(1);
        let url = self.peers.gateways.get(turn).and_then(|gateway| gateway.join(path).ok());
        url.ok_or_else(|| SourceError::Program("the gateway's address is no base for a path".to_owned()))
    }

    fn greeting(&self) -> Result<String, SourceError> {
        let greeting = self.peers.identity.greeting(&self.peers.enrolled);
        greeting.map_err(|error| SourceError::Program(format!("the node's key signs nothing: {error:#}")))
    }

    /// Nobody else has the file: whoever only failed gets another chance. False when there is no such node.
    fn forgive(&self) -> bool {
        !std::mem::take(&mut self.lock().failing).is_empty()
    }

    fn avoided(&self) -> Option<String> {
        let avoided = self.lock();
        let nodes: Vec<String> = avoided.wrong.union(&avoided.failing).map(Uuid::to_string).collect();
        (!nodes.is_empty()).then(|| nodes.join(","))
    }

    fn lock(&self) -> MutexGuard<'_, Avoided> {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
