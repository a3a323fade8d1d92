//! The gateway's secret and all that is derived from it. It lies outside the database, so that whoever reads the database
//! can neither use a key nor sign a ticket. Replicas share it.
//!
//! A secret is followed by another without anybody noticing: for a while the gateway knows both. One makes all that is new;
//! what the [others](Standing) have made is still known. [`mod@file`] is where they stand.

mod derived;

pub mod file;

use std::path::Path;

use anyhow::{Context, anyhow};
use data_encoding::BASE32_NOPAD;
use openapi::node::{SUCCESSION_AUDIENCE, Succession};
use uuid::Uuid;

use crate::nodes::unix_seconds;
pub use derived::Derived;
pub use file::Standing;

/// For so long nodes take tickets of a trusted older secret: all replicas have changed by then.
const BOTH_SECONDS: u64 = 86_400;
/// A node is told of a succession when it dials, and takes it at once.
const SUCCESSION_SECONDS: u64 = 120;

/// Every secret that the gateway knows.
pub struct Secrets {
    /// Makes all that is new.
    pub newest: Derived,
    others: Vec<(Derived, Standing)>,
}

/// BLAKE3 of a key or token, keyed with the gateway's secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

impl Secrets {
    /// Reads the secrets from `<folder>/secret`, or makes one on first start.
    ///
    /// # Errors
    /// When the folder can't be used or the file is damaged.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = file::path(folder);
        let (newest, others) = file::open(folder)?;
        let derive = || {
            let others = others.iter().map(|(secret, standing)| Ok((Derived::from(secret)?, *standing)));
            anyhow::Ok(Self { newest: Derived::from(&newest)?, others: others.collect::<anyhow::Result<_>>()? })
        };
        derive().with_context(|| format!("{} is damaged", path.display()))
    }

    /// Derives every key from one secret.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn derive(secret: &[u8]) -> anyhow::Result<Self> {
        Ok(Self { newest: Derived::from(secret)?, others: Vec::new() })
    }

    /// The same, and another secret that is known beside it.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn beside(mut self, other: &[u8], standing: Standing) -> anyhow::Result<Self> {
        self.others.push((Derived::from(other)?, standing));
        Ok(self)
    }

    /// Everything, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &Derived> {
        std::iter::once(&self.newest).chain(self.others.iter().map(|(derived, _)| derived))
    }

    /// Those whose signatures count.
    pub fn trusted(&self) -> impl Iterator<Item = &Derived> {
        let others = self.others.iter().filter(|(_, standing)| *standing == Standing::Trusted);
        std::iter::once(&self.newest).chain(others.map(|(derived, _)| derived))
    }

    /// The hash under which a key or token is stored.
    pub fn hash(&self, text: &str) -> SecretHash {
        self.newest.hash(text)
    }

    /// The hashes under which a key or token may be stored.
    pub fn hashes(&self, text: &str) -> Vec<Vec<u8>> {
        self.all().map(|derived| derived.hash(text).0.to_vec()).collect()
    }

    /// Whether this is the hash under which a key or token was stored.
    pub fn is_hash(&self, stored: &[u8], text: &str) -> bool {
        self.all().any(|derived| derived.hash(text).matches(stored))
    }

    /// Whether one of ours vouches for it that this key has signed the statement.
    pub fn is_voucher(&self, voucher: &[u8], public_key: &[u8], statement: &str) -> bool {
        let made = |derived: &Derived| blake3::Hash::from_bytes(derived.vouch(public_key, statement));
        // Compared in constant time.
        blake3::Hash::from_slice(voucher).is_ok_and(|voucher| self.all().any(|derived| voucher == made(derived)))
    }

    /// Whether a node that knows this key for the gateway's is one of ours.
    pub fn is_ours(&self, ticket_public: &str) -> bool {
        self.all().any(|derived| derived.ticket_public == ticket_public)
    }

    /// What a node has to be told that knows an older key for the gateway's, as compact JWS.
    ///
    /// # Errors
    /// When signing fails.
    pub fn succession(&self, ticket_public: &str) -> anyhow::Result<Option<String>> {
        let Some((older, standing)) = self.others.iter().find(|(other, _)| other.ticket_public == ticket_public) else {
            return Ok(None);
        };
        let now = unix_seconds();
        let succession = Succession {
            iss: older.ticket_public.clone(),
            sub: self.newest.ticket_public.clone(),
            aud: SUCCESSION_AUDIENCE.to_owned(),
            until: if *standing == Standing::Trusted { now + BOTH_SECONDS } else { now },
            exp: now + SUCCESSION_SECONDS,
        };
        older.sign_for_nodes(&succession).map(Some)
    }

    /// Encrypts the key of an attached server for its row: nonce, then the sealed bytes. It opens for this server alone.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, server: Uuid, key: &str) -> anyhow::Result<Vec<u8>> {
        self.newest.seal(server, key)
    }

    /// Decrypts what [`Self::seal`] made for the same server.
    ///
    /// # Errors
    /// When it was made for another server, or with another secret.
    pub fn unseal(&self, server: Uuid, sealed: &[u8]) -> anyhow::Result<Unsealed> {
        let trusted = self.trusted().find_map(|derived| derived.unseal(server, sealed));
        let by_retired = trusted.is_none();
        let key = trusted.or_else(|| self.all().find_map(|derived| derived.unseal(server, sealed)));
        let another =
            || anyhow!("its key was encrypted with another secret: give it again, PATCH /api/attached/{server}");
        key.map(|key| Unsealed { key, by_retired }).ok_or_else(another)
    }
}

