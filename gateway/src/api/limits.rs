//! Limits of users and accounts, which administrators set. A key's own limits are the key's.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{User, user};
use crate::body::{Json, Path};
use crate::error::Problem;
use crate::limits::body::{LimitsBody, LimitsView};
use crate::limits::{self, Kind, Limits};

/// Limits of a user or an account.
#[derive(Serialize, ToSchema)]
pub struct SubjectLimits {
    id: Uuid,
    limits: LimitsView,
}

/// Shows the limits of a user or an account: to administrators, to the account's owners, to the user.
#[utoipa::path(get, path = "/api/limits/{kind}/{id}", tag = "Limits", security(("session" = [])),
    params(("kind" = Kind, Path), ("id" = Uuid, Path)), responses((status = 200, body = SubjectLimits), Problem))]
pub async fn show(app: App, user: User, Path((kind, id)): Path<(Kind, Uuid)>) -> Result<Json<SubjectLimits>, Problem> {
    let own = match kind {
        Kind::User => id == user.id,
        Kind::Account => user::owns(&app.database, user.id, id).await?,
    };
    if !own && !user.is_admin {
        return Err(Problem::forbidden("These limits are shown to administrators and to whom they are for."));
    }
    check_exists(&app, kind, id).await?;
    let limits = limits::of(&mut *app.database.acquire().await?, id).await?;
    Ok(Json(SubjectLimits { id, limits: (&limits).into() }))
}

/// Sets the limits of a user or an account. What is left out is not limited.
#[utoipa::path(put, path = "/api/limits/{kind}/{id}", tag = "Limits", security(("session" = [])),
    params(("kind" = Kind, Path), ("id" = Uuid, Path)), request_body = LimitsBody,
    responses((status = 200, body = SubjectLimits), Problem))]
pub async fn set(
    app: App,
    user: User,
    Path((kind, id)): Path<(Kind, Uuid)>,
    Json(body): Json<LimitsBody>,
) -> Result<Json<SubjectLimits>, Problem> {
    if !user.is_admin {
        return Err(Problem::forbidden("Only administrators limit users and accounts."));
    }
    check_exists(&app, kind, id).await?;
    let limits = body.applied_to(Limits::default())?;
    limits::set(&mut *app.database.acquire().await?, kind.subject(id), &limits).await?;
    Ok(Json(SubjectLimits { id, limits: (&limits).into() }))
}

async fn check_exists(app: &App, kind: Kind, id: Uuid) -> Result<(), Problem> {
    if limits::exists(&app.database, kind, id).await? {
        return Ok(());
    }
    Err(Problem::of(axum::http::StatusCode::NOT_FOUND, "There is no user or account of this id."))
}
