//! The management API: JSON in and out, RFC 9457 problems, unknown fields refused. A handler that takes a
//! [`User`] is for signed-in people and management keys; everything is within that user's account.

pub mod accounts;

pub mod aliases;

pub mod attached;

pub mod audit_log;

pub mod cancel;

pub mod energy;

pub mod epochs;

pub mod events;

pub mod keys;

pub mod ledger;

pub mod limits;

pub mod live;

pub mod maintenance;

pub mod nodes;

pub mod prices;

pub mod routing;

pub mod sessions;

pub mod splits;

pub mod usage;

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{User, user};
use crate::body::Json;
use crate::error::Problem;
use crate::names;

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    id: Uuid,
    email: String,
    name: String,
    /// May do what administrators do.
    is_admin: bool,
    /// Is an administrator, and has to act on the listener that this gateway has for them.
    administers_elsewhere: bool,
    account: Uuid,
}

/// Says who is asking.
#[utoipa::path(get, path = "/api/me", tag = "Account", security(("session" = [])), responses((status = 200, body = Me), Problem))]
pub async fn me(app: App, user: User) -> Result<Json<Me>, Problem> {
    let found = user::find(&app.database, user.id).await?.ok_or_else(|| Problem::not_found("user"))?;
    Ok(Json(Me {
        id: found.id,
        email: found.email,
        name: found.name,
        is_admin: user.is_admin,
        administers_elsewhere: user.administers_elsewhere,
        account: found.account_id,
    }))
}

/// A name that people give to a key or the like.
pub(crate) fn checked_name(name: &str) -> Result<&str, Problem> {
    names::checked(name).ok_or_else(|| Problem::bad_request(names::RULE))
}

/// Refuses everybody else.
pub(crate) fn administrators_only(user: &User) -> Result<(), Problem> {
    match (user.is_admin, user.administers_elsewhere) {
        (true, _) => Ok(()),
        (false, true) => Err(Problem::forbidden(
            "Administrators of this gateway act on a listener of their own (COMMONWATT_ADMIN_LISTEN), not on this one.",
        )),
        (false, false) => Err(Problem::forbidden("This is for administrators.")),
    }
}

/// A time from which something is to count.
fn not_past(from: Option<OffsetDateTime>) -> Result<(), Problem> {
    if from.is_none_or(|from| from >= OffsetDateTime::now_utc()) {
        Ok(())
    } else {
        Err(Problem::bad_request("`effective_from` can't lie in the past. Leave it out for now."))
    }
}

/// What went wrong with something that is not the caller's fault.
fn internal(error: &anyhow::Error) -> Problem {
    tracing::error!("{error:#}");
    match error.downcast_ref::<sqlx::Error>() {
        Some(_) => {
            Problem::of(axum::http::StatusCode::SERVICE_UNAVAILABLE, crate::error::database_away().detail.message)
        }
        None => Problem::internal(),
    }
}
