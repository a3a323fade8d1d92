//! How a node joins: its operator makes a one-time token, the node trades it for an identity. With `operate.rs` the only
//! module that writes the table `nodes`, and the only one that writes `enrolment_tokens`.

use std::collections::HashMap;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openapi::error::ApiError;
use openapi::log::entry::Kind;
use openapi::node::{ENROL_PATH, Enrolled, Enrolment, Offer};
use sqlx::types::Json as SqlJson;
use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::app::App;
use crate::body::{Json, SmallJson};
use crate::error::Failure;
use crate::log;
use crate::names;
use crate::secrets::{self, Secrets};

const TOKEN_PREFIX: &str = "enrol-cw-";
const TOKEN_LIFETIME: Duration = Duration::days(7);

/// Binds a node's key to an operator's account.
#[utoipa::path(post, path = ENROL_PATH, tag = "Nodes", request_body = Enrolment,
    responses((status = 200, body = Enrolled), Failure))]
pub async fn enrol(app: App, SmallJson(body): SmallJson) -> Result<Json<Enrolled>, Failure> {
    let enrolment: Enrolment =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
    let public_key = proven_key(&enrolment)?;
    let name = names::checked(&enrolment.name).ok_or_else(|| ApiError::invalid(names::RULE).with_param("name"))?;
    let token = app.secrets.hashes(enrolment.token.trim());
    let node = bind(&app.database, &token, name, &public_key).await?.ok_or_else(|| {
        let message =
            "The enrolment token is unknown, used or expired. Create a new one at POST /api/enrolment-tokens.";
        ApiError::new(401, "invalid_request_error", Some("invalid_enrolment_token"), message)
    })?;
    tracing::info!(%node, name, "a node has enrolled");
    Ok(Json(Enrolled { node, ticket_key: app.secrets.newest.ticket_public.clone() }))
}

/// The key, if the node has signed the enrolment with it.
///
/// # Errors
/// 400 when it has not.
pub fn proven_key(enrolment: &Enrolment) -> Result<Vec<u8>, ApiError> {
    let refused =
        || ApiError::invalid("The enrolment is not signed with the key that it names.").with_param("signature");
    let public_key = BASE64_URL_SAFE_NO_PAD.decode(&enrolment.public_key).map_err(|_| refused())?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(&enrolment.signature).map_err(|_| refused())?;
    let signed = Enrolment::signed_bytes(&enrolment.token, &enrolment.public_key);
    UnparsedPublicKey::new(&ED25519, &public_key).verify(&signed, &signature).map_err(|_| refused())?;
    Ok(public_key)
}

/// Uses the token with one of these hashes up and makes the node, both or neither. A key that enrols again in the same account stays the same node.
pub(super) async fn bind(
    database: &PgPool,
    token: &[Vec<u8>],
    name: &str,
    public_key: &[u8],
) -> Result<Option<Uuid>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let used = sqlx::query!(
        "update enrolment_tokens set used_at = now() where token_hash = any($1) and used_at is null and expires_at > now()
         returning id, account_id",
        token
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(used) = used else { return Ok(None) };
    let node = sqlx::query_scalar!(
        "insert into nodes (id, account_id, name, public_key) values ($1, $2, $3, $4)
         on conflict (public_key) where removed_at is null do update set name = excluded.name
         where nodes.account_id = excluded.account_id returning id",
        Uuid::now_v7(),
        used.account_id,
        name,
        public_key
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(node) = node else { return Ok(None) };
    sqlx::query!("update enrolment_tokens set node_id = $2 where id = $1", used.id, node)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Some(node))
}

/// Makes an enrolment token; its text exists nowhere else.
///
/// # Errors
/// When the database or the system's randomness fails.
pub async fn create_token(
    database: &PgPool,
    secrets: &Secrets,
    account: Uuid,
) -> anyhow::Result<(String, OffsetDateTime)> {
    let token = format!("{TOKEN_PREFIX}{}", secrets::random()?);
    let expires_at = OffsetDateTime::now_utc() + TOKEN_LIFETIME;
    let hash = secrets.hash(&token);
    sqlx::query!(
        "insert into enrolment_tokens (id, account_id, token_hash, expires_at) values ($1, $2, $3, $4)",
        Uuid::now_v7(),
        account,
        hash.0.as_slice(),
        expires_at
    )
    .execute(database)
    .await?;
    Ok((token, expires_at))
}

/// True when a token can still be used.
///
/// # Errors
/// When the database fails.
pub async fn token_is_good(database: &PgPool, secrets: &Secrets, token: &str) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select 1 as one from enrolment_tokens where token_hash = any($1) and used_at is null and expires_at > now()",
        &secrets.hashes(token)
    );
    Ok(found.fetch_optional(database).await?.is_some())
}

/// Whose nodes are, those that have been removed among them.
///
/// # Errors
/// When the database fails.
pub async fn operators(connection: &mut PgConnection, nodes: &[Uuid]) -> Result<HashMap<Uuid, Uuid>, sqlx::Error> {
    let rows = sqlx::query!("select id, account_id from nodes where id = any($1)", nodes).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.account_id)).collect())
}

