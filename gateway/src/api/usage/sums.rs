//! Sums over requests by time and group: the one query behind `/api/usage` and OpenAI's usage and costs.

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

use super::cursor::Cursor;
use super::filters::Filters;
use super::parts::Parts;
use super::{Cost, Joules};

/// How long a bucket is. Buckets begin on UTC's borders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bucket {
    Minute,
    Hour,
    #[default]
    Day,
    Month,
}

impl Bucket {
    /// As Postgres calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The span that is meant when none is given.
    pub const fn usual(self) -> Duration {
        Duration::days(match self {
            Self::Minute => 1,
            Self::Hour => 7,
            Self::Day => 30,
            Self::Month => 365,
        })
    }

    /// The longest span that may be asked for, in days: some ten thousand buckets.
    pub const fn most_days(self) -> i64 {
        match self {
            Self::Minute => 7,
            Self::Hour => 400,
            Self::Day | Self::Month => 10_000,
        }
    }
}

/// What tells the rows of one bucket apart. Written as a list such as `key,model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Grouping {
    pub key: bool,
    pub user: bool,
    pub model: bool,
    pub node: bool,
    pub outcome: bool,
}

impl Grouping {
    /// One row for a bucket.
    pub const NONE: Self = Self { key: false, user: false, model: false, node: false, outcome: false };
}

impl TryFrom<String> for Grouping {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        let mut grouping = Self::NONE;
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "key" => grouping.key = true,
                "user" => grouping.user = true,
                "model" => grouping.model = true,
                "node" => grouping.node = true,
                "outcome" => grouping.outcome = true,
                _ => return Err("`group_by` is a list of key, user, model, node, outcome".to_owned()),
            }
        }
        Ok(grouping)
    }
}

/// What is asked.
#[derive(Debug)]
pub struct Question {
    pub account: Uuid,
    pub from: OffsetDateTime,
    /// Exclusive.
    pub to: OffsetDateTime,
    pub bucket: Bucket,
    pub grouping: Grouping,
    pub filters: Filters,
}

/// What one group used in one bucket. What was not grouped by is null.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageRow {
    /// When the bucket begins.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    pub key: Option<Uuid>,
    pub user: Option<Uuid>,
    pub model: Option<String>,
    /// The node of the last attempt; null too when there was none.
    pub node: Option<Uuid>,
    pub outcome: Option<String>,
    pub requests: i64,
    pub prompt_tokens: i64,
    /// Those of the prompt's tokens that were cached.
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    pub nanocredits: i64,
    /// The same in credits, as an exact decimal.
    #[schema(value_type = String)]
    pub cost: Cost,
    pub microjoules: i64,
    #[schema(value_type = f64)]
    pub joules: Joules,
    /// Energy of the nodes' sites: with their share of idle time, and what the sites add.
    pub facility_microjoules: i64,
    /// Carbon in micrograms, of those requests whose nodes say where they stand.
    pub micrograms_co2e: i64,
}

