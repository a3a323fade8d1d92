//! Hold before work: nothing runs on credit or on a part of a limit that is not there. Each replica leases what it will
//! need with one statement, and requests take their holds from memory, all of them in one step or none.
//!
//! [`Admissions::hold`] tells it; [`purse`] is the arithmetic, [`lease`] the SQL, [`hold`] the guard.

mod account;

pub mod hold;

pub mod lease;

pub mod purse;

mod refusal;

mod steward;

pub mod what;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::auth::key::Key;
use crate::changes::{self, Change};
use crate::replicas::Replica;
use account::Account;
pub use hold::{Hold, Spent};
pub use refusal::Refusal;
pub use steward::Refills;
pub use what::Amounts;
use what::{Need, Owner, Span, What, needs_of};

/// Others may take what was just leased before it is held; after so many times the request is told to come back.
const MOST_LEASES: usize = 20;
/// The other replicas hear of it by a notice, and bring back with one statement each.
const RECALL: Duration = Duration::from_millis(150);

/// What this replica holds for all accounts.
pub struct Admissions {
    database: PgPool,
    replica: Arc<Replica>,
    accounts: Mutex<HashMap<Uuid, Arc<Account>>>,
    refill: mpsc::UnboundedSender<Arc<Account>>,
}

impl Admissions {
    /// Holds everything that a request may use at most.
    ///
    /// # Errors
    /// When there is not enough of something: it names what.
    pub async fn hold(&self, key: &Key, most: Amounts) -> Result<Hold, Refusal> {
        if !self.replica.is_alive() {
            return Err(Refusal::Away);
        }
        let account = self.account(key.account);
        let needs = needs(key);
        if let Some(need) = needs.iter().find(|need| need.cap.is_some_and(|cap| most.of(need.what) > cap)) {
            return Err(Refusal::TooLarge { need: *need, amount: most.of(need.what) });
        }
        let parts = match account.try_hold(&needs, &most) {
            Ok(parts) => parts,
            Err(missing) => self.lease_and_hold(&account, &needs, &most, missing).await?,
        };
        Ok(Hold::new(account, needs, parts, most, self.refill.clone()))
    }

    /// Leases what is missing, for this request and for all that wait with it.
    async fn lease_and_hold(
        &self,
        account: &Arc<Account>,
        needs: &[Need],
        most: &Amounts,
        missing: Vec<Need>,
    ) -> Result<Vec<hold::Part>, Refusal> {
        let _waiting = account.wait_for(&missing, most);
        let _turn = account.leasing.lock().await;
        for _ in 0..MOST_LEASES {
            let missing = match account.try_hold(needs, most) {
                Ok(parts) => return Ok(parts),
                Err(missing) => missing,
            };
            for need in missing {
                self.lease(account, &need, most.of(need.what)).await?;
            }
        }
        Err(Refusal::Away)
    }

    async fn lease(&self, account: &Account, need: &Need, amount: u64) -> Result<(), Refusal> {
        let refusal = || Refusal::Exhausted { need: *need, standing: account.standing(need) };
        if account.was_refused(need, amount) || account.is_alone(need) {
            return Err(refusal());
        }
        for recalled in [false, true] {
            let wanted = account.wanted(need, amount);
            match lease::lease(&self.database, self.replica.id(), account.id, need, &wanted).await {
                Ok(grant) => {
                    account.add(need, &grant);
                    if grant.granted >= wanted.unit {
                        return Ok(());
                    }
                    if recalled || grant.elsewhere == 0 || !self.recall(need.subject).await {
                        break;
                    }
                }
                Err(error) => return self.without_database(account, need, &error),
            }
        }
        account.refuse(need, amount);
        Err(refusal())
    }

    /// Asks the other replicas to bring back what they hold and do not need, and gives them a moment. False when they
    /// can't be asked.
    async fn recall(&self, subject: Uuid) -> bool {
        let asked = changes::announce(&self.database, Change::Short(subject)).await;
        tokio::time::sleep(RECALL).await;
        asked.is_ok()
    }

    /// Better served than exact: without the database each replica keeps to its own part of what is left of a minute.
    fn without_database(&self, account: &Account, need: &Need, error: &sqlx::Error) -> Result<(), Refusal> {
        if need.what.span() == Span::Minute {
            account.add_own_part(need, self.replica.living());
            return Ok(());
        }
        tracing::warn!(%error, account = %account.id, what = need.what.word(), "nothing could be leased");
        Err(Refusal::Away)
    }

    fn account(&self, id: Uuid) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(id).or_insert_with(|| Arc::new(Account::new(id))))
    }

    /// Credit that this replica has leased, of all accounts together, in nanocredits: what requests that run hold of it, and
    /// what is free.
    pub fn credit(&self) -> (u64, u64) {
        let add = |sum: (u64, u64), (held, free): (u64, u64)| (sum.0.saturating_add(held), sum.1.saturating_add(free));
        self.all().iter().map(|account| account.credit()).fold((0, 0), add)
    }

    fn all(&self) -> Vec<Arc<Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Credit, and every limit that is set for the key, its user and its account.
fn needs(key: &Key) -> Vec<Need> {
    let credit = Need { owner: Owner::Account, subject: key.account, what: What::Credit, cap: None };
    let of_key = needs_of(Owner::Key, key.id, &key.limits.key);
    let of_user = needs_of(Owner::User, key.created_by, &key.limits.user);
    let of_account = needs_of(Owner::Account, key.account, &key.limits.account);
    std::iter::once(credit).chain(of_key).chain(of_user).chain(of_account).collect()
}

#[cfg(test)]
mod tests;
