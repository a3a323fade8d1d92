//! API keys: made, looked up, listed, changed, rotated, revoked. Only this folder reads or writes key hashes.

mod cache;

mod change;

mod table;

mod watch;

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::limits::KeyLimits;
use crate::limits::body::LimitsView;
use crate::nodes::preference::Preference;
use crate::secrets::{self, SecretHash, Secrets};

pub use cache::Keys;
pub use change::{KeyPatch, change, rotate};
pub use table::{NewKey, create, list, revoke};
pub use watch::Watch;

/// Every key begins with this: `sk-cw-<public id>-<secret>`.
pub const PREFIX: &str = "sk-cw-";

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

/// A key that is not revoked.
#[derive(Debug)]
pub struct Key {
    pub id: Uuid,
    pub account: Uuid,
    pub created_by: Uuid,
    pub scope: Scope,
    /// It starts nothing from then on.
    pub expires_at: Option<OffsetDateTime>,
    pub limits: KeyLimits,
    /// What its account asks of nodes where a request does not.
    pub routing: Preference,
    secret_hash: Vec<u8>,
}

impl Key {
    /// Whose limits hold for it: its own, its creator's, its account's, in the order of [`KeyLimits::all`].
    pub fn subjects(&self) -> [Uuid; 3] {
        [self.id, self.created_by, self.account]
    }
}

#[cfg(test)]
impl Key {
    /// A key of its own user.
    pub(crate) fn for_tests(account: Uuid, scope: Scope, limits: KeyLimits) -> Self {
        let (id, created_by) = (Uuid::now_v7(), Uuid::now_v7());
        let routing = Preference::default();
        Self { id, account, created_by, scope, expires_at: None, limits, routing, secret_hash: Vec::new() }
    }
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
    /// It refuses new requests from then on.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// The key that was made from this one by rotation.
    pub replaced_by: Option<Uuid>,
    /// Its own limits; those of its creator and its account hold as well.
    pub limits: LimitsView,
}

/// Why a key was not found.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Unknown, revoked or misspelt.
    #[error("the key is wrong")]
    Wrong,
    /// It was right until then.
    #[error("the key has expired")]
    Expired(OffsetDateTime),
    /// Nobody knows: the database did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The text of a new key, which exists nowhere else.
pub struct Fresh {
    public_id: String,
    text: String,
    hash: SecretHash,
}

impl Fresh {
    /// Draws one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn draw(secrets: &Secrets) -> anyhow::Result<Self> {
        let public_id = secrets::random_name()?;
        let text = format!("{PREFIX}{public_id}-{}", secrets::random()?);
        Ok(Self { hash: secrets.hash(&text), public_id, text })
    }

    /// The key itself, to be shown once.
    pub fn into_text(self) -> String {
        self.text
    }
}

fn public_id(text: &str) -> Option<&str> {
    let (public_id, secret) = text.strip_prefix(PREFIX)?.split_once('-')?;
    let plain = |part: &str| (1..=64).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain(public_id) && plain(secret)).then_some(public_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn limits_stand_in_the_order_of_their_subjects() {
        let limit = |count| Limits { concurrent_requests: Some(count), ..Limits::default() };
        let limits = KeyLimits { account: limit(3), user: limit(2), key: limit(1) };
        let key = Key::for_tests(Uuid::now_v7(), Scope::Inference, limits);
        assert_eq!(key.subjects(), [key.id, key.created_by, key.account]);
        assert_eq!(key.limits.all().map(|limits| limits.concurrent_requests), [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn only_a_well_formed_key_has_a_public_id() {
        assert_eq!(public_id("sk-cw-abc123-secret"), Some("abc123"));
        for wrong in ["", "sk-cw-", "sk-cw-abc", "sk-cw--x", "sk-cw-a-", "sk-abc-def", "sk-cw-a b-c", "sk-cw-a-b-c"] {
            assert_eq!(public_id(wrong), None, "{wrong}");
        }
    }
}
