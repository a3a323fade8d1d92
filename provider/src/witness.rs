//! The node as a witness of its gateways' public logs: it signs each new head of a log that has grown out of the one that it
//! has signed before, and no other, so that no gateway can show different logs to different people without being seen.
//! Source: C2SP tlog-witness; what is decided is decided in `openapi`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_encoding::HEXLOWER;
use openapi::log::cosignature;
use openapi::log::hash::Hash;
use openapi::log::key::{KeyKind, NotSigned, SigningKey};
use openapi::log::tree::TreeHead;
use openapi::log::witness::{AddCheckpoint, FollowedLog, LONGEST_BODY, Refusal, SIZE_CONTENT_TYPE};
use openapi::node::{ADD_CHECKPOINT_PATH, WITNESS_PATH};
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::key::write_private;
use crate::node::unix_seconds;
use crate::ticket::TicketVerifier;

const KEY_FILE: &str = "witness.key";
/// A witness is called after its key, below a name that nobody can own (RFC 6761).
const NAME: &str = "commonwatt.invalid/witness";
/// No node has that many gateways.
const MOST_LOGS: usize = 64;

/// What the node witnesses with, and what it has seen. One for all its gateways: of a log it must never sign two histories,
/// whoever asks.
pub struct Witness {
    key: SigningKey,
    path: PathBuf,
    latest: Mutex<BTreeMap<String, Latest>>,
}

/// The tree that was signed last, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Latest {
    size: u64,
    /// In base64.
    root: String,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
