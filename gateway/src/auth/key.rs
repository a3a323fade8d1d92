//! API keys: made, looked up, listed, renamed, revoked. The only module that reads or writes key hashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache;
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::secrets::{self, Secrets};

/// Every key begins with this: `sk-cw-<public id>-<secret>`.
pub const PREFIX: &str = "sk-cw-";

/// A key is asked for again in the database after this long; a revocation is announced and does not wait for it.
const FRESH: Duration = Duration::from_secs(15);
/// While the database is away a known key goes on working for this long.
const KEPT: Duration = Duration::from_secs(15 * 60);
const MOST_CACHED: u64 = 100_000;
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `/v1`: asking models.
    Inference,
    /// `/api`: managing the account.
    Management,
}

impl Scope {
    const fn word(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Management => "management",
        }
    }

    fn from_word(word: &str) -> Self {
        if word == "management" { Self::Management } else { Self::Inference }
    }
}

/// A key that is valid.
#[derive(Debug)]
pub struct Key {
    pub id: Uuid,
    pub account: Uuid,
    pub created_by: Uuid,
    pub scope: Scope,
    public_id: String,
    secret_hash: Vec<u8>,
}

/// A key as its owner sees it: everything but the secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySummary {
    pub id: Uuid,
    pub name: String,
    pub scope: Scope,
    /// The beginning of the key, to recognise it by.
    pub prefix: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// Why a key was not found.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Unknown, revoked or misspelt.
    #[error("the key is wrong")]
    Wrong,
    /// Nobody knows: the database did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

#[derive(Clone)]
struct Cached {
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
    cache: Cache<String, Cached>,
    in_use: Arc<Mutex<HashMap<String, (CancellationToken, usize)>>>,
}

impl Keys {
    /// An empty cache over the database.
    pub fn new(database: PgPool, secrets: Arc<Secrets>) -> Self {
        let cache = Cache::builder().max_capacity(MOST_CACHED).time_to_live(KEPT).build();
        Self { database, secrets, cache, in_use: Arc::default() }
    }

    /// The valid key that this text is.
    ///
    /// # Errors
    /// When there is none, or the database can't be asked and the key is not known.
    pub async fn find(&self, text: &str) -> Result<Arc<Key>, KeyError> {
        let public_id = public_id(text).ok_or(KeyError::Wrong)?;
        let key = self.by_public_id(public_id).await?.ok_or(KeyError::Wrong)?;
        if self.secrets.hash(text).matches(&key.secret_hash) { Ok(key) } else { Err(KeyError::Wrong) }
    }

    async fn by_public_id(&self, public_id: &str) -> Result<Option<Arc<Key>>, KeyError> {
        let cached = self.cache.get(public_id).await;
        if let Some(cached) = cached.as_ref().filter(|cached| cached.asked.elapsed() < FRESH) {
            return Ok(cached.key.clone());
        }
        match load(&self.database, public_id).await {
            Ok(key) => {
                let key = key.map(Arc::new);
                self.cache
                    .insert(
                        public_id.to_owned(),
                        Cached { key: key.clone(), asked: Instant::now(), answered: Instant::now() },
                    )
                    .await;
                Ok(key)
            }
            Err(error) => match cached {
                Some(Cached { key: Some(key), answered, .. }) if answered.elapsed() < KEPT => {
                    // Not every request shall wait for a database that is away.
                    let cached = Cached { key: Some(Arc::clone(&key)), asked: Instant::now(), answered };
                    self.cache.insert(public_id.to_owned(), cached).await;
                    Ok(Some(key))
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Watches a key for as long as a request runs with it.
    pub fn watch(&self, key: &Key) -> Watch {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let (revoked, users) = in_use.entry(key.public_id.clone()).or_default();
        *users += 1;
        Watch { public_id: key.public_id.clone(), revoked: revoked.clone(), in_use: Arc::clone(&self.in_use) }
    }

    /// Hears of revocations until `stop`, and ends what runs with the keys. After a broken connection, during which an
    /// announcement may have been missed, everything that is known or in use is asked for again.
    pub async fn hear_revocations(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                heard = self.listen() => heard,
            };
            if let Err(error) = heard {
                tracing::warn!(%error, "not hearing of revoked keys; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LISTEN_AGAIN) => {}
            }
        }
    }

    async fn listen(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.database).await?;
        listener.listen("key_revoked").await?;
        self.ask_again().await?;
        while let Some(notice) = listener.try_recv().await? {
            self.revoked(notice.payload()).await;
        }
        Ok(())
    }

    async fn ask_again(&self) -> Result<(), sqlx::Error> {
        let in_use: Vec<String> = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let revoked = sqlx::query_scalar!(
            "select public_id from keys where public_id = any($1) and revoked_at is not null",
            &in_use
        )
        .fetch_all(&self.database)
        .await?;
        self.cache.invalidate_all();
        for public_id in revoked {
            self.revoked(&public_id).await;
        }
        Ok(())
    }

    async fn revoked(&self, public_id: &str) {
        self.cache.invalidate(public_id).await;
        let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).get(public_id).cloned();
        if let Some((revoked, users)) = in_use {
            tracing::info!(public_id, users, "ending the requests of a revoked key");
            revoked.cancel();
        }
    }
}

/// A key in use; the watch ends when dropped.
pub struct Watch {
    public_id: String,
    revoked: CancellationToken,
    in_use: Arc<Mutex<HashMap<String, (CancellationToken, usize)>>>,
}

impl Watch {
    /// Given when the key is revoked.
    pub fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, users)) = in_use.get_mut(&self.public_id) {
            *users -= 1;
            if *users == 0 {
                in_use.remove(&self.public_id);
            }
        }
    }
}

