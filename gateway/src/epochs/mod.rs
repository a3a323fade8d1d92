//! Epochs: the log is closed from time to time, and everybody who shares the income gets a statement of what its receipts
//! brought them. What is made comes from the log and the statements before, so whoever has these makes the same, byte for byte
//! ([`openapi::statement`]).
//!
//! - [`close`]: closes an epoch, and makes a closed one again
//! - [`table`]: which epochs there are, and where their documents are

pub mod close;

pub mod table;

#[cfg(test)]
mod tests;

use std::time::Duration;

use time::OffsetDateTime;

use crate::app::App;

/// How often is looked whether an epoch is over.
const EVERY: Duration = Duration::from_secs(60);
/// The first Monday after 1970 began, in seconds since then: a week begins on Mondays.
const FIRST_MONDAY: i64 = 4 * 24 * 60 * 60;

/// Closes each epoch when it is over, until the gateway closes. Without a length epochs are closed by hand alone.
pub async fn run(app: App, hours: u32) {
    while hours > 0 {
        match close::close_if_over(&app.database, &app.log, over_at(OffsetDateTime::now_utc(), hours)).await {
            Ok(Some(number)) => tracing::info!(epoch = number, "an epoch is closed"),
            Ok(None) => {}
            Err(error) => tracing::error!("an epoch that is over could not be closed; trying again: {error}"),
        }
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// When the last epoch was over, for epochs of so many hours.
fn over_at(now: OffsetDateTime, hours: u32) -> OffsetDateTime {
    let length = i64::from(hours) * 60 * 60;
    let since = (now.unix_timestamp() - FIRST_MONDAY).rem_euclid(length);
    OffsetDateTime::from_unix_timestamp(now.unix_timestamp() - since).unwrap_or(now)
}
