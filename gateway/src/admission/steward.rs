//! Keeps the leases the right size: more before it is needed, back when it is not.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::account::Account;
use super::what::What;
use super::{Admissions, lease};
use crate::replicas::Replica;

/// Accounts whose purses run low.
pub struct Refills(mpsc::UnboundedReceiver<Arc<Account>>);

impl Admissions {
    /// Nothing leased yet. The refills are for [`Admissions::keep`].
    pub fn new(database: PgPool, replica: Arc<Replica>) -> (Self, Refills) {
        let (refill, refills) = mpsc::unbounded_channel();
        (Self { database, replica, accounts: Default::default(), refill }, Refills(refills))
    }

    /// Refills and brings back until `stop`.
    pub async fn keep(&self, mut refills: Refills, stop: CancellationToken) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut epoch = self.replica.epoch();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(account) = refills.0.recv() => self.refill(&account).await,
                _ = seconds.tick() => {
                    if epoch != self.replica.epoch() {
                        epoch = self.replica.epoch();
                        self.all().iter().for_each(|account| account.void());
                    }
                    self.tick().await;
                }
            }
        }
    }

    pub(super) async fn refill(&self, account: &Account) {
        let wanted = account.refill();
        if !self.replica.is_current() {
            return;
        }
        let _turn = account.leasing.lock().await;
        for (need, wanted) in wanted {
            match lease::lease(&self.database, self.replica.id(), account.id, &need, &wanted).await {
                Ok(grant) => account.add(&need, &grant),
                Err(error) => tracing::debug!(%error, "nothing could be leased ahead"),
            }
        }
    }

    async fn tick(&self) {
        // While the database is away everything is kept: who knows for how long it must last.
        let current = self.replica.is_current();
        for account in self.all() {
            for unspent in account.tick(current) {
                self.bring_back(unspent).await;
            }
            if current && account.falls_behind() {
                self.refill(&account).await;
            }
        }
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_idle());
    }

    /// Brings back all that lies unspent for a key, a user or an account: its limits have changed, or another replica is
    /// short of it.
    pub async fn bring_all_back(&self, subject: Uuid) {
        for account in self.all() {
            for unspent in account.take_all(subject) {
                self.bring_back(unspent).await;
            }
        }
    }

    async fn bring_back(&self, unspent: (Uuid, What, Option<OffsetDateTime>, u64)) {
        if let Err(error) = lease::bring_back(&self.database, self.replica.id(), unspent).await {
            tracing::warn!(%error, "a lease could not be brought back; it returns when this replica leaves");
        }
    }
}