/// The key of an attached server.
pub struct Unsealed {
    pub key: String,
    /// A retired secret has sealed it: that should be done anew.
    pub by_retired: bool,
}

impl SecretHash {
    /// Compares in constant time.
    pub fn matches(&self, stored: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_slice(), stored).into()
    }
}

/// A new random secret of 256 bits, in letters and digits.
///
/// # Errors
/// When the system has no randomness.
pub fn random() -> anyhow::Result<String> {
    random_text::<32>()
}

/// A short random name, not secret.
///
/// # Errors
/// When the system has no randomness.
pub fn random_name() -> anyhow::Result<String> {
    random_text::<10>()
}

fn random_text<const BYTES: usize>() -> anyhow::Result<String> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(BASE32_NOPAD.encode(&bytes).to_lowercase())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    use super::*;

    const ONE: [u8; 32] = [1; 32];
    const TWO: [u8; 32] = [2; 32];

    #[test]
    fn a_server_s_key_opens_for_that_server_and_the_secrets_that_are_known() {
        let (one, two) = (Secrets::derive(&ONE).unwrap(), Secrets::derive(&TWO).unwrap());
        let (server, other) = (Uuid::now_v7(), Uuid::now_v7());
        let sealed = one.seal(server, "sk-upstream").unwrap();
        let opened = one.unseal(server, &sealed).unwrap();
        assert_eq!((opened.key.as_str(), opened.by_retired), ("sk-upstream", false));
        assert_ne!(sealed, one.seal(server, "sk-upstream").unwrap(), "never twice the same");
        assert!(!sealed.windows(11).any(|bytes| bytes == b"sk-upstream"));
        for refused in [one.unseal(other, &sealed), two.unseal(server, &sealed), one.unseal(server, &sealed[..5])] {
            assert!(!refused.err().unwrap().to_string().contains("sk-"));
        }
        for (standing, by_retired) in [(Standing::Trusted, false), (Standing::Retired, true)] {
            let both = Secrets::derive(&TWO).unwrap().beside(&ONE, standing).unwrap();
            let opened = both.unseal(server, &sealed).unwrap();
            assert_eq!((opened.key.as_str(), opened.by_retired), ("sk-upstream", by_retired));
        }
    }

    #[test]
    fn another_secret_derives_other_keys() {
        let (one, two) = (Secrets::derive(&ONE).unwrap(), Secrets::derive(&TWO).unwrap());
        assert_ne!(one.newest.ticket_public, two.newest.ticket_public);
        assert!(one.is_hash(&one.hash("a").0, "a") && !one.is_hash(&two.hash("a").0, "a"));
        assert!(!one.is_hash(&one.hash("b").0, "a") && !one.is_hash(&[], "a"));
        assert!(!one.is_ours(&two.newest.ticket_public));
        assert!(Secrets::derive(&[1; 31]).is_err());
    }

    #[test]
    fn a_secret_beside_the_newest_is_known_and_makes_nothing() {
        let (one, two) = (Secrets::derive(&ONE).unwrap(), Secrets::derive(&TWO).unwrap());
        let trusting = Secrets::derive(&TWO).unwrap().beside(&ONE, Standing::Trusted).unwrap();
        assert!(trusting.is_hash(&one.hash("a").0, "a") && trusting.is_hash(&two.hash("a").0, "a"));
        assert_eq!(trusting.hashes("a"), [two.hash("a").0, one.hash("a").0]);
        assert!(trusting.hash("a").matches(&two.hash("a").0));
        assert_eq!((trusting.trusted().count(), trusting.all().count()), (2, 2));
        let retiring = Secrets::derive(&TWO).unwrap().beside(&ONE, Standing::Retired).unwrap();
        assert!(retiring.is_hash(&one.hash("a").0, "a"));
        assert_eq!((retiring.trusted().count(), retiring.all().count()), (1, 2));
    }

    #[test]
    fn a_node_that_knows_the_older_key_is_told_of_the_newest_by_it() {
        let old = Secrets::derive(&ONE).unwrap().newest.ticket_public;
        let read = |secrets: &Secrets| {
            let told = secrets.succession(&old).unwrap().unwrap();
            let mut validation = Validation::new(Algorithm::EdDSA);
            validation.set_audience(&[SUCCESSION_AUDIENCE]);
            let key = DecodingKey::from_ed_components(&old).unwrap();
            jsonwebtoken::decode::<Succession>(told, &key, &validation).unwrap().claims
        };
        let trusting = Secrets::derive(&TWO).unwrap().beside(&ONE, Standing::Trusted).unwrap();
        let told = read(&trusting);
        assert_eq!((&told.iss, &told.sub), (&old, &trusting.newest.ticket_public));
        assert!(told.until >= unix_seconds() + BOTH_SECONDS - 60, "replicas change one after the other");
        let retiring = Secrets::derive(&TWO).unwrap().beside(&ONE, Standing::Retired).unwrap();
        assert!(read(&retiring).until <= unix_seconds(), "nothing that it signs counts any more");
        assert_eq!(trusting.succession(&trusting.newest.ticket_public).unwrap(), None);
        assert_eq!(trusting.succession("unknown").unwrap(), None);
    }
}