/// At most `limit` rows, in the order of bucket, key, user, model, node and outcome, from behind the cursor on.
///
/// `offset 0` has each span looked up by itself. Otherwise Postgres, once it plans for whatever values may come, reads all that
/// the account has and compares it with every span.
///
/// # Errors
/// When the database fails.
#[expect(clippy::too_many_lines, reason = "one statement")]
pub async fn sums(
    database: &PgPool,
    question: &Question,
    after: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<UsageRow>, sqlx::Error> {
    let Grouping { key, user, model, node, outcome } = question.grouping;
    let filters = &question.filters;
    // Buckets before the cursor's need not be summed up again.
    let from = after.map_or(question.from, |after| after.start.max(question.from));
    let parts = Parts::of(from, question.to, question.bucket);
    sqlx::query_as!(
        UsageRow,
        r#"with parts as (
               select u.start, key_id, user_id, model, node_id, outcome, requests, prompt_tokens, cached_tokens,
                   completion_tokens, nanocredits, microjoules, facility_microjoules, micrograms_co2e
               from unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) as part (span, since, until)
               cross join lateral (select * from usage_sums where account_id = $1 and span = part.span
                   and start >= part.since and start < part.until offset 0) as u
               union all
               select start, key_id, user_id, model, node_id, outcome, requests, prompt_tokens, cached_tokens,
                   completion_tokens, nanocredits, microjoules, facility_microjoules, micrograms_co2e
               from usage_changes where account_id = $1 and start >= $5 and start < $6
               union all
               select to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0), key_id,
                   user_id, model, node_id, outcome, 1, prompt_tokens, cached_tokens, completion_tokens, nanocredits,
                   microjoules, coalesce(site.facility, 0), coalesce(site.micrograms, 0)
               from unnest($7::timestamptz[], $8::timestamptz[]) as part (since, until)
               cross join lateral (select * from requests where account_id = $1 and id >= first_id_at(part.since)
                   and id < first_id_at(part.until) offset 0) as requests
               left join lateral (select sum(facility_microjoules) as facility, sum(micrograms_co2e) as micrograms
                   from request_energy e where e.request_id = requests.id and e.delivered and e.believed) as site on true),
           sums as (
               select date_trunc($9, start, 'UTC') as start,
                   case when $10 then key_id end as key, case when $11 then user_id end as user_id,
                   case when $12 then model end collate "C" as model, case when $13 then node_id end as node,
                   case when $14 then outcome end collate "C" as outcome, sum(requests)::bigint as requests,
                   least(sum(prompt_tokens), 9223372036854775807)::bigint as prompt_tokens,
                   least(sum(cached_tokens), 9223372036854775807)::bigint as cached_tokens,
                   least(sum(completion_tokens), 9223372036854775807)::bigint as completion_tokens,
                   least(sum(nanocredits), 9223372036854775807)::bigint as nanocredits,
                   least(sum(microjoules), 9223372036854775807)::bigint as microjoules,
                   least(sum(facility_microjoules), 9223372036854775807)::bigint as facility_microjoules,
                   least(sum(micrograms_co2e), 9223372036854775807)::bigint as micrograms_co2e
               from parts
               where ($15::uuid[] = '{}' or key_id = any($15)) and ($16::uuid[] = '{}' or user_id = any($16))
                   and ($17::text[] = '{}' or model = any($17)) and ($18::uuid[] = '{}' or node_id = any($18))
                   and ($19::text[] = '{}' or outcome = any($19))
               group by 1, 2, 3, 4, 5, 6
               having sum(requests) > 0)
           select start as "start!", key, user_id as user, model, node, outcome, requests as "requests!",
               prompt_tokens as "prompt_tokens!", cached_tokens as "cached_tokens!",
               completion_tokens as "completion_tokens!", nanocredits as "nanocredits!", nanocredits as "cost!: Cost",
               microjoules as "microjoules!", microjoules as "joules!: Joules",
               facility_microjoules as "facility_microjoules!", micrograms_co2e as "micrograms_co2e!"
           from sums
           where $20::timestamptz is null
               or (start, coalesce(key, $26), coalesce(user_id, $26), coalesce(model, ''), coalesce(node, $26),
                   coalesce(outcome, ''))
               > ($20, coalesce($21, $26), coalesce($22, $26), coalesce($23, ''), coalesce($24, $26), coalesce($25, ''))
           order by start, key nulls first, user_id nulls first, model nulls first, node nulls first, outcome nulls first
           limit $27"#,
        question.account,
        &parts.words as &[&str],
        &parts.sums.from,
        &parts.sums.to,
        parts.from,
        parts.to,
        &parts.rows.from,
        &parts.rows.to,
        question.bucket.word(),
        key,
        user,
        model,
        node,
        outcome,
        &filters.keys,
        &filters.users,
        &filters.models,
        &filters.nodes,
        &filters.outcomes,
        after.map(|after| after.start),
        after.and_then(|after| after.key),
        after.and_then(|after| after.user),
        after.and_then(|after| after.model.as_deref()),
        after.and_then(|after| after.node),
        after.and_then(|after| after.outcome.as_deref()),
        Uuid::nil(),
        limit
    )
    .fetch_all(database)
    .await
}
