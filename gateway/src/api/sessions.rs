//! Signing in and out.

use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::internal;
use crate::app::App;
use crate::auth::session::{self, Tokens};
use crate::auth::{User, user};
use crate::body::Json;
use crate::error::Problem;

/// An address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// The refresh token of a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    refresh_token: String,
}

/// Signs in.
#[utoipa::path(post, path = "/api/sessions", tag = "Sessions", request_body = Credentials,
    responses((status = 201, body = Tokens), (status = 401, description = "The address or the password is wrong"),
        (status = 429, description = "Too many wrong passwords"), Problem))]
pub async fn sign_in(app: App, Json(credentials): Json<Credentials>) -> Result<(StatusCode, Json<Tokens>), Problem> {
    let slot = app.passwords.try_sign_in(&credentials.email)?;
    // Postgres stores no NUL; such an address is nobody's.
    let found = match credentials.email.contains('\0') {
        true => None,
        false => user::find_by_email(&app.database, &credentials.email).await?,
    };
    let (id, hash) = found.map(|found| (found.id, found.password_hash)).unzip();
    let right = app.passwords.check(&credentials.password, hash).await.map_err(|error| internal(&error))?;
    let Some(id) = id.filter(|_| right) else {
        return Err(Problem::unauthorized("The address or the password is wrong."));
    };
    slot.succeeded();
    let tokens = session::begin(&app.database, &app.secrets, id).await.map_err(|error| internal(&error))?;
    Ok((StatusCode::CREATED, Json(tokens)))
}

/// Trades a refresh token for the next pair. Each works once; using one twice ends the session.
#[utoipa::path(post, path = "/api/sessions/refresh", tag = "Sessions", request_body = Refresh,
    responses((status = 200, body = Tokens), (status = 401, description = "The refresh token is no good"), Problem))]
pub async fn refresh(app: App, Json(refresh): Json<Refresh>) -> Result<Json<Tokens>, Problem> {
    let renewed =
        session::renew(&app.database, &app.secrets, &refresh.refresh_token).await.map_err(|error| internal(&error))?;
    renewed
        .map(Json)
        .ok_or_else(|| Problem::unauthorized("This refresh token is unknown, used or expired. Sign in again."))
}

/// Signs out: the refresh token ends now, the access token within 15 minutes.
#[utoipa::path(delete, path = "/api/sessions/current", tag = "Sessions", security(("session" = [])),
    responses((status = 204), (status = 400, description = "A management key has no session"), Problem))]
pub async fn sign_out(app: App, user: User) -> Result<StatusCode, Problem> {
    let session =
        user.session.ok_or_else(|| Problem::bad_request("A management key has no session. Revoke the key instead."))?;
    session::end(&app.database, session).await?;
    Ok(StatusCode::NO_CONTENT)
}
