//! Ends a request that runs.

use axum::http::StatusCode;
use uuid::Uuid;

use crate::app::App;
use crate::auth::User;
use crate::body::Path;
use crate::changes::{self, Change};
use crate::error::Problem;

/// Ends one of the account's requests in good order, on whichever replica it runs: what there is of the answer is
/// delivered and paid for, with `finish_reason` `length` and its usage.
#[utoipa::path(post, path = "/api/requests/{id}/cancel", tag = "Usage", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 202, description = "It ends within a token, if it still runs"), (status = 409, description = "It has ended"), Problem))]
pub async fn cancel(app: App, user: User, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    if app.running.cancel(id, user.account) {
        return Ok(StatusCode::ACCEPTED);
    }
    let ended =
        sqlx::query_scalar!("select 1 as one from requests where id = $1 and account_id = $2", id, user.account);
    if ended.fetch_optional(&app.database).await?.is_some() {
        return Err(Problem::of(StatusCode::CONFLICT, "This request has ended already."));
    }
    if app.replica.living() == 1 {
        return Err(Problem::not_found("request"));
    }
    changes::announce(&app.database, Change::Cancel { request: id, account: user.account }).await?;
    Ok(StatusCode::ACCEPTED)
}
