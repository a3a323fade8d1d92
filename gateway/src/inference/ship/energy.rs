//! What becomes of an attempt's energy after its request has ended: the node's last word, and its share of idle time.

use openapi::energy::Energy;
use openapi::error::echo;
use openapi::receipt::{ReceiptEnergy, ReceiptId};
use openapi::units::Microjoules;
use sqlx::PgConnection;
use time::Date;
use uuid::Uuid;

/// More carbon no grid has: milligrams for a kilowatt-hour.
const MOST_INTENSITY: u64 = 10_000_000;
/// More no site takes beside its machines.
const MOST_PUE_MILLI: u32 = 10_000;

/// Takes a node's last word on its attempts' energy (`energy_settlements`) to all rows that are there. Returns the attempts
/// that now have it, or had it before.
///
/// # Errors
/// When the database fails.
pub async fn settle_energy(connection: &mut PgConnection, node: Uuid) -> Result<Vec<(Uuid, i32)>, sqlx::Error> {
    let settled = sqlx::query!(
        r#"with word as (select * from energy_settlements where node_id = $1),
            settled as (
                update request_energy e set microjoules = word.microjoules, low_microjoules = word.low_microjoules,
                    high_microjoules = word.high_microjoules, marginal_microjoules = word.marginal_microjoules,
                    prefill_microjoules = word.prefill_microjoules, tier = word.tier, status = 'settled',
                    idle_microjoules = trunc(e.idle_microjoules::numeric * word.microjoules / greatest(e.microjoules, 1))
                from word where e.request_id = word.request_id and e.attempt = word.attempt and e.node_id = $1
                    and e.status = 'provisional'
                returning e.request_id, e.attempt, e.delivered, e.microjoules, e.low_microjoules, e.high_microjoules,
                    greatest(e.tier, e.tier_cap) as tier),
            tried as (
                update attempts a set microjoules = settled.microjoules from settled
                where a.request_id = settled.request_id and a.attempt = settled.attempt),
            asked as (
                update requests r set microjoules = settled.microjoules, low_microjoules = settled.low_microjoules,
                    high_microjoules = settled.high_microjoules, energy_tier = settled.tier
                from settled where r.id = settled.request_id and settled.delivered)
           select word.request_id as "request!", word.attempt as "attempt!" from word
           where exists (select from request_energy e where e.request_id = word.request_id and e.attempt = word.attempt)"#,
        node
    )
    .fetch_all(connection)
    .await?;
    Ok(settled.into_iter().map(|row| (row.request, row.attempt)).collect())
}

