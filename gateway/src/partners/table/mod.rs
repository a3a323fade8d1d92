//! The only module that writes the tables `partners`, `invoices` ([`invoices`](mod@invoices)) and `nettings`
//! ([`nettings`](mod@nettings)).

mod invoices;

mod nettings;

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

pub use invoices::Kept;
pub(super) use invoices::{Found, Invoice, disputed, invoices, ours, own_up, take};
pub use nettings::Netted;
pub(super) use nettings::{net, nettings};

/// Rows in one answer.
pub(super) const MOST: i64 = 200;

/// Another gateway.
#[derive(Clone, Debug)]
pub struct Partner {
    pub id: Uuid,
    /// Whose keys it asks with, and whose earnings are what it answers.
    pub account: Uuid,
    pub name: String,
    /// What comes before `/v1`.
    pub url: String,
    /// What its log is called.
    pub origin: String,
    /// The keys of its log that count, as lines of a policy.
    pub log_keys: String,
    /// As a node here, if it answers us.
    pub node: Option<Uuid>,
    /// Leaves of its log that were looked at.
    pub read_until: u64,
    /// Why nothing is read or netted now.
    pub failure: Option<String>,
    pub created_at: OffsetDateTime,
}

/// A partner to be.
pub(super) struct NewPartner<'a> {
    pub(super) account: Uuid,
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) origin: &'a str,
    pub(super) log_keys: &'a str,
    pub(super) by: Uuid,
}

/// Partners, the first ones first.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool) -> Result<Vec<Partner>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, account_id, name, url, origin, log_keys, node_id, read_until, failure, created_at from partners
         where ended_at is null order by id"
    );
    let rows = rows.fetch_all(database).await?.into_iter();
    Ok(rows
        .map(|row| Partner {
            id: row.id,
            account: row.account_id,
            name: row.name,
            url: row.url,
            origin: row.origin,
            log_keys: row.log_keys,
            node: row.node_id,
            read_until: row.read_until.unsigned_abs(),
            failure: row.failure,
            created_at: row.created_at,
        })
        .collect())
}

/// The partner of an id.
///
/// # Errors
/// When the database fails.
pub(super) async fn find(database: &PgPool, id: Uuid) -> Result<Option<Partner>, sqlx::Error> {
    Ok(list(database).await?.into_iter().find(|partner| partner.id == id))
}

/// Adds one. None when the account is a partner's already, or there is no such account.
///
/// # Errors
/// When the database fails.
pub(super) async fn add(database: &PgPool, new: &NewPartner<'_>) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into partners (id, account_id, name, url, origin, log_keys, created_by)
         select $1, a.id, $3, $4, $5, $6, $7 from accounts a where a.id = $2
         on conflict do nothing returning id",
        Uuid::now_v7(),
        new.account,
        new.name,
        new.url,
        new.origin,
        new.log_keys,
        new.by
    )
    .fetch_optional(database)
    .await
}

/// The partner answers as this node from now on.
///
/// # Errors
/// When the database fails.
pub(crate) async fn answers_as(connection: &mut PgConnection, id: Uuid, node: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set node_id = $2 where id = $1", id, node).execute(connection).await.map(drop)
}

/// Other keys of a partner's log count.
///
/// # Errors
/// When the database fails.
pub(super) async fn trust(database: &PgPool, id: Uuid, log_keys: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set log_keys = $2 where id = $1", id, log_keys).execute(database).await.map(drop)
}

/// It is a partner no more. What it has billed is kept.
///
/// # Errors
/// When the database fails.
pub(super) async fn end(database: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set ended_at = now() where id = $1 and ended_at is null", id)
        .execute(database)
        .await
        .map(drop)
}

/// Says why nothing is read of a partner now, or that something is.
///
/// # Errors
/// When the database fails.
pub(super) async fn fails(database: &PgPool, id: Uuid, failure: Option<&str>) -> Result<(), sqlx::Error> {
    sqlx::query!("update partners set failure = $2 where id = $1", id, failure).execute(database).await.map(drop)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
