//! Reports, settlements and days in a real database: once each, exact, whoever comes first.

mod day;

mod reports;

mod settlements;

use openapi::energy::report::{EnergyReport, PoolWindow, SettledAttempt};
use openapi::energy::{Boundary, Energy, EnergyTerms, Grid, StepCosts, Tier};
use openapi::units::{Microjoules, Microseconds};
use sqlx::PgPool;
use time::{Date, Month, OffsetDateTime};
use uuid::{Builder, Uuid};

use crate::inference::record::{AttemptEnergy, AttemptRecord, OpenRequest, Outcome, RequestRecord};
use crate::inference::ship;
use crate::journal::{Journal, JournalSettings};

/// Noon of a day long over.
fn noon() -> OffsetDateTime {
    today().midnight().assume_utc() + time::Duration::hours(12)
}

fn today() -> Date {
    Date::from_calendar_date(2026, Month::March, 14).unwrap()
}

/// The id of a request that began at this time.
fn request_at(time: OffsetDateTime) -> Uuid {
    let milliseconds = u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap();
    Builder::from_unix_timestamp_millis(milliseconds, &fastrand::u128(..).to_le_bytes()[..10].try_into().unwrap())
        .into_uuid()
}

/// A node's word on an attempt, each part another.
fn energy(microjoules: u64, settled: bool) -> Energy {
    let part = |of: u64| Microjoules::new(microjoules / of);
    Energy {
        microjoules: part(1),
        low_microjoules: part(2),
        high_microjoules: Microjoules::new(microjoules * 2),
        marginal_microjoules: part(3),
        prefill_microjoules: part(4),
        tier: Tier::B,
        boundary: Boundary::NodeDc,
        method: "test/1".to_owned(),
        settled,
    }
}

/// A quarter of what is attributed comes on top for idle time, a fifth of both for the site.
fn terms() -> EnergyTerms {
    let grid = Grid { zone: "DE".to_owned(), mg_per_kwh: 334_100, source: "s".to_owned(), basis: "b".to_owned() };
    EnergyTerms { grid: Some(grid), pue_milli: 1_200, idle_ppm: 250_000, ..EnergyTerms::default() }
}

/// A request that this node has tried once for each of these energies, the last time to its end.
fn record(node: Uuid, id: Uuid, energies: &[Energy]) -> RequestRecord {
    let request = OpenRequest {
        id,
        billed_as: None,
        account_id: Uuid::now_v7(),
        user_id: Uuid::now_v7(),
        key_id: Uuid::now_v7(),
        endpoint: "chat.completions".to_owned(),
        model: "m".to_owned(),
        streamed: true,
        started_at: noon(),
        client_request: None,
    };
    let attempt = |(at, energy): (usize, &Energy)| {
        let delivered = at + 1 == energies.len();
        AttemptRecord {
            request_id: id,
            attempt: at as u32 + 1,
            node_id: node,
            outcome: if delivered { Outcome::Completed } else { Outcome::NodeFailed },
            choice: None,
            prompt_tokens: 3,
            completion_tokens: 2,
            overclaimed_tokens: 0,
            microjoules: energy.microjoules,
            duration_microseconds: Microseconds::new(7),
            energy: Some(AttemptEnergy::new(energy, &terms(), delivered)),
            noted: None,
        }
    };
    let mut record = RequestRecord::without_answer(request, Outcome::Completed, 200);
    record.attempts = energies.iter().enumerate().map(attempt).collect();
    if let Some(last) = energies.last() {
        (record.microjoules, record.low_microjoules) = (last.microjoules, last.low_microjoules);
        record.high_microjoules = last.high_microjoules;
        record.energy_tier = Some(last.tier.letter().to_owned());
    }
    record
}

/// Brings requests to the database as a gateway does.
async fn ship(database: &PgPool, records: &[RequestRecord]) {
    let folder = std::env::temp_dir().join(format!("journal-{}", Uuid::now_v7()));
    let settings = JournalSettings { strict: false, most_bytes: 1 << 30, least_free_bytes: 0 };
    let journal = Journal::open(&folder, settings).unwrap().journal;
    for record in records {
        journal.admit(record.request.id, &record.request.to_bytes()).await.unwrap();
        journal.settle(record.request.id, &record.to_bytes()).await;
    }
    ship::ship_all(&journal, database, Uuid::now_v7()).await.unwrap();
    assert_eq!((journal.state().waiting, journal.state().set_aside), (0, 0));
    journal.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// A counter's part of a report, for whom it moved.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    attributed: u64,
    elsewhere: u64,
    idle: u64,
    foreign: u64,
}

fn window(pool: &str, moved: Moved) -> PoolWindow {
    let Moved { attributed, elsewhere, idle, foreign } = moved;
    let counter_from = Microjoules::new(1_000);
    PoolWindow {
        pool: pool.to_owned(),
        tier: Tier::B,
        boundary: Boundary::NodeDc,
        counter_from,
        counter_to: counter_from + Microjoules::new(attributed + idle + foreign),
        attributed: Microjoules::new(attributed),
        elsewhere: Microjoules::new(elsewhere),
        idle: Microjoules::new(idle),
        foreign: Microjoules::new(foreign),
    }
}

/// A report of the second before `to`.
fn report(sequence: u64, to: OffsetDateTime, pools: Vec<PoolWindow>, settled: Vec<SettledAttempt>) -> EnergyReport {
    let to = Microseconds::new(u64::try_from(to.unix_timestamp_nanos() / 1_000).unwrap());
    EnergyReport {
        sequence,
        previous: String::new(),
        from: to - Microseconds::new(1_000_000),
        to,
        busy_microseconds: Microseconds::new(600_000),
        pools,
        costs: StepCosts { windows: 7, ..StepCosts::default() },
        grid: None,
        settled,
    }
}

fn settled(request: Uuid, attempt: u32, microjoules: u64) -> SettledAttempt {
    SettledAttempt { request, attempt, energy: energy(microjoules, true) }
}

/// What the database has of an attempt's energy.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    microjoules: i64,
    idle_microjoules: i64,
    facility_microjoules: i64,
    status: String,
}

async fn row(database: &PgPool, request: Uuid, attempt: i32) -> Row {
    sqlx::query_as!(
        Row,
        "select microjoules, idle_microjoules, facility_microjoules, status from request_energy
         where request_id = $1 and attempt = $2",
        request,
        attempt
    )
    .fetch_one(database)
    .await
    .unwrap()
}

fn expected(microjoules: i64, idle_microjoules: i64, status: &str) -> Row {
    let facility_microjoules = (microjoules + idle_microjoules) * 12 / 10;
    Row { microjoules, idle_microjoules, facility_microjoules, status: status.to_owned() }
}
