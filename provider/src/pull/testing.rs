//! What the tests of this module share: a folder of their own, small entries, and a host that misbehaves as told.

use std::{
    fs, io, iter,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use data_encoding::HEXLOWER;
use futures_util::{StreamExt, stream};
use openapi::node::Enrolled;
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

use super::{
    catalogue::{CatalogueEntry, CatalogueFile, Source},
    peer::Peers,
    source::PullSettings,
};
use crate::identity::Identity;

/// A folder that goes with its test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("commonwatt-pull-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// An executable shell script. A child writes it: a file that this process has open for writing can't be executed,
    /// and another test's child may have inherited it.
    pub(super) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod +x \"$2\"";
        let status = process::Command::new("sh").args(["-c", write, "sh", text]).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn hash_of(content: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, content).as_ref())
}

/// An entry whose one file, `weights.gguf`, has this content.
pub(super) fn entry_of(content: &[u8], sources: &[Source]) -> CatalogueEntry {
    let file = CatalogueFile {
        path: "weights.gguf",
        bytes: content.len() as u64,
        sha256: hash_of(content).leak(),
        blake3: blake3::hash(content).to_string().leak(),
    };
    CatalogueEntry {
        name: "tiny",
        description: "a test's",
        licence: "Apache-2.0",
        authors: &[],
        architecture: "llama",
        quantisation: "F32",
        files: vec![file].leak(),
        widened: None,
        sources: sources.to_vec().leak(),
    }
}

/// The way of a node that has joined the gateway at this address.
pub(super) fn joined(gateway: &str, data_dir: &Path) -> Peers {
    let gateways = [gateway.parse().unwrap()];
    let enrolled = Enrolled { node: Uuid::now_v7(), ticket_key: String::new() };
    Identity::open(data_dir).unwrap().remember(&gateways, &enrolled).unwrap();
    Peers::of(&gateways, data_dir).unwrap().unwrap()
}

/// Settings that ask `host` without pauses, on a machine without Python.
pub(super) fn settings_for(host: &Host) -> PullSettings {
    let (python, uv) = ("/nowhere/python3".into(), "/nowhere/uv".into());
    PullSettings { hugging_face: host.base.clone(), backoff: Duration::ZERO, python, uv, ..PullSettings::default() }
}

/// How the host answers one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    /// The content, or the range that was asked for.
    Whole,
    /// The same, but the connection breaks after so many bytes of it.
    CutAfter(usize),
    /// The content, whatever range was asked for.
    WithoutRanges,
    /// Other content.
    Other(&'static [u8]),
    /// Zeros without an end and without a length.
    Endless,
    /// An empty answer with this status.
    Status(u16),
}

/// A local host that gives its replies in turn, the last one for ever.
pub(super) struct Host {
    pub(super) base: String,
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Script {
    content: &'static [u8],
    replies: Arc<[Reply]>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    pub(super) async fn start(content: &'static [u8], replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::default();
        let script = Script { content, replies: replies.into(), asked: Arc::clone(&asked) };
        let mut server = JoinSet::new();
        server.spawn(
            async move { axum::serve(listener, Router::new().fallback(answer).with_state(script)).await.unwrap() },
        );
        Self { base, asked, _server: server }
    }

    /// The `Range` header of every request so far, empty where there was none.
    pub(super) fn ranges(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(script): State<Script>, headers: HeaderMap) -> Response {
    let range = headers.get(header::RANGE).map_or("", |range| range.to_str().unwrap()).to_owned();
    let nth = {
        let mut asked = script.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(range.clone());
        asked.len() - 1
    };
    let reply = script.replies[nth.min(script.replies.len() - 1)];
    let start = range.strip_prefix("bytes=").map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    match reply {
        Reply::Whole => ranged(script.content, start, usize::MAX),
        Reply::CutAfter(bytes) => ranged(script.content, start, bytes),
        Reply::WithoutRanges => ranged(script.content, 0, usize::MAX),
        Reply::Other(content) => ranged(content, start, usize::MAX),
        Reply::Endless => {
            Response::new(Body::from_stream(stream::iter(iter::repeat_with(|| io::Result::Ok(&[0_u8; 7][..])))))
        }
        Reply::Status(status) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
    }
}

fn ranged(content: &'static [u8], start: usize, cut_after: usize) -> Response {
    let rest = &content[start..];
    let sent = &rest[..cut_after.min(rest.len())];
    let mut parts = vec![Ok(Bytes::from_static(sent))];
    if sent.len() < rest.len() {
        parts.push(Err(io::Error::other("the test cuts here")));
    }
    let mut response = Response::builder().header(header::CONTENT_LENGTH, rest.len());
    if start > 0 {
        let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
        response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
    }
    // The pause lets what came before reach the client: a server that meets an error first drops what it has buffered.
    let paused = stream::iter(parts).then(|part| async { (tokio::task::yield_now().await, part).1 });
    response.body(Body::from_stream(paused)).unwrap()
}
