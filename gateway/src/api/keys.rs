//! Keys of the account.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{checked_name, internal};
use crate::app::App;
use crate::auth::User;
use crate::auth::key::{self, KeySummary, Scope};
use crate::body::{Json, Path};
use crate::error::Problem;

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    name: String,
    /// `inference` for `/v1` if not given.
    #[serde(default = "inference")]
    scope: Scope,
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

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    name: String,
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
    let name = checked_name(&new.name)?;
    let created = key::create(&app.database, &app.secrets, (user.account, user.id), name, new.scope).await;
    let (summary, key) = created.map_err(|error| internal(&error))?;
    Ok((StatusCode::CREATED, Json(CreatedKey { summary, key })))
}

/// Lists keys, newest first, revoked ones included.
#[utoipa::path(get, path = "/api/keys", tag = "Keys", security(("session" = [])), responses((status = 200, body = KeyList), Problem))]
pub async fn list(app: App, user: User) -> Result<Json<KeyList>, Problem> {
    Ok(Json(KeyList { data: key::list(&app.database, user.account).await? }))
}

/// Renames a key.
#[utoipa::path(patch, path = "/api/keys/{id}", tag = "Keys", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = Rename, responses((status = 204), Problem))]
pub async fn rename(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(rename): Json<Rename>,
) -> Result<StatusCode, Problem> {
    let found = key::rename(&app.database, user.account, id, checked_name(&rename.name)?).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("key")) }
}

/// Revokes a key within a second, requests that run with it included.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "Keys", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 204), Problem))]
pub async fn revoke(app: App, user: User, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let found = key::revoke(&app.database, user.account, id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("key")) }
}
