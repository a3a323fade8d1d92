//! The table `log_queue`.

use std::time::Duration;

use openapi::log::entry::Entry;
use sqlx::{PgConnection, PgPool};

use super::Failed;

/// Has entries logged within two seconds of the transaction's commit. An entry that is logged already stays where it is.
///
/// # Errors
/// When the database fails.
pub async fn enqueue(connection: &mut PgConnection, entries: &[Entry]) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let (kinds, hashes): (Vec<String>, Vec<Vec<u8>>) =
        entries.iter().map(|entry| (entry.kind.word().to_owned(), entry.hash.to_vec())).unzip();
    sqlx::query!(
        "insert into log_queue (kind, hash) select kind, hash from unnest($1::text[], $2::bytea[]) as e (kind, hash)",
        &kinds,
        &hashes
    )
    .execute(connection)
    .await
    .map(drop)
}

/// How long the oldest entry waits that does. None when nothing waits.
pub(super) async fn oldest(database: &PgPool) -> Result<Option<Duration>, sqlx::Error> {
    let seconds = sqlx::query_scalar!(
        r#"select extract(epoch from now() - queued_at)::float8 as "seconds!" from log_queue order by id limit 1"#
    );
    let seconds = seconds.fetch_optional(database).await?;
    Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
}

/// Takes so many entries at most, in the order in which they came.
pub(super) async fn take(connection: &mut PgConnection, most: usize) -> Result<Vec<Entry>, Failed> {
    let mut rows = sqlx::query!(
        "delete from log_queue where id in (select id from log_queue order by id limit $1) returning id, kind, hash",
        i64::try_from(most).unwrap_or(i64::MAX)
    )
    .fetch_all(connection)
    .await?;
    rows.sort_unstable_by_key(|row| row.id);
    let read = |kind: &str, hash: Vec<u8>| Some(Entry { kind: kind.parse().ok()?, hash: hash.try_into().ok()? });
    let entries = rows.into_iter().map(|row| read(&row.kind, row.hash).ok_or(row.id));
    entries.collect::<Result<_, _>>().map_err(|id| Failed::Damaged(format!("row {id} of log_queue is no entry")))
}
