//! Brings the sums of what accounts use up to date. The only module that writes the table `usage_sums`, and one that
//! deletes from `usage_changes`, where triggers note what changes in `requests` and `request_energy`. Until a note is
//! gathered its readers add it themselves, so nothing depends on when that is.

use std::time::Duration;

use sqlx::PgPool;

use crate::app::App;

const EVERY: Duration = Duration::from_secs(15);
/// Notes in one transaction.
const MOST: i64 = 20_000;

/// Gathers until the gateway closes.
pub async fn run(app: App) {
    loop {
        let pause = match gather(&app.database).await {
            Ok(MOST..) => Duration::ZERO,
            Ok(_) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "what accounts use could not be summed up; trying again");
                EVERY
            }
        };
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Says how many notes it has gathered. Of several replicas one does it.
pub(super) async fn gather(database: &PgPool) -> Result<i64, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let mine = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtext('commonwatt usage')) as "mine!""#);
    if !mine.fetch_one(&mut *transaction).await? {
        return Ok(0);
    }
    let gathered = sqlx::query_scalar!(
        r#"with gone as (
               delete from usage_changes where ctid = any (array(select ctid from usage_changes limit $1)) returning *),
           added as (
               insert into usage_sums as s (account_id, start, key_id, user_id, model, node_id, outcome, requests,
                   prompt_tokens, cached_tokens, completion_tokens, nanocredits, microjoules, facility_microjoules,
                   micrograms_co2e, span)
               select account_id, date_trunc(span, start, 'UTC'), key_id, user_id, model, node_id, outcome, sum(requests),
                   sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(nanocredits), sum(microjoules),
                   sum(facility_microjoules), sum(micrograms_co2e), span
               from gone cross join unnest('{hour,day}'::text[]) as span
               group by account_id, 2, key_id, user_id, model, node_id, outcome, span
               on conflict on constraint usage_sums_key do update set requests = s.requests + excluded.requests,
                   prompt_tokens = s.prompt_tokens + excluded.prompt_tokens,
                   cached_tokens = s.cached_tokens + excluded.cached_tokens,
                   completion_tokens = s.completion_tokens + excluded.completion_tokens,
                   nanocredits = s.nanocredits + excluded.nanocredits,
                   microjoules = s.microjoules + excluded.microjoules,
                   facility_microjoules = s.facility_microjoules + excluded.facility_microjoules,
                   micrograms_co2e = s.micrograms_co2e + excluded.micrograms_co2e)
           select count(*) as "gathered!" from gone"#,
        MOST
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::api::usage::synthetic::{insert, two_months};

    /// Groups whose sums are not those of their rows, by hour or by day.
    async fn wrong(database: &PgPool) -> i64 {
        sqlx::query_scalar!(
            r#"with spans as (select unnest('{hour,day}'::text[]) as span),
               rows as (
                   select span, date_trunc(span, hour_of(r.id), 'UTC') as start, account_id, key_id, user_id, model, r.node_id,
                       outcome, count(*)::numeric as requests, sum(r.prompt_tokens) as prompt, sum(cached_tokens) as cached,
                       sum(r.completion_tokens) as completion, sum(nanocredits) as nanocredits,
                       sum(r.microjoules) as microjoules, coalesce(sum(e.facility_microjoules), 0) as facility,
                       coalesce(sum(e.micrograms_co2e), 0) as micrograms
                   from spans cross join requests r
                   left join request_energy e on e.request_id = r.id and e.delivered and e.believed
                   group by 1, 2, 3, 4, 5, 6, 7, 8),
               known as (
                   select span, start, account_id, key_id, user_id, model, node_id, outcome, requests, prompt_tokens,
                       cached_tokens, completion_tokens, nanocredits, microjoules, facility_microjoules, micrograms_co2e
                   from usage_sums
                   union all
                   select span, date_trunc(span, start, 'UTC'), account_id, key_id, user_id, model, node_id, outcome,
                       requests, prompt_tokens, cached_tokens, completion_tokens, nanocredits, microjoules,
                       facility_microjoules, micrograms_co2e
                   from spans cross join usage_changes),
               sums as (
                   select span, start, account_id, key_id, user_id, model, node_id, outcome, sum(requests),
                       sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(nanocredits), sum(microjoules),
                       sum(facility_microjoules), sum(micrograms_co2e)
                   from known group by 1, 2, 3, 4, 5, 6, 7, 8 having sum(requests) <> 0)
               select count(*) as "wrong!" from ((table rows except table sums) union all (table sums except table rows)) as w"#
        )
        .fetch_one(database)
        .await
        .unwrap()
    }

    async fn give_energy(database: &PgPool, requests: &[Uuid]) {
        sqlx::query!(
            "insert into request_energy (request_id, attempt, node_id, delivered, microjoules, low_microjoules,
                 high_microjoules, marginal_microjoules, prefill_microjoules, idle_microjoules, tier, boundary, method,
                 status, believed, grid_mg_per_kwh, pue_milli)
             select id, attempt, id, attempt = 2, 10000000, 0, 10000000, 0, 0, 0, 'C', 'node-dc', 'm', 'settled', true,
                 363000, 1100
             from unnest($1::uuid[]) as id, generate_series(1, 2) as attempt",
            requests
        )
        .execute(database)
        .await
        .unwrap();
    }

    async fn notes(database: &PgPool) -> i64 {
        sqlx::query_scalar!(r#"select count(*) as "notes!" from usage_changes"#).fetch_one(database).await.unwrap()
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn sums_follow_every_change_and_are_the_same_gathered_or_not(database: PgPool) {
        let (account, rows) = two_months();
        insert(&database, &rows).await;
        assert_eq!((wrong(&database).await, notes(&database).await), (0, 400));
        assert_eq!(gather(&database).await.unwrap(), 400);
        assert_eq!((wrong(&database).await, notes(&database).await), (0, 0));

        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        give_energy(&database, &ids[..200]).await;
        assert!(notes(&database).await > 0);
        assert_eq!(wrong(&database).await, 0, "energy that came");
        for change in [
            sqlx::query!("update request_energy set idle_microjoules = 1234567, status = 'final' where attempt = 2"),
            sqlx::query!("update request_energy set believed = false where request_id = any($1)", &ids[..20]),
            sqlx::query!(
                "update requests set nanocredits = 0, microjoules = 9, high_microjoules = 9 where account_id = $1",
                account
            ),
        ] {
            change.execute(&database).await.unwrap();
            assert_eq!(wrong(&database).await, 0);
            gather(&database).await.unwrap();
            assert_eq!((wrong(&database).await, notes(&database).await), (0, 0));
        }
        sqlx::query!("delete from request_energy where request_id = any($1)", &ids[..50])
            .execute(&database)
            .await
            .unwrap();
        sqlx::query!("delete from requests where id = any($1)", &ids[..50]).execute(&database).await.unwrap();
        assert_eq!(wrong(&database).await, 0, "what is gone");
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn replicas_that_gather_at_once_count_nothing_twice(database: PgPool) {
        insert(&database, &two_months().1).await;
        let gathered = futures_util::future::join_all((0..5).map(|_| gather(&database))).await;
        assert_eq!(gathered.into_iter().map(Result::unwrap).sum::<i64>(), 400);
        assert_eq!(wrong(&database).await, 0);
    }
}
