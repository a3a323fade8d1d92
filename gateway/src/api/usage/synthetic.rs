//! Made-up requests for tests.

use sqlx::PgPool;
use time::{Date, Duration, Month, OffsetDateTime, Time};
use uuid::{NoContext, Timestamp, Uuid};

/// Whether a filter that was made from the second row means the first.
pub(crate) type Meant = fn(&Row, &Row) -> bool;

/// A request, as far as sums go.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub id: Uuid,
    pub at: OffsetDateTime,
    pub account: Uuid,
    pub user: Uuid,
    pub key: Uuid,
    pub model: String,
    pub node: Option<Uuid>,
    pub outcome: &'static str,
    pub prompt_tokens: i64,
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    pub nanocredits: i64,
    pub microjoules: i64,
}

impl Row {
    /// A small request at a time.
    pub(crate) fn at(account: Uuid, at: OffsetDateTime) -> Self {
        let at_milliseconds = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap();
        let nanoseconds = u32::try_from(at_milliseconds % 1000).unwrap() * 1_000_000;
        Self {
            id: Uuid::new_v7(Timestamp::from_unix(NoContext, at_milliseconds / 1000, nanoseconds)),
            at,
            account,
            user: account,
            key: account,
            model: "m".to_owned(),
            node: None,
            outcome: "completed",
            prompt_tokens: 3,
            cached_tokens: 1,
            completion_tokens: 2,
            nanocredits: 5,
            microjoules: 7,
        }
    }
}

/// The account that is asked about, and its requests of two months, mixed with those of another account that has the
/// same keys, users, nodes and models. Names of models are as hostile as clients can make them.
pub(crate) fn two_months() -> (Uuid, Vec<Row>) {
    let mut random = fastrand::Rng::with_seed(7);
    let ids: [Uuid; 9] = std::array::from_fn(|_| Uuid::now_v7());
    let models = ["m", "M", "ä", "=1+1", "a,\"b\"\r\nc", "@x\t", ""];
    let outcomes = ["completed", "cut_short", "no_node"];
    let from = month_start(OffsetDateTime::now_utc(), -1);
    let row = |_| {
        let prompt_tokens = random.i64(0..1000);
        Row {
            user: ids[random.usize(2..4)],
            key: ids[random.usize(4..7)],
            model: (*random.choice(models.iter()).unwrap()).to_owned(),
            node: [None, Some(ids[7]), Some(ids[8])][random.usize(0..3)],
            outcome: outcomes[random.usize(0..3)],
            prompt_tokens,
            cached_tokens: random.i64(0..=prompt_tokens),
            completion_tokens: random.i64(0..1000),
            nanocredits: random.i64(0..3_000_000_000),
            microjoules: random.i64(0..1_000_000_000),
            ..Row::at(ids[random.usize(0..2)], from + Duration::milliseconds(random.i64(0..60 * 86_400_000)))
        }
    };
    (ids[0], (0..400).map(row).collect())
}

/// When the month begins that lies so many months before or after another.
pub(crate) fn month_start(at: OffsetDateTime, months: i32) -> OffsetDateTime {
    let month = at.year() * 12 + i32::from(u8::from(at.month())) - 1 + months;
    let name = Month::try_from(u8::try_from(month.rem_euclid(12) + 1).unwrap()).unwrap();
    let date = Date::from_calendar_date(month.div_euclid(12), name, 1).unwrap();
    date.with_time(Time::MIDNIGHT).assume_utc()
}

/// Writes requests, each with one attempt.
pub(crate) async fn insert(database: &PgPool, rows: &[Row]) {
    for row in rows {
        sqlx::query!(
            "with attempted as (
                 insert into attempts values ($1, 1, coalesce($6::uuid, $2), 'completed', $8, $10, 0, $12, 1))
             insert into requests (id, account_id, user_id, key_id, endpoint, model, streamed, outcome, status, node_id,
                 prompt_tokens, cached_tokens, completion_tokens, nanocredits, microjoules, low_microjoules,
                 high_microjoules, started_at, duration_microseconds)
             values ($1, $2, $3, $4, 'completions', $5, false, $7, 200, $6, $8, $9, $10, $11, $12, 0, $12, $13, 1)",
            row.id,
            row.account,
            row.user,
            row.key,
            row.model,
            row.node,
            row.outcome,
            row.prompt_tokens,
            row.cached_tokens,
            row.completion_tokens,
            row.nanocredits,
            row.microjoules,
            row.at
        )
        .execute(database)
        .await
        .unwrap();
    }
}

/// What a reply says as CSV: one map from column to cell for each row.
pub(crate) async fn cells(response: axum::response::Response) -> Vec<std::collections::BTreeMap<String, String>> {
    let body = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    csv::Reader::from_reader(body.as_ref()).deserialize().map(Result::unwrap).collect()
}

/// The cell that a JSON value becomes.
pub(crate) fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) if text.starts_with(['=', '@']) => format!("'{text}"),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
