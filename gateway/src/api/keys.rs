//! Keys of the account.

use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{checked_name, internal};
use crate::app::App;
use crate::auth::User;
use crate::auth::key::{self, Fresh, KeyPatch, KeySummary, Scope};
use crate::body::{Json, Path};
use crate::error::Problem;
use crate::limits::Limits;
use crate::limits::body::{LimitsBody, given};

const LONGEST_OVERLAP_SECONDS: u64 = 7 * 24 * 60 * 60;

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    name: String,
    /// `inference` for `/v1` if not given.
    #[serde(default = "inference")]
    scope: Scope,
    /// None if not given. Of a management key only `networks` can be limited.
    limits: Option<LimitsBody>,
    /// When it ends by itself, as `2027-01-31T00:00:00Z`; never if not given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
}

fn inference() -> Scope {
    Scope::Inference
}

/// A key just made.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    #[serde(flatten)]
    summary: KeySummary,
    /// The key itself. It is shown this once.
    key: String,
}

/// What is to change about a key. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedKey {
    #[serde(default, deserialize_with = "given")]
    name: Option<String>,
    /// Only those that are named change; null takes all away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<LimitsBody>)]
    limits: Option<Option<LimitsBody>>,
    /// When it ends by itself; null for never.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<OffsetDateTime>)]
    expires_at: Option<Option<Moment>>,
}

#[derive(Deserialize)]
struct Moment(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);

/// How a key's successor takes over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how long the old key still works: 0 to 604800, which is seven days.
    overlap_seconds: u64,
}

/// All keys.
#[derive(Serialize, ToSchema)]
pub struct KeyList {
    data: Vec<KeySummary>,
}

/// Makes a key.
#[utoipa::path(post, path = "/api/keys", tag = "Keys", security(("session" = [])), request_body = NewKey,
    responses((status = 201, body = CreatedKey), Problem))]
pub async fn create(app: App, user: User, Json(new): Json<NewKey>) -> Result<(StatusCode, Json<CreatedKey>), Problem> {
    let limits = new.limits.unwrap_or_default().applied_to(Limits::default())?;
    limits.suit(new.scope)?;
    let expires_at = new.expires_at.map(in_the_future).transpose()?;
    let key = key::NewKey { name: checked_name(&new.name)?, scope: new.scope, limits, expires_at };
    let fresh = Fresh::draw(&app.secrets).map_err(|error| internal(&error))?;
    let summary = key::create(&app.database, (user.account, user.id), key, &fresh).await?;
    Ok((StatusCode::CREATED, Json(CreatedKey { summary, key: fresh.into_text() })))
}

/// Lists keys, newest first, revoked ones included.
#[utoipa::path(get, path = "/api/keys", tag = "Keys", security(("session" = [])), responses((status = 200, body = KeyList), Problem))]
pub async fn list(app: App, user: User) -> Result<Json<KeyList>, Problem> {
    Ok(Json(KeyList { data: key::list(&app.database, user.account).await? }))
}

/// Changes a key's name, limits or end.
#[utoipa::path(patch, path = "/api/keys/{id}", tag = "Keys", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = ChangedKey,
    responses((status = 204), (status = 409, description = "The key is revoked"), Problem))]
pub async fn change(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(changed): Json<ChangedKey>,
) -> Result<StatusCode, Problem> {
    let end = |end: Option<Moment>| end.map(|Moment(at)| in_the_future(at)).transpose();
    let patch = KeyPatch {
        name: changed.name.as_deref().map(checked_name).transpose()?,
        limits: changed.limits,
        expires_at: changed.expires_at.map(end).transpose()?,
    };
    key::change(&app.database, user.account, id, patch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a key's successor, with the same name, scope, limits and end. The old key works on for the overlap.
#[utoipa::path(post, path = "/api/keys/{id}/rotate", tag = "Keys", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = Rotation,
    responses((status = 201, body = CreatedKey), (status = 409, description = "The key is revoked or has expired"), Problem))]
pub async fn rotate(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(rotation): Json<Rotation>,
) -> Result<(StatusCode, Json<CreatedKey>), Problem> {
    if rotation.overlap_seconds > LONGEST_OVERLAP_SECONDS {
        let advice = format!("`overlap_seconds` lies between 0 and {LONGEST_OVERLAP_SECONDS}.");
        return Err(Problem::bad_request(advice));
    }
    let fresh = Fresh::draw(&app.secrets).map_err(|error| internal(&error))?;
    let overlap = Duration::from_secs(rotation.overlap_seconds);
    let summary = key::rotate(&app.database, (user.account, user.id), id, overlap, &fresh).await?;
    Ok((StatusCode::CREATED, Json(CreatedKey { summary, key: fresh.into_text() })))
}

/// Revokes a key within a second, requests that run with it included.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "Keys", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 204), Problem))]
pub async fn revoke(app: App, user: User, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let found = key::revoke(&app.database, user.account, id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("key")) }
}

fn in_the_future(at: OffsetDateTime) -> Result<OffsetDateTime, Problem> {
    if at > OffsetDateTime::now_utc() {
        Ok(at)
    } else {
        Err(Problem::bad_request("`expires_at` lies in the past. Revoke the key to end it now."))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<ChangedKey, String> {
        serde_json::from_value(body).map_err(|error| error.to_string())
    }

    #[test]
    fn null_is_not_the_same_as_nothing() {
        let nothing = read(json!({})).unwrap();
        assert!(nothing.name.is_none() && nothing.limits.is_none() && nothing.expires_at.is_none());
        let none = read(json!({"limits": null, "expires_at": null})).unwrap();
        assert!(matches!(none, ChangedKey { name: None, limits: Some(None), expires_at: Some(None) }));
        let both = read(json!({"limits": {}, "expires_at": "2027-01-31T00:00:00Z"})).unwrap();
        assert!(matches!(both, ChangedKey { limits: Some(Some(_)), expires_at: Some(Some(_)), .. }));
        for wrong in [
            json!({"name": null}),
            json!({"expires_at": "tomorrow"}),
            json!({"expires_at": 5}),
            json!({"limits": {"budget": 5}}),
            json!({"scope": "management"}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_ends_in_the_future() {
        let now = OffsetDateTime::now_utc();
        assert!(in_the_future(now + time::Duration::minutes(1)).is_ok());
        assert!(in_the_future(now - time::Duration::minutes(1)).is_err());
    }
}
