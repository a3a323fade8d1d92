//! How income is shared.

use axum::http::StatusCode;
use openapi::price::Split;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{administrators_only, not_past};
use crate::app::App;
use crate::auth::User;
use crate::body::Json;
use crate::error::Problem;
use crate::ledger::split::{self, SplitVersion};

/// A split to come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSplit {
    /// In parts per million, which add up to a million.
    split: Split,
    /// From when it counts, as `2027-01-31T00:00:00Z`; now if not given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    effective_from: Option<OffsetDateTime>,
}

/// All splits.
#[derive(Debug, Serialize, ToSchema)]
pub struct SplitList {
    /// The version that counts now.
    in_force: i32,
    /// The last to come first.
    data: Vec<SplitVersion>,
}

/// Sets how income is shared from now or a later time on. For administrators.
#[utoipa::path(post, path = "/api/splits", tag = "Ledger", security(("session" = [])), request_body = NewSplit,
    responses((status = 201, body = SplitVersion), Problem))]
pub async fn add(app: App, user: User, Json(new): Json<NewSplit>) -> Result<(StatusCode, Json<SplitVersion>), Problem> {
    administrators_only(&user)?;
    if !new.split.is_whole() {
        return Err(Problem::bad_request("The parts of a split add up to 1000000, parts per million."));
    }
    not_past(new.effective_from)?;
    let added = split::add(&app.database, new.split, new.effective_from, user.id).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Lists how income was, is and will be shared.
#[utoipa::path(get, path = "/api/splits", tag = "Ledger", security(("session" = [])),
    responses((status = 200, body = SplitList), Problem))]
pub async fn list(app: App, _: User) -> Result<Json<SplitList>, Problem> {
    let in_force = split::in_force(&app.database, OffsetDateTime::now_utc()).await?.version;
    Ok(Json(SplitList { in_force, data: split::list(&app.database).await? }))
}
