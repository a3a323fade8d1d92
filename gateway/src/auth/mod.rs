//! Who is asking. Handlers take a [`Caller`] (a key, on `/v1`) or a [`User`] (a session or management key, on `/api`);
//! without one there is nothing that they could do.

pub mod key;

pub mod password;

pub mod session;

pub mod user;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use openapi::error::ApiError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::error::{Failure, Problem};
use key::{Key, KeyError, Scope, Watch};

/// An inference key and the account behind it.
pub struct Caller {
    pub key: Arc<Key>,
    watch: Watch,
}

impl Caller {
    /// Given when the key is revoked while the request runs.
    pub fn revoked(&self) -> CancellationToken {
        self.watch.revoked()
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let text = bearer(&parts.headers).ok_or_else(no_key)?;
        let key = app.keys.find(text).await.map_err(|error| match error {
            KeyError::Wrong => wrong_key(text),
            KeyError::Database(error) => Failure::from(error).0,
        })?;
        if key.scope != Scope::Inference {
            let message = "This is a management key: it works on /api. Create an inference key for /v1.";
            return Err(ApiError::new(401, "invalid_request_error", Some("invalid_api_key"), message).into());
        }
        let watch = app.keys.watch(&key);
        Ok(Self { key, watch })
    }
}

/// Someone who may manage an account.
pub struct User {
    pub id: Uuid,
    pub account: Uuid,
    pub is_admin: bool,
    /// The session signed in with, unless it was a management key.
    pub session: Option<Uuid>,
}

impl FromRequestParts<App> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        const ADVICE: &str =
            "Sign in at POST /api/sessions, or use a management key, and send 'Authorization: Bearer …'.";
        let text = bearer(&parts.headers).ok_or_else(|| Problem::unauthorized(ADVICE))?;
        let (id, session) = if text.starts_with(key::PREFIX) {
            let key = app.keys.find(text).await.map_err(|error| match error {
                KeyError::Wrong => Problem::unauthorized("This key is unknown or revoked."),
                KeyError::Database(error) => error.into(),
            })?;
            if key.scope != Scope::Management {
                return Err(Problem::forbidden("This key is for /v1. Use a management key, or sign in."));
            }
            (key.created_by, None)
        } else {
            let claims = session::check(&app.secrets, text)
                .ok_or_else(|| Problem::unauthorized("This session has ended. Sign in again."))?;
            (claims.sub, Some(claims.sid))
        };
        let found = user::find(&app.database, id).await?.ok_or_else(|| Problem::unauthorized(ADVICE))?;
        Ok(Self { id, account: found.account_id, is_admin: found.is_admin, session })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn no_key() -> ApiError {
    let message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth \
                   (i.e. Authorization: Bearer YOUR_KEY).";
    ApiError::new(401, "invalid_request_error", None, message)
}

fn wrong_key(text: &str) -> ApiError {
    let shown: String = text.chars().take(8).filter(char::is_ascii_graphic).collect();
    let message = format!("Incorrect API key provided: {shown}***. Keys are created at POST /api/keys.");
    ApiError::new(401, "invalid_request_error", Some("invalid_api_key"), message)
}

/// The error of a request whose key was revoked while it ran.
pub fn revoked() -> ApiError {
    ApiError::new(
        401,
        "invalid_request_error",
        Some("invalid_api_key"),
        "The API key was revoked while the request was running.",
    )
}
