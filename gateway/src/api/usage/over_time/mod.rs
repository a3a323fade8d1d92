//! `GET /api/usage`: sums over time.

#[cfg(test)]
mod tests;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use utoipa::IntoParams;
use uuid::Uuid;

use super::cursor::Cursor;
use super::filters::{Filters, span};
use super::parts::border_after;
use super::sums::{Bucket, Grouping, Question, UsageRow, sums};
use super::table::{Format, Page, Reply, Table, checked_limit, cut};
use crate::app::App;
use crate::auth::User;
use crate::body::Query;
use crate::error::Problem;
use crate::inference::record::Outcome;
use crate::secrets::Secrets;

const TABLE: Table = Table {
    name: "usage",
    columns: &[
        "start",
        "key",
        "user",
        "model",
        "node",
        "outcome",
        "requests",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "nanocredits",
        "cost",
        "microjoules",
        "joules",
        "facility_microjoules",
        "micrograms_co2e",
    ],
    cursor: "after",
};
const USUAL_ROWS: i64 = 200;
const MOST_ROWS: i64 = 1000;

/// What is summed up, and how.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Beginning, as `2026-01-31T00:00:00Z`. If not given, before the end: a day for minutes, a week for hours, 30 days
    /// for days, a year for months.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// End, exclusive; now if not given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
    /// A day if not given; UTC.
    #[serde(default)]
    #[param(inline)]
    bucket: Bucket,
    /// A list of `key`, `user`, `model`, `node`, `outcome`; `key,model` if not given, and it may be empty.
    #[serde(default = "key_and_model")]
    #[param(value_type = Option<String>)]
    group_by: Grouping,
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
    /// The `next` of the page before; everything else as it was then.
    #[serde(skip_serializing)]
    after: Option<String>,
    /// At most this many rows, 1 to 1000; 200 if not given.
    #[serde(skip_serializing)]
    limit: Option<i64>,
    /// `csv` for a spreadsheet, as `Accept: text/csv` is.
    #[serde(skip_serializing)]
    #[param(inline)]
    format: Option<Format>,
}

fn key_and_model() -> Grouping {
    Grouping { key: true, model: true, ..Grouping::NONE }
}

/// Sums up what was used and what it cost, by time and by what is asked for.
#[utoipa::path(get, path = "/api/usage", tag = "Usage", security(("session" = [])), params(UsageQuery),
    responses((status = 200, content((Page<UsageRow> = "application/json"), (String = "text/csv"))), Problem))]
pub async fn usage(app: App, user: User, reply: Reply, Query(query): Query<UsageQuery>) -> Result<Response, Problem> {
    let page = page(&app.database, &app.secrets, user.account, &query).await?;
    reply.send(&TABLE, query.format, page)
}

async fn page(
    database: &PgPool,
    secrets: &Secrets,
    account: Uuid,
    query: &UsageQuery,
) -> Result<Page<UsageRow>, Problem> {
    let limit = checked_limit(query.limit, USUAL_ROWS, MOST_ROWS)?;
    let asked = serde_json::to_string(&(account, query)).map_err(|_| Problem::internal())?;
    let open = |text: &String| {
        Cursor::open(text, secrets, &asked).ok_or_else(|| {
            Problem::bad_request("`after` is the `next` of a page of this very query. Begin again without it.")
        })
    };
    let after = query.after.as_ref().map(open).transpose()?;
    let question = query.question(account, after.as_ref())?;
    let mut data = sums(database, &question, after.as_ref(), limit + 1).await?;
    let more = cut(&mut data, limit);
    let next = data.last().filter(|_| more).map(|last| Cursor::behind(last, &question).seal(secrets, &asked));
    Ok(Page { next: next.transpose().map_err(|_| Problem::internal())?, data })
}

impl UsageQuery {
    fn question(&self, account: Uuid, after: Option<&Cursor>) -> Result<Question, Problem> {
        let (from, to) = match after {
            Some(after) => (after.from, after.to),
            None => span(self.from, self.to.or_else(|| self.end_of_the_hour()), self.bucket.usual())?,
        };
        if (to - from).whole_seconds() > self.bucket.most_days() * 86_400 {
            return Err(Problem::bad_request(format!(
                "By the {} at most {} days can be asked for. Ask for a shorter span or a longer bucket.",
                self.bucket.word(),
                self.bucket.most_days()
            )));
        }
        let filters = Filters::one(self.key, self.user, self.model.as_deref(), self.node, self.outcome);
        Ok(Question { account, from, to, bucket: self.bucket, grouping: self.group_by, filters })
    }

    /// Until now is as good as to the end of this hour, of which nothing has to be read request by request then.
    fn end_of_the_hour(&self) -> Option<OffsetDateTime> {
        (self.bucket != Bucket::Minute).then(|| border_after(OffsetDateTime::now_utc(), Duration::HOUR))
    }
}
