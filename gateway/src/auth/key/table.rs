//! The table `keys`: a key is loaded with all limits that hold for it, made, listed, revoked.

use serde_json::Value;
use sqlx::types::Json as SqlJson;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Fresh, Key, KeySummary, PREFIX, Scope};
use crate::limits::{self, KeyLimits, Limits, Subject};
use crate::routing;

/// What a key is made from.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    pub name: &'a str,
    pub scope: Scope,
    pub limits: Limits,
    pub expires_at: Option<OffsetDateTime>,
}

impl<'a> NewKey<'a> {
    /// A key without limits.
    pub fn unlimited(name: &'a str, scope: Scope) -> Self {
        Self { name, scope, limits: Limits::default(), expires_at: None }
    }
}

/// A key that is not revoked, by its public id.
pub(super) async fn load(database: &PgPool, public_id: &str) -> Result<Option<Key>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select k.id, k.account_id, k.created_by, k.scope, k.secret_hash, k.expires_at,
               to_jsonb(key) as "key: SqlJson<Limits>", to_jsonb(creator) as "creator: SqlJson<Limits>",
               to_jsonb(account) as "account: SqlJson<Limits>", routing.provider as "provider?: SqlJson<Value>"
           from keys k left join account_routing routing on routing.account_id = k.account_id
               left join limits key on key.subject = k.id left join limits creator on creator.subject = k.created_by
               left join limits account on account.subject = k.account_id
           where k.public_id = $1 and k.revoked_at is null"#,
        public_id
    )
    .fetch_optional(database)
    .await?;
    Ok(row.map(|row| Key {
        id: row.id,
        account: row.account_id,
        created_by: row.created_by,
        scope: Scope::from_word(&row.scope),
        expires_at: row.expires_at,
        limits: KeyLimits { key: given(row.key), user: given(row.creator), account: given(row.account) },
        routing: row.provider.map(|SqlJson(provider)| routing::given(&provider)).unwrap_or_default(),
        secret_hash: row.secret_hash,
    }))
}

fn given(limits: Option<SqlJson<Limits>>) -> Limits {
    limits.map_or_else(Limits::default, |SqlJson(limits)| limits)
}

/// Which of these keys are revoked.
pub(super) async fn revoked_among(database: &PgPool, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!("select id from keys where id = any($1) and revoked_at is not null", ids)
        .fetch_all(database)
        .await
}

/// Makes a key for an account and one of its users.
///
/// # Errors
/// When the database fails.
pub async fn create(
    database: &PgPool,
    owner: (Uuid, Uuid),
    new: NewKey<'_>,
    fresh: &Fresh,
) -> Result<KeySummary, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let summary = insert(&mut transaction, owner, new, fresh).await?;
    transaction.commit().await?;
    Ok(summary)
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    owner: (Uuid, Uuid),
    new: NewKey<'_>,
    fresh: &Fresh,
) -> Result<KeySummary, sqlx::Error> {
    let (account, user) = owner;
    let row = sqlx::query!(
        "insert into keys (id, public_id, account_id, created_by, name, scope, secret_hash, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning id, created_at",
        Uuid::now_v7(),
        fresh.public_id,
        account,
        user,
        new.name,
        new.scope.word(),
        fresh.hash.0.as_slice(),
        new.expires_at
    )
    .fetch_one(&mut *connection)
    .await?;
    limits::set(connection, Subject::Key(row.id), &new.limits).await?;
    Ok(KeySummary {
        id: row.id,
        name: new.name.to_owned(),
        scope: new.scope,
        prefix: format!("{PREFIX}{}", fresh.public_id),
        created_at: row.created_at,
        expires_at: new.expires_at,
        revoked_at: None,
        replaced_by: None,
        limits: (&new.limits).into(),
    })
}

/// An account's keys, newest first, revoked ones included.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool, account: Uuid) -> Result<Vec<KeySummary>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select k.id, k.name, k.scope, k.public_id, k.created_at, k.expires_at, k.revoked_at, k.replaced_by,
               to_jsonb(l) as "limits: SqlJson<Limits>"
           from keys k left join limits l on l.subject = k.id where k.account_id = $1 order by k.created_at desc"#,
        account
    )
    .fetch_all(database)
    .await?;
    let summaries = rows.into_iter().map(|row| KeySummary {
        id: row.id,
        name: row.name,
        scope: Scope::from_word(&row.scope),
        prefix: format!("{PREFIX}{}", row.public_id),
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        replaced_by: row.replaced_by,
        limits: (&given(row.limits)).into(),
    });
    Ok(summaries.collect())
}

/// Revokes a key, everywhere, for good. False when the account has no such key. Revoking twice is no error.
///
/// # Errors
/// When the database fails.
pub async fn revoke(database: &PgPool, account: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update keys set revoked_at = coalesce(revoked_at, now()) where id = $1 and account_id = $2",
        id,
        account
    )
    .execute(database)
    .await?;
    Ok(done.rows_affected() == 1)
}
