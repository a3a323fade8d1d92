//! Who the authors are, and whose account gets what they have earned.

use axum::http::StatusCode;
use data_encoding::BASE64URL_NOPAD;
use openapi::author::{Author, AuthorClaim};
use openapi::error::echo;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::table::{self, Refused, Row};
use crate::api::administrators_only;
use crate::api::ledger::Money;
use crate::api::usage::table::checked_limit;
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path, Query};
use crate::error::Problem;
use crate::ledger::account::Account;

const USUAL_ROWS: i64 = 50;
const MOST_ROWS: i64 = 200;
/// So far an author's clock may be ahead of the gateway's.
const AHEAD_MICROSECONDS: u64 = 300_000_000;

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Database(error) => return error.into(),
            Refused::Outdated => StatusCode::CONFLICT,
            Refused::HasKey => StatusCode::BAD_REQUEST,
            Refused::NoAuthor | Refused::NoAccount | Refused::NoClaim => StatusCode::NOT_FOUND,
        };
        Self::of(status, refused.to_string())
    }
}

/// Which authors.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuthorsQuery {
    /// Only authors after this one: `next` of the page before.
    after: Option<String>,
    /// At most this many, 1 to 200; 50 if not given.
    limit: Option<i64>,
}

/// An author, as manifests name them.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorView {
    /// The whole text.
    author: String,
    /// The name in it.
    name: String,
    /// The key in it that claims are signed with, 32 bytes in base64url; null where an administrator says whose the earnings are.
    key: Option<String>,
    /// What was earned and not paid out.
    #[serde(flatten)]
    balance: Money,
    is_claimed: bool,
    /// By one's own account.
    is_mine: bool,
    /// Whose the earnings are: for administrators, and where it is one's own.
    account: Option<Uuid>,
}

impl AuthorView {
    fn of(row: Row, user: &User) -> Self {
        let author = Author::read(&row.author);
        let is_mine = row.account == Some(user.account);
        Self {
            name: author.name.to_owned(),
            key: author.key.map(|key| BASE64URL_NOPAD.encode(&key.0)),
            balance: row.balance.into(),
            is_claimed: row.account.is_some(),
            is_mine,
            account: row.account.filter(|_| is_mine || user.is_admin),
            author: row.author,
        }
    }
}

/// Authors, by their names.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorList {
    /// What this gateway's log is called: claims name it.
    gateway: String,
    data: Vec<AuthorView>,
    /// Give it as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// Lists the authors of models: what they have earned, and whether somebody has claimed it.
#[utoipa::path(get, path = "/api/authors", tag = "Payouts", security(("session" = [])), params(AuthorsQuery),
    responses((status = 200, body = AuthorList), Problem))]
pub async fn list(app: App, user: User, Query(query): Query<AuthorsQuery>) -> Result<Json<AuthorList>, Problem> {
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    if query.after.as_ref().is_some_and(|after| after.contains('\0')) {
        return Err(Problem::bad_request("`after` is the `next` of the page before."));
    }
    let rows = table::list(&app.database, query.after.as_deref(), limit).await?;
    let is_full = usize::try_from(limit).is_ok_and(|limit| rows.len() == limit);
    let next = rows.last().map(|last| last.author.clone()).filter(|_| is_full);
    let data = rows.into_iter().map(|row| AuthorView::of(row, &user)).collect();
    Ok(Json(AuthorList { gateway: app.log.origin().to_owned(), data, next }))
}

/// A claim.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// What `commonwatt author claim` prints: a compact JWS (EdDSA) by the author's key over `v` (1), `author` (as in the
    /// manifest), `gateway` (what the log is called), `account` and `at` (microseconds since 1970).
    claim: String,
}

/// Whose an author's earnings are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Claimed {
    author: String,
    account: Uuid,
}

/// Claims for one's account what an author has earned and will earn, with a signature by the author's key. The latest
/// signature counts: with a new one the author goes on to another account.
#[utoipa::path(post, path = "/api/authors/claims", tag = "Payouts", security(("session" = [])), request_body = NewClaim,
    responses((status = 201, body = Claimed), (status = 409, description = "The author has signed another claim since, or this one was used"),
        Problem))]
pub async fn claim(app: App, user: User, Json(new): Json<NewClaim>) -> Result<(StatusCode, Json<Claimed>), Problem> {
    let claim =
        AuthorClaim::read(&new.claim).map_err(|why| Problem::bad_request(format!("This claims nothing: {why}.")))?;
    check(&claim, app.log.origin(), user.account, OffsetDateTime::now_utc()).map_err(Problem::bad_request)?;
    table::take_up(&app.database, &claim, new.claim.trim(), user.id).await?;
    Ok((StatusCode::CREATED, Json(Claimed { author: claim.author, account: claim.account })))
}

