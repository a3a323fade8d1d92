//! The table `log_witnesses`.

use openapi::log::key::VerifierKey;
use openapi::log::note::Signature;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::log::checkpoints;
use crate::log::tiles::number;

/// Witnesses in a policy: those who are it for longest, of those who have cosigned within a week.
const MOST: i64 = 32;
/// Of all, the most that are shown.
const MOST_SHOWN: i64 = 1000;

/// A witness as it is shown.
#[derive(Debug, Serialize)]
pub(in crate::log) struct Shown {
    pub(in crate::log) node: Uuid,
    pub(in crate::log) key: String,
    /// Of the tree that it has cosigned last.
    pub(in crate::log) last_size: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(in crate::log) signed_at: Option<OffsetDateTime>,
    /// Why it did not cosign when it was asked last.
    pub(in crate::log) refusal: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(in crate::log) refused_at: Option<OffsetDateTime>,
    /// It has seen another tree.
    pub(in crate::log) conflicts: bool,
}

/// Why a witness did not cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) words: String,
    pub(super) conflicts: bool,
}

/// Keeps a cosignature.
pub(super) async fn cosigned(
    database: &PgPool,
    (node, key): (Uuid, &VerifierKey),
    size: u64,
    signature: &Signature,
) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    checkpoints::add_signature(&mut transaction, size, (key, Some(node)), signature).await?;
    sqlx::query!(
        "insert into log_witnesses as w (node_id, key, first_size, last_size, signed_at)
         values ($1, $2, $3, $3, now())
         on conflict (node_id) do update set key = excluded.key,
             first_size = case when w.key = excluded.key and w.first_size > 0 then w.first_size else excluded.first_size end,
             last_size = case when w.key = excluded.key then greatest(w.last_size, excluded.last_size)
                 else excluded.last_size end,
             signed_at = excluded.signed_at, refusal = null, refused_at = null, conflicts = false",
        node,
        key.to_string(),
        number(size)
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Notes why a node does not cosign.
pub(super) async fn refused(
    database: &PgPool,
    (node, key): (Uuid, &VerifierKey),
    refusal: &Refusal,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into log_witnesses (node_id, key, refusal, refused_at, conflicts) values ($1, $2, $3, now(), $4)
         on conflict (node_id) do update set refusal = excluded.refusal, refused_at = excluded.refused_at,
             conflicts = excluded.conflicts",
        node,
        key.to_string(),
        refusal.words,
        refusal.conflicts
    )
    .execute(database)
    .await
    .map(drop)
}

/// Of the tree that a node has cosigned last with this key; 0 when it hasn't.
pub(super) async fn last_size(database: &PgPool, node: Uuid, key: &VerifierKey) -> Result<u64, sqlx::Error> {
    let size = sqlx::query_scalar!(
        "select last_size from log_witnesses where node_id = $1 and key = $2",
        node,
        key.to_string()
    );
    Ok(size.fetch_optional(database).await?.unwrap_or_default().unsigned_abs())
}

/// The keys of those who witness the log now.
pub(in crate::log) async fn lately(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select w.key as "key!" from (
               select distinct on (w.key) w.key, w.first_size, w.node_id from log_witnesses w
               join nodes n on n.id = w.node_id and n.removed_at is null
               where w.signed_at > now() - interval '7 days' order by w.key, w.first_size, w.node_id) w
           order by w.first_size, w.node_id limit $1"#,
        MOST
    )
    .fetch_all(connection)
    .await
}

/// How many have seen another tree.
pub(super) async fn conflicts(database: &PgPool) -> Result<u64, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from log_witnesses w
           join nodes n on n.id = w.node_id and n.removed_at is null where w.conflicts"#
    );
    Ok(count.fetch_one(database).await?.unsigned_abs())
}

/// All who were asked, those first who have cosigned last.
pub(in crate::log) async fn list(database: &PgPool) -> Result<Vec<Shown>, sqlx::Error> {
    sqlx::query_as!(
        Shown,
        "select w.node_id as node, w.key, w.last_size, w.signed_at, w.refusal, w.refused_at, w.conflicts
         from log_witnesses w join nodes n on n.id = w.node_id and n.removed_at is null
         order by w.conflicts desc, w.last_size desc, w.node_id limit $1",
        MOST_SHOWN
    )
    .fetch_all(database)
    .await
}

/// Removes signatures that nobody needs any more.
pub(super) async fn forget(database: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from log_cosignatures where node_id is not null and received_at < now() - interval '7 days'")
        .execute(database)
        .await
        .map(drop)
}