/// The public key of a node that has not been removed.
pub(in crate::nodes) async fn public_key(database: &PgPool, node: Uuid) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select public_key as "public_key!" from nodes where id = $1 and kind = 'node' and removed_at is null"#,
        node
    )
    .fetch_optional(database)
    .await
}

/// Keeps what a node has published when it connected.
pub(super) async fn keep_offer(database: &PgPool, node: Uuid, offer: &Offer) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    sqlx::query!("update nodes set offer = $2, last_seen_at = now() where id = $1", node, SqlJson(offer) as _)
        .execute(&mut *transaction)
        .await?;
    // Their SHA-256 is the one in the models' ids.
    let manifests = offer.models.iter().filter_map(|model| serde_json::to_string(&model.manifest).ok());
    log::publish(&mut transaction, Kind::Manifest, &manifests.collect::<Vec<_>>()).await?;
    transaction.commit().await
}

/// Notes when a node was last connected.
pub(super) async fn seen(database: &PgPool, node: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update nodes set last_seen_at = now() where id = $1", node).execute(database).await.map(drop)
}

/// Removes a node for good. False when the account has no such node.
///
/// # Errors
/// When the database fails.
pub async fn remove(database: &PgPool, account: Uuid, node: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update nodes set removed_at = coalesce(removed_at, now()) where id = $1 and account_id = $2",
        node,
        account
    );
    Ok(done.execute(database).await?.rows_affected() == 1)
}

/// Notes where a node can be dialled, or that it can't be any more.
pub(super) async fn set_direct(database: &PgPool, node: Uuid, url: Option<&str>) -> Result<(), sqlx::Error> {
    sqlx::query!("update nodes set direct_url = $2 where id = $1 and removed_at is null", node, url)
        .execute(database)
        .await
        .map(drop)
}

/// Makes the node that an attached server is.
pub(super) async fn attach(
    database: &mut PgConnection,
    (node, account): (Uuid, Uuid),
    name: &str,
    offer: &Offer,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into nodes (id, account_id, name, kind, offer) values ($1, $2, $3, 'attached', $4)",
        node,
        account,
        name,
        SqlJson(offer) as _
    )
    .execute(database)
    .await
    .map(drop)
}

/// Removes an attached server for good, and with it its key. False when there is none.
///
/// # Errors
/// When the database fails.
pub async fn detach(database: &PgPool, node: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update nodes set removed_at = now() where id = $1 and kind = 'attached' and removed_at is null",
        node
    );
    Ok(done.execute(database).await?.rows_affected() == 1)
}

/// What every node that has not been removed offered last.
///
/// # Errors
/// When the database fails.
pub async fn offers(database: &PgPool) -> Result<Vec<Offer>, sqlx::Error> {
    let offers = sqlx::query_scalar!(
        r#"select offer as "offer!: SqlJson<Offer>" from nodes where offer is not null and removed_at is null"#
    );
    Ok(offers.fetch_all(database).await?.into_iter().map(|SqlJson(offer)| offer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::user::somebody;

    async fn token(database: &PgPool, secrets: &Secrets, account: Uuid) -> Vec<Vec<u8>> {
        secrets.hashes(&create_token(database, secrets, account).await.unwrap().0)
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_token_makes_one_node_and_a_key_stays_its_account_s(database: PgPool) {
        let secrets = Secrets::derive(&[1; 32]).unwrap();
        let (ada, eve) = (somebody(&database).await.0, somebody(&database).await.0);
        let key = [9u8; 32];
        let first = token(&database, &secrets, ada).await;
        let node = bind(&database, &first, "one", &key).await.unwrap().unwrap();
        assert_eq!(bind(&database, &first, "one", &[8; 32]).await.unwrap(), None, "used");
        let again = token(&database, &secrets, ada).await;
        assert_eq!(bind(&database, &again, "renamed", &key).await.unwrap(), Some(node), "the same machine");
        let stranger = token(&database, &secrets, eve).await;
        assert_eq!(bind(&database, &stranger, "mine now", &key).await.unwrap(), None, "another account's node");
        assert!(remove(&database, ada, node).await.unwrap() && !remove(&database, eve, node).await.unwrap());
        assert_eq!(public_key(&database, node).await.unwrap(), None, "a removed node has no key");
        let anew = bind(&database, &stranger, "mine now", &key).await.unwrap();
        assert!(anew.is_some_and(|anew| anew != node), "the refused try left the token unused, and the key is free");
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn an_expired_token_is_no_token(database: PgPool) {
        let secrets = Secrets::derive(&[1; 32]).unwrap();
        let ada = somebody(&database).await.0;
        let (text, _) = create_token(&database, &secrets, ada).await.unwrap();
        assert!(token_is_good(&database, &secrets, &text).await.unwrap());
        sqlx::query!("update enrolment_tokens set expires_at = now() - interval '1 second'")
            .execute(&database)
            .await
            .unwrap();
        assert!(!token_is_good(&database, &secrets, &text).await.unwrap());
        assert_eq!(bind(&database, &secrets.hashes(&text), "n", &[9; 32]).await.unwrap(), None);
    }
}