/// Whether a well-signed claim is meant for this gateway, this account and this time.
fn check(claim: &AuthorClaim, origin: &str, account: Uuid, now: OffsetDateTime) -> Result<(), String> {
    if claim.gateway != origin {
        return Err(format!(
            "The claim is for the gateway whose log is called '{}'. This one's is '{origin}'.",
            echo(&claim.gateway)
        ));
    }
    if claim.account != account {
        return Err(format!("The claim is for the account {}. Yours is {account}.", claim.account));
    }
    let now = u64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or_default();
    if claim.at.get() > now.saturating_add(AHEAD_MICROSECONDS) {
        return Err(
            "The claim is signed with a time that is yet to come. Set your clock, and sign it again.".to_owned()
        );
    }
    if Account::author(&claim.author) != Some(Account::Author(claim.author.clone())) {
        return Err(
            "No manifest can name such an author: the text has blanks around it, or characters of zero.".to_owned()
        );
    }
    Ok(())
}

/// Whose the earnings are to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    account: Uuid,
}

/// Says whose the earnings of an author are who has no key. A slash in the name is written as `%2F`. For administrators.
#[utoipa::path(put, path = "/api/authors/{name}", tag = "Payouts", security(("session" = [])), params(("name" = String, Path)),
    request_body = Assignment, responses((status = 200, body = Claimed), Problem))]
pub async fn assign(
    app: App,
    user: User,
    Path(name): Path<String>,
    Json(Assignment { account }): Json<Assignment>,
) -> Result<Json<Claimed>, Problem> {
    administrators_only(&user)?;
    let author = without_key(&name)?;
    table::assign(&app.database, &author, account, user.id).await?;
    Ok(Json(Claimed { author, account }))
}

/// Takes back what an administrator has said: what the author earns from now on waits in their name. For administrators.
#[utoipa::path(delete, path = "/api/authors/{name}", tag = "Payouts", security(("session" = [])), params(("name" = String, Path)),
    responses((status = 204), (status = 400, description = "The author has a key"), Problem))]
pub async fn take_back(app: App, user: User, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    administrators_only(&user)?;
    table::take_back(&app.database, &without_key(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The author of this name as the ledger has them, if nobody but an administrator can say whose the earnings are.
fn without_key(name: &str) -> Result<String, Refused> {
    match Account::author(name) {
        Some(Account::Author(author)) if Author::read(&author).key.is_some() => Err(Refused::HasKey),
        Some(Account::Author(author)) => Ok(author),
        _ => Err(Refused::NoAuthor),
    }
}

#[cfg(test)]
mod tests {
    use openapi::author::VERSION;
    use openapi::receipt::jws::Signer;
    use openapi::units::Microseconds;

    use super::*;

    #[test]
    fn a_claim_is_for_one_gateway_one_account_and_no_time_to_come() {
        let key = Signer::from_seed(&[1; 32]).unwrap().public();
        let author = Author { name: "Ada", key: Some(key) }.to_string();
        let (gateway, account) = ("gateway.example/log".to_owned(), Uuid::from_u128(7));
        let claim = AuthorClaim { v: VERSION, author, gateway, account, at: Microseconds::new(1_000_000) };
        let at = |claim: &AuthorClaim| check(claim, "gateway.example/log", account, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(at(&claim), Ok(()));
        let wrong = |claim: AuthorClaim| at(&claim).unwrap_err();
        assert!(
            wrong(AuthorClaim { gateway: "other.example/log".to_owned(), ..claim.clone() })
                .contains("'gateway.example/log'")
        );
        assert!(wrong(AuthorClaim { account: Uuid::from_u128(8), ..claim.clone() }).contains("Yours is"));
        let late = Microseconds::new(AHEAD_MICROSECONDS + 1);
        assert!(wrong(AuthorClaim { at: late, ..claim.clone() }).contains("clock"));
        let other = Author { name: "A\0da", key: Some(key) }.to_string();
        assert!(wrong(AuthorClaim { author: other, ..claim }).contains("manifest"));
    }

    #[test]
    fn an_administrator_speaks_for_authors_without_a_key_alone() {
        let keyed = Author { name: "Ada", key: Some(Signer::from_seed(&[1; 32]).unwrap().public()) }.to_string();
        assert!(matches!(without_key(&keyed), Err(Refused::HasKey)));
        assert!(matches!(without_key(&format!(" {keyed}")), Err(Refused::HasKey)));
        assert_eq!(without_key(" org/Ada ").unwrap(), "org/Ada");
        assert!(matches!(without_key(" \0"), Err(Refused::NoAuthor)));
    }
}
