//! Leases in the database: one atomic statement each. The only module that writes `credit_leases`, `allowances` and
//! `allowance_leases`; the statements themselves are functions in `migrations/0006_leases.sql`.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::account::Wanted;
use super::hold::Spent;
use super::what::{Need, Span, What};

/// A database that does not answer within this is away.
const WITHIN: Duration = Duration::from_secs(2);

/// What a lease gave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grant {
    pub(super) granted: u64,
    /// What others may still lease.
    pub(super) left_over: u64,
    /// What others have leased.
    pub(super) elsewhere: u64,
    pub(super) window_at: Option<OffsetDateTime>,
    pub(super) ends_in: Option<Duration>,
}

/// Leases a part of what is needed.
///
/// # Errors
/// When the database is away. Whether it has given something then is unknown: it stays unspent until the replica leaves.
pub(super) async fn lease(
    database: &PgPool,
    replica: Uuid,
    account: Uuid,
    need: &Need,
    wanted: &Wanted,
) -> Result<Grant, sqlx::Error> {
    let leasing = async {
        match need.what {
            What::Credit => lease_credit(database, replica, account, wanted).await,
            _ => lease_allowance(database, replica, need, wanted).await,
        }
    };
    tokio::time::timeout(WITHIN, leasing).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn lease_credit(database: &PgPool, replica: Uuid, account: Uuid, wanted: &Wanted) -> Result<Grant, sqlx::Error> {
    let row = sqlx::query!(
        r#"select granted as "granted!", left_over as "left_over!", elsewhere as "elsewhere!" from lease_credit($1, $2, $3, $4, $5)"#,
        replica,
        account,
        bigint(wanted.unit),
        bigint(wanted.needed),
        bigint(wanted.wanted)
    )
    .fetch_one(database)
    .await?;
    Ok(Grant {
        granted: count(row.granted),
        left_over: count(row.left_over),
        elsewhere: count(row.elsewhere),
        ..Grant::default()
    })
}

async fn lease_allowance(database: &PgPool, replica: Uuid, need: &Need, wanted: &Wanted) -> Result<Grant, sqlx::Error> {
    let row = sqlx::query!(
        r#"select granted as "granted!", left_over as "left_over!", elsewhere as "elsewhere!", window_at as "window_at!", ends_in
           from lease_allowance($1, $2, $3, $4, $5, $6, $7, $8)"#,
        replica,
        need.subject,
        need.what.column(),
        need.what.span().word(),
        bigint(need.cap.unwrap_or(0)),
        bigint(wanted.unit),
        bigint(wanted.needed),
        bigint(wanted.wanted)
    )
    .fetch_one(database)
    .await?;
    Ok(Grant {
        granted: count(row.granted),
        left_over: count(row.left_over),
        elsewhere: count(row.elsewhere),
        window_at: (need.what.span() != Span::None).then_some(row.window_at),
        ends_in: row.ends_in.map(|microseconds| Duration::from_micros(count(microseconds))),
    })
}

/// Brings back what was leased and is not needed.
///
/// # Errors
/// When the database is away; the amount then stays with the replica's lease until it leaves.
pub(super) async fn bring_back(
    database: &PgPool,
    replica: Uuid,
    (subject, what, window_at, amount): (Uuid, What, Option<OffsetDateTime>, u64),
) -> Result<(), sqlx::Error> {
    let returning = async {
        if what == What::Credit {
            sqlx::query!(
                "update credit_leases set nanocredits = greatest(nanocredits - $3, 0) where replica_id = $1 and account_id = $2",
                replica,
                subject,
                bigint(amount)
            )
            .execute(database)
            .await
            .map(drop)
        } else {
            let window_at = window_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            sqlx::query!(
                "select return_allowance($1, $2, $3, $4, $5)",
                replica,
                subject,
                what.column(),
                window_at,
                bigint(amount)
            )
            .execute(database)
            .await
            .map(drop)
        }
    };
    tokio::time::timeout(WITHIN, returning).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Takes what was spent out of the leased limits, so that the unspent rest alone returns should the replica die.
///
/// # Errors
/// When the database fails.
pub async fn spend(connection: &mut PgConnection, replica: Uuid, spent: &[Spent]) -> Result<(), sqlx::Error> {
    if spent.is_empty() {
        return Ok(());
    }
    let subjects: Vec<Uuid> = spent.iter().map(|part| part.subject).collect();
    let whats: Vec<String> = spent.iter().map(|part| part.what.column().to_owned()).collect();
    let windows: Vec<OffsetDateTime> = spent.iter().map(|part| part.window_at).collect();
    let amounts: Vec<i64> = spent.iter().map(|part| bigint(part.amount)).collect();
    sqlx::query!(
        "with spent as (
            select subject, what, window_at, sum(amount)::bigint as amount
            from unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::bigint[]) as s (subject, what, window_at, amount)
            group by 1, 2, 3)
         update allowance_leases l set amount = greatest(l.amount - s.amount, 0) from spent s
         where l.replica_id = $1 and l.subject = s.subject and l.what = s.what and l.window_start = s.window_at",
        replica,
        &subjects,
        &whats,
        &windows,
        &amounts
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Takes what accounts have spent out of this replica's leases of their credit.
///
/// # Errors
/// When the database fails.
pub async fn spend_credit(
    connection: &mut PgConnection,
    replica: Uuid,
    accounts: &[Uuid],
    amounts: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update credit_leases l set nanocredits = l.nanocredits - s.amount
         from unnest($2::uuid[], $3::bigint[]) as s (account, amount)
         where l.replica_id = $1 and l.account_id = s.account",
        replica,
        accounts,
        amounts
    )
    .execute(connection)
    .await
    .map(drop)
}

fn bigint(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn count(amount: i64) -> u64 {
    u64::try_from(amount).unwrap_or(0)
}
