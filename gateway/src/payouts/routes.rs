//! Payouts for whoever is paid, and for whoever pays: administrators, or a program with a management key of theirs.

use axum::http::StatusCode;
use axum::response::Response;
use openapi::units::signed_credits;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::table::{self, Payout, Which};
use super::{Change, NotChanged, State, Told, checked_text, csv};
use crate::api::administrators_only;
use crate::api::ledger::Money;
use crate::api::usage::table::{Table, checked_limit, csv_file};
use crate::app::App;
use crate::auth::User;
use crate::body::{Csv, Json, Path, Query};
use crate::error::Problem;

const USUAL_ROWS: i64 = 50;
const MOST_ROWS: i64 = 200;
const LONGEST_REASON: usize = 500;
const LONGEST_REFERENCE: usize = 200;
const LONGEST_DESTINATION: usize = 500;
const TABLE: Table = Table {
    name: "payouts",
    columns: &["id", "epoch", "party", "account", "destination", "nanocredits", "credits", "state"],
    cursor: "before",
};

impl From<NotChanged> for Problem {
    fn from(why: NotChanged) -> Self {
        let status = match why {
            NotChanged::Database(error) => return error.into(),
            NotChanged::Ledger(refused) => return refused.into(),
            NotChanged::NotThere => StatusCode::NOT_FOUND,
            NotChanged::Paid(_) | NotChanged::Cancelled(_) | NotChanged::Held(_) => StatusCode::CONFLICT,
            NotChanged::Unclaimed | NotChanged::NotCovered { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::of(status, why.to_string())
    }
}

/// Which payouts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PayoutsQuery {
    state: Option<State>,
    /// `operator:<account>` or `author:<name>`.
    party: Option<String>,
    /// Whoever is paid: another account than one's own, for administrators, who see all accounts if it is not given.
    account: Option<Uuid>,
    /// Only payouts older than this one: `next` of the page before.
    before: Option<Uuid>,
    /// At most this many, 1 to 200; 50 if not given.
    limit: Option<i64>,
}

/// A payout.
#[derive(Serialize, ToSchema)]
pub struct PayoutView {
    id: Uuid,
    /// At whose close it was made.
    epoch: i32,
    /// The account of the ledger that it leaves: `operator:<account>` or `author:<name>`.
    party: String,
    /// Who is paid; null when nobody claims what the author has earned any more.
    account: Option<Uuid>,
    #[serde(flatten)]
    amount: Money,
    state: State,
    /// Why it is held or cancelled.
    reason: Option<String>,
    /// Under which whoever paid it has it.
    reference: Option<String>,
    /// Where it is to go, as the account says now; where it went, once it is paid.
    destination: Option<String>,
    /// The ledger's event with which it left.
    event: Option<Uuid>,
    #[serde(with = "time::serde::rfc3339")]
    changed_at: OffsetDateTime,
}

impl From<Payout> for PayoutView {
    fn from(payout: Payout) -> Self {
        Self {
            id: payout.id,
            epoch: payout.epoch,
            party: payout.party.to_string(),
            account: payout.account,
            amount: payout.nanocredits.into(),
            state: payout.state,
            reason: payout.reason,
            reference: payout.reference,
            destination: payout.destination,
            event: payout.event,
            changed_at: payout.changed_at,
        }
    }
}

/// Payouts, newest first.
#[derive(Serialize, ToSchema)]
pub struct PayoutList {
    data: Vec<PayoutView>,
    /// Give it as `before` for the next page; null on the last one.
    next: Option<Uuid>,
}

/// Lists payouts, newest first: those of one's own account, as an operator and as an author; for administrators all.
#[utoipa::path(get, path = "/api/payouts", tag = "Payouts", security(("session" = [])), params(PayoutsQuery),
    responses((status = 200, body = PayoutList), Problem))]
