//! Who is asking. Handlers take a [`Caller`] (a key, on `/v1`), a [`User`] (a session or management key, on `/api`) or a
//! [`Manager`] (the same on `/v1`); without one there is nothing that they could do.

pub mod accounts;

pub mod address;

pub mod cookie;

pub mod guesses;

pub mod key;

pub mod password;

pub mod session;

pub mod user;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use openapi::error::ApiError;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::audit_log::{Actor, Who};
use crate::error::{Failure, Problem};
use crate::listener::Door;
use address::Peer;
use key::{Key, KeyError, Scope, Watch};

/// An inference key and the account behind it.
pub struct Caller {
    pub key: Arc<Key>,
    /// Where the request comes from.
    pub address: IpAddr,
    watch: Watch,
}

impl Caller {
    /// Given when the key is revoked while the request runs.
    pub fn revoked(&self) -> CancellationToken {
        self.watch.revoked()
    }

    /// The gateway itself, with a key that its operator gave it.
    ///
    /// # Errors
    /// When the key is no inference key, or nobody knows.
    pub async fn within(app: &App, key: &str) -> anyhow::Result<Self> {
        let (key, watch) = app.keys.find_and_watch(key).await?;
        anyhow::ensure!(key.scope == Scope::Inference, "the gateway's own key is no inference key");
        Ok(Self { key, address: IpAddr::V4(Ipv4Addr::LOCALHOST), watch })
    }

    /// A watch of the key that outlives this caller.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let text = bearer(&parts.headers).ok_or_else(no_key)?;
        let (key, watch) = app.keys.find_and_watch(text).await.map_err(|error| match error {
            KeyError::Wrong => wrong_key(text),
            KeyError::Expired(at) => unusable_key(expired(at)),
            KeyError::Database(error) => Failure::from(error).0,
        })?;
        if key.scope != Scope::Inference {
            let message = "This is a management key: it works on /api. Create an inference key for /v1.";
            return Err(unusable_key(message).into());
        }
        let address = address(parts, app).ok_or_else(ApiError::internal)?;
        key.limits.check_address(address)?;
        Ok(Self { key, address, watch })
    }
}

/// Someone who may manage an account.
pub struct User {
    pub id: Uuid,
    pub account: Uuid,
    /// May do here what administrators do.
    pub is_admin: bool,
    /// Is an administrator, but not on this listener.
    pub administers_elsewhere: bool,
    /// The session signed in with, unless it was a management key.
    pub session: Option<Uuid>,
}

impl FromRequestParts<App> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        const ADVICE: &str =
            "Sign in at POST /api/sessions, or use a management key, and send 'Authorization: Bearer …'.";
        let text = bearer(&parts.headers).ok_or_else(|| Problem::unauthorized(ADVICE))?;
        let (id, session, key) = if text.starts_with(key::PREFIX) {
            let key = app.keys.find(text).await.map_err(|error| match error {
                KeyError::Wrong => Problem::unauthorized("This key is unknown or revoked."),
                KeyError::Expired(at) => Problem::unauthorized(expired(at)),
                KeyError::Database(error) => error.into(),
            })?;
            if key.scope != Scope::Management {
                return Err(Problem::forbidden("This key is for asking models. Use a management key, or sign in."));
            }
            let address = address(parts, app).ok_or_else(Problem::internal)?;
            key.limits.check_address(address).map_err(|error| Problem::forbidden(error.detail.message))?;
            (key.created_by, None, Some(key.id))
        } else {
            let claims = session::check(&app.secrets, text)
                .ok_or_else(|| Problem::unauthorized("This session has ended. Sign in again."))?;
            (claims.sub, Some(claims.sid), None)
        };
        let found = user::find(&app.database, id).await?.ok_or_else(|| Problem::unauthorized(ADVICE))?;
        if let Some(actor) = parts.extensions.get::<Actor>() {
            actor.is(Who { user: id, account: found.account_id, session, key });
        }
        let is_here = !app.admin_apart || parts.extensions.get() == Some(&Door::ForAdministrators);
        let (is_admin, administers_elsewhere) = (found.is_admin && is_here, found.is_admin && !is_here);
        Ok(Self { id, account: found.account_id, is_admin, administers_elsewhere, session })
    }
}

/// A [`User`] where errors have OpenAI's shape: whoever would have an admin key there.
pub struct Manager(pub User);

impl FromRequestParts<App> for Manager {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Ok(Self(User::from_request_parts(parts, app).await?))
    }
}

/// Where a request comes from, as far as proxies are trusted.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

impl FromRequestParts<App> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        address(parts, app).map(Self).ok_or_else(Problem::internal)
    }
}

/// The client's address. None when the request came in by no listener of ours.
fn address(parts: &Parts, app: &App) -> Option<IpAddr> {
    address_of(&parts.extensions, &parts.headers, app)
}

pub(crate) fn address_of(extensions: &Extensions, headers: &HeaderMap, app: &App) -> Option<IpAddr> {
    extensions.get::<Peer>().map(|peer| app.trusted_proxies.client(peer.0, headers))
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
    unusable_key(message)
}

fn expired(at: OffsetDateTime) -> String {
    let at = at.format(&Rfc3339).unwrap_or_default();
    format!("This API key has expired at {at}. Create a new one at POST /api/keys.")
}

fn unusable_key(message: impl Into<String>) -> ApiError {
    ApiError::new(401, "invalid_request_error", Some("invalid_api_key"), message)
}

/// The error of a request whose key was revoked while it ran.
pub fn revoked() -> ApiError {
    unusable_key("The API key was revoked while the request was running.")
}
