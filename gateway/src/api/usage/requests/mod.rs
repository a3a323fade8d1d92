//! `GET /api/requests`: each request, and every attempt of it.

#[cfg(test)]
mod tests;

use axum::response::Response;
use openapi::energy::rounded;
use openapi::price::Price;
use openapi::units::Microjoules;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::filters::{Filters, began, since_epoch};
use super::hours::hours;
use super::table::{Format, Page, Reply, Table, checked_limit, cut};
use super::{Cost, Joules};
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path, Query};
use crate::error::Problem;
use crate::inference::record::Outcome;
use crate::prices;

const TABLE: Table = Table {
    name: "requests",
    columns: &[
        "id",
        "key",
        "user",
        "node",
        "endpoint",
        "model",
        "streamed",
        "outcome",
        "status",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "nanocredits",
        "cost",
        "price_version",
        "microjoules",
        "low_microjoules",
        "high_microjoules",
        "joules",
        "energy_tier",
        "energy_boundary",
        "energy_method",
        "started_at",
        "first_byte_microseconds",
        "duration_microseconds",
    ],
    cursor: "before",
};
const END_OF_TIME: OffsetDateTime = PrimitiveDateTime::MAX.assume_utc();
const USUAL_ROWS: i64 = 50;
const MOST_ROWS: i64 = 200;

/// A request as its account sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestSummary {
    id: Uuid,
    key: Uuid,
    /// Who made the key.
    user: Uuid,
    /// The node of the last attempt.
    node: Option<Uuid>,
    endpoint: String,
    model: String,
    streamed: bool,
    /// What became of it.
    outcome: String,
    /// The HTTP status; 499 when the client left.
    status: i16,
    prompt_tokens: i64,
    /// Those of the prompt's tokens that were cached.
    cached_tokens: i64,
    completion_tokens: i64,
    nanocredits: i64,
    /// The same in credits, as an exact decimal.
    #[schema(value_type = String)]
    cost: Cost,
    /// The price that it was paid at.
    price_version: Option<i64>,
    microjoules: i64,
    low_microjoules: i64,
    high_microjoules: i64,
    #[schema(value_type = f64)]
    joules: Joules,
    energy_tier: Option<String>,
    energy_boundary: Option<String>,
    energy_method: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    first_byte_microseconds: Option<i64>,
    duration_microseconds: i64,
}

impl RequestSummary {
    /// More digits of one request's energy would tell its account of others' load in the same steps.
    fn round(&mut self) {
        for figure in [&mut self.microjoules, &mut self.low_microjoules, &mut self.high_microjoules, &mut self.joules.0]
        {
            *figure = shown(*figure);
        }
    }
}

fn shown(microjoules: i64) -> i64 {
    Microjoules::new(rounded(microjoules.unsigned_abs())).to_bigint()
}

/// One try of a request on one node.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptSummary {
    attempt: i32,
    node: Uuid,
    outcome: String,
    /// Why this node was chosen.
    choice: Option<String>,
    /// What the node computed, delivered or not.
    prompt_tokens: i64,
    completion_tokens: i64,
    /// What the node claimed beyond what the gateway counted; nobody pays for it.
    overclaimed_tokens: i64,
    microjoules: i64,
    duration_microseconds: i64,
}

/// A request and all its attempts.
#[derive(Serialize, ToSchema)]
pub struct RequestDetail {
    #[serde(flatten)]
    request: RequestSummary,
    /// What it was paid at, in nanocredits per token, if anything was to be paid.
    price: Option<Price>,
    attempts: Vec<AttemptSummary>,
}

/// Which requests.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestsQuery {
    /// Only requests since, as `2026-01-31T00:00:00Z`.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// Only requests before.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
    /// Only this key.
    key: Option<Uuid>,
    /// Only keys that this user made.
    user: Option<Uuid>,
    /// Only this model.
    model: Option<String>,
    /// Only requests whose last attempt was on this node.
    node: Option<Uuid>,
    /// Only requests that ended so.
    #[param(inline)]
    outcome: Option<Outcome>,
    /// Only requests older than this one: the `next` of the page before.
    before: Option<Uuid>,
    /// At most this many, 1 to 200; 50 if not given.
    limit: Option<i64>,
    /// `csv` for a spreadsheet, as `Accept: text/csv` is.
    #[param(inline)]
    format: Option<Format>,
}

/// Lists requests, newest first.
#[utoipa::path(get, path = "/api/requests", tag = "Usage", security(("session" = [])), params(RequestsQuery),
    responses((status = 200, content((Page<RequestSummary> = "application/json"), (String = "text/csv"))), Problem))]
pub async fn requests(
    app: App,
    user: User,
    reply: Reply,
    Query(query): Query<RequestsQuery>,
) -> Result<Response, Problem> {
    let page = page(&app.database, user.account, &query).await?;
    reply.send(&TABLE, query.format, page)
}

