//! Epochs, and what everybody earned in them.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use openapi::statement::{ClosedEpoch, Statement, Totals};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::ledger::Money;
use super::usage::table::{Format, checked_limit};
use super::{administrators_only, internal};
use crate::app::App;
use crate::auth::User;
use crate::authors;
use crate::body::{Json, Path, Query};
use crate::epochs::close;
use crate::epochs::table::{self, Row, Summary};
use crate::error::Problem;
use crate::ledger::account::Account;

const USUAL_ROWS: i64 = 50;
const MOST_ROWS: i64 = 1000;

/// A closed epoch.
#[derive(Debug, Serialize, ToSchema)]
pub struct EpochView {
    number: u32,
    /// Its first leaf of the log.
    first_index: u64,
    /// The leaf behind its last one.
    end_index: u64,
    #[serde(with = "time::serde::rfc3339")]
    began_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ended_at: OffsetDateTime,
    /// SHA-256 of its document, which is at `/log/document/`.
    document: String,
    /// What the ledger has settled otherwise than receipts say. Nothing, in a gateway that does what it should.
    differing: Money,
    totals: Totals,
}

impl EpochView {
    fn new(row: Row, totals: Totals) -> Self {
        Self {
            number: row.number,
            first_index: row.first_index,
            end_index: row.end_index,
            began_at: row.began_at,
            ended_at: row.ended_at,
            document: HEXLOWER.encode(&row.digest),
            differing: i64::try_from(row.differing).unwrap_or(i64::MAX).into(),
            totals,
        }
    }
}

/// Epochs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EpochList {
    data: Vec<EpochView>,
    /// Give it as `before` for the next page; null on the last one.
    next: Option<u32>,
}

/// Which epochs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EpochQuery {
    /// Only those before this one.
    before: Option<u32>,
    /// At most this many, 1 to 1000; 50 if not given.
    limit: Option<i64>,
}

/// Lists the epochs that are closed, and what the whole federation did in each.
#[utoipa::path(get, path = "/api/epochs", tag = "Epochs", security(("session" = [])), params(EpochQuery),
    responses((status = 200, body = EpochList), Problem))]
pub async fn list(app: App, _: User, Query(query): Query<EpochQuery>) -> Result<Json<EpochList>, Problem> {
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    let rows = table::with_documents(&app.database, query.before, limit).await?;
    let full = usize::try_from(limit).is_ok_and(|limit| rows.len() == limit);
    let next = rows.last().map(|(row, _)| row.number).filter(|_| full);
    let view = |(row, document): (Row, String)| {
        let closed: ClosedEpoch = serde_json::from_str(&document).map_err(|error| internal(&error.into()))?;
        Ok(EpochView::new(row, closed.totals))
    };
    let data = rows.into_iter().map(view).collect::<Result<_, Problem>>()?;
    Ok(Json(EpochList { data, next }))
}

/// An epoch that was closed just now.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewEpoch {
    number: u32,
}

/// Closes the running epoch now, so that everybody gets their statement. For administrators.
#[utoipa::path(post, path = "/api/epochs", tag = "Epochs", security(("session" = [])),
    responses((status = 201, body = NewEpoch), (status = 409, description = "There is nothing to close, or it is being closed"), Problem))]
pub async fn close(app: App, user: User) -> Result<(StatusCode, Json<NewEpoch>), Problem> {
    administrators_only(&user)?;
    match app.epochs.close(&app.database, &app.log, OffsetDateTime::now_utc()).await {
        Ok(Some(number)) => Ok((StatusCode::CREATED, Json(NewEpoch { number }))),
        Ok(None) => Err(Problem::of(
            StatusCode::CONFLICT,
            "The epoch is being closed already. See GET /api/epochs in a moment.",
        )),
        Err(close::Failed::Empty) => {
            Err(Problem::of(StatusCode::CONFLICT, "There is nothing to close: nothing has been logged yet."))
        }
        Err(error) => Err(internal(&error.into())),
    }
}

/// A statement without its lines.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementSummary {
    epoch: u32,
    #[serde(with = "time::serde::rfc3339")]
    ended_at: OffsetDateTime,
    /// The account of the ledger: `operator:<account>`, `author:<name>`, `gateway` or `audit_fund`.
    party: String,
    /// What was owed when the epoch began.
    opening: Money,
    /// What receipts brought.
    earned: Money,
    /// What was paid out, put right or given otherwise.
    moved: Money,
    /// What was owed when it ended.
    closing: Money,
    receipts: u64,
    /// SHA-256 of its document, which is at `/log/document/`.
    document: String,
}

