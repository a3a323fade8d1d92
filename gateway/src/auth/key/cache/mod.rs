//! Looks keys up from memory. While the feed of changes is current nothing is asked twice: what changes is forgotten.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::watch::{InUse, Watch};
use super::{Key, KeyError, public_id, table};
use crate::changes::{Change, LastLook};
use crate::secrets::Secrets;

/// While changes are not heard of, and for keys that don't exist, the database is asked again after this long.
const FRESH: Duration = Duration::from_secs(15);
/// While they are heard of, after this long, as a second lock on the door.
const FRESH_WHILE_HEARING: Duration = Duration::from_secs(60 * 60);
/// While the database is away a known key goes on working for this long.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// A key that nobody used for this long leaves memory.
const IDLE: Duration = Duration::from_secs(60 * 60);
const MOST_CACHED: u64 = 100_000;
/// Look-ups at a time: guessed keys must not take the connections of those who have one.
const LOOK_UPS: usize = 4;
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Cached {
    /// None: there is no such key.
    key: Option<Arc<Key>>,
    /// When the database was asked last, whether it answered or not.
    asked: Instant,
    /// When it last answered.
    answered: Instant,
}

/// Looks keys up, from memory where possible.
pub struct Keys {
    database: PgPool,
    secrets: Arc<Secrets>,
    last_look: Arc<LastLook>,
    /// By public id.
    cache: Cache<String, Cached>,
    /// How often a change was heard of. What was asked before one is not kept after it.
    changes: RwLock<u64>,
    look_ups: Semaphore,
    in_use: InUse,
}

impl Keys {
    /// An empty memory over the database. `last_look` says whether changes are heard of.
    pub fn new(database: PgPool, secrets: Arc<Secrets>, last_look: Arc<LastLook>) -> Self {
        let cache = Cache::builder().max_capacity(MOST_CACHED).time_to_idle(IDLE).build();
        let look_ups = Semaphore::new(LOOK_UPS);
        Self { database, secrets, last_look, cache, changes: RwLock::default(), look_ups, in_use: InUse::default() }
    }

    /// The valid key that this text is.
    ///
    /// # Errors
    /// When there is none, or the database can't be asked and the key is not known.
    pub async fn find(&self, text: &str) -> Result<Arc<Key>, KeyError> {
        let public_id = public_id(text).ok_or(KeyError::Wrong)?;
        let key = self.by_public_id(public_id).await?.ok_or(KeyError::Wrong)?;
        if !self.secrets.is_hash(&key.secret_hash, text) {
            return Err(KeyError::Wrong);
        }
        match key.expires_at {
            Some(at) if at <= OffsetDateTime::now_utc() => Err(KeyError::Expired(at)),
            _ => Ok(key),
        }
    }

    /// The valid key that this text is, watched for as long as a request runs with it.
    ///
    /// # Errors
    /// As [`Keys::find`].
    pub async fn find_and_watch(&self, text: &str) -> Result<(Arc<Key>, Watch), KeyError> {
        loop {
            let changes = self.changes();
            let key = self.find(text).await?;
            let watch = self.in_use.watch(key.id);
            // A revocation that came in between would have found nothing to end.
            if self.changes() == changes {
                return Ok((key, watch));
            }
        }
    }

    /// Takes in changes of keys and of limits: forgets whom they concern, and ends what runs with a revoked key.
    pub(crate) fn heard(&self, changes: &[Change]) {
        let concerned: HashSet<Uuid> = changes
            .iter()
            .filter_map(|change| match *change {
                Change::Key { id, .. } => Some(id),
                Change::Limits(subject) | Change::Routing(subject) => Some(subject),
                _ => None,
            })
            .collect();
        if concerned.is_empty() {
            return;
        }
        self.count_change();
        for (public_id, cached) in &self.cache {
            if cached.key.is_some_and(|key| key.subjects().iter().any(|subject| concerned.contains(subject))) {
                self.cache.invalidate(public_id.as_str());
            }
        }
        for change in changes {
            if let Change::Key { id, revoked: true } = *change {
                self.in_use.end(id);
            }
        }
    }

    /// Takes in that everything may have changed.
    ///
    /// # Errors
    /// When the database can't be asked which of the keys in use are revoked.
    pub(crate) async fn ask_again(&self) -> Result<(), sqlx::Error> {
        self.count_change();
        self.cache.invalidate_all();
        for id in table::revoked_among(&self.database, &self.in_use.ids()).await? {
            self.in_use.end(id);
        }
        Ok(())
    }

    async fn by_public_id(&self, public_id: &str) -> Result<Option<Arc<Key>>, KeyError> {
        let cached = self.cache.get(public_id);
        if let Some(cached) = cached.as_ref().filter(|cached| self.is_fresh(cached)) {
            return Ok(cached.key.clone());
        }
        let (changes, asked) = (self.changes(), Instant::now());
        match self.look_up(public_id).await {
            Ok(key) => {
                let key = key.map(Arc::new);
                self.keep(public_id, Cached { key: key.clone(), asked, answered: asked }, changes);
                Ok(key)
            }
            Err(error) => match cached {
                Some(Cached { key: Some(key), answered, .. }) if self.was_right(answered).elapsed() < KEPT => {
                    // Not every request shall wait for a database that is away.
                    let cached = Cached { key: Some(Arc::clone(&key)), asked: Instant::now(), answered };
                    if self.keep(public_id, cached, changes) { Ok(Some(key)) } else { Err(error.into()) }
                }
                _ => Err(error.into()),
            },
        }
    }

    async fn look_up(&self, public_id: &str) -> Result<Option<Key>, sqlx::Error> {
        let look_up = async {
            let _place = self.look_ups.acquire().await;
            table::load(&self.database, public_id).await
        };
        tokio::time::timeout(LOOKED_UP_WITHIN, look_up).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    fn is_fresh(&self, cached: &Cached) -> bool {
        let hearing = cached.key.is_some() && self.last_look.is_current();
        cached.asked.elapsed() < if hearing { FRESH_WHILE_HEARING } else { FRESH }
    }

    /// When a record was last known to be right: the database's word, or the last look at the changes, which would
    /// have forgotten it.
    fn was_right(&self, answered: Instant) -> Instant {
        self.last_look.at().map_or(answered, |look| look.max(answered))
    }

    /// Keeps a record, unless a change was heard of since it was asked for. False then.
    fn keep(&self, public_id: &str, cached: Cached, asked_after: u64) -> bool {
        // Held for the insertion: a change waits until it can find the record.
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let holds = *changes == asked_after;
        if holds {
            self.cache.insert(public_id.to_owned(), cached);
        }
        holds
    }

    fn changes(&self) -> u64 {
        *self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_change(&self) {
        *self.changes.write().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

#[cfg(test)]
mod tests;
