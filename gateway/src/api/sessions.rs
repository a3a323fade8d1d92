//! Signing in and out.

use axum::Extension;
use axum::http::StatusCode;
use axum::response::{AppendHeaders, IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::internal;
use crate::app::App;
use crate::audit_log::{Actor, Who};
use crate::auth::cookie::SessionCookie;
use crate::auth::session::{self, Tokens};
use crate::auth::{ClientAddress, User, user};
use crate::body::Json;
use crate::error::Problem;

/// An address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// For browsers: the refresh token comes as a cookie that no script can read, and not in the body.
    #[serde(default)]
    cookie: bool,
}

/// The refresh token of a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The cookie's if not given.
    refresh_token: Option<String>,
}

/// Signs in.
#[utoipa::path(post, path = "/api/sessions", tag = "Sessions", request_body = Credentials,
    responses((status = 201, body = Tokens), (status = 401, description = "The address or the password is wrong"),
        (status = 429, description = "Too many wrong passwords"), Problem))]
pub async fn sign_in(
    app: App,
    cookie: SessionCookie,
    ClientAddress(address): ClientAddress,
    Extension(actor): Extension<Actor>,
    Json(credentials): Json<Credentials>,
) -> Result<Response, Problem> {
    let guess = app.guesses.begin(&credentials.email, address)?;
    // Postgres stores no NUL; such an address is nobody's.
    let found = match credentials.email.contains('\0') {
        true => None,
        false => user::find_by_email(&app.database, &credentials.email).await?,
    };
    if let Some(found) = &found {
        actor.is(Who { user: found.id, account: found.account_id, session: None, key: None });
    }
    let (id, hash) = found.map(|found| (found.id, found.password_hash)).unzip();
    let right = app.passwords.check(&credentials.password, hash).await?;
    let Some(id) = id.filter(|_| right) else {
        return Err(Problem::unauthorized("The address or the password is wrong."));
    };
    guess.succeeded();
    let tokens = session::begin(&app.database, &app.secrets, id).await.map_err(|error| internal(&error))?;
    if credentials.cookie {
        return Ok((StatusCode::CREATED, in_cookie(&cookie, tokens)).into_response());
    }
    Ok((StatusCode::CREATED, Json(tokens)).into_response())
}

/// Trades a refresh token for the next pair. Each works once. Used again within half a minute, as when the reply was lost, it gives
/// the same next one; used again later, it ends the session.
#[utoipa::path(post, path = "/api/sessions/refresh", tag = "Sessions", request_body = Refresh,
    responses((status = 200, body = Tokens), (status = 401, description = "The refresh token is no good"), Problem))]
pub async fn refresh(app: App, cookie: SessionCookie, Json(refresh): Json<Refresh>) -> Result<Response, Problem> {
    let renew = async |token: &str| {
        let renewed = session::renew(&app.database, &app.secrets, token).await.map_err(|error| internal(&error))?;
        renewed.ok_or_else(|| Problem::unauthorized("This refresh token is unknown, used or expired. Sign in again."))
    };
    if let Some(token) = &refresh.refresh_token {
        return renew(token).await.map(|tokens| Json(tokens).into_response());
    }
    let Some(token) = cookie.token() else {
        return Err(Problem::unauthorized("There is no refresh token, neither in the body nor in a cookie. Sign in."));
    };
    Ok(in_cookie(&cookie, renew(token).await?).into_response())
}

/// Signs out: the refresh token ends now, the access token within 15 minutes.
#[utoipa::path(delete, path = "/api/sessions/current", tag = "Sessions", security(("session" = [])),
    responses((status = 204), (status = 400, description = "A management key has no session"), Problem))]
pub async fn sign_out(app: App, user: User, cookie: SessionCookie) -> Result<Response, Problem> {
    let session =
        user.session.ok_or_else(|| Problem::bad_request("A management key has no session. Revoke the key instead."))?;
    session::end(&app.database, session).await?;
    let cleared = cookie.token().and_then(|_| cookie.cleared());
    Ok((StatusCode::NO_CONTENT, AppendHeaders(cleared)).into_response())
}

/// The tokens with the refresh token in a cookie.
fn in_cookie(cookie: &SessionCookie, mut tokens: Tokens) -> impl IntoResponse + use<> {
    let header = tokens.refresh_token.take().and_then(|token| cookie.bearing(&token));
    (AppendHeaders(header), Json(tokens))
}
