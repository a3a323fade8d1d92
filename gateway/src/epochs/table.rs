//! The only module that writes the tables `epochs`, `statements` and `epoch_events`.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use openapi::log::entry::{Entry, Kind};
use openapi::statement::{Closed, Epoch, Statement};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::close::Made;
use crate::ledger::earned::{Moved, microseconds};

/// Epochs in one answer.
const MOST: i64 = 1000;

/// A closed epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub number: u32,
    pub first_index: u64,
    pub end_index: u64,
    pub began_at: OffsetDateTime,
    pub ended_at: OffsetDateTime,
    /// SHA-256 of its document.
    pub digest: Vec<u8>,
    /// Nanocredits that the ledger has settled otherwise than its receipts say.
    pub differing: u64,
}

/// A statement, without its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub epoch: u32,
    pub ended_at: OffsetDateTime,
    pub party: String,
    /// SHA-256 of its document.
    pub digest: Vec<u8>,
    /// Nanocredits, as all of these.
    pub opening: i64,
    pub earned: i64,
    pub closing: i64,
    pub receipts: u64,
}

struct Found {
    number: i32,
    first_index: i64,
    end_index: i64,
    began_at: OffsetDateTime,
    ended_at: OffsetDateTime,
    digest: Vec<u8>,
    differing: i64,
}

impl From<Found> for Row {
    fn from(found: Found) -> Self {
        Self {
            number: found.number.unsigned_abs(),
            first_index: found.first_index.unsigned_abs(),
            end_index: found.end_index.unsigned_abs(),
            began_at: found.began_at,
            ended_at: found.ended_at,
            digest: found.digest,
            differing: found.differing.unsigned_abs(),
        }
    }
}

impl Row {
    /// As documents have it.
    pub fn epoch(&self) -> Epoch {
        Epoch {
            number: self.number,
            first_index: self.first_index,
            end_index: self.end_index,
            began_at: microseconds(self.began_at),
            ended_at: microseconds(self.ended_at),
        }
    }

    /// As everybody reads it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "number": self.number,
            "document": HEXLOWER.encode(&self.digest),
            "first_index": self.first_index,
            "end_index": self.end_index,
            "ended_at": self.ended_at.format(&Rfc3339).unwrap_or_default(),
        })
    }
}

/// The epoch that was closed last.
///
/// # Errors
/// When the database fails.
pub async fn newest(connection: &mut PgConnection) -> Result<Option<Row>, sqlx::Error> {
    let found = sqlx::query_as!(
        Found,
        "select number, first_index, end_index, began_at, ended_at, digest, differing from epochs
         order by number desc limit 1"
    );
    Ok(found.fetch_optional(connection).await?.map(Row::from))
}

/// The epoch of a number.
///
/// # Errors
/// When the database fails.
pub async fn find(connection: &mut PgConnection, number: i32) -> Result<Option<Row>, sqlx::Error> {
    let found = sqlx::query_as!(
        Found,
        "select number, first_index, end_index, began_at, ended_at, digest, differing from epochs where number = $1",
        number
    );
    Ok(found.fetch_optional(connection).await?.map(Row::from))
}

/// Closed epochs, those before one if that is given, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool, before: Option<u32>) -> Result<Vec<Row>, sqlx::Error> {
    let found = sqlx::query_as!(
        Found,
        "select number, first_index, end_index, began_at, ended_at, digest, differing from epochs
         where $1::bigint is null or number < $1 order by number desc limit $2",
        before.map(i64::from),
        MOST
    );
    Ok(found.fetch_all(database).await?.into_iter().map(Row::from).collect())
}

/// The same, so many at most, with their documents.
///
/// # Errors
/// When the database fails.
pub async fn with_documents(
    database: &PgPool,
    before: Option<u32>,
    most: i64,
) -> Result<Vec<(Row, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select number, first_index, end_index, began_at, ended_at, digest, differing, document
         from epochs e join log_documents d on d.hash = e.digest
         where $1::bigint is null or number < $1 order by number desc limit $2",
        before.map(i64::from),
        most
    );
    let read = rows.fetch_all(database).await?.into_iter().map(|row| {
        let found = Found {
            number: row.number,
            first_index: row.first_index,
            end_index: row.end_index,
            began_at: row.began_at,
            ended_at: row.ended_at,
            digest: row.digest,
            differing: row.differing,
        };
        (found.into(), row.document)
    });
    Ok(read.collect())
}

/// What each party was owed at the end of an epoch.
///
/// # Errors
/// When the database fails.
pub async fn closings(connection: &mut PgConnection, epoch: u32) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!("select party, closing from statements where epoch = $1", integer(epoch));
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.party, row.closing)).collect())
}

/// What each party was owed at the beginning of an epoch.
///
/// # Errors
/// When the database fails.
pub async fn openings(connection: &mut PgConnection, epoch: u32) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!("select party, opening from statements where epoch = $1", integer(epoch));
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.party, row.opening)).collect())
}

