//! What the parties that share the income have got, as the ledger has it: operators, authors, the gateway and the audit fund.

use openapi::statement::Movement;
use openapi::units::Microseconds;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Credits of a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earned {
    /// The account of the ledger.
    pub party: String,
    pub nanocredits: i64,
}

/// A line of an event that is no settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub party: String,
    pub movement: Movement,
}

/// What settlements of these requests brought.
///
/// # Errors
/// When the database fails.
pub async fn by_requests(connection: &mut PgConnection, requests: &[Uuid]) -> Result<Vec<Earned>, sqlx::Error> {
    sqlx::query_as!(
        Earned,
        r#"select p.account as party, sum(p.nanocredits)::bigint as "nanocredits!" from events e
           join postings p on p.event_id = e.id
           where e.request_id = any($1) and e.kind = 'settlement' and p.account !~ '^(customer:|losses$|external$)'
           group by p.account"#,
        requests
    )
    .fetch_all(connection)
    .await
}

/// What settlements brought of which there is no receipt, nor will be: those from before there were any.
///
/// # Errors
/// When the database fails.
pub async fn without_receipts(connection: &mut PgConnection) -> Result<Vec<Earned>, sqlx::Error> {
    sqlx::query_as!(
        Earned,
        r#"select p.account as party, sum(p.nanocredits)::bigint as "nanocredits!" from events e
           join postings p on p.event_id = e.id
           where e.kind = 'settlement' and p.account !~ '^(customer:|losses$|external$)'
               and not exists (select from receipts r where r.request_id = e.request_id)
           group by p.account order by p.account"#
    )
    .fetch_all(connection)
    .await
}

/// What other events moved that are in no epoch yet, of those from before a time; by time.
///
/// # Errors
/// When the database fails.
pub async fn moved_since(connection: &mut PgConnection, before: OffsetDateTime) -> Result<Vec<Moved>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select e.id, e.kind, e.created_at, p.account, sum(p.nanocredits)::bigint as "nanocredits!" from events e
           join postings p on p.event_id = e.id
           where e.kind <> 'settlement' and e.created_at < $1 and p.account !~ '^(customer:|losses$|external$)'
               and not exists (select from epoch_events x where x.event_id = e.id)
           group by e.id, p.account order by e.created_at, e.id, p.account"#,
        before
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(Moved::from).collect())
}

/// What is in the statements of an epoch; by time.
///
/// # Errors
/// When the database fails.
pub async fn moved_in(connection: &mut PgConnection, epoch: i32) -> Result<Vec<Moved>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select e.id, e.kind, e.created_at, p.account, sum(p.nanocredits)::bigint as "nanocredits!" from epoch_events x
           join events e on e.id = x.event_id join postings p on p.event_id = e.id
           where x.epoch = $1 and p.account !~ '^(customer:|losses$|external$)'
           group by e.id, p.account order by e.created_at, e.id, p.account"#,
        epoch
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(Moved::from).collect())
}

struct Row {
    id: Uuid,
    kind: String,
    created_at: OffsetDateTime,
    account: String,
    nanocredits: i64,
}

impl From<Row> for Moved {
    fn from(row: Row) -> Self {
        let movement =
            Movement { event: row.id, at: microseconds(row.created_at), kind: row.kind, nanocredits: row.nanocredits };
        Self { party: row.account, movement }
    }
}

/// Since 1970.
pub(crate) fn microseconds(at: OffsetDateTime) -> Microseconds {
    Microseconds::new(u64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or_default())
}
