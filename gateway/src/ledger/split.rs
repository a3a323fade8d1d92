//! How income is shared. The only module that writes the table `splits`; a split is never changed, only followed by
//! another.

use openapi::log::entry::Kind;
use openapi::price::Split;
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::log;

/// A split and the time from which it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SplitVersion {
    pub version: i32,
    pub split: Split,
    /// Null: from the beginning.
    #[serde(with = "time::serde::rfc3339::option")]
    pub effective_from: Option<OffsetDateTime>,
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
        }
    }
}

/// The split that counts at a time.
///
/// # Errors
/// When the database fails.
pub async fn in_force(database: impl PgExecutor<'_>, at: OffsetDateTime) -> Result<SplitVersion, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select version, operator_ppm, authors_ppm, gateway_ppm, audit_fund_ppm,
            nullif(effective_from, '-infinity') as effective_from
         from splits where effective_from <= $1 order by splits.effective_from desc, version desc limit 1",
        at
    );
    row.fetch_one(database).await.map(SplitVersion::from)
}

/// All splits, the last to come first.
///
/// # Errors
/// When the database fails.
pub async fn list(database: impl PgExecutor<'_>) -> Result<Vec<SplitVersion>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select version, operator_ppm, authors_ppm, gateway_ppm, audit_fund_ppm,
            nullif(effective_from, '-infinity') as effective_from
         from splits order by splits.effective_from desc, version desc"
    );
    Ok(rows.fetch_all(database).await?.into_iter().map(SplitVersion::from).collect())
}

/// Of all splits, the last to come first, the one that counts at a time.
pub fn of(splits: &[SplitVersion], at: OffsetDateTime) -> Option<&SplitVersion> {
    splits.iter().find(|split| split.effective_from.is_none_or(|from| from <= at))
}

/// Adds a split; `None` means from now. The parts must add up, which the database checks too.
///
/// # Errors
/// When the database fails.
pub async fn add(
    database: &PgPool,
    split: Split,
    effective_from: Option<OffsetDateTime>,
    created_by: Uuid,
) -> Result<SplitVersion, sqlx::Error> {
    let part = |ppm: u32| i32::try_from(ppm).unwrap_or(i32::MAX);
    let row = sqlx::query_as!(
        Row,
        "insert into splits (operator_ppm, authors_ppm, gateway_ppm, audit_fund_ppm, effective_from, created_by)
         values ($1, $2, $3, $4, coalesce($5, now()), $6)
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
    let splits = list(&mut *transaction).await?;
    publish(&mut transaction, &splits).await?;
    transaction.commit().await
}

/// As everybody can read them.
async fn publish(connection: &mut PgConnection, splits: &[SplitVersion]) -> Result<(), sqlx::Error> {
    let documents: Vec<String> = splits.iter().filter_map(|split| serde_json::to_string(split).ok()).collect();
    log::publish(connection, Kind::Split, &documents).await
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::auth::user::{self, NewUser};

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_split_counts_from_its_time_on(database: PgPool) {
        let new = NewUser { email: "a@example.com", name: "A", password_hash: "-", is_admin: true };
        let admin = user::create(&database, new).await.unwrap().unwrap();
        let first = in_force(&database, OffsetDateTime::UNIX_EPOCH).await.unwrap();
        assert!(first.split.is_whole() && first.effective_from.is_none());
        let all_to_operators = Split { operator_ppm: 1_000_000, authors_ppm: 0, gateway_ppm: 0, audit_fund_ppm: 0 };
        let later = OffsetDateTime::now_utc() + Duration::hours(1);
        let next = add(&database, all_to_operators, Some(later), admin).await.unwrap();
        let moment = Duration::microseconds(1);
        assert_eq!(in_force(&database, later - moment).await.unwrap(), first);
        assert_eq!(in_force(&database, later + moment).await.unwrap().version, next.version);
        assert_eq!(list(&database).await.unwrap(), [next, first]);
        let not_whole = Split { operator_ppm: 1, ..all_to_operators };
        assert!(add(&database, not_whole, None, admin).await.is_err());
    }
}
