//! In which hours an account's requests of some kind are. Who looks for what is rare looks there alone, and not at all
//! that lies between.

use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::filters::Filters;

/// The hours, newest first, that hold at least so many of them before a time, or all that there are since another.
///
/// # Errors
/// When the database fails.
pub(super) async fn hours(
    database: &PgPool,
    account: Uuid,
    filters: &Filters,
    (since, until): (OffsetDateTime, OffsetDateTime),
    limit: i64,
) -> Result<Vec<OffsetDateTime>, sqlx::Error> {
    // Days are few: only those that have some are looked at by the hour.
    let mut within = (vec![since], vec![until]);
    let mut found = Vec::new();
    for (span, length) in [("day", Duration::DAY), ("hour", Duration::HOUR)] {
        found = starts(database, account, filters, (span, &within.0, &within.1), (until - length, limit)).await?;
        within = (found.clone(), found.iter().map(|start| start.saturating_add(length)).collect());
    }
    Ok(found)
}

/// When the days or hours begin that hold enough of them. Those that begin after `counted` may hold some beyond the end,
/// and are not counted.
async fn starts(
    database: &PgPool,
    account: Uuid,
    filters: &Filters,
    (span, since, until): (&str, &[OffsetDateTime], &[OffsetDateTime]),
    (counted, limit): (OffsetDateTime, i64),
) -> Result<Vec<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with known as (
               select u.* from unnest($3::timestamptz[], $4::timestamptz[]) as part (since, until)
               join (select start, span, account_id, key_id, user_id, model, node_id, outcome, requests from usage_sums
                   union all
                   select date_trunc($2, start, 'UTC'), $2::text, account_id, key_id, user_id, model, node_id, outcome, requests
                   from usage_changes) as u
               on u.account_id = $1 and u.span = $2 and u.start >= date_trunc($2, part.since, 'UTC') and u.start < part.until),
           found as (
               select start, sum(requests) as requests from known
               where ($5::uuid[] = '{}' or key_id = any($5)) and ($6::uuid[] = '{}' or user_id = any($6))
                   and ($7::text[] = '{}' or model = any($7)) and ($8::uuid[] = '{}' or node_id = any($8))
                   and ($9::text[] = '{}' or outcome = any($9))
               group by start having sum(requests) > 0)
           select start as "start!" from (
               select start, sum(requests) filter (where start <= $10) over (order by start desc
                   rows between unbounded preceding and 1 preceding) as newer from found) as counted
           where coalesce(newer, 0) < $11::bigint order by start desc"#,
        account,
        span,
        since,
        until,
        &filters.keys,
        &filters.users,
        &filters.models,
        &filters.nodes,
        &filters.outcomes,
        counted,
        limit
    )
    .fetch_all(database)
    .await
}