impl From<Summary> for StatementSummary {
    fn from(summary: Summary) -> Self {
        Self {
            epoch: summary.epoch,
            ended_at: summary.ended_at,
            party: summary.party,
            opening: summary.opening.into(),
            earned: summary.earned.into(),
            moved: (summary.closing - summary.opening - summary.earned).into(),
            closing: summary.closing.into(),
            receipts: summary.receipts,
            document: HEXLOWER.encode(&summary.digest),
        }
    }
}

/// Statements, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementList {
    data: Vec<StatementSummary>,
    /// Give it as `before` for the next page; null on the last one.
    next: Option<u32>,
}

/// Which statements.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// Of one party; one's own if not given, and everybody's for administrators who say `all`.
    party: Option<String>,
    /// Only those of epochs before this one.
    before: Option<u32>,
    /// Of at most this many epochs, 1 to 1000; 50 if not given.
    limit: Option<i64>,
}

/// Lists what an account's nodes, and its models, have earned by epoch.
#[utoipa::path(get, path = "/api/statements", tag = "Epochs", security(("session" = [])), params(StatementQuery),
    responses((status = 200, body = StatementList), Problem))]
pub async fn statements(
    app: App,
    user: User,
    Query(query): Query<StatementQuery>,
) -> Result<Json<StatementList>, Problem> {
    const ALL: &str = "all";
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    let parties = match query.party.as_deref() {
        None => Some(own_parties(&app, &user).await?),
        Some(ALL) => administrators_only(&user).map(|()| None)?,
        Some(party) => Some(vec![allowed(&app, &user, party).await?]),
    };
    let data = table::statements(&app.database, parties.as_deref(), query.before, limit).await?;
    let epochs = data.iter().map(|summary| summary.epoch).collect::<std::collections::BTreeSet<_>>();
    let next = epochs.first().copied().filter(|_| usize::try_from(limit).is_ok_and(|limit| epochs.len() == limit));
    Ok(Json(StatementList { data: data.into_iter().map(StatementSummary::from).collect(), next }))
}

/// Which statement, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OneStatement {
    /// Whose: the account of the ledger; the account's own nodes' if not given.
    party: Option<String>,
    /// `csv` for the lines alone, for a spreadsheet.
    #[param(inline)]
    format: Option<Format>,
}

/// Shows a party's statement of an epoch: as JSON byte for byte what was logged.
#[utoipa::path(get, path = "/api/statements/{epoch}", tag = "Epochs", security(("session" = [])), params(("epoch" = u32, Path), OneStatement),
    responses((status = 200, content((Statement = "application/json"), (String = "text/csv"))),
        (status = 404, description = "The party has none of this epoch"), Problem))]
pub async fn statement(
    app: App,
    user: User,
    Path(epoch): Path<u32>,
    Query(query): Query<OneStatement>,
) -> Result<Response, Problem> {
    let party = match query.party.as_deref() {
        Some(party) => allowed(&app, &user, party).await?,
        None => Account::Operator(user.account).to_string(),
    };
    let number = i32::try_from(epoch).unwrap_or(i32::MAX);
    let document = table::statement(&app.database, number, &party).await?;
    let document = document.ok_or_else(|| Problem::not_found("statement"))?;
    if query.format != Some(Format::Csv) {
        return Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response());
    }
    let statement: Statement = serde_json::from_str(&document).map_err(|error| internal(&error.into()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"statement-{epoch}.csv\"")),
    ];
    Ok((headers, statement.to_csv()).into_response())
}

/// What earns for an account: its nodes, and the authors whose earnings are its.
async fn own_parties(app: &App, user: &User) -> Result<Vec<String>, Problem> {
    let mut parties = vec![Account::Operator(user.account).to_string()];
    let claimed = authors::table::of_account(&app.database, user.account).await?;
    parties.extend(claimed.into_iter().map(|author| format!("author:{author}")));
    Ok(parties)
}

/// The party, if its statements are this user's to see.
async fn allowed(app: &App, user: &User, party: &str) -> Result<String, Problem> {
    let account: Account = party.parse().map_err(|error| Problem::bad_request(format!("`party`: {error}.")))?;
    let party = account.to_string();
    if !user.is_admin && !own_parties(app, user).await?.contains(&party) {
        administrators_only(user)?;
    }
    Ok(party)
}
