//! Other names under which models can be asked.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::administrators_only;
use crate::aliases::table::{self, Row};
use crate::aliases::{NoAlias, check};
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path};
use crate::error::Problem;

/// What an alias is to stand for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlias {
    /// Name or content address of a model.
    model: String,
}

/// An alias.
#[derive(Debug, Serialize, ToSchema)]
pub struct AliasView {
    /// What to send as `model`.
    alias: String,
    /// The model that answers.
    model: String,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

/// All aliases.
#[derive(Debug, Serialize, ToSchema)]
pub struct AliasList {
    data: Vec<AliasView>,
}

impl From<Row> for AliasView {
    fn from(Row { alias, model, updated_at }: Row) -> Self {
        Self { alias, model, updated_at }
    }
}

impl From<NoAlias> for Problem {
    fn from(why: NoAlias) -> Self {
        Self::bad_request(why.to_string())
    }
}

/// Lists the aliases of models.
#[utoipa::path(get, path = "/api/aliases", tag = "Aliases", security(("session" = [])),
    responses((status = 200, body = AliasList), Problem))]
pub async fn list(app: App, _: User) -> Result<Json<AliasList>, Problem> {
    let rows = table::all(&app.database).await?;
    Ok(Json(AliasList { data: rows.into_iter().map(AliasView::from).collect() }))
}

/// Lets a name stand for a model: whoever may ask the model may do so under this name, and the answer names the model. A
/// slash in the name is written as `%2F`. For administrators.
#[utoipa::path(put, path = "/api/aliases/{alias}", tag = "Aliases", security(("session" = [])),
    params(("alias" = String, Path)), request_body = NewAlias, responses((status = 200, body = AliasView), Problem))]
pub async fn set(
    app: App,
    user: User,
    Path(alias): Path<String>,
    Json(new): Json<NewAlias>,
) -> Result<Json<AliasView>, Problem> {
    administrators_only(&user)?;
    // Of another gateway's change this one may not have heard.
    app.aliases.reload(&app.database).await?;
    check(&app.aliases.all(), (&alias, &new.model), |name| app.nodes.is_known(name))?;
    let row = table::set(&app.database, &alias, &new.model, user.id).await?;
    app.aliases.reload(&app.database).await?;
    Ok(Json(row.into()))
}

/// Takes an alias away. For administrators.
#[utoipa::path(delete, path = "/api/aliases/{alias}", tag = "Aliases", security(("session" = [])),
    params(("alias" = String, Path)), responses((status = 204), Problem))]
pub async fn remove(app: App, user: User, Path(alias): Path<String>) -> Result<StatusCode, Problem> {
    administrators_only(&user)?;
    app.aliases.reload(&app.database).await?;
    // What can't be an alias is not even a text to the database.
    if app.aliases.stands_for(&alias).is_none() || !table::remove(&app.database, &alias).await? {
        return Err(Problem::of(StatusCode::NOT_FOUND, "There is no such alias."));
    }
    app.aliases.reload(&app.database).await?;
    Ok(StatusCode::NO_CONTENT)
}
