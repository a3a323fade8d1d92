//! What the account has used: over time, and request by request.

use openapi::units::Microjoules;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path, Query};
use crate::error::Problem;

const DEFAULT_SPAN: Duration = Duration::days(30);
const MOST_ROWS: i64 = 200;

/// Which part of the past.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Span {
    /// Beginning, as `2026-01-31T00:00:00Z`; 30 days before the end if not given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// End, exclusive; now if not given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
}

impl Span {
    fn bounds(&self) -> Result<(OffsetDateTime, OffsetDateTime), Problem> {
        let to = self.to.unwrap_or_else(OffsetDateTime::now_utc);
        let from = self.from.unwrap_or(to - DEFAULT_SPAN);
        if from < to { Ok((from, to)) } else { Err(Problem::bad_request("`from` lies before `to`.")) }
    }
}

/// What one key asked of one model on one day (UTC).
#[derive(Serialize, ToSchema)]
pub struct UsageRow {
    #[schema(value_type = String, format = Date)]
    day: String,
    key: Uuid,
    model: String,
    requests: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    #[schema(value_type = i64)]
    microjoules: i64,
    joules: f64,
}

/// Usage by day, key and model.
#[derive(Serialize, ToSchema)]
pub struct Usage {
    data: Vec<UsageRow>,
}

/// Sums up what was used, by day, key and model.
#[utoipa::path(get, path = "/api/usage", tag = "Usage", security(("session" = [])), params(Span),
    responses((status = 200, body = Usage), Problem))]
pub async fn usage(app: App, user: User, Query(span): Query<Span>) -> Result<Json<Usage>, Problem> {
    let (from, to) = span.bounds()?;
    let rows = sqlx::query!(
        r#"select to_char(started_at at time zone 'utc', 'YYYY-MM-DD') as "day!", key_id, model, count(*) as "requests!",
               sum(prompt_tokens)::bigint as "prompt_tokens!", sum(completion_tokens)::bigint as "completion_tokens!",
               sum(microjoules)::bigint as "microjoules!"
           from requests where account_id = $1 and started_at >= $2 and started_at < $3
           group by 1, 2, 3 order by 1, 2, 3"#,
        user.account,
        from,
        to
    )
    .fetch_all(&app.database)
    .await?;
    let data = rows.into_iter().map(|row| UsageRow {
        day: row.day,
        key: row.key_id,
        model: row.model,
        requests: row.requests,
        prompt_tokens: row.prompt_tokens,
        completion_tokens: row.completion_tokens,
        microjoules: row.microjoules,
        joules: joules(row.microjoules),
    });
    Ok(Json(Usage { data: data.collect() }))
}

/// A request as its account sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestSummary {
    id: Uuid,
    key: Uuid,
    endpoint: String,
    model: String,
    streamed: bool,
    /// What became of it.
    outcome: String,
    /// The HTTP status; 499 when the client left.
    status: i16,
    prompt_tokens: i64,
    completion_tokens: i64,
    microjoules: i64,
    low_microjoules: i64,
    high_microjoules: i64,
    energy_tier: Option<String>,
    energy_boundary: Option<String>,
    energy_method: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    first_byte_microseconds: Option<i64>,
    duration_microseconds: i64,
}

/// One try of a request on one node.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptSummary {
    attempt: i32,
    node: Uuid,
    outcome: String,
    prompt_tokens: i64,
    completion_tokens: i64,
    microjoules: i64,
    duration_microseconds: i64,
}

/// A request and all its attempts.
#[derive(Serialize, ToSchema)]
pub struct RequestDetail {
    #[serde(flatten)]
    request: RequestSummary,
    attempts: Vec<AttemptSummary>,
}

/// Requests, newest first.
#[derive(Serialize, ToSchema)]
pub struct RequestList {
    data: Vec<RequestSummary>,
    /// Give it as `before` for the next page; null on the last one.
    next: Option<Uuid>,
}

/// Where a page begins.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only requests older than this one.
    before: Option<Uuid>,
    /// At most this many, 1 to 200; 50 if not given.
    limit: Option<i64>,
}

/// Lists requests, newest first.
#[utoipa::path(get, path = "/api/requests", tag = "Usage", security(("session" = [])), params(Page),
    responses((status = 200, body = RequestList), Problem))]
pub async fn requests(app: App, user: User, Query(page): Query<Page>) -> Result<Json<RequestList>, Problem> {
    let limit = page.limit.unwrap_or(50);
    if !(1..=MOST_ROWS).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` lies between 1 and {MOST_ROWS}.")));
    }
    // Ids are UUIDv7: their order is the order in time.
    let data = sqlx::query_as!(
        RequestSummary,
        "select id, key_id as key, endpoint, model, streamed, outcome, status, prompt_tokens, completion_tokens, microjoules,
            low_microjoules, high_microjoules, energy_tier, energy_boundary, energy_method, started_at,
            first_byte_microseconds, duration_microseconds
         from requests where account_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
        user.account,
        page.before,
        limit
    )
    .fetch_all(&app.database)
    .await?;
    let full = usize::try_from(limit).is_ok_and(|limit| data.len() == limit);
    let next = data.last().map(|last| last.id).filter(|_| full);
    Ok(Json(RequestList { data, next }))
}

/// One request with its attempts.
#[utoipa::path(get, path = "/api/requests/{id}", tag = "Usage", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = RequestDetail), Problem))]
pub async fn request(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<RequestDetail>, Problem> {
    let request = sqlx::query_as!(
        RequestSummary,
        "select id, key_id as key, endpoint, model, streamed, outcome, status, prompt_tokens, completion_tokens, microjoules,
            low_microjoules, high_microjoules, energy_tier, energy_boundary, energy_method, started_at,
            first_byte_microseconds, duration_microseconds
         from requests where account_id = $1 and id = $2",
        user.account,
        id
    )
    .fetch_optional(&app.database)
    .await?
    .ok_or_else(|| Problem::not_found("request"))?;
    let attempts = sqlx::query_as!(
        AttemptSummary,
        "select attempt, node_id as node, outcome, prompt_tokens, completion_tokens, microjoules, duration_microseconds
         from attempts where request_id = $1 order by attempt",
        id
    )
    .fetch_all(&app.database)
    .await?;
    Ok(Json(RequestDetail { request, attempts }))
}

fn joules(microjoules: i64) -> f64 {
    Microjoules::new(microjoules.unsigned_abs()).joules()
}
