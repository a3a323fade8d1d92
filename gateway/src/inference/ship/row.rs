//! The rows that a record becomes, of the types that the database has for them: `request_row`, `attempt_row` and `grid_row`.
//! Their fields stand in the types' order, under the names that they have in the journal.

use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

/// What became of a request.
#[derive(Deserialize, sqlx::Type)]
#[sqlx(type_name = "request_row")]
pub(super) struct RequestRow {
    id: Uuid,
    account_id: Uuid,
    user_id: Uuid,
    key_id: Uuid,
    endpoint: String,
    model: String,
    streamed: bool,
    outcome: String,
    status: i16,
    node_id: Option<Uuid>,
    prompt_tokens: i64,
    cached_tokens: i64,
    completion_tokens: i64,
    nanocredits: i64,
    price_version: Option<i64>,
    microjoules: i64,
    low_microjoules: i64,
    high_microjoules: i64,
    energy_tier: Option<String>,
    energy_boundary: Option<String>,
    energy_method: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    first_byte_microseconds: Option<i64>,
    duration_microseconds: i64,
}

/// What became of one try, and what it took in energy: nothing of that where the node had not begun to compute.
#[derive(Deserialize, sqlx::Type)]
#[sqlx(type_name = "attempt_row")]
pub(super) struct AttemptRow {
    request_id: Uuid,
    attempt: i32,
    node_id: Uuid,
    outcome: String,
    choice: Option<String>,
    prompt_tokens: i64,
    completion_tokens: i64,
    overclaimed_tokens: i64,
    microjoules: i64,
    duration_microseconds: i64,
    delivered: Option<bool>,
    low_microjoules: Option<i64>,
    high_microjoules: Option<i64>,
    marginal_microjoules: Option<i64>,
    prefill_microjoules: Option<i64>,
    idle_microjoules: Option<i64>,
    tier: Option<String>,
    boundary: Option<String>,
    method: Option<String>,
    energy_status: Option<String>,
    believed: Option<bool>,
    tier_cap: Option<String>,
    pue_milli: Option<i32>,
    grid: Option<GridRow>,
    embodied_nanograms_per_joule: Option<i64>,
}

/// What the grid's power meant there and then.
#[derive(Deserialize, sqlx::Type)]
#[sqlx(type_name = "grid_row")]
struct GridRow {
    zone: String,
    mg_per_kwh: i64,
    source: String,
    basis: String,
}

/// The rows of a record as it stands in the journal.
///
/// # Errors
/// When it is none.
pub(super) fn read(record: &str) -> serde_json::Result<(RequestRow, Vec<AttemptRow>)> {
    #[derive(Deserialize)]
    struct Tries {
        attempts: Vec<AttemptRow>,
    }
    Ok((serde_json::from_str(record)?, serde_json::from_str::<Tries>(record)?.attempts))
}
