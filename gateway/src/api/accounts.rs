//! Accounts and their users.

use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::usage::table::checked_limit;
use super::{administrators_only, checked_name, internal};
use crate::app::App;
use crate::auth::accounts::{self, AccountView, Which};
use crate::auth::user::{self, NewUser};
use crate::auth::{ClientAddress, User, session};
use crate::body::{Json, Path, Query};
use crate::error::Problem;
use crate::secrets;

const USUAL_ROWS: i64 = 50;
const MOST_ROWS: i64 = 200;
const LONGEST_TEXT: usize = 200;

/// Which accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccountsQuery {
    /// `true` for all of them, for administrators; else one's own.
    #[serde(default)]
    all: bool,
    /// A part of the account's name, or of the name or address of somebody who may use it.
    text: Option<String>,
    /// Only accounts older than this one: `next` of the page before.
    before: Option<Uuid>,
    /// At most this many, 1 to 200; 50 if not given.
    limit: Option<i64>,
}

/// Accounts, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountList {
    data: Vec<AccountView>,
    /// Give it as `before` for the next page; null on the last one.
    next: Option<Uuid>,
}

/// Lists accounts with their members and what they have, newest first.
#[utoipa::path(get, path = "/api/accounts", tag = "Account", security(("session" = [])), params(AccountsQuery),
    responses((status = 200, body = AccountList), Problem))]
pub async fn list(app: App, user: User, Query(query): Query<AccountsQuery>) -> Result<Json<AccountList>, Problem> {
    if query.all {
        administrators_only(&user)?;
    }
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    if query.text.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT || text.contains('\0')) {
        return Err(Problem::bad_request(format!("`text` has at most {LONGEST_TEXT} bytes, none of them zero.")));
    }
    let account = (!query.all).then_some(user.account);
    let data = accounts::list(&app.database, &Which { account, text: query.text, before: query.before, limit }).await?;
    let full = usize::try_from(limit).is_ok_and(|limit| data.len() == limit);
    let next = data.last().map(|last| last.id).filter(|_| full);
    Ok(Json(AccountList { data, next }))
}

/// Shows an account: one's own, and any to administrators.
#[utoipa::path(get, path = "/api/accounts/{id}", tag = "Account", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = AccountView), Problem))]
pub async fn show(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<AccountView>, Problem> {
    if id != user.account {
        administrators_only(&user)?;
    }
    let which = Which { account: Some(id), limit: 1, ..Which::default() };
    let found = accounts::list(&app.database, &which).await?.pop();
    found.map(Json).ok_or_else(|| Problem::of(StatusCode::NOT_FOUND, "There is no account of this id."))
}

/// A user to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUserBody {
    email: String,
    /// What the user and their account are called, 1 to 100 characters.
    name: String,
    /// Whether they may do what administrators do.
    #[serde(default)]
    is_admin: bool,
}

/// A new user.
#[derive(Serialize, ToSchema)]
pub struct UserCreated {
    id: Uuid,
    account: Uuid,
    /// Shown once: hand it over, and let them choose another with `PUT /api/me/password`.
    password: String,
}

/// Makes a user with an account of their own, and a first password. For administrators.
#[utoipa::path(post, path = "/api/users", tag = "Account", security(("session" = [])), request_body = NewUserBody,
    responses((status = 201, body = UserCreated), (status = 409, description = "The address is taken"), Problem))]
pub async fn create_user(
    app: App,
    user: User,
    Json(new): Json<NewUserBody>,
) -> Result<(StatusCode, Json<UserCreated>), Problem> {
    administrators_only(&user)?;
    let name = checked_name(&new.name)?;
    if !user::is_address(&new.email) {
        return Err(Problem::bad_request("`email` is no e-mail address."));
    }
    let password = secrets::random().map_err(|error| internal(&error))?;
    let hashed = app.passwords.hash(&password.clone().into()).await?;
    let new = NewUser { email: &new.email, name, password_hash: &hashed, is_admin: new.is_admin };
    let taken = || Problem::of(StatusCode::CONFLICT, "There is a user with this address already.");
    let id = user::create(&app.database, new).await?.ok_or_else(taken)?;
    let found = user::find(&app.database, id).await?.ok_or_else(|| Problem::not_found("user"))?;
    Ok((StatusCode::CREATED, Json(UserCreated { id, account: found.account_id, password })))
}

/// Another password.
#[derive(Serialize, ToSchema)]
pub struct NewPassword {
    /// Shown once: hand it over, and let them choose another with `PUT /api/me/password`.
    password: String,
}

/// Gives somebody who has forgotten theirs another password, and ends all their sessions; their keys go on. For administrators.
#[utoipa::path(post, path = "/api/users/{id}/password", tag = "Account", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = NewPassword), Problem))]
pub async fn reset_password(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<NewPassword>, Problem> {
    administrators_only(&user)?;
    if id == user.id {
        // Whoever has found a session or a key of an administrator's must not take them over with it.
        return Err(Problem::forbidden(
            "Change your own password with `PUT /api/me/password`, which asks for the present one.",
        ));
    }
    if user::find(&app.database, id).await?.is_none() {
        return Err(Problem::of(StatusCode::NOT_FOUND, "There is no user of this id."));
    }
    let password = secrets::random().map_err(|error| internal(&error))?;
    let hashed = app.passwords.hash(&password.clone().into()).await?;
    user::set_password(&app.database, id, &hashed).await?;
    session::end_others(&app.database, id, None).await?;
    Ok(Json(NewPassword { password }))
}

/// A change of one's password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    #[schema(value_type = String, format = Password)]
    current: SecretString,
    /// 8 to 256 characters.
    #[schema(value_type = String, format = Password)]
    new: SecretString,
}

/// Changes one's password, and ends every other session of the user.
#[utoipa::path(put, path = "/api/me/password", tag = "Account", security(("session" = [])), request_body = PasswordChange,
    responses((status = 204), (status = 403, description = "The current password is wrong"),
        (status = 429, description = "Too many wrong passwords"), Problem))]
pub async fn change_password(
    app: App,
    user: User,
    ClientAddress(address): ClientAddress,
    Json(change): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let found = user::find(&app.database, user.id).await?.ok_or_else(|| Problem::not_found("user"))?;
    let guess = app.guesses.begin(&found.email, address)?;
    if !app.passwords.check(&change.current, Some(found.password_hash)).await? {
        return Err(Problem::forbidden("The current password is wrong."));
    }
    guess.succeeded();
    let hashed = app.passwords.hash(&change.new).await?;
    user::set_password(&app.database, user.id, &hashed).await?;
    session::end_others(&app.database, user.id, user.session).await?;
    Ok(StatusCode::NO_CONTENT)
}
