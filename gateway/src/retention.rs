//! Makes the partitions of the months to come, and deletes what is not kept: months of requests beyond the setting, and
//! what replicas told each other, and nodes reported, long ago. Every replica runs it, one at a time.

use std::time::Duration;

use sqlx::PgPool;

use crate::app::App;

const EVERY: Duration = Duration::from_secs(60 * 60);
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Months for which there are partitions already, beside the running one.
const AHEAD: i32 = 3;

/// Tidies up now and every hour until the gateway closes. `keep_months` are whole months beside the running one; 0 keeps all.
pub async fn run(app: App, keep_months: u16) {
    loop {
        if let Err(error) = app.idempotency.sweep().await {
            tracing::warn!(%error, "answers that were kept for a day could not be deleted");
        }
        match app.responses.sweep(&app.database).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "responses that were stored for long enough are deleted"),
            Err(error) => tracing::warn!(%error, "responses that were stored for long enough could not be deleted"),
        }
        let pause = match sweep(&app.database, keep_months).await {
            Ok(dropped) => {
                if !dropped.is_empty() {
                    tracing::info!(months = dropped.join(", "), "requests of these months are deleted");
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "old rows could not be deleted, or partitions not made; trying again");
                TRY_AGAIN
            }
        };
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Says which months were deleted.
async fn sweep(database: &PgPool, keep_months: u16) -> Result<Vec<String>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let alone =
        sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtext('commonwatt retention')) as "alone!""#)
            .fetch_one(&mut *transaction)
            .await?;
    if !alone {
        return Ok(Vec::new());
    }
    delete_news(&mut transaction).await?;
    // Last, since it locks the tables that requests are written to, and not for long: who waits makes the others wait.
    sqlx::query!("set local lock_timeout = '5s'").execute(&mut *transaction).await?;
    sqlx::query!("select create_months($1)", AHEAD).execute(&mut *transaction).await?;
    let dropped =
        if keep_months == 0 { Vec::new() } else { delete_months(&mut transaction, keep_months.into()).await? };
    transaction.commit().await?;
    Ok(dropped)
}