pub async fn list(app: App, user: User, Query(query): Query<PayoutsQuery>) -> Result<Json<PayoutList>, Problem> {
    let account = match query.account {
        Some(account) if account != user.account => administrators_only(&user).map(|()| Some(account))?,
        asked => asked.or((!user.is_admin).then_some(user.account)),
    };
    if query.party.as_ref().is_some_and(|party| party.contains('\0')) {
        return Err(Problem::bad_request("`party` is 'operator:<account>' or 'author:<name>'."));
    }
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    let which = Which { state: query.state, party: query.party, account, before: query.before, limit: Some(limit) };
    let payouts = table::list(&app.database, &which).await?;
    let is_full = usize::try_from(limit).is_ok_and(|limit| payouts.len() == limit);
    let next = payouts.last().map(|last| last.id).filter(|_| is_full);
    Ok(Json(PayoutList { data: payouts.into_iter().map(PayoutView::from).collect(), next }))
}

/// Payouts in which state.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TableQuery {
    /// `due` if not given.
    state: Option<State>,
}

/// A row of the table, in the order of its columns.
#[derive(Serialize)]
struct TableRow {
    id: Uuid,
    epoch: i32,
    party: String,
    account: Option<Uuid>,
    destination: Option<String>,
    nanocredits: i64,
    credits: String,
    state: State,
}

impl From<Payout> for TableRow {
    fn from(payout: Payout) -> Self {
        Self {
            id: payout.id,
            epoch: payout.epoch,
            party: payout.party.to_string(),
            account: payout.account,
            destination: payout.destination,
            nanocredits: payout.nanocredits,
            credits: signed_credits(payout.nanocredits),
            state: payout.state,
        }
    }
}

/// All payouts in a state as CSV (RFC 4180). A cell that a spreadsheet would take for a formula begins with an apostrophe there;
/// `GET /api/payouts` has it as it is. For administrators.
#[utoipa::path(get, path = "/api/payouts/csv", tag = "Payouts", security(("session" = [])), params(TableQuery),
    responses((status = 200, content((String = "text/csv"))), Problem))]
pub async fn table(app: App, user: User, Query(query): Query<TableQuery>) -> Result<Response, Problem> {
    administrators_only(&user)?;
    let which = Which { state: Some(query.state.unwrap_or(State::Due)), ..Which::default() };
    let rows: Vec<TableRow> = table::list(&app.database, &which).await?.into_iter().map(TableRow::from).collect();
    csv_file(&TABLE, &rows)
}

/// Takes note of what was paid, all or nothing: a table of at most 10000 lines with the columns `id` and `reference`. What was
/// paid with the same reference before is no error. For administrators.
#[utoipa::path(post, path = "/api/payouts/csv", tag = "Payouts", security(("session" = [])),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = Told), (status = 415, description = "The body is not said to be CSV"),
        (status = 422, description = "Lines are wrong, which the message names, or can't be paid"), Problem))]
pub async fn paid(app: App, user: User, Csv(text): Csv) -> Result<Json<Told>, Problem> {
    administrators_only(&user)?;
    let wrong = |lines: Vec<String>| Problem::of(StatusCode::UNPROCESSABLE_ENTITY, csv::in_one(&lines));
    let lines = csv::read(&text).map_err(wrong)?;
    let told = super::pay_all(&app.database, &lines, user.id).await?.map_err(wrong)?;
    Ok(Json(told))
}

/// What is to become of a payout.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum PayoutChange {
    /// Not to be paid for now.
    Held {
        /// Why, 1 to 500 characters.
        reason: String,
    },
    /// To be paid after all.
    Due {},
    /// It was paid.
    Paid {
        /// Under which whoever paid it has it, 1 to 200 characters.
        reference: String,
    },
    /// Never to be paid. What is still owed comes with the next epoch.
    Cancelled {
        /// Why, 1 to 500 characters.
        reason: String,
    },
}

impl PayoutChange {
    fn read(self) -> Result<Change, Problem> {
        let reason = |text: &str| {
            checked_text(text, LONGEST_REASON)
                .ok_or_else(|| Problem::bad_request("`reason` has 1 to 500 characters, and no control characters."))
        };
        let reference = |text: &str| {
            checked_text(text, LONGEST_REFERENCE)
                .ok_or_else(|| Problem::bad_request("`reference` has 1 to 200 characters, and no control characters."))
        };
        Ok(match self {
            Self::Held { reason: text } => Change::Hold { reason: reason(&text)? },
            Self::Due {} => Change::Release,
            Self::Paid { reference: text } => Change::Pay { reference: reference(&text)? },
            Self::Cancelled { reason: text } => Change::Cancel { reason: reason(&text)? },
        })
    }
}

