//! The late truth on energy: of a request, once its counters have been read and its node's day is closed, and of a node.

use openapi::energy::{Boundary, Energy, EnergyTerms, EnergyUsage, Grid, Status, StepCosts, Tier, disclose_with_idle};
use openapi::grid::sci::{Sci, sci};
use openapi::units::Microjoules;
use serde::{Serialize, Serializer};
use sqlx::PgPool;
use sqlx::types::Json as SqlJson;
use time::{Date, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path};
use crate::error::Problem;

/// The energy of all tries of a request.
#[derive(Serialize, ToSchema)]
pub struct RequestEnergy {
    request: Uuid,
    attempts: Vec<AttemptEnergy>,
}

/// The energy of one try.
#[derive(Serialize, ToSchema)]
pub struct AttemptEnergy {
    attempt: i32,
    node: Uuid,
    /// True of the one whose answer the client got.
    delivered: bool,
    energy: EnergyUsage,
    /// Carbon for each token of prompt and answer (ISO/IEC 21031), with that of making the machine where it is known.
    sci: Option<Sci>,
}

/// Says what a request took in energy, as well as is known by now.
#[utoipa::path(get, path = "/api/requests/{id}/energy", tag = "Usage", security(("session" = [])),
    params(("id" = Uuid, Path)), responses((status = 200, body = RequestEnergy), Problem))]
pub async fn request(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<RequestEnergy>, Problem> {
    let attempts = attempts(&app.database, user.account, id).await?;
    attempts.map(|attempts| Json(RequestEnergy { request: id, attempts })).ok_or_else(|| Problem::not_found("request"))
}

/// None when the account has no such request.
async fn attempts(database: &PgPool, account: Uuid, id: Uuid) -> Result<Option<Vec<AttemptEnergy>>, sqlx::Error> {
    let known = sqlx::query_scalar!("select 1 as one from requests where id = $1 and account_id = $2", id, account);
    if known.fetch_optional(database).await?.is_none() {
        return Ok(None);
    }
    let rows = sqlx::query!(
        "select e.*, a.prompt_tokens + a.completion_tokens as tokens from request_energy e
         join attempts a using (request_id, attempt) where e.request_id = $1 order by e.attempt",
        id
    )
    .fetch_all(database)
    .await?;
    let count = |count: i64| Microjoules::new(count.unsigned_abs());
    let shown = rows.into_iter().map(|row| {
        let energy = Energy {
            microjoules: count(row.microjoules),
            low_microjoules: count(row.low_microjoules),
            high_microjoules: count(row.high_microjoules),
            marginal_microjoules: count(row.marginal_microjoules),
            prefill_microjoules: count(row.prefill_microjoules),
            tier: Tier::from_letter(&row.tier).unwrap_or(Tier::X),
            boundary: Boundary::from_word(&row.boundary).unwrap_or(Boundary::Device),
            method: row.method,
            settled: row.status != Status::Provisional.word(),
        };
        let grid = row.grid_zone.zip(row.grid_mg_per_kwh).map(|(zone, mg_per_kwh)| Grid {
            zone,
            mg_per_kwh: mg_per_kwh.unsigned_abs(),
            source: row.grid_source.unwrap_or_default(),
            basis: row.grid_basis.unwrap_or_default(),
        });
        let embodied = row.embodied_nanograms_per_joule.map(i64::unsigned_abs);
        let micrograms =
            u128::from(energy.microjoules.get()) * u128::from(embodied.unwrap_or_default()) / 1_000_000_000;
        let score = grid.as_ref().filter(|_| row.believed).and_then(|grid| {
            let micrograms = u64::try_from(micrograms).unwrap_or(u64::MAX);
            sci(count(row.facility_microjoules), grid, micrograms, row.tokens.unwrap_or_default().unsigned_abs())
        });
        let terms = EnergyTerms {
            grid,
            pue_milli: row.pue_milli.unsigned_abs(),
            idle_ppm: 0,
            embodied_nanograms_per_joule: embodied,
            believed: row.believed,
            tier_cap: Tier::from_letter(&row.tier_cap).unwrap_or(Tier::X),
        };
        let status = Status::from_word(&row.status).unwrap_or(Status::Provisional);
        AttemptEnergy {
            attempt: row.attempt,
            node: row.node_id,
            delivered: row.delivered,
            energy: disclose_with_idle(&energy, count(row.idle_microjoules), &terms, status),
            sci: score,
        }
    });
    Ok(Some(shown.collect()))
}

/// What is known of a node's energy.
#[derive(Serialize, ToSchema)]
pub struct NodeEnergy {
    node: Uuid,
    /// False when the gateway does not believe its figures: see `verdicts`.
    believed: bool,
    /// The best tier that its figures count for.
    tier_cap: Tier,
    /// Of the last 24 hours.
    last_day: Sums,
    /// What its steps are known to take.
    costs: Option<StepCosts>,
    #[serde(with = "time::serde::rfc3339::option")]
    reported_at: Option<OffsetDateTime>,
    /// Days that are closed, newest first, at most 31.
    days: Vec<Day>,
    /// What spoke against its figures, newest first, at most 50.
    verdicts: Vec<VerdictRow>,
}

/// Sums in microjoules.
#[derive(Serialize, ToSchema)]
pub struct Sums {
    total_microjoules: i64,
    attributed_microjoules: i64,
    idle_microjoules: i64,
    busy_microseconds: i64,
}

/// A day of a node: `total = attributed + idle + foreign`.
#[derive(Serialize, ToSchema)]
pub struct Day {
    #[schema(value_type = String, format = Date)]
    #[serde(serialize_with = "written")]
    day: Date,
    total_microjoules: i64,
    attributed_microjoules: i64,
    /// Of these, to requests of others than this gateway.
    elsewhere_microjoules: i64,
    idle_microjoules: i64,
    foreign_microjoules: i64,
    busy_microseconds: i64,
    /// The part of the idle energy that requests of this gateway bear.
    shared_microjoules: i64,
    /// What the node has settled of them that day.
    settled_microjoules: i64,
}

/// As `2026-11-26`.
fn written<S: Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

/// Something that speaks against a node's figures.
#[derive(Serialize, ToSchema)]
pub struct VerdictRow {
    kind: String,
    /// `watch`, `lower` or `reject`.
    severity: String,
    reason: String,
    #[schema(value_type = Object)]
    evidence: serde_json::Value,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// Says what a node of the account has drawn, what became of it, and whether it is believed. Administrators see every node.
#[utoipa::path(get, path = "/api/nodes/{id}/energy", tag = "Nodes", security(("session" = [])),
    params(("id" = Uuid, Path)), responses((status = 200, body = NodeEnergy), Problem))]
