//! What was offset with partners.

use openapi::units::Nanocredits;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{MOST, number};

/// What was offset.
#[derive(Clone, Debug)]
pub struct Netted {
    pub number: u32,
    /// SHA-256 of the document.
    pub digest: Vec<u8>,
    pub our_end: u64,
    pub their_end: u64,
    pub we_owe: Nanocredits,
    pub they_owe: Nanocredits,
    pub agreed_at: OffsetDateTime,
}

/// What was offset with a partner, the newest first.
///
/// # Errors
/// When the database fails.
pub(in crate::partners) async fn nettings(
    connection: &mut PgConnection,
    partner: Uuid,
) -> Result<Vec<Netted>, sqlx::Error> {
    let rows = sqlx::query!(
        "select number, digest, our_end, their_end, we_owe, they_owe, agreed_at from nettings
         where partner_id = $1 order by number desc limit $2",
        partner,
        MOST
    );
    let netted = rows.fetch_all(connection).await?.into_iter().map(|row| Netted {
        number: row.number.unsigned_abs(),
        digest: row.digest,
        our_end: row.our_end.unsigned_abs(),
        their_end: row.their_end.unsigned_abs(),
        we_owe: Nanocredits::new(row.we_owe.unsigned_abs()),
        they_owe: Nanocredits::new(row.they_owe.unsigned_abs()),
        agreed_at: row.agreed_at,
    });
    Ok(netted.collect())
}

/// Keeps what was offset.
///
/// # Errors
/// When the database fails, or there is one of this number.
pub(in crate::partners) async fn net(
    connection: &mut PgConnection,
    partner: Uuid,
    netted: &Netted,
    event: Option<Uuid>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into nettings (partner_id, number, digest, our_end, their_end, we_owe, they_owe, event_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        partner,
        i32::try_from(netted.number).unwrap_or(i32::MAX),
        netted.digest,
        number(netted.our_end),
        number(netted.their_end),
        netted.we_owe.to_bigint(),
        netted.they_owe.to_bigint(),
        event
    )
    .execute(connection)
    .await
    .map(drop)
}
