//! The ledger as an account sees it.

use openapi::units::signed_credits;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::administrators_only;
use super::usage::table::checked_limit;
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Query};
use crate::error::Problem;
use crate::ledger::statement::{self, Cursor, Line, Part};

const USUAL_ROWS: i64 = 50;
const MOST_ROWS: i64 = 200;

/// Money, exactly.
#[derive(Debug, Serialize, ToSchema)]
pub struct Money {
    nanocredits: i64,
    /// The same as a decimal string.
    credits: String,
}

impl From<i64> for Money {
    fn from(nanocredits: i64) -> Self {
        Self { nanocredits, credits: signed_credits(nanocredits) }
    }
}

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Another account than one's own, for administrators.
    account: Option<Uuid>,
    /// Beginning, as `2026-01-31T00:00:00Z`.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// End, exclusive.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
    /// Only lines older than this: `next` of the page before.
    before: Option<String>,
    /// At most this many, 1 to 200; 50 if not given.
    limit: Option<i64>,
}

impl Page {
    fn part(&self) -> Result<Part, Problem> {
        let limit = checked_limit(self.limit, USUAL_ROWS, MOST_ROWS)?;
        let before = self.before.as_deref().map(str::parse::<Cursor>).transpose();
        let before = before.map_err(|_| Problem::bad_request("`before` is the `next` of the page before."))?;
        Ok(Part { from: self.from, to: self.to, before, limit })
    }
}

/// A line of the ledger that moved the account's credits.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineView {
    event: Uuid,
    kind: String,
    /// `customer:<account>` for what it may spend, `operator:<account>` for what its nodes earned.
    account: String,
    #[serde(flatten)]
    amount: Money,
    request: Option<Uuid>,
    reason: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<Line> for LineView {
    fn from(line: Line) -> Self {
        Self {
            event: line.event,
            kind: line.kind,
            account: line.account,
            amount: line.nanocredits.into(),
            request: line.request,
            reason: line.reason,
            created_at: line.created_at,
        }
    }
}

/// Lines, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineList {
    data: Vec<LineView>,
    /// Give it as `before` for the next page; null on the last one.
    next: Option<String>,
}

/// Lists what moved the account's credits and its nodes' earnings, newest first.
#[utoipa::path(get, path = "/api/ledger", tag = "Ledger", security(("session" = [])), params(Page),
    responses((status = 200, body = LineList), Problem))]
pub async fn list(app: App, user: User, Query(page): Query<Page>) -> Result<Json<LineList>, Problem> {
    let account = whose(&user, page.account)?;
    let part = page.part()?;
    let lines = statement::lines(&app.database, account, part).await?;
    let full = usize::try_from(part.limit).is_ok_and(|limit| lines.len() == limit);
    let next = lines.last().map(|last| last.cursor().to_string()).filter(|_| full);
    Ok(Json(LineList { data: lines.into_iter().map(LineView::from).collect(), next }))
}

/// Whose balance.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Whose {
    /// Another account than one's own, for administrators.
    account: Option<Uuid>,
}

/// What an account has.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceView {
    account: Uuid,
    balance: Money,
    /// The part of the balance that the gateway's replicas hold at this moment, for requests that run or may come.
    leased: Money,
    /// The rest.
    available: Money,
    /// What the account's nodes have earned and was not paid out.
    earned: Money,
}

/// Says what the account has and what its nodes have earned.
#[utoipa::path(get, path = "/api/ledger/balance", tag = "Ledger", security(("session" = [])), params(Whose),
    responses((status = 200, body = BalanceView), (status = 404, description = "There is no such account"), Problem))]
pub async fn balance(app: App, user: User, Query(of): Query<Whose>) -> Result<Json<BalanceView>, Problem> {
    let account = whose(&user, of.account)?;
    let found = statement::balance(&app.database, account).await?.ok_or_else(|| Problem::not_found("account"))?;
    Ok(Json(BalanceView {
        account,
        balance: found.customer.into(),
        leased: found.leased.into(),
        available: (found.customer - found.leased).into(),
        earned: found.operator.into(),
    }))
}

fn whose(user: &User, asked: Option<Uuid>) -> Result<Uuid, Problem> {
    match asked {
        Some(account) if account != user.account => administrators_only(user).map(|()| account),
        _ => Ok(user.account),
    }
}
