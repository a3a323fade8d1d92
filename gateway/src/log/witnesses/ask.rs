//! One question to one node: cosign this checkpoint. Source: C2SP tlog-witness, "add-checkpoint".

use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::key::{KeyKind, VerifierKey};
use openapi::log::note::Signature;
use openapi::log::witness::{AddCheckpoint, read_answer};
use openapi::node::{ADD_CHECKPOINT_PATH, LOG_HEADER, LogKeys, WITNESS_PATH};
use uuid::Uuid;

use super::table::{self, Refusal};
use crate::app::App;
use crate::log::{checkpoints, prove};
use crate::nodes::{Node, connection, unix_seconds};

/// Of an answer, in bytes: no node has that many keys.
const LONGEST_ANSWER: usize = 16 << 10;
/// Of what a node says about a refusal.
const LONGEST_REFUSAL: usize = 300;
const HEADER_SECONDS: u64 = 120;
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// A node that witnesses, as far as this replica knows it.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub(super) key: VerifierKey,
    /// Of the tree that it has cosigned last.
    pub(super) size: u64,
}

/// What a node says to a question.
#[derive(Debug)]
enum Said {
    Cosigned(Signature),
    /// It has cosigned so many leaves last.
    At(u64),
    No(Refusal),
}

/// The key of a node's witness. None when its program knows no such thing.
pub(super) async fn key(node: &Node) -> anyhow::Result<Option<VerifierKey>> {
    let (status, text) = call(node, connection::get(WITNESS_PATH)?).await?;
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        status => bail!("asked for the key of its witness it answered {status}"),
    }
    let key: VerifierKey = text.trim_end().parse().context("the key of its witness can't be read")?;
    if key.kind() != KeyKind::Cosignature {
        bail!("the key of its witness is of the wrong type");
    }
    Ok(Some(key))
}

/// Has a node cosign, and keeps what it says. False when it refuses.
pub(super) async fn cosign(
    app: &App,
    node: &Node,
    witness: &Witness,
    newest: &SignedCheckpoint,
) -> anyhow::Result<bool> {
    let size = newest.checkpoint().tree().size;
    let mut said = ask(app, node, witness.size, (witness, newest)).await?;
    if let Said::At(other) = said
        && other <= size
    {
        said = ask(app, node, other, (witness, newest)).await?;
    }
    let who = (node.id, &witness.key);
    let refusal = match said {
        Said::Cosigned(signature) => {
            table::cosigned(&app.database, who, size, &signature).await?;
            return Ok(true);
        }
        Said::No(refusal) => refusal,
        Said::At(other) if other <= size => {
            Refusal { words: "It says twice that another size comes next.".to_owned(), conflicts: false }
        }
        Said::At(other) => match judge(app, other).await? {
            Some(refusal) => refusal,
            // Another replica has asked it about a newer one meanwhile.
            None => return Ok(true),
        },
    };
    if refusal.conflicts {
        tracing::error!(node = %node.id, "a witness has seen another log: {}", refusal.words);
    } else {
        tracing::debug!(node = %node.id, "a witness does not cosign: {}", refusal.words);
    }
    table::refused(&app.database, who, &refusal).await?;
    Ok(false)
}

/// What it means that a node has cosigned more leaves than were sent to it.
async fn judge(app: &App, other: u64) -> anyhow::Result<Option<Refusal>> {
    let mut connection = app.database.acquire().await?;
    let newest = checkpoints::last_good(&mut connection, &app.log.keys).await?;
    let ours = newest.map_or(0, |newest| newest.checkpoint().tree().size);
    let words = format!("It has cosigned {other} leaves, and the log has {ours}.");
    Ok((other > ours).then_some(Refusal { words, conflicts: true }))
}

async fn ask(
    app: &App,
    node: &Node,
    old_size: u64,
    (witness, newest): (&Witness, &SignedCheckpoint),
) -> anyhow::Result<Said> {
    let mut connection = app.database.acquire().await?;
    let proof = prove::growth(&mut connection, old_size, newest.checkpoint().tree().size).await?;
    drop(connection);
    let body = AddCheckpoint { old_size, proof, checkpoint: newest.clone() }.to_string();
    let request = Request::post(ADD_CHECKPOINT_PATH)
        .header(LOG_HEADER, log_keys(app, node.id)?)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::from(body))?;
    let (status, text) = call(node, request).await?;
    let size = text.strip_suffix('\n').and_then(|size| size.parse().ok());
    match (status, size) {
        (StatusCode::OK, _) => {
            let signatures = read_answer(&text, newest, std::slice::from_ref(&witness.key))?;
            Ok(Said::Cosigned(signatures.into_iter().next().context("it sends no cosignature")?))
        }
        (StatusCode::CONFLICT, Some(size)) => Ok(Said::At(size)),
        (status, _) => {
            let words = text.chars().filter(|character| !character.is_control()).take(LONGEST_REFUSAL);
            let words = format!("{status}: {}", words.collect::<String>());
            Ok(Said::No(Refusal { words, conflicts: status == StatusCode::UNPROCESSABLE_ENTITY }))
        }
    }
}

/// The gateway's word by which keys its log is known.
fn log_keys(app: &App, node: Uuid) -> anyhow::Result<String> {
    let keys = LogKeys {
        aud: node,
        origin: app.log.keys.origin().to_owned(),
        log_keys: app.log.keys.trusted().map(ToString::to_string).collect(),
        exp: unix_seconds() + HEADER_SECONDS,
    };
    app.secrets.newest.sign_for_nodes(&keys)
}

async fn call(node: &Node, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, String)> {
    let response = node.call(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("its answer can't be read: {error}"))?;
    Ok((status, String::from_utf8(body.to_bytes().to_vec()).context("its answer is no text")?))
}
