//! How income is shared. The only module that writes the table `splits`; a split is never changed, only followed by
//! another. One that isn't in the log does not count, however long ago it was to begin: so each receipt is later in the log
//! than its split, and nobody's share becomes another's without everybody having been able to read it before.

use openapi::log::entry::{Entry, Kind};
use openapi::price::Split;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::log;

/// A split and the time from which it counts. As JSON it is the document that the log knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SplitVersion {
    pub version: i32,
    pub split: Split,
    /// Null: from the beginning.
    #[serde(with = "time::serde::rfc3339::option")]
    pub effective_from: Option<OffsetDateTime>,
    /// Its leaf, once there is one.
    #[serde(skip)]
    pub log_index: Option<u64>,
}

struct Row {
    version: i32,
    operator_ppm: i32,
    authors_ppm: i32,
    gateway_ppm: i32,
    audit_fund_ppm: i32,
    effective_from: Option<OffsetDateTime>,
}

impl From<Row> for SplitVersion {
    fn from(row: Row) -> Self {
        Self {
            version: row.version,
            split: Split {
                operator_ppm: row.operator_ppm.unsigned_abs(),
                authors_ppm: row.authors_ppm.unsigned_abs(),
                gateway_ppm: row.gateway_ppm.unsigned_abs(),
                audit_fund_ppm: row.audit_fund_ppm.unsigned_abs(),
            },
            effective_from: row.effective_from,
            log_index: None,
        }
    }
}

impl SplitVersion {
    /// As everybody can read it.
    fn document(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it counts at a time. The first one always did.
    fn counts_at(&self, at: OffsetDateTime) -> bool {
        self.effective_from.is_none_or(|from| from <= at && self.log_index.is_some())
    }
}

/// All splits, the last to come first.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<SplitVersion>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select version, operator_ppm, authors_ppm, gateway_ppm, audit_fund_ppm,
            nullif(effective_from, '-infinity') as effective_from
         from splits order by splits.effective_from desc, version desc"
    );
    let rows = rows.fetch_all(&mut *connection).await?;
    let mut splits: Vec<SplitVersion> = rows.into_iter().map(SplitVersion::from).collect();
    let leaves: Vec<_> =
        splits.iter().map(|split| Entry::of(Kind::Split, split.document().as_bytes()).leaf()).collect();
    let indices = log::indices_of(connection, &leaves).await?;
    for (split, leaf) in splits.iter_mut().zip(&leaves) {
        split.log_index = indices.get(leaf).copied();
    }
    Ok(splits)
}

/// Of all splits, the last to come first, the one that counts at a time.
pub fn of(splits: &[SplitVersion], at: OffsetDateTime) -> Option<&SplitVersion> {
    splits.iter().find(|split| split.counts_at(at))
}

/// Adds a split, which counts from a time on, if it is in the log by then. The parts must add up, which the database checks
/// too.
///
/// # Errors
/// When the database fails.
pub async fn add(
    database: &PgPool,
    split: Split,
    effective_from: OffsetDateTime,
    created_by: Uuid,
) -> Result<SplitVersion, sqlx::Error> {
    let part = |ppm: u32| i32::try_from(ppm).unwrap_or(i32::MAX);
    let row = sqlx::query_as!(
        Row,
        "insert into splits (operator_ppm, authors_ppm, gateway_ppm, audit_fund_ppm, effective_from, created_by)
         values ($1, $2, $3, $4, $5, $6)
         returning version, operator_ppm, authors_ppm, gateway_ppm, audit_fund_ppm, effective_from",
        part(split.operator_ppm),
        part(split.authors_ppm),
        part(split.gateway_ppm),
        part(split.audit_fund_ppm),
        effective_from,
        created_by
    );
    let mut transaction = database.begin().await?;
    let added = SplitVersion::from(row.fetch_one(&mut *transaction).await?);
    publish(&mut transaction, std::slice::from_ref(&added)).await?;
    transaction.commit().await?;
    Ok(added)
}

