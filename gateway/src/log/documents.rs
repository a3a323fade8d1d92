//! What entries of the log are about, for whoever wants to read more than that it is there: the table `log_documents`. Receipts
//! stay in their own.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use openapi::log::entry::{Entry, Kind};
use openapi::log::tile::Tile;
use sqlx::{PgConnection, PgPool};

use super::{Failed, queue, tiles};
use crate::receipts;

/// Keeps documents for everybody to read, and has those logged that are new.
///
/// # Errors
/// When the database fails.
pub async fn publish(connection: &mut PgConnection, kind: Kind, documents: &[String]) -> Result<(), sqlx::Error> {
    let entries: Vec<Entry> = documents.iter().map(|document| Entry::of(kind, document.as_bytes())).collect();
    let hashes: Vec<Vec<u8>> = entries.iter().map(|entry| entry.hash.to_vec()).collect();
    let new = sqlx::query_scalar!(
        "insert into log_documents (kind, hash, document)
         select $1, hash, document from unnest($2::bytea[], $3::text[]) as d (hash, document)
         on conflict do nothing returning hash",
        kind.word(),
        &hashes,
        documents
    )
    .fetch_all(&mut *connection)
    .await?;
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| new.iter().any(|new| *new == entry.hash)).collect();
    queue::enqueue(connection, &entries).await
}

/// The document of a digest that is kept for everybody.
///
/// # Errors
/// When the database fails.
pub async fn document(database: &PgPool, hash: &[u8]) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("select document from log_documents where hash = $1", hash).fetch_optional(database).await
}

/// The document of this digest, in hexadecimal, if it is public and still kept.
///
/// # Errors
/// When the database fails.
pub(super) async fn find(database: &PgPool, digest: &str) -> Result<Option<String>, sqlx::Error> {
    let Some(hash) = HEXLOWER.decode(digest.as_bytes()).ok().filter(|hash| hash.len() == 32) else { return Ok(None) };
    match self::document(database, &hash).await? {
        Some(document) => Ok(Some(document)),
        None => receipts::table::of_digest(database, &hash).await,
    }
}

/// The documents of a bundle's entries, one a line; an empty line for one that is not kept any more. None when the log has no such
/// leaves yet.
pub(super) async fn of_bundle(connection: &mut PgConnection, bundle: Tile) -> Result<Option<String>, Failed> {
    let Some(entries) = tiles::entries_of(connection, bundle).await? else { return Ok(None) };
    let hashes: Vec<Vec<u8>> = entries.iter().map(|entry| entry.hash.to_vec()).collect();
    let found = sqlx::query!("select hash, document from log_documents where hash = any($1)", &hashes);
    let mut found: HashMap<Vec<u8>, String> =
        found.fetch_all(&mut *connection).await?.into_iter().map(|row| (row.hash, row.document)).collect();
    found.extend(receipts::table::of_digests(connection, &hashes).await?);
    let line = |hash: &Vec<u8>| format!("{}\n", found.get(hash).map_or("", String::as_str));
    Ok(Some(hashes.iter().map(line).collect()))
}
