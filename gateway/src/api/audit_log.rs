//! What was done through the management API and at the command line.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::usage::table::checked_limit;
use crate::app::App;
use crate::audit_log::table::{self, Row};
use crate::auth::User;
use crate::body::{Json, Query};
use crate::error::Problem;

const USUAL_ROWS: i64 = 50;
const MOST_ROWS: i64 = 200;

/// Which acts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActsQuery {
    /// `true` for those of all accounts and of the command line, for administrators.
    #[serde(default)]
    all: bool,
    /// Only acts older than this one: `next` of the page before.
    before: Option<Uuid>,
    /// At most this many, 1 to 200; 50 if not given.
    limit: Option<i64>,
}

/// An act: a request that was to change something.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActView {
    /// The request's id, which its reply bore as `x-request-id`.
    id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// Null at the command line of the gateway's operator.
    user: Option<Uuid>,
    email: Option<String>,
    account: Option<Uuid>,
    /// The session, or the management key, with which it was done.
    session: Option<Uuid>,
    key: Option<Uuid>,
    /// Where it came from.
    address: Option<String>,
    /// As `POST /api/keys`, or `admin grant`.
    act: String,
    /// The HTTP status of the answer; 0 at the command line.
    status: i16,
}

impl From<Row> for ActView {
    fn from(row: Row) -> Self {
        let Row { id, at, user_id, email, account_id, session_id, key_id, address, act, status } = row;
        Self {
            id,
            at,
            user: user_id,
            email,
            account: account_id,
            session: session_id,
            key: key_id,
            address,
            act,
            status,
        }
    }
}

/// Acts, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActList {
    data: Vec<ActView>,
    /// Give it as `before` for the next page; null on the last one.
    next: Option<Uuid>,
}

/// Lists what was done in the account, or in all of them, newest first: whatever was to change something, done or refused.
#[utoipa::path(get, path = "/api/audit-log", tag = "Audit", security(("session" = [])), params(ActsQuery),
    responses((status = 200, body = ActList), Problem))]
pub async fn list(app: App, user: User, Query(query): Query<ActsQuery>) -> Result<Json<ActList>, Problem> {
    if query.all {
        super::administrators_only(&user)?;
    }
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    let account = (!query.all).then_some(user.account);
    let rows = table::list(&app.database, account, query.before, limit).await?;
    let is_full = usize::try_from(limit).is_ok_and(|limit| rows.len() == limit);
    let next = rows.last().map(|last| last.id).filter(|_| is_full);
    Ok(Json(ActList { data: rows.into_iter().map(ActView::from).collect(), next }))
}
