//! What everybody may read of the log, without credentials. Paths and files are those of C2SP tlog-tiles and tlog-proof, with
//! `/log` before them.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use openapi::log::hash::Hash;
use openapi::log::tile::{Row, Tile};
use serde::Deserialize;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::tiles::{self, Tiles};
use super::witnesses::table;
use super::{Failed, Log, checkpoints, documents, policy, prove};
use crate::app::App;
use crate::body::Json;
use crate::epochs;
use crate::error::Problem;

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// What never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const FOR_A_MOMENT: &str = "public, max-age=2";
const FOR_A_MINUTE: &str = "public, max-age=60";
/// So long somebody waits while others read.
const PATIENCE: Duration = Duration::from_secs(2);

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Database(error) => error.into(),
            failed => {
                tracing::error!(error = %failed, "the log can't be read");
                Self::of(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The log can't show this: its rows are not what was signed. Tell the gateway's operator.",
                )
            }
        }
    }
}

/// `/log` and everything below it.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*path}", get(tile))
        .route("/log/proof", get(proof_at))
        .route("/log/proof/{leaf}", get(proof_of))
        .route("/log/consistency", get(consistency))
        .route("/log/document/{digest}", get(document))
        .route("/log/documents/{*path}", get(documents_of))
        .route("/log/epochs", get(closed_epochs))
        .route("/log/key", get(key))
        .route("/log/policy", get(whom_to_believe))
        .route("/log/witnesses", get(witnesses))
        .route("/log/{*path}", get(nothing))
}

/// The newest checkpoint, with the cosignatures that have arrived.
async fn checkpoint(app: App) -> Result<Response, Problem> {
    let _reader = reader(&app.log).await?;
    let mut connection = app.database.acquire().await?;
    let newest = checkpoints::last_good(&mut connection, &app.log.keys).await?;
    let newest = newest.ok_or_else(|| Problem::of(StatusCode::NOT_FOUND, "Nothing has been logged yet."))?;
    let newest = checkpoints::with_cosignatures(&mut connection, newest).await?;
    Ok(file((TEXT, FOR_A_MOMENT), newest.to_string()))
}

async fn tile(app: App, uri: Uri) -> Result<Response, Problem> {
    let path = uri.path().strip_prefix("/log").unwrap_or_default();
    let tile = path.parse::<Tile>().map_err(|error| Problem::bad_request(format!("After /log, {error}.")))?;
    let _reader = reader(&app.log).await?;
    let mut connection = app.database.acquire().await?;
    let bytes = match tile.row() {
        Row::Entries => tiles::bundle(&mut connection, tile).await?,
        Row::Hashes { .. } => {
            let read = Tiles::read(&mut connection, [tile]).await?;
            read.bytes(tile).map(<[u8]>::to_vec)
        }
    };
    let bytes = bytes.ok_or_else(|| Problem::of(StatusCode::NOT_FOUND, "The log has not grown to this tile yet."))?;
    Ok(file((BYTES, FOR_EVER), bytes))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    index: u64,
}

async fn proof_at(app: App, at: Result<Query<At>, QueryRejection>) -> Result<Response, Problem> {
    let Query(At { index }) = at.map_err(|_| {
        Problem::bad_request(
            "Say which leaf: /log/proof/ and its hash in 64 hexadecimal digits, or /log/proof?index= and its index.",
        )
    })?;
    let _reader = reader(&app.log).await?;
    proof_file(app.log.proof_at(&app.database, index).await?)
}

async fn proof_of(app: App, Path(leaf): Path<String>) -> Result<Response, Problem> {
    let leaf = Hash::from_hex(&leaf).map_err(|_| {
        Problem::bad_request("A leaf is named by its hash (RFC 6962), in 64 lower-case hexadecimal digits.")
    })?;
    let _reader = reader(&app.log).await?;
    proof_file(app.log.proof(&app.database, leaf).await?)
}

fn proof_file(proof: Option<String>) -> Result<Response, Problem> {
    let missing = "This is not in the log. If it is new, ask again in two seconds.";
    let proof = proof.ok_or_else(|| Problem::of(StatusCode::NOT_FOUND, missing))?;
    Ok(file((TEXT, FOR_A_MOMENT), proof))
}

/// What an entry is about: a receipt, a price, a model's manifest, a split, a statement, an epoch, a key or a verdict.
async fn document(app: App, Path(digest): Path<String>) -> Result<Response, Problem> {
    let _reader = reader(&app.log).await?;
    let missing = "There is no document of this SHA-256, in 64 lower-case hexadecimal digits; receipts are kept as long as \
                   the gateway's operator says.";
    let document = documents::find(&app.database, &digest).await?;
    Ok(file((TEXT, FOR_EVER), document.ok_or_else(|| Problem::of(StatusCode::NOT_FOUND, missing))?))
}

