//! The only module that writes the tables `energy_reports`, `energy_windows`, `energy_settlements`, `node_energy`,
//! `energy_verdicts` and `energy_standings`.

use openapi::energy::report::{EnergyReport, SettledAttempt};
use openapi::energy::{Grid, StepCosts, Tier};
use openapi::log::entry::Kind;
use openapi::units::{Microjoules, Microseconds};
use serde_json::json;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::Known;
use super::honesty::verdict::{Standing, Verdict};
use crate::inference::ship;
use crate::log;

/// The number of a node's newest report.
///
/// # Errors
/// When the database fails.
pub async fn newest(database: &PgPool, node: Uuid) -> Result<u64, sqlx::Error> {
    let sequence = sqlx::query_scalar!("select sequence from node_energy where node_id = $1", node);
    Ok(sequence.fetch_optional(database).await?.unwrap_or_default().unsigned_abs())
}

/// Keeps a report and everything that follows from it, once. False when it was there.
///
/// # Errors
/// When the database fails, or refuses what does not add up.
pub async fn keep(database: &PgPool, node: Uuid, statement: &str, report: &EnergyReport) -> Result<bool, sqlx::Error> {
    let mut transaction = database.begin().await?;
    if !insert(&mut transaction, node, statement, report).await? {
        return Ok(false);
    }
    settle(&mut transaction, node, &report.settled).await?;
    update_known(&mut transaction, node, report).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn insert(
    connection: &mut PgConnection,
    node: Uuid,
    statement: &str,
    report: &EnergyReport,
) -> Result<bool, sqlx::Error> {
    let settled = report.settled.iter().map(|attempt| attempt.energy.microjoules.get()).fold(0, u64::saturating_add);
    let inserted = sqlx::query!(
        "insert into energy_reports (node_id, sequence, statement, from_at, to_at, busy_microseconds, settled_microjoules)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        node,
        sequence(report),
        statement,
        moment(report.from),
        moment(report.to),
        report.busy_microseconds.to_bigint(),
        Microjoules::new(settled).to_bigint()
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "insert into energy_windows (node_id, pool, sequence, to_at, tier, boundary, counter_from, counter_to,
            total_microjoules, attributed_microjoules, elsewhere_microjoules, idle_microjoules, foreign_microjoules)
         select $1, w.pool, $2, $3, w.tier, w.boundary, w.counter_from, w.counter_to, w.counter_to - w.counter_from,
            w.attributed, w.elsewhere, w.idle, w.foreign
         from jsonb_to_recordset($4) as w (pool text, tier text, boundary text, counter_from bigint, counter_to bigint,
            attributed bigint, elsewhere bigint, idle bigint, \"foreign\" bigint)",
        node,
        sequence(report),
        moment(report.to),
        json!(report.pools)
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Brings what a node has settled to the rows of its attempts: those that are there, and those that have come since.
async fn settle(connection: &mut PgConnection, node: Uuid, settled: &[SettledAttempt]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = settled
        .iter()
        .map(|attempt| {
            let energy = &attempt.energy;
            json!({
                "request_id": attempt.request, "attempt": attempt.attempt, "microjoules": energy.microjoules,
                "low_microjoules": energy.low_microjoules, "high_microjoules": energy.high_microjoules,
                "marginal_microjoules": energy.marginal_microjoules, "prefill_microjoules": energy.prefill_microjoules,
                "tier": energy.tier, "boundary": energy.boundary, "method": energy.method,
            })
        })
        .collect();
    sqlx::query!(
        "insert into energy_settlements (node_id, request_id, attempt, microjoules, low_microjoules, high_microjoules,
            marginal_microjoules, prefill_microjoules, tier, boundary, method)
         select $1, s.request_id, s.attempt, s.microjoules, s.low_microjoules, s.high_microjoules,
            s.marginal_microjoules, s.prefill_microjoules, s.tier, s.boundary, s.method
         from jsonb_to_recordset($2) as s (request_id uuid, attempt integer, microjoules bigint, low_microjoules bigint,
            high_microjoules bigint, marginal_microjoules bigint, prefill_microjoules bigint, tier text, boundary text,
            method text)
         on conflict do nothing",
        node,
        json!(rows)
    )
    .execute(&mut *connection)
    .await?;
    settle_those_there(connection, node).await
}

/// Brings what is settled to rows that have come since. True while there are some that may still come.
///
/// # Errors
/// When the database fails.
pub async fn settle_rest(database: &PgPool, node: Uuid) -> Result<bool, sqlx::Error> {
    let mut transaction = database.begin().await?;
    settle_those_there(&mut transaction, node).await?;
    let rest = sqlx::query_scalar!(
        r#"select exists (select from energy_settlements where node_id = $1 and at > now() - interval '5 minutes') as "rest!""#,
        node
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(rest)
}

async fn settle_those_there(connection: &mut PgConnection, node: Uuid) -> Result<(), sqlx::Error> {
    ship::adopt_energy(&mut *connection, node).await?;
    let done = ship::settle_energy(&mut *connection, node).await?;
    sqlx::query!(
        "delete from energy_settlements where node_id = $1
            and ((request_id, attempt) in (select * from unnest($2::uuid[], $3::integer[])) or at < now() - interval '3 days')",
        node,
        &done.iter().map(|(request, _)| *request).collect::<Vec<_>>(),
        &done.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>()
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn update_known(connection: &mut PgConnection, node: Uuid, report: &EnergyReport) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into node_energy (node_id, sequence, total_microjoules, attributed_microjoules, idle_microjoules,
            busy_microseconds, costs, grid, reported_at)
         select $1, $2, least(coalesce(sum(total_microjoules), 0), 9223372036854775807)::bigint,
            least(coalesce(sum(attributed_microjoules), 0), 9223372036854775807)::bigint,
            least(coalesce(sum(idle_microjoules), 0), 9223372036854775807)::bigint,
            (select least(coalesce(sum(busy_microseconds), 0), 9223372036854775807)::bigint from energy_reports
                where node_id = $1 and to_at > $5::timestamptz - interval '1 day'), $3, $4, now()
         from energy_windows where node_id = $1 and to_at > $5::timestamptz - interval '1 day'
         on conflict (node_id) do update set sequence = greatest(node_energy.sequence, excluded.sequence),
            total_microjoules = excluded.total_microjoules, attributed_microjoules = excluded.attributed_microjoules,
            idle_microjoules = excluded.idle_microjoules, busy_microseconds = excluded.busy_microseconds,
            costs = excluded.costs, grid = excluded.grid, reported_at = excluded.reported_at",
        node,
        sequence(report),
        json!(report.costs),
        report.grid.as_ref().map(|grid| json!(grid)),
        moment(report.to)
    )
    .execute(connection)
    .await
    .map(drop)
}

/// What is known of every node.
///
/// # Errors
/// When the database fails.
pub async fn known(database: &PgPool) -> Result<Vec<(Uuid, Known)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select node_id, attributed_microjoules, idle_microjoules, busy_microseconds,
            costs as "costs: Json<StepCosts>", grid as "grid: Json<Grid>", reported_at,
            coalesce((select bool_and(believed) from energy_standings s where s.node_id = n.node_id
                and s.updated_at > now() - interval '1 day'), true) as "believed!",
            coalesce((select max(tier_cap) from energy_standings s where s.node_id = n.node_id
                and s.updated_at > now() - interval '1 day'), 'A') as "tier_cap!"
           from node_energy n"#
    )
    .fetch_all(database)
    .await?;
    let known = rows.into_iter().map(|row| {
        let known = Known {
            attributed_microjoules: row.attributed_microjoules.unsigned_abs(),
            idle_microjoules: row.idle_microjoules.unsigned_abs(),
            busy_microseconds: row.busy_microseconds.unsigned_abs(),
            costs: row.costs.map(|Json(costs)| costs).unwrap_or_default(),
            grid: row.grid.map(|Json(grid)| grid),
            reported_at: row.reported_at,
            believed: row.believed,
            tier_cap: Tier::from_letter(&row.tier_cap).unwrap_or(Tier::X),
        };
        (row.node_id, known)
    });
    Ok(known.collect())
}

/// Keeps verdicts, and how the node stands in the eyes of this replica.
///
/// # Errors
/// When the database fails.
pub async fn judge(
    database: &PgPool,
    replica: Uuid,
    node: Uuid,
    verdicts: &[Verdict],
    standing: &Standing,
) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    for verdict in verdicts {
        let evidence: serde_json::Map<String, serde_json::Value> =
            verdict.evidence.iter().map(|figure| (figure.name.to_owned(), json!(figure.value))).collect();
        sqlx::query!(
            "insert into energy_verdicts (id, node_id, kind, severity, reason, evidence, replica_id, at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            Uuid::now_v7(),
            node,
            format!("{:?}", verdict.kind),
            verdict.kind.severity().word(),
            verdict.reason,
            json!(evidence),
            replica,
            moment(verdict.at)
        )
        .execute(&mut *transaction)
        .await?;
        let document = json!({
            "v": 1,
            "node": node,
            "kind": format!("{:?}", verdict.kind),
            "severity": verdict.kind.severity().word(),
            "reason": verdict.reason,
            "evidence": evidence,
            "at": moment(verdict.at).format(&Rfc3339).unwrap_or_default(),
        });
        log::publish(&mut transaction, Kind::Verdict, &[document.to_string()]).await?;
    }
    sqlx::query!(
        "insert into energy_standings (node_id, replica_id, believed, tier_cap) values ($1, $2, $3, $4)
         on conflict (node_id, replica_id) do update set believed = excluded.believed, tier_cap = excluded.tier_cap,
            updated_at = now()",
        node,
        replica,
        standing.believed,
        standing.tier_cap.letter()
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

fn sequence(report: &EnergyReport) -> i64 {
    i64::try_from(report.sequence).unwrap_or(i64::MAX)
}

fn moment(since_1970: Microseconds) -> OffsetDateTime {
    let nanoseconds = i128::from(since_1970.get()) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
