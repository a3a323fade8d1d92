//! Closes each node's day: its idle energy is shared by the requests of that day, to the last microjoule, and from then on
//! their figures are final. The only module that writes the table `node_energy_days`.

use std::time::Duration;

use openapi::apportion::largest_remainders;
use sqlx::{PgConnection, PgPool};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use crate::app::App;
use crate::inference::ship;

const EVERY: Duration = Duration::from_secs(15 * 60);
/// A day is closed when it has been over for this long: reports and journals may be late.
const LATE: time::Duration = time::Duration::hours(1);

/// Closes days that are over, now and every quarter of an hour, until the gateway closes.
pub async fn run(app: App) {
    loop {
        if let Err(error) = close_all(&app.database, OffsetDateTime::now_utc()).await {
            tracing::warn!(%error, "the nodes' days could not be closed; trying again");
        }
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Closes every day of every node that has been over for an hour. One that can't be closed holds up no other.
///
/// # Errors
/// When the database fails. What was closed stays closed.
pub async fn close_all(database: &PgPool, now: OffsetDateTime) -> Result<u64, sqlx::Error> {
    let open = sqlx::query!(
        r#"select distinct w.node_id, (w.to_at at time zone 'UTC')::date as "day!" from energy_windows w
           where w.to_at < date_trunc('day', $1::timestamptz, 'UTC') and w.to_at > $1::timestamptz - interval '31 days'
               and not exists (select from node_energy_days d
               where d.node_id = w.node_id and d.day = (w.to_at at time zone 'UTC')::date)
           order by 2, 1"#,
        now - LATE
    )
    .fetch_all(database)
    .await?;
    let (mut closed, mut failed) = (0, None);
    for one in open {
        match close(database, one.node_id, one.day).await {
            Ok(now) => closed += u64::from(now),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(closed), Err)
}

/// Closes one day. False when another replica has closed it.
async fn close(database: &PgPool, node: Uuid, day: Date) -> Result<bool, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let sums = sqlx::query!(
        r#"insert into node_energy_days (node_id, day, total_microjoules, attributed_microjoules, elsewhere_microjoules,
               idle_microjoules, foreign_microjoules, busy_microseconds, shared_microjoules, settled_microjoules)
           select $1, $2, sum(total_microjoules)::bigint, sum(attributed_microjoules)::bigint,
               sum(elsewhere_microjoules)::bigint, sum(idle_microjoules)::bigint, sum(foreign_microjoules)::bigint,
               (select sum(busy_microseconds)::bigint from energy_reports where node_id = $1
                   and (to_at at time zone 'UTC')::date = $2), 0,
               (select sum(settled_microjoules)::bigint from energy_reports where node_id = $1
                   and (to_at at time zone 'UTC')::date = $2)
           from energy_windows where node_id = $1 and (to_at at time zone 'UTC')::date = $2
           on conflict do nothing returning attributed_microjoules, elsewhere_microjoules, idle_microjoules"#,
        node,
        day
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(sums) = sums else { return Ok(false) };
    let attributed = sums.attributed_microjoules.unsigned_abs();
    let ours = attributed - sums.elsewhere_microjoules.unsigned_abs();
    let idle = if shares_idle(&mut transaction, node).await? { sums.idle_microjoules.unsigned_abs() } else { 0 };
    let shared = (u128::from(idle) * u128::from(ours) / u128::from(attributed.max(1))) as u64;
    share(&mut transaction, (node, day), shared).await?;
    transaction.commit().await?;
    tracing::info!(%node, %day, shared, "a node's energy day is closed");
    Ok(true)
}

/// False when the operator says that the machine would run anyway.
async fn shares_idle(connection: &mut PgConnection, node: Uuid) -> Result<bool, sqlx::Error> {
    let policy = sqlx::query_scalar!("select offer -> 'energy' ->> 'idle_policy' from nodes where id = $1", node);
    Ok(policy.fetch_optional(connection).await?.flatten().as_deref() != Some("opportunistic"))
}

/// Divides idle energy over the requests of a day in proportion to what each has taken.
async fn share(connection: &mut PgConnection, (node, day): (Uuid, Date), idle: u64) -> Result<(), sqlx::Error> {
    let rows = ship::energies_of_day(&mut *connection, node, day).await?;
    let weights: Vec<u128> = rows.iter().map(|row| u128::from(row.microjoules.unsigned_abs())).collect();
    let shares = largest_remainders(idle, &weights);
    let shared: u64 = shares.iter().sum();
    ship::close_energies(&mut *connection, &rows, &shares).await?;
    sqlx::query!(
        "update node_energy_days set shared_microjoules = $3 where node_id = $1 and day = $2",
        node,
        day,
        i64::try_from(shared).unwrap_or(i64::MAX)
    )
    .execute(connection)
    .await
    .map(drop)
}