/// All of a bundle's, a line each, in the order of the log. Complete as long as they are kept, which is why it is not for ever.
async fn documents_of(app: App, Path(path): Path<String>) -> Result<Response, Problem> {
    let bundle = format!("/tile/entries/{path}").parse::<Tile>();
    let bundle = bundle.map_err(|error| Problem::bad_request(format!("In place of /log/documents, {error}.")))?;
    let _reader = reader(&app.log).await?;
    let mut connection = app.database.acquire().await?;
    let documents = documents::of_bundle(&mut connection, bundle).await?;
    let missing = "The log has not grown to these entries yet.";
    let documents = documents.ok_or_else(|| Problem::of(StatusCode::NOT_FOUND, missing))?;
    Ok(file((TEXT, FOR_A_MINUTE), documents))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    before: Option<u32>,
}

/// Epochs that are closed, the newest first, and where their documents are.
async fn closed_epochs(app: App, before: Result<Query<Before>, QueryRejection>) -> Result<Response, Problem> {
    let Query(Before { before }) = before.map_err(|_| {
        Problem::bad_request(
            "Those before an epoch are at /log/epochs?before= and its number; the newest at /log/epochs.",
        )
    })?;
    let _reader = reader(&app.log).await?;
    let data = epochs::table::list(&app.database, before).await?;
    let data: Vec<serde_json::Value> = data.iter().map(epochs::table::Row::to_json).collect();
    let json = Json(serde_json::json!({ "origin": app.log.keys.origin(), "data": data }));
    Ok(([(CACHE_CONTROL, FOR_A_MOMENT)], json).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    old: u64,
    new: u64,
}

async fn consistency(app: App, sizes: Result<Query<Sizes>, QueryRejection>) -> Result<Response, Problem> {
    let Query(Sizes { old, new }) =
        sizes.map_err(|_| Problem::bad_request("Give two sizes of the log, as in /log/consistency?old=10&new=20."))?;
    if old > new {
        return Err(Problem::bad_request("The old size is larger than the new one: a log only grows."));
    }
    let _reader = reader(&app.log).await?;
    let mut connection = app.database.acquire().await?;
    let newest = checkpoints::last_good(&mut connection, &app.log.keys).await?;
    let size = newest.map_or(0, |newest| newest.checkpoint().tree().size);
    if new > size {
        return Err(Problem::of(StatusCode::NOT_FOUND, format!("The log has {size} leaves, not {new}.")));
    }
    let proof = prove::growth(&mut connection, old, new).await?;
    Ok(file((TEXT, FOR_EVER), proof.iter().map(|hash| format!("{hash}\n")).collect::<String>()))
}

/// The log's keys, a line each, the newest first.
async fn key(app: App) -> Response {
    file((TEXT, FOR_A_MINUTE), app.log.keys.trusted().map(|key| format!("{key}\n")).collect::<String>())
}

async fn whom_to_believe(app: App) -> Result<Response, Problem> {
    let _reader = reader(&app.log).await?;
    let mut connection = app.database.acquire().await?;
    Ok(file((TEXT, FOR_A_MINUTE), policy::write(&mut connection, &app.log.keys).await?))
}

async fn witnesses(app: App) -> Result<Response, Problem> {
    let _reader = reader(&app.log).await?;
    let data = table::list(&app.database).await?;
    let json = Json(serde_json::json!({ "origin": app.log.keys.origin(), "data": data }));
    Ok(([(CACHE_CONTROL, FOR_A_MOMENT)], json).into_response())
}

async fn nothing() -> Problem {
    let there_are = "There is nothing at this path. There are /log/checkpoint, /log/tile/, /log/proof, /log/consistency, \
                     /log/document/, /log/documents/, /log/epochs, /log/key, /log/policy and /log/witnesses.";
    Problem::of(StatusCode::NOT_FOUND, there_are)
}

fn file((kind, keep): (&'static str, &'static str), body: impl IntoResponse) -> Response {
    // A text or bytes as a body come with a type of their own.
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    response
}

/// A place among those who read.
async fn reader(log: &Log) -> Result<SemaphorePermit<'_>, Problem> {
    let place = timeout(PATIENCE, log.readers.acquire()).await.ok().and_then(Result::ok);
    place.ok_or_else(|| Problem::overloaded("Too many read the log at once. Try again shortly.", 1))
}