/// Says that a payout was paid, is held, is due again, or is cancelled. The same once more changes nothing and has the same
/// answer. What is paid leaves the ledger in that moment. For administrators.
#[utoipa::path(patch, path = "/api/payouts/{id}", tag = "Payouts", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = PayoutChange, responses((status = 200, body = PayoutView),
        (status = 409, description = "It is paid with another reference, cancelled or held"),
        (status = 422, description = "The ledger does not hold enough for it, or nobody claims it"), Problem))]
pub async fn change(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(change): Json<PayoutChange>,
) -> Result<Json<PayoutView>, Problem> {
    administrators_only(&user)?;
    Ok(Json(super::change(&app.database, id, &change.read()?, user.id).await?.into()))
}

/// Where an account wants to be paid. Nothing but the database and whoever pays is told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDestination {
    /// In words that whoever pays understands, such as an IBAN: 1 to 500 characters.
    destination: String,
}

/// Where an account is paid.
#[derive(Serialize, ToSchema)]
pub struct Destination {
    /// Null as long as nothing is said.
    destination: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    set_at: Option<OffsetDateTime>,
}

/// Says where one's account wants to be paid.
#[utoipa::path(get, path = "/api/payouts/destination", tag = "Payouts", security(("session" = [])),
    responses((status = 200, body = Destination), Problem))]
pub async fn destination(app: App, user: User) -> Result<Json<Destination>, Problem> {
    let (destination, set_at) = table::destination(&app.database, user.account).await?.unzip();
    Ok(Json(Destination { destination, set_at }))
}

/// Sets where one's account wants to be paid from now on.
#[utoipa::path(put, path = "/api/payouts/destination", tag = "Payouts", security(("session" = [])),
    request_body = NewDestination, responses((status = 200, body = Destination), Problem))]
pub async fn set_destination(
    app: App,
    user: User,
    Json(new): Json<NewDestination>,
) -> Result<Json<Destination>, Problem> {
    let destination = checked_text(&new.destination, LONGEST_DESTINATION).ok_or_else(|| {
        Problem::bad_request("`destination` has 1 to 500 characters, and no control characters such as line breaks.")
    })?;
    let set_at = table::set_destination(&app.database, user.account, &destination, user.id).await?;
    Ok(Json(Destination { destination: Some(destination), set_at: Some(set_at) }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<Change, String> {
        let change: PayoutChange = serde_json::from_value(body).map_err(|error| error.to_string())?;
        change.read().map_err(|problem| serde_json::to_value(problem).unwrap()["detail"].to_string())
    }

    #[test]
    fn each_change_is_read_and_trimmed() {
        let text = || "r".to_owned();
        assert_eq!(read(json!({"state": "held", "reason": " r "})), Ok(Change::Hold { reason: text() }));
        assert_eq!(read(json!({"state": "due"})), Ok(Change::Release));
        assert_eq!(read(json!({"state": "paid", "reference": "r"})), Ok(Change::Pay { reference: text() }));
        assert_eq!(read(json!({"state": "cancelled", "reason": "r"})), Ok(Change::Cancel { reason: text() }));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        let refused = |body: Value| read(body).unwrap_err();
        assert!(refused(json!({"state": "held"})).contains("reason"));
        assert!(refused(json!({"state": "paid", "reason": "r"})).contains("unknown field"));
        assert!(refused(json!({"state": "due", "reason": "r"})).contains("unknown field"));
        assert!(refused(json!({"state": "open"})).contains("cancelled"));
        assert!(refused(json!({"reference": "r"})).contains("state"));
        for wrong in ["", "  ", "a\0b", "two\nlines", &"r".repeat(501)] {
            assert!(refused(json!({"state": "held", "reason": wrong})).contains("1 to 500"), "{wrong:?}");
        }
        assert!(refused(json!({"state": "paid", "reference": "r".repeat(201)})).contains("1 to 200"));
    }
}
