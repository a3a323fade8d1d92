//! Epochs: the log is closed from time to time, and everybody who shares the income gets a statement of what its receipts
//! brought them. What is made comes from the log and the statements before, so whoever has these makes the same, byte for byte
//! ([`openapi::statement`]).
//!
//! - [`close`]: closes an epoch, and makes a closed one again
//! - [`table`]: which epochs there are, and where their documents are

pub mod close;

pub mod table;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openapi::units::Nanocredits;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::app::App;
use crate::log::Log;
use close::Failed;

/// How often is looked whether an epoch is over.
const EVERY: Duration = Duration::from_secs(60);
/// The first Monday after 1970 began, in seconds since then: a week begins on Mondays.
const FIRST_MONDAY: i64 = 4 * 24 * 60 * 60;

/// Closes epochs, and knows how that goes.
#[derive(Debug)]
pub struct Epochs {
    /// 0: by hand alone.
    hours: u32,
    minimum_payout: Nanocredits,
    /// In seconds.
    overdue: AtomicU64,
    differing: AtomicU64,
}

/// What metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// For how long the epoch has been over that is not closed. Zero when none is.
    pub overdue: Duration,
    /// Nanocredits that the ledger has settled otherwise than the receipts of the last epoch say.
    pub differing: u64,
}

impl Epochs {
    /// Epochs of so many hours; with 0, of any length, closed by hand. Who is owed the minimum at the end of one is paid.
    pub fn new(hours: u32, minimum_payout: Nanocredits) -> Self {
        Self { hours, minimum_payout, overdue: AtomicU64::new(0), differing: AtomicU64::new(0) }
    }

    pub fn figures(&self) -> Figures {
        Figures {
            overdue: Duration::from_secs(self.overdue.load(Ordering::Relaxed)),
            differing: self.differing.load(Ordering::Relaxed),
        }
    }

    /// Closes the running epoch as of a time that is past. None if another replica does, or one is closed that ended then or later.
    ///
    /// # Errors
    /// [`Failed`] says why not; then nothing has changed.
    pub async fn close(&self, database: &PgPool, log: &Log, at: OffsetDateTime) -> Result<Option<u32>, Failed> {
        close::close(database, log, at, self.minimum_payout).await
    }

    /// Closes the epoch that is over, if one is.
    async fn look(&self, database: &PgPool, log: &Log, now: OffsetDateTime) -> Result<(), Failed> {
        let newest = table::newest(&mut *database.acquire().await?).await?;
        self.differing.store(newest.map_or(0, |newest| newest.differing), Ordering::Relaxed);
        if self.hours == 0 {
            return Ok(());
        }
        let over = over_at(now, self.hours);
        let closed = match self.close(database, log, over).await {
            // Nothing was logged until then.
            Err(Failed::Empty) => Ok(None),
            closed => closed,
        };
        let overdue = if closed.is_err() { (now - over).whole_seconds().unsigned_abs() } else { 0 };
        self.overdue.store(overdue, Ordering::Relaxed);
        if let Some(number) = closed? {
            tracing::info!(epoch = number, "an epoch is closed");
        }
        Ok(())
    }
}

/// Closes each epoch when it is over, until the gateway closes.
pub async fn run(app: App) {
    loop {
        if let Err(error) = app.epochs.look(&app.database, &app.log, OffsetDateTime::now_utc()).await {
            tracing::error!("an epoch that is over could not be closed; trying again: {error}");
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
