//! OpenAI's usage and costs of an organization, so that dashboards made for OpenAI work. The account is the organization
//! and its one project, a user is who made the key, and whoever manages the account stands in for an admin key.
//! Source: OpenAI API reference, "Usage".

mod parameters;

mod shapes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use axum::http::Uri;
use openapi::error::ApiError;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::api::usage::filters::Filters;
use crate::api::usage::sums::{Grouping, Question, UsageRow, sums};
use crate::app::App;
use crate::auth::Manager;
use crate::body::Json;
use crate::error::Failure;
use parameters::{Asked, Groups, Kind};
use shapes::{CompletionsResult, CostsResult, OrganizationPage, TimeBucket};

/// Results in one reply.
const MOST_RESULTS: i64 = 20_000;

/// What the account used, by time, in OpenAI's shape.
#[utoipa::path(get, path = "/v1/organization/usage/completions", tag = "OpenAI", security(("session" = [])), params(Asked),
    responses((status = 200, body = OrganizationPage<CompletionsResult>), Failure))]
pub async fn completions(
    app: App,
    Manager(user): Manager,
    uri: Uri,
) -> Result<Json<OrganizationPage<CompletionsResult>>, Failure> {
    let asked = Asked::read(Kind::Usage, &uri)?;
    page(&app.database, user.account, &asked, OffsetDateTime::now_utc(), CompletionsResult::new).await.map(Json)
}

/// What the account paid, by day, in OpenAI's shape. The currency is credits; `cost` is the exact amount.
#[utoipa::path(get, path = "/v1/organization/costs", tag = "OpenAI", security(("session" = [])), params(Asked),
    responses((status = 200, body = OrganizationPage<CostsResult>), Failure))]
pub async fn costs(app: App, Manager(user): Manager, uri: Uri) -> Result<Json<OrganizationPage<CostsResult>>, Failure> {
    let asked = Asked::read(Kind::Costs, &uri)?;
    page(&app.database, user.account, &asked, OffsetDateTime::now_utc(), CostsResult::new).await.map(Json)
}

/// One page of buckets, the empty ones included.
async fn page<T>(
    database: &PgPool,
    account: Uuid,
    asked: &Asked,
    now: OffsetDateTime,
    result: impl Fn(UsageRow, &Groups, Uuid) -> T,
) -> Result<OrganizationPage<T>, Failure> {
    let (spans, next) = asked.buckets(now.unix_timestamp());
    let mut results = BTreeMap::<i64, Vec<T>>::new();
    if let (Some((from, _)), Some((_, to)), true) = (spans.first(), spans.last(), asked.may_find(account)) {
        for row in rows(database, account, asked, (*from, *to)).await? {
            results.entry(row.start.unix_timestamp()).or_default().push(result(row, &asked.group_by, account));
        }
    }
    let data = spans.into_iter().map(|(start, end)| {
        // The first one may begin in the middle of the bucket that the sums know.
        TimeBucket::new(start, end, results.remove(&asked.bucket_width.border_before(start)).unwrap_or_default())
    });
    Ok(OrganizationPage::new(data.collect(), next))
}

async fn rows(
    database: &PgPool,
    account: Uuid,
    asked: &Asked,
    (from, to): (i64, i64),
) -> Result<Vec<UsageRow>, Failure> {
    let time = |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| ApiError::internal());
    let question = Question {
        account,
        from: time(from)?,
        to: time(to)?,
        bucket: asked.bucket_width.bucket(),
        grouping: Grouping {
            key: asked.group_by.has("api_key_id"),
            user: asked.group_by.has("user_id"),
            model: asked.group_by.has("model") || asked.group_by.has("line_item"),
            ..Grouping::NONE
        },
        filters: Filters {
            keys: asked.api_key_ids.clone(),
            users: asked.user_ids.clone(),
            models: asked.models.clone(),
            ..Filters::default()
        },
    };
    let rows = sums(database, &question, None, MOST_RESULTS + 1).await?;
    if i64::try_from(rows.len()).is_ok_and(|rows| rows <= MOST_RESULTS) {
        return Ok(rows);
    }
    let message = format!("This gives more than {MOST_RESULTS} results. Ask for fewer buckets, or group by less.");
    Err(ApiError::invalid(message).with_param("limit").into())
}