pub async fn node(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<NodeEnergy>, Problem> {
    let owned = sqlx::query_scalar!(
        "select 1 as one from nodes where id = $1 and (account_id = $2 or $3)",
        id,
        user.account,
        user.is_admin
    );
    if owned.fetch_optional(&app.database).await?.is_none() {
        return Err(Problem::not_found("node"));
    }
    app.energies.refresh(&app.database).await?;
    let known = app.energies.of(id);
    let known = known.as_deref();
    let sums = sqlx::query_as!(
        Sums,
        "select total_microjoules, attributed_microjoules, idle_microjoules, busy_microseconds from node_energy
         where node_id = $1",
        id
    );
    let none = Sums { total_microjoules: 0, attributed_microjoules: 0, idle_microjoules: 0, busy_microseconds: 0 };
    Ok(Json(NodeEnergy {
        node: id,
        believed: known.is_none_or(|known| known.believed),
        tier_cap: known.map_or(Tier::A, |known| known.tier_cap),
        last_day: sums.fetch_optional(&app.database).await?.unwrap_or(none),
        costs: known.map(|known| known.costs),
        reported_at: known.and_then(|known| known.reported_at),
        days: days(&app.database, id).await?,
        verdicts: verdicts(&app.database, id).await?,
    }))
}

async fn days(database: &PgPool, node: Uuid) -> Result<Vec<Day>, sqlx::Error> {
    sqlx::query_as!(
        Day,
        "select day, total_microjoules, attributed_microjoules, elsewhere_microjoules, idle_microjoules,
            foreign_microjoules, busy_microseconds, shared_microjoules, settled_microjoules
         from node_energy_days where node_id = $1 order by day desc limit 31",
        node
    )
    .fetch_all(database)
    .await
}

async fn verdicts(database: &PgPool, node: Uuid) -> Result<Vec<VerdictRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select kind, severity, reason, evidence as "evidence: SqlJson<serde_json::Value>", at from energy_verdicts
           where node_id = $1 order by at desc limit 50"#,
        node
    )
    .fetch_all(database)
    .await?;
    let verdict = |(kind, severity, reason, evidence, at)| VerdictRow { kind, severity, reason, evidence, at };
    Ok(rows.into_iter().map(|row| verdict((row.kind, row.severity, row.reason, row.evidence.0, row.at))).collect())
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn a_day_is_written_as_the_description_says() {
        let day = Day {
            day: date!(2026 - 03 - 01),
            total_microjoules: 3,
            attributed_microjoules: 1,
            elsewhere_microjoules: 0,
            idle_microjoules: 1,
            foreign_microjoules: 1,
            busy_microseconds: 5,
            shared_microjoules: 0,
            settled_microjoules: 1,
        };
        assert_eq!(serde_json::to_value(day).unwrap()["day"], "2026-03-01");
    }
}
