//! The keys that sign receipts, as everybody can read them. The only module that writes the table `receipt_keys`.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use openapi::log::entry::Kind;
use openapi::receipt::KEYS_PATH;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Json;
use crate::error::Problem;
use crate::log;
use crate::secrets::Secrets;

/// Whoever verifies may keep the list for so long; a new key signs nothing that was not listed before.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Public keys (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// An Ed25519 key (RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    r#use: &'static str,
    /// Its thumbprint (RFC 7638).
    kid: String,
    x: String,
}

impl Key {
    fn new(kid: String, public: &[u8]) -> Self {
        Self { kty: "OKP", crv: "Ed25519", alg: "EdDSA", r#use: "sig", kid, x: BASE64URL_NOPAD.encode(public) }
    }
}

/// The keys that sign receipts, the newest first, and those that have.
#[utoipa::path(get, path = KEYS_PATH, tag = "Receipts", responses((status = 200, body = KeySet), Problem))]
pub async fn list(app: App) -> Result<Response, Problem> {
    let keys = sqlx::query!("select kid, public_key from receipt_keys order by since desc, kid")
        .fetch_all(&app.database)
        .await?
        .into_iter()
        .map(|row| Key::new(row.kid, &row.public_key));
    Ok(([(header::CACHE_CONTROL, CACHE)], Json(KeySet { keys: keys.collect() })).into_response())
}

/// Notes the keys that this gateway signs with, for whoever verifies after they are gone.
///
/// # Errors
/// When the database fails.
pub async fn announce(database: &PgPool, secrets: &Secrets) -> Result<(), sqlx::Error> {
    let signers = secrets.all().map(|derived| &derived.receipt_signing);
    let (kids, keys): (Vec<String>, Vec<Vec<u8>>) =
        signers.map(|signer| (signer.kid().to_owned(), signer.public().0.to_vec())).unzip();
    let document = |(kid, key): (&String, &Vec<u8>)| serde_json::to_string(&Key::new(kid.clone(), key)).ok();
    let documents: Vec<String> = kids.iter().zip(&keys).filter_map(document).collect();
    let mut transaction = database.begin().await?;
    sqlx::query!(
        "insert into receipt_keys (kid, public_key) select * from unnest($1::text[], $2::bytea[]) on conflict do nothing",
        &kids,
        &keys
    )
    .execute(&mut *transaction)
    .await?;
    log::publish(&mut transaction, Kind::Key, &documents).await?;
    transaction.commit().await
}
