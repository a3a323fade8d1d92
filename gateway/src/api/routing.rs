//! What the account asks of nodes where its requests do not.

use serde_json::Value;

use crate::app::App;
use crate::auth::User;
use crate::body::Json;
use crate::error::Problem;
use crate::nodes::preference::Preference;
use crate::routing;

/// Shows the `provider` object that counts for the account's requests as far as they give none of its fields.
#[utoipa::path(get, path = "/api/routing", tag = "Routing", security(("session" = [])),
    responses((status = 200, body = Preference, description = "As `provider` in a request"), Problem))]
pub async fn show(app: App, user: User) -> Result<Json<Value>, Problem> {
    Ok(Json(routing::of(&app.database, user.account).await?))
}

/// Sets it. A request's own fields win, but for two: `data_collection: "deny"` and `ignore` hold whatever a request says.
#[utoipa::path(put, path = "/api/routing", tag = "Routing", security(("session" = [])), request_body = Preference,
    responses((status = 200, body = Preference, description = "As it is kept"), Problem))]
pub async fn set(app: App, user: User, Json(provider): Json<Value>) -> Result<Json<Value>, Problem> {
    let preference = Preference::read(Some(&provider)).map_err(|error| Problem::bad_request(&error.detail.message))?;
    routing::set(&app.database, user.account, &preference).await?;
    Ok(Json(preference.to_value()))
}