/// Keeps an epoch that was just made, and which events are in its statements.
///
/// # Errors
/// When the database fails.
pub async fn add(connection: &mut PgConnection, made: &Made, moved: &[Moved]) -> Result<(), sqlx::Error> {
    let epoch = made.closed.epoch.epoch;
    let (number, digest) = (integer(epoch.number), hash(&made.closed.epoch.to_document()));
    sqlx::query!(
        "insert into epochs (number, first_index, end_index, began_at, ended_at, digest, differing)
         values ($1, $2, $3, $4, $5, $6, $7)",
        number,
        i64::try_from(epoch.first_index).unwrap_or(i64::MAX),
        i64::try_from(epoch.end_index).unwrap_or(i64::MAX),
        at(epoch.began_at)?,
        at(epoch.ended_at)?,
        digest.as_slice(),
        i64::try_from(made.differing).unwrap_or(i64::MAX)
    )
    .execute(&mut *connection)
    .await?;
    add_statements(connection, number, &made.closed.statements).await?;
    let events: Vec<Uuid> = moved.iter().map(|moved| moved.movement.event).collect();
    sqlx::query!(
        "insert into epoch_events (event_id, epoch) select distinct event, $2::integer from unnest($1::uuid[]) as e (event)",
        &events,
        number
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn add_statements(connection: &mut PgConnection, epoch: i32, all: &[Statement]) -> Result<(), sqlx::Error> {
    let parties: Vec<String> = all.iter().map(|one| one.party.clone()).collect();
    let digests: Vec<Vec<u8>> = all.iter().map(|one| hash(&one.to_document()).to_vec()).collect();
    let openings: Vec<i64> = all.iter().map(|one| one.opening).collect();
    let earned: Vec<i64> = all.iter().map(|one| one.lines.iter().map(|line| line.share.to_bigint()).sum()).collect();
    let closings: Vec<i64> = all.iter().map(|one| one.closing).collect();
    let receipts: Vec<i64> = all.iter().map(|one| i64::try_from(one.receipts).unwrap_or(i64::MAX)).collect();
    sqlx::query!(
        "insert into statements (epoch, party, digest, opening, earned, closing, receipts)
         select $1, * from unnest($2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])",
        epoch,
        &parties,
        &digests,
        &openings,
        &earned,
        &closings,
        &receipts
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Statements of some parties, or of all, those before an epoch if that is given, the newest first: those of so many epochs at
/// most.
///
/// # Errors
/// When the database fails.
pub async fn statements(
    database: &PgPool,
    parties: Option<&[String]>,
    before: Option<u32>,
    most: i64,
) -> Result<Vec<Summary>, sqlx::Error> {
    let rows = sqlx::query!(
        "select s.epoch, e.ended_at, s.party, s.digest, s.opening, s.earned, s.closing, s.receipts from statements s
         join epochs e on e.number = s.epoch
         where ($1::text[] is null or s.party = any($1)) and s.epoch in (
             select distinct m.epoch from statements m
             where ($1::text[] is null or m.party = any($1)) and ($2::bigint is null or m.epoch < $2)
             order by m.epoch desc limit $3)
         order by s.epoch desc, s.party",
        parties,
        before.map(i64::from),
        most
    );
    let summary = rows.fetch_all(database).await?.into_iter().map(|row| Summary {
        epoch: row.epoch.unsigned_abs(),
        ended_at: row.ended_at,
        party: row.party,
        digest: row.digest,
        opening: row.opening,
        earned: row.earned,
        closing: row.closing,
        receipts: row.receipts.unsigned_abs(),
    });
    Ok(summary.collect())
}

/// The document of a party's statement, as it was logged.
///
/// # Errors
/// When the database fails.
pub async fn statement(database: &PgPool, epoch: i32, party: &str) -> Result<Option<String>, sqlx::Error> {
    let document = sqlx::query_scalar!(
        "select d.document from statements s join log_documents d on d.hash = s.digest
         where s.epoch = $1 and s.party = $2",
        epoch,
        party
    );
    document.fetch_optional(database).await
}

/// What of an epoch that was made again is not what was published: parties, or the epoch itself.
///
/// # Errors
/// When the database fails.
pub async fn others(database: &PgPool, closed: &Closed) -> Result<Vec<String>, sqlx::Error> {
    let number = integer(closed.epoch.epoch.number);
    let published = sqlx::query!(
        r#"select party as "party!", digest as "digest!" from statements where epoch = $1
           union all select 'the epoch itself', digest from epochs where number = $1"#,
        number
    );
    let published = published.fetch_all(database).await?;
    let mut published: BTreeMap<String, Vec<u8>> = published.into_iter().map(|row| (row.party, row.digest)).collect();
    let made = closed.statements.iter().map(|one| (one.party.clone(), one.to_document()));
    let made = made.chain([("the epoch itself".to_owned(), closed.epoch.to_document())]);
    let is_other = |(party, document): (String, String)| {
        (published.remove(&party).as_deref() != Some(hash(&document).as_slice())).then_some(party)
    };
    let mut others: Vec<String> = made.filter_map(is_other).collect();
    others.extend(published.into_keys());
    Ok(others)
}

/// Under which a document is known.
fn hash(document: &str) -> [u8; 32] {
    Entry::of(Kind::Statement, document.as_bytes()).hash
}

pub(super) fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn at(microseconds: openapi::units::Microseconds) -> Result<OffsetDateTime, sqlx::Error> {
    let nanoseconds = i128::from(microseconds.get()) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(|error| sqlx::Error::Encode(error.into()))
}
