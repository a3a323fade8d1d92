//! The log in `tests/epochs`, in a folder of its own or served as a gateway does.

use std::future::IntoFuture;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use openapi::log::checkpoint::{Checkpoint, SignedCheckpoint};
use openapi::log::hash::Hash;
use openapi::log::key::{KeyKind, SigningKey};
use openapi::log::tree::{Frontier, TreeHead};
use openapi::log::{bundle, cosignature};
use openapi::receipt::jws;
use tokio::net::TcpListener;
use uuid::Uuid;

const ORIGIN: &str = "log.commonwatt.example";

/// A folder that goes when the test is over.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// With nothing in it.
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("log-copy-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// With the log.
    pub(crate) fn with_log() -> Self {
        let folder = Self::new();
        copy(&log(), &folder.0);
        folder
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn log() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/epochs/log")
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The head of the log when it had as many entries as the first bundle, or fewer.
pub(crate) fn head_of(size: u16) -> TreeHead {
    let bytes = std::fs::read(log().join("tile/entries/000")).unwrap();
    let mut tree = Frontier::new();
    let (entries, _) = bundle::decode_first(&bytes, size).unwrap();
    entries.iter().for_each(|entry| tree.push(Hash::leaf(entry), |_, _| ()));
    tree.head()
}

/// Signed by the log, and by both of its witnesses.
pub(crate) fn checkpoint(head: TreeHead) -> SignedCheckpoint {
    let key = SigningKey::new(ORIGIN, KeyKind::Note, &[3; 32]).unwrap();
    let mut signed = SignedCheckpoint::new(Checkpoint::new(ORIGIN, head, &[]).unwrap(), &key).unwrap();
    for witness in ['a', 'b'] {
        let name = format!("witness-{witness}.example");
        let key = SigningKey::new(&name, KeyKind::Cosignature, &[witness as u8; 32]).unwrap();
        signed.add(cosignature::sign(&signed, 1_790_700_000, &key).unwrap());
    }
    signed
}

/// Serves a folder at the paths of a gateway, and says where.
pub(crate) async fn serve(folder: &Folder) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().fallback(file).with_state(folder.0.clone());
    tokio::spawn(axum::serve(listener, routes).into_future());
    format!("http://{address}")
}

async fn file(State(folder): State<PathBuf>, uri: Uri) -> Response {
    let path = match uri.path() {
        "/.well-known/jwks.json" => "jwks.json",
        path => path.strip_prefix("/log/").unwrap(),
    };
    let file = std::fs::read(folder.join(path)).ok();
    let found = file.or_else(|| alone(&folder, path.strip_prefix("document/")?));
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

/// The document of a digest, out of the bundles.
fn alone(folder: &Path, digest: &str) -> Option<Vec<u8>> {
    let parts = std::fs::read_dir(folder.join("documents/001.p")).unwrap().map(|entry| entry.unwrap().path());
    let bundles = parts.chain([folder.join("documents/000")]);
    let lines: Vec<String> = bundles
        .flat_map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let is_this = |line: &String| jws::digest(line) == digest;
    lines.into_iter().find(is_this).map(String::into_bytes)
}