enum Unsigned {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the head can't be kept: {0}")]
    Disk(#[from] io::Error),
    #[error(transparent)]
    Key(#[from] NotSigned),
}

impl Witness {
    /// Reads the key and what was seen, or makes the key on first start.
    ///
    /// # Errors
    /// When a file can't be read or written, or is damaged.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("witness.json");
        let latest = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is damaged, and without it this node can't know what it has signed: delete it and {KEY_FILE} beside \
                     it, and the node will witness under another key",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { key: key(folder)?, path, latest: Mutex::new(latest) })
    }

    /// The cosignature of what a log asks for, as a line. What it is about is on the disk before.
    fn cosign(&self, log: &FollowedLog, body: &[u8]) -> Result<String, Unsigned> {
        let request = AddCheckpoint::read(body).map_err(Refusal::from)?;
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = latest.get(&log.origin);
        let has_room = before.is_some() || latest.len() < MOST_LOGS;
        let head = before.map_or(Ok(TreeHead::EMPTY), Latest::head)?;
        let tree = request.judge(has_room.then_some(log), head)?;
        if tree != head {
            let mut grown = latest.clone();
            grown.insert(log.origin.clone(), Latest { size: tree.size, root: tree.root.to_string() });
            self.keep(&grown)?;
            *latest = grown;
        }
        Ok(format!("{}\n", cosignature::sign(&request.checkpoint, unix_seconds(), &self.key)?))
    }

    /// Replaces the file in one step, which outlives a power cut.
    fn keep(&self, latest: &BTreeMap<String, Latest>) -> io::Result<()> {
        let fresh = self.path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(latest)?;
        std::fs::write(&fresh, text)?;
        File::open(&fresh)?.sync_all()?;
        put(&fresh, &self.path)
    }
}

impl Latest {
    fn head(&self) -> io::Result<TreeHead> {
        let root: Hash = self.root.parse().map_err(io::Error::other)?;
        Ok(TreeHead { size: self.size, root })
    }
}

fn key(folder: &Path) -> anyhow::Result<SigningKey> {
    let path = folder.join(KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let damaged =
                || format!("{} is damaged. Restore it, or delete it to witness under another key", path.display());
            text.trim_end().parse::<SigningKey>().with_context(damaged)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make_key(&path),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn make_key(path: &Path) -> anyhow::Result<SigningKey> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| anyhow!("no randomness to make the witness's key with"))?;
    let public = SigningKey::new(NAME, KeyKind::Cosignature, &seed)?.verifier().public();
    let name = format!("{NAME}/{}", HEXLOWER.encode(&public.0[..8]));
    let text = format!("{}\n", SigningKey::write(&name, KeyKind::Cosignature, &seed)?);
    let fresh = path.with_extension("key.new");
    // One that was broken off while it was made has signed nothing.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let made = write_private(&fresh, text.as_bytes()).and_then(|()| put(&fresh, path));
    made.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(SigningKey::new(&name, KeyKind::Cosignature, &seed)?)
}

fn put(fresh: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[derive(Clone)]
struct Desk {
    witness: Arc<Witness>,
    tickets: Arc<TicketVerifier>,
}

/// What a gateway finds of it at this node.
pub fn routes(witness: Arc<Witness>, tickets: Arc<TicketVerifier>) -> Router {
    Router::new()
        .route(WITNESS_PATH, get(show_key))
        .route(ADD_CHECKPOINT_PATH, post(add_checkpoint))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(Desk { witness, tickets })
}

async fn show_key(State(desk): State<Desk>) -> String {
    format!("{}\n", desk.witness.key.verifier())
}

async fn add_checkpoint(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Response {
    let log = match desk.tickets.log(&headers) {
        Ok(log) => log,
        Err(error) => return Failure(error).into_response(),
    };
    let answered = tokio::task::spawn_blocking(move || desk.witness.cosign(&log, &body)).await;
    match answered {
        Ok(Ok(line)) => line.into_response(),
        Ok(Err(Unsigned::Refused(refusal))) => refused(&refusal),
        Ok(Err(error)) => {
            tracing::error!(%error, "the gateway's log could not be witnessed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Inconsistent(_) => tracing::error!("the gateway shows another log than before: {refusal}"),
        refusal => tracing::debug!("a head of the gateway's log is not witnessed: {refusal}"),
    }
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = if matches!(refusal, Refusal::Conflict(_)) { SIZE_CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    (status, [(CONTENT_TYPE, kind)], refusal.body()).into_response()
}

#[cfg(test)]
mod tests {
    use openapi::log::checkpoint::{Checkpoint, SignedCheckpoint};
    use openapi::log::consistency;
    use openapi::log::tree::{Frontier, Node};
    use uuid::Uuid;

    use super::*;

    const ORIGIN: &str = "gateway.example/log";

    fn log() -> SigningKey {
        SigningKey::new(ORIGIN, KeyKind::Note, &[1; 32]).unwrap()
    }

    fn followed() -> FollowedLog {
        FollowedLog { origin: ORIGIN.to_owned(), keys: vec![log().verifier().clone()] }
    }

    /// The question of a log of `size` leaves, made of a seed, that believes the witness at `old`.
    fn question(seed: u8, old: u64, size: u64) -> String {
        let (mut frontier, mut nodes) = (Frontier::new(), BTreeMap::new());
        for index in 0..size {
            let keep = |node: Node, hash| {
                nodes.insert((node.level, node.index), hash);
            };
            frontier.push(Hash::leaf(&[seed, index as u8]), keep);
        }
        let checkpoint = Checkpoint::new(ORIGIN, frontier.head(), &[]).unwrap();
        let proof = consistency::prove(old, size, |node| nodes.get(&(node.level, node.index)).copied()).unwrap();
        let checkpoint = SignedCheckpoint::new(checkpoint, &log()).unwrap();
        AddCheckpoint { old_size: old, proof, checkpoint }.to_string()
    }

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("witness-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn status(answer: Result<String, Unsigned>) -> u16 {
        match answer {
            Ok(_) => 200,
            Err(Unsigned::Refused(refusal)) => refusal.status(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn one_history_is_signed_and_no_other_whether_or_not_the_node_was_started_anew() {
        let folder = folder();
        let witness = Witness::open(&folder).unwrap();
        let ask = |witness: &Witness, seed, old, size| {
            status(witness.cosign(&followed(), question(seed, old, size).as_bytes()))
        };
        assert_eq!(ask(&witness, 1, 0, 5), 200);
        assert_eq!(ask(&witness, 1, 5, 9), 200);
        let key = witness.key.verifier().clone();
        drop(witness);
        let witness = Witness::open(&folder).unwrap();
        assert_eq!(*witness.key.verifier(), key);
        assert_eq!(ask(&witness, 1, 5, 9), 409);
        assert_eq!((ask(&witness, 2, 9, 12), ask(&witness, 2, 9, 9)), (422, 422), "a fork");
        assert_eq!((ask(&witness, 1, 9, 9), ask(&witness, 1, 9, 12)), (200, 200));
        let line = witness.cosign(&followed(), question(1, 12, 13).as_bytes()).unwrap();
        assert!(line.contains(key.name()) && line.ends_with('\n'), "{line}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_not_on_the_disk_is_not_signed() {
        let folder = folder();
        let witness = Witness::open(&folder).unwrap();
        std::fs::create_dir(folder.join("witness.json.new")).unwrap();
        let failed = witness.cosign(&followed(), question(1, 0, 5).as_bytes()).unwrap_err();
        assert!(matches!(failed, Unsigned::Disk(_)), "{failed}");
        std::fs::remove_dir(folder.join("witness.json.new")).unwrap();
        assert_eq!(status(witness.cosign(&followed(), question(2, 0, 4).as_bytes())), 200, "nothing was seen before");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn damaged_files_are_named_and_a_torn_key_is_made_anew() {
        let folder = folder();
        std::fs::write(folder.join("witness.key.new"), "PRIV").unwrap();
        Witness::open(&folder).unwrap();
        std::fs::write(folder.join("witness.json"), "{").unwrap();
        let refused = Witness::open(&folder).err().unwrap().to_string();
        assert!(refused.contains("witness.json is damaged") && refused.contains("witness.key"), "{refused}");
        std::fs::remove_file(folder.join("witness.json")).unwrap();
        std::fs::write(folder.join("witness.key"), "PRIVATE+KEY+secret").unwrap();
        let refused = format!("{:#}", Witness::open(&folder).err().unwrap());
        assert!(refused.contains("witness.key is damaged") && !refused.contains("secret"), "{refused}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