fn public_id(text: &str) -> Option<&str> {
    let (public_id, secret) = text.strip_prefix(PREFIX)?.split_once('-')?;
    let plain = |part: &str| (1..=64).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain(public_id) && plain(secret)).then_some(public_id)
}

async fn load(database: &PgPool, public_id: &str) -> Result<Option<Key>, sqlx::Error> {
    let row = sqlx::query!(
        "select id, account_id, created_by, scope, public_id, secret_hash from keys
         where public_id = $1 and revoked_at is null",
        public_id
    )
    .fetch_optional(database)
    .await?;
    Ok(row.map(|row| Key {
        id: row.id,
        account: row.account_id,
        created_by: row.created_by,
        scope: Scope::from_word(&row.scope),
        public_id: row.public_id,
        secret_hash: row.secret_hash,
    }))
}

/// Makes a key and returns it with its text, which exists nowhere else.
///
/// # Errors
/// When the database fails or the system has no randomness.
pub async fn create(
    database: &PgPool,
    secrets: &Secrets,
    owner: (Uuid, Uuid),
    name: &str,
    scope: Scope,
) -> anyhow::Result<(KeySummary, String)> {
    let (account, user) = owner;
    let public_id = secrets::random_name()?;
    let text = format!("{PREFIX}{public_id}-{}", secrets::random()?);
    let hash = secrets.hash(&text);
    let row = sqlx::query!(
        "insert into keys (id, public_id, account_id, created_by, name, scope, secret_hash)
         values ($1, $2, $3, $4, $5, $6, $7) returning id, created_at",
        Uuid::now_v7(),
        public_id,
        account,
        user,
        name,
        scope.word(),
        hash.0.as_slice()
    )
    .fetch_one(database)
    .await?;
    let summary = KeySummary {
        id: row.id,
        name: name.to_owned(),
        scope,
        prefix: format!("{PREFIX}{public_id}"),
        created_at: row.created_at,
        revoked_at: None,
    };
    Ok((summary, text))
}

/// An account's keys, newest first, revoked ones included.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool, account: Uuid) -> Result<Vec<KeySummary>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, name, scope, public_id, created_at, revoked_at from keys where account_id = $1 order by created_at desc",
        account
    )
    .fetch_all(database)
    .await?;
    let summaries = rows.into_iter().map(|row| KeySummary {
        id: row.id,
        name: row.name,
        scope: Scope::from_word(&row.scope),
        prefix: format!("{PREFIX}{}", row.public_id),
        created_at: row.created_at,
        revoked_at: row.revoked_at,
    });
    Ok(summaries.collect())
}

/// Gives a key another name. False when the account has no such key.
///
/// # Errors
/// When the database fails.
pub async fn rename(database: &PgPool, account: Uuid, id: Uuid, name: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("update keys set name = $3 where id = $1 and account_id = $2", id, account, name)
        .execute(database)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes a key, everywhere, for good. False when the account has no such key. Revoking twice is no error.
///
/// # Errors
/// When the database fails.
pub async fn revoke(database: &PgPool, account: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update keys set revoked_at = coalesce(revoked_at, now()) where id = $1 and account_id = $2",
        id,
        account
    )
    .execute(database)
    .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_key_has_a_public_id() {
        assert_eq!(public_id("sk-cw-abc123-secret"), Some("abc123"));
        for wrong in ["", "sk-cw-", "sk-cw-abc", "sk-cw--x", "sk-cw-a-", "sk-abc-def", "sk-cw-a b-c", "sk-cw-a-b-c"] {
            assert_eq!(public_id(wrong), None, "{wrong}");
        }
    }
}