/// A replica that has missed more changes than an hour's asks for everything anew. An allowance counts in its window.
async fn delete_news(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from changes where created_at < now() - interval '1 hour'").execute(&mut *connection).await?;
    // Days are closed, and their sums stay.
    sqlx::query!("delete from energy_reports where to_at < now() - interval '92 days'")
        .execute(&mut *connection)
        .await?;
    // What was in no receipt: of attempts that are none of this gateway's, or other than what it has seen.
    sqlx::query!("delete from node_receipts where received_at < now() - interval '92 days'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from energy_verdicts where at < now() - interval '400 days'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "delete from allowance_leases where window_start <> 'epoch' and window_start < now() - interval '40 days'"
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r"delete from allowances where window_start <> 'epoch' and window_start < now() -
            case when what like '%\_per\_minute' then interval '1 hour' else interval '40 days' end"
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn delete_months(connection: &mut sqlx::PgConnection, keep: i32) -> Result<Vec<String>, sqlx::Error> {
    // Receipts are kept until they are in a closed epoch; a request's is signed soon after it.
    let border = sqlx::query_scalar!(
        r#"select least((date_trunc('month', now() at time zone 'UTC') - make_interval(months => $1)) at time zone 'UTC',
               (select max(ended_at) - interval '7 days' from epochs)) as "at!""#,
        keep
    )
    .fetch_one(&mut *connection)
    .await?;
    // What a clock that was far off has put beside the months.
    sqlx::query!("delete from attempts_default where request_id < first_id_at($1)", border)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from receipts_default where request_id < first_id_at($1)", border)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from requests_default where id < first_id_at($1)", border).execute(&mut *connection).await?;
    // Sums go with what was summed up.
    sqlx::query!("delete from usage_changes where start < $1", border).execute(&mut *connection).await?;
    sqlx::query!("delete from usage_sums where start < $1", border).execute(&mut *connection).await?;
    sqlx::query_scalar!(r#"select month as "month!" from drop_months_before($1) as month order by month"#, border)
        .fetch_all(connection)
        .await
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    use super::*;
    use crate::api::usage::synthetic::{Row, insert, month_start};

    async fn partitions(database: &PgPool) -> Vec<String> {
        sqlx::query_scalar!(
            r#"select substring(c.relname from 10) as "month!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
               where i.inhparent = 'requests'::regclass order by 1"#
        )
        .fetch_all(database)
        .await
        .unwrap()
    }

    async fn left(database: &PgPool) -> Vec<Uuid> {
        sqlx::query_scalar!("select id from requests order by id").fetch_all(database).await.unwrap()
    }

    fn name(month: OffsetDateTime) -> String {
        format!("{}_{:02}", month.year(), u8::from(month.month()))
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn months_to_come_are_made_and_months_long_past_are_deleted(database: PgPool) {
        let now = OffsetDateTime::now_utc();
        let (this, last, older) = (month_start(now, 0), month_start(now, -1), month_start(now, -2));
        for month in [last, older, month_start(now, -14)] {
            sqlx::query!("select create_month($1)", month.date()).execute(&database).await.unwrap();
        }
        let owner = Uuid::now_v7();
        let at = |time| Row::at(owner, time);
        let kept = [at(last), at(this - Duration::milliseconds(1)), at(now)];
        let old = [at(last - Duration::milliseconds(1)), at(older), at(OffsetDateTime::UNIX_EPOCH)];
        let future = at(now + Duration::days(3650));
        let all: Vec<Row> = kept.iter().chain(&old).chain([&future]).cloned().collect();
        insert(&database, &all).await;

        assert_eq!(sweep(&database, 0).await.unwrap(), Vec::<String>::new());
        assert_eq!(left(&database).await.len(), all.len(), "for ever");

        let dropped = sweep(&database, 1).await.unwrap();
        let mut expected = [older, month_start(now, -14)].map(|month| name(month).replace('_', "-"));
        expected.sort();
        assert_eq!(dropped, expected);
        let survivors: Vec<Uuid> = kept.iter().chain([&future]).map(|row| row.id).collect();
        assert_eq!(left(&database).await, survivors);
        let attempts =
            sqlx::query_scalar!("select request_id from attempts order by 1").fetch_all(&database).await.unwrap();
        assert_eq!(attempts, survivors);
        let summed = sqlx::query_scalar!(r#"select sum(requests)::bigint as "requests!" from usage_changes"#);
        assert_eq!(summed.fetch_one(&database).await.unwrap(), survivors.len() as i64);
        let mut expected: Vec<String> = (-1..=AHEAD).map(|months| name(month_start(now, months))).collect();
        expected.push("default".to_owned());
        assert_eq!(partitions(&database).await, expected);
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn rows_lie_in_the_partition_of_their_month_or_in_the_default_one(database: PgPool) {
        let now = OffsetDateTime::now_utc();
        let next = month_start(now, 1);
        let owner = Uuid::now_v7();
        let times = [
            (next - Duration::milliseconds(1), name(now)),
            (next, name(next)),
            (OffsetDateTime::UNIX_EPOCH, "default".to_owned()),
            (now + Duration::days(3650), "default".to_owned()),
        ];
        for (time, partition) in times {
            let row = Row::at(owner, time);
            insert(&database, std::slice::from_ref(&row)).await;
            let found = sqlx::query_scalar!(
                r#"select substring(tableoid::regclass::text from 10) as "partition!" from requests where id = $1"#,
                row.id
            );
            assert_eq!(found.fetch_one(&database).await.unwrap(), partition, "{time}");
        }
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn replicas_that_tidy_up_at_once_do_no_harm(database: PgPool) {
        let before = partitions(&database).await;
        let sweeps = (0..6).map(|_| sweep(&database, 1));
        for swept in futures_util::future::join_all(sweeps).await {
            swept.unwrap();
        }
        assert_eq!(partitions(&database).await, before);
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn news_and_allowances_go_when_nobody_needs_them(database: PgPool) {
        let (subject, replica) = (Uuid::now_v7(), Uuid::now_v7());
        sqlx::query!("insert into replicas (id, version) values ($1, '0')", replica).execute(&database).await.unwrap();
        sqlx::query!(
            "insert into changes (kind, subject, created_at)
             select 'key', $1, now() - age from unnest('{59 minutes,61 minutes}'::interval[]) as age",
            subject
        )
        .execute(&database)
        .await
        .unwrap();
        sqlx::query!(
            "with windows as (select 'requests_per_minute' as what, now() - interval '59 minutes' as window_start
                 union all select 'tokens_per_minute', now() - interval '61 minutes'
                 union all select 'nanocredits_per_month', now() - interval '39 days'
                 union all select 'nanocredits_per_month', now() - interval '41 days'
                 union all select 'concurrent_requests', 'epoch'),
             leased as (insert into allowance_leases select $1, $2, what, window_start, 1 from windows
                 where what not like '%minute')
             insert into allowances select $2, what, window_start, 1 from windows",
            replica,
            subject
        )
        .execute(&database)
        .await
        .unwrap();
        sweep(&database, 0).await.unwrap();
        let changes = sqlx::query_scalar!("select count(*) from changes").fetch_one(&database).await.unwrap();
        assert_eq!(changes, Some(1));
        let allowances =
            sqlx::query_scalar!("select what from allowances order by what").fetch_all(&database).await.unwrap();
        assert_eq!(allowances, ["concurrent_requests", "nanocredits_per_month", "requests_per_minute"]);
        let leases =
            sqlx::query_scalar!("select what from allowance_leases order by what").fetch_all(&database).await.unwrap();
        assert_eq!(leases, ["concurrent_requests", "nanocredits_per_month"]);
    }
}