/// Has all splits logged that are not yet: those that the tables began with among them.
///
/// # Errors
/// When the database fails.
pub async fn announce(database: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    let splits = list(&mut transaction).await?;
    publish(&mut transaction, &splits).await?;
    transaction.commit().await
}

async fn publish(connection: &mut PgConnection, splits: &[SplitVersion]) -> Result<(), sqlx::Error> {
    let documents: Vec<String> = splits.iter().map(SplitVersion::document).collect();
    log::publish(connection, Kind::Split, &documents).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::auth::user::{self, NewUser};
    use crate::log::Log;
    use crate::secrets::Secrets;

    const ALL_TO_OPERATORS: Split =
        Split { operator_ppm: 1_000_000, authors_ppm: 0, gateway_ppm: 0, audit_fund_ppm: 0 };

    async fn counting(database: &PgPool, at: OffsetDateTime) -> i32 {
        let splits = list(&mut database.acquire().await.unwrap()).await.unwrap();
        of(&splits, at).unwrap().version
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_split_counts_from_its_time_on_once_it_is_in_the_log(database: PgPool) {
        let new = NewUser { email: "a@example.com", name: "A", password_hash: "-", is_admin: true };
        let admin = user::create(&database, new).await.unwrap().unwrap();
        let first = counting(&database, OffsetDateTime::UNIX_EPOCH).await;
        let later = OffsetDateTime::now_utc() + Duration::hours(1);
        let next = add(&database, ALL_TO_OPERATORS, later, admin).await.unwrap();
        let moment = Duration::microseconds(1);
        assert_eq!(counting(&database, later + moment).await, first, "nobody can read it yet");
        let log = Log::open(&database, &Secrets::derive(&[1; 32]).unwrap(), None, None).await.unwrap();
        log.append_all(&database).await;
        assert_eq!(counting(&database, later - moment).await, first);
        assert_eq!(counting(&database, later + moment).await, next.version);
        let all = list(&mut database.acquire().await.unwrap()).await.unwrap();
        let known: Vec<_> = all.iter().map(|split| (split.version, split.log_index)).collect();
        assert_eq!(known, [(next.version, Some(0)), (first, None)], "nobody has announced the first one here");
        let not_whole = Split { operator_ppm: 1, ..ALL_TO_OPERATORS };
        assert!(add(&database, not_whole, later, admin).await.is_err());
    }

    #[test]
    fn where_it_is_in_the_log_is_not_in_its_document() {
        let at = Some(datetime!(2027-01-31 00:00:00.5 UTC));
        let split = SplitVersion { version: 2, split: ALL_TO_OPERATORS, effective_from: at, log_index: Some(7) };
        let document = r#"{"version":2,"split":{"operator_ppm":1000000,"authors_ppm":0,"gateway_ppm":0,"audit_fund_ppm":0},"effective_from":"2027-01-31T00:00:00.5Z"}"#;
        assert_eq!(split.document(), document);
    }

    proptest! {
        #[test]
        fn the_latest_that_has_begun_and_is_logged_counts(begins in prop::collection::vec((0_i64..20, any::<bool>()), 0..6), now in 0_i64..20) {
            let at = |hour: i64| OffsetDateTime::UNIX_EPOCH + Duration::hours(hour);
            let version = |(index, &(hour, is_logged)): (usize, &(i64, bool))| SplitVersion {
                version: index as i32 + 2,
                split: ALL_TO_OPERATORS,
                effective_from: Some(at(hour)),
                log_index: is_logged.then_some(index as u64),
            };
            let mut splits: Vec<_> = begins.iter().enumerate().map(version).collect();
            splits.sort_by_key(|split| std::cmp::Reverse((split.effective_from, split.version)));
            splits.push(SplitVersion { version: 1, split: ALL_TO_OPERATORS, effective_from: None, log_index: None });
            let begun = begins.iter().enumerate().filter(|(_, (hour, is_logged))| *is_logged && *hour <= now);
            let expected = begun.max_by_key(|(index, (hour, _))| (*hour, *index)).map_or(1, |(index, _)| index as i32 + 2);
            prop_assert_eq!(of(&splits, at(now)).unwrap().version, expected);
        }
    }
}
