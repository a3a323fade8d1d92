//! Keys that change: another name, other limits, another end; and rotation, in which a key's successor is made and the
//! old one lives on for a while.

use axum::http::StatusCode;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use time::OffsetDateTime;
use uuid::Uuid;

use super::table::{NewKey, insert};
use super::{Fresh, KeySummary, Scope};
use crate::error::Problem;
use crate::limits::body::LimitsBody;
use crate::limits::{self, Limits, Subject};

/// What is to change. None: it stays as it is.
#[derive(Default)]
pub struct KeyPatch<'a> {
    pub name: Option<&'a str>,
    /// Some(None) takes all limits away.
    pub limits: Option<Option<LimitsBody>>,
    /// Some(None): it never expires.
    pub expires_at: Option<Option<OffsetDateTime>>,
}

/// Changes a key of the account.
///
/// # Errors
/// When the account has no such key, when the limits are wrong, when the database fails.
pub async fn change(database: &PgPool, account: Uuid, id: Uuid, patch: KeyPatch<'_>) -> Result<(), Problem> {
    let mut transaction = database.begin().await?;
    let key = sqlx::query!(
        "select name, scope, expires_at from keys where id = $1 and account_id = $2 for update",
        id,
        account
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or_else(|| Problem::not_found("key"))?;
    sqlx::query!(
        "update keys set name = $2, expires_at = $3 where id = $1",
        id,
        patch.name.unwrap_or(&key.name),
        patch.expires_at.unwrap_or(key.expires_at)
    )
    .execute(&mut *transaction)
    .await?;
    if let Some(limits) = patch.limits {
        let limits = match limits {
            Some(body) => body.applied_to(limits::of(&mut transaction, id).await?)?,
            None => Limits::default(),
        };
        limits.suit(Scope::from_word(&key.scope))?;
        limits::set(&mut transaction, Subject::Key(id), &limits).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Makes a key with the name, scope, limits and expiry of this one, which ends after the overlap at the latest. It
/// counts as made by whoever rotates, since a management key acts in its creator's name.
///
/// # Errors
/// When the account has no such key, when it is no longer valid or was replaced before, when the database fails.
pub async fn rotate(
    database: &PgPool,
    owner: (Uuid, Uuid),
    id: Uuid,
    overlap: std::time::Duration,
    fresh: &Fresh,
) -> Result<KeySummary, Problem> {
    let mut transaction = database.begin().await?;
    let old = sqlx::query!(
        r#"select name, scope, expires_at, replaced_by, revoked_at is not null as "revoked!",
               coalesce(expires_at <= now(), false) as "expired!"
           from keys where id = $1 and account_id = $2 for update"#,
        id,
        owner.0
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or_else(|| Problem::not_found("key"))?;
    if let Some(successor) = old.replaced_by {
        let advice = format!("This key was replaced by {successor} before. Rotate that one.");
        return Err(Problem::of(StatusCode::CONFLICT, advice));
    }
    if old.revoked || old.expired {
        return Err(Problem::of(StatusCode::CONFLICT, "This key is revoked or has expired. Create a new one."));
    }
    let limits = limits::of(&mut transaction, id).await?;
    let new = NewKey { name: &old.name, scope: Scope::from_word(&old.scope), limits, expires_at: old.expires_at };
    let summary = insert(&mut transaction, owner, new, fresh).await?;
    let overlap = PgInterval::try_from(overlap).map_err(|_| Problem::bad_request("This overlap is too long."))?;
    sqlx::query!(
        "update keys set replaced_by = $2, expires_at = least(expires_at, now() + $3::interval) where id = $1",
        id,
        summary.id,
        overlap
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(summary)
}

#[cfg(test)]
mod tests;