async fn page(database: &PgPool, account: Uuid, query: &RequestsQuery) -> Result<Page<RequestSummary>, Problem> {
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    let filters = Filters::one(query.key, query.user, query.model.as_deref(), query.node, query.outcome);
    let (since, until) = query.parts(database, account, &filters, limit + 1).await?;
    let mut data = sqlx::query_as!(
        RequestSummary,
        r#"select r.id, key_id as key, user_id as user, node_id as node, endpoint, model, streamed, outcome, status,
               prompt_tokens, cached_tokens, completion_tokens, nanocredits, nanocredits as "cost: Cost", price_version,
               microjoules, low_microjoules, high_microjoules, microjoules as "joules: Joules", energy_tier,
               energy_boundary, energy_method, started_at, first_byte_microseconds, duration_microseconds
           from unnest($2::timestamptz[], $3::timestamptz[]) as part (since, until) cross join lateral (
               select * from requests
               where account_id = $1 and id >= first_id_at(part.since)
                   and id < coalesce(least(first_id_at(part.until), $4), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
                   and ($5::uuid[] = '{}' or key_id = any($5)) and ($6::uuid[] = '{}' or user_id = any($6))
                   and ($7::text[] = '{}' or model = any($7)) and ($8::uuid[] = '{}' or node_id = any($8))
                   and ($9::text[] = '{}' or outcome = any($9))
               order by id desc limit $10) as r
           order by r.id desc limit $10"#,
        account,
        &since,
        &until as &[Option<OffsetDateTime>],
        query.before,
        &filters.keys,
        &filters.users,
        &filters.models,
        &filters.nodes,
        &filters.outcomes,
        limit + 1
    )
    .fetch_all(database)
    .await?;
    let more = cut(&mut data, limit);
    data.iter_mut().for_each(RequestSummary::round);
    let next = data.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Page { data, next })
}

impl RequestsQuery {
    /// The parts of time to look into: all at once, or the hours that have some of what is looked for.
    async fn parts(
        &self,
        database: &PgPool,
        account: Uuid,
        filters: &Filters,
        limit: i64,
    ) -> Result<(Vec<OffsetDateTime>, Vec<Option<OffsetDateTime>>), sqlx::Error> {
        let since = since_epoch(self.from.unwrap_or(OffsetDateTime::UNIX_EPOCH));
        let until = self.to.map(since_epoch);
        if filters.is_empty() {
            return Ok((vec![since], vec![until]));
        }
        let before = self.before.map(|before| began(before) + Duration::MILLISECOND);
        let end = until.into_iter().chain(before).min().unwrap_or(END_OF_TIME);
        let hours = hours(database, account, filters, (since, end), limit).await?;
        let ends = hours.iter().map(|hour| {
            let end = hour.saturating_add(Duration::HOUR);
            Some(until.map_or(end, |until| until.min(end)))
        });
        Ok((hours.iter().map(|hour| since.max(*hour)).collect(), ends.collect()))
    }
}

/// One request with its attempts.
#[utoipa::path(get, path = "/api/requests/{id}", tag = "Usage", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = RequestDetail), Problem))]
pub async fn request(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<RequestDetail>, Problem> {
    detail(&app.database, user.account, id).await.map(Json)
}

async fn detail(database: &PgPool, account: Uuid, id: Uuid) -> Result<RequestDetail, Problem> {
    let mut request = sqlx::query_as!(
        RequestSummary,
        r#"select id, key_id as key, user_id as user, node_id as node, endpoint, model, streamed, outcome, status,
               prompt_tokens, cached_tokens, completion_tokens, nanocredits, nanocredits as "cost: Cost", price_version,
               microjoules, low_microjoules, high_microjoules, microjoules as "joules: Joules", energy_tier,
               energy_boundary, energy_method, started_at, first_byte_microseconds, duration_microseconds
           from requests where account_id = $1 and id = $2"#,
        account,
        id
    )
    .fetch_optional(database)
    .await?
    .ok_or_else(|| Problem::not_found("request"))?;
    let mut attempts = sqlx::query_as!(
        AttemptSummary,
        "select attempt, node_id as node, outcome, choice, prompt_tokens, completion_tokens, overclaimed_tokens,
            microjoules, duration_microseconds
         from attempts where request_id = $1 order by attempt",
        id
    )
    .fetch_all(database)
    .await?;
    let price = match request.price_version {
        Some(version) => prices::table::of_version(database, version).await?,
        None => None,
    };
    request.round();
    attempts.iter_mut().for_each(|attempt| attempt.microjoules = shown(attempt.microjoules));
    Ok(RequestDetail { request, price, attempts })
}