/// Takes over what the gateway that has answered an attempt says about its energy, in the receipt that it has signed.
///
/// # Errors
/// When the database fails.
pub async fn adopt_receipt(
    connection: &mut PgConnection,
    id: ReceiptId,
    energy: &ReceiptEnergy,
) -> Result<(), sqlx::Error> {
    let within = |part: Microjoules| part.min(Energy::MOST).to_bigint();
    let figure = energy.microjoules.min(Energy::MOST);
    let part = |part: Microjoules| part.min(figure).to_bigint();
    let grid = energy.grid.as_ref().filter(|grid| grid.mg_per_kwh <= MOST_INTENSITY);
    sqlx::query!(
        "with settled as (
            update request_energy set microjoules = $3, low_microjoules = $4, high_microjoules = $5, marginal_microjoules = $6,
                prefill_microjoules = $7, idle_microjoules = $8, tier = $9, boundary = $10, method = $11, status = 'settled',
                believed = believed and $12, pue_milli = $13, grid_zone = $14, grid_mg_per_kwh = $15, grid_source = $16,
                grid_basis = $17
            where request_id = $1 and attempt = $2 and status = 'provisional'
            returning delivered, microjoules, low_microjoules, high_microjoules, greatest(tier, tier_cap) as tier),
         tried as (
            update attempts set microjoules = settled.microjoules from settled where request_id = $1 and attempt = $2)
         update requests r set microjoules = settled.microjoules, low_microjoules = settled.low_microjoules,
            high_microjoules = settled.high_microjoules, energy_tier = settled.tier, energy_boundary = $10, energy_method = $11
         from settled where r.id = $1 and settled.delivered",
        id.request,
        i32::try_from(id.attempt).unwrap_or(i32::MAX),
        figure.to_bigint(),
        part(energy.low_microjoules),
        within(energy.high_microjoules.max(figure)),
        part(energy.marginal_microjoules),
        part(energy.prefill_microjoules),
        within(energy.idle_microjoules),
        energy.tier.letter(),
        energy.boundary.word(),
        echo(&energy.method),
        energy.believed,
        i32::try_from(energy.pue_milli.clamp(1_000, MOST_PUE_MILLI)).unwrap_or(1_000),
        grid.map(|grid| echo(&grid.zone)),
        grid.map(|grid| i64::try_from(grid.mg_per_kwh).unwrap_or(i64::MAX)),
        grid.map(|grid| echo(&grid.source)),
        grid.map(|grid| echo(&grid.basis))
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Makes rows for attempts that a node has settled and that this gateway knows nothing more of: it died, or the client left
/// before the node had said anything. Their request is there, and nobody else will write them.
///
/// # Errors
/// When the database fails.
pub async fn adopt_energy(connection: &mut PgConnection, node: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into request_energy (request_id, attempt, node_id, delivered, microjoules, low_microjoules,
            high_microjoules, marginal_microjoules, prefill_microjoules, idle_microjoules, tier, boundary, method, status,
            believed, pue_milli)
         select s.request_id, s.attempt, $1, false, s.microjoules, s.low_microjoules, s.high_microjoules,
            s.marginal_microjoules, s.prefill_microjoules, 0, s.tier, s.boundary, s.method, 'settled', true, 1000
         from energy_settlements s join requests r on r.id = s.request_id
         where s.node_id = $1 and s.at < now() - interval '10 seconds'
         on conflict do nothing",
        node
    )
    .execute(connection)
    .await
    .map(drop)
}

/// An attempt's energy, on the way to its final form.
pub struct DayRow {
    pub request_id: Uuid,
    pub attempt: i32,
    pub microjoules: i64,
}

/// The attempts on a node whose requests began on this day, in UTC, and whose energy is not final.
///
/// # Errors
/// When the database fails.
pub async fn energies_of_day(connection: &mut PgConnection, node: Uuid, day: Date) -> Result<Vec<DayRow>, sqlx::Error> {
    sqlx::query_as!(
        DayRow,
        "select request_id, attempt, microjoules from request_energy
         where node_id = $1 and request_id >= first_id_at($2::date::timestamp at time zone 'UTC')
            and request_id < first_id_at(($2::date + 1)::timestamp at time zone 'UTC') and status <> 'final'
         order by request_id, attempt",
        node,
        day
    )
    .fetch_all(connection)
    .await
}

/// Gives each attempt its share of idle time; it is final then.
///
/// # Errors
/// When the database fails.
pub async fn close_energies(connection: &mut PgConnection, rows: &[DayRow], shares: &[u64]) -> Result<(), sqlx::Error> {
    let requests: Vec<Uuid> = rows.iter().map(|row| row.request_id).collect();
    let attempts: Vec<i32> = rows.iter().map(|row| row.attempt).collect();
    let shares: Vec<i64> = shares.iter().map(|share| i64::try_from(*share).unwrap_or(i64::MAX)).collect();
    sqlx::query!(
        "update request_energy e set idle_microjoules = s.share, status = 'final'
         from unnest($1::uuid[], $2::integer[], $3::bigint[]) as s (request_id, attempt, share)
         where e.request_id = s.request_id and e.attempt = s.attempt",
        &requests,
        &attempts,
        &shares
    )
    .execute(connection)
    .await
    .map(drop)
}
