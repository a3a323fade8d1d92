//! The gateway's one secret and all that is derived from it. It lies outside the database, so that whoever reads the
//! database can neither use a key nor sign a ticket. Replicas share it.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use uuid::Uuid;

/// Keys for each use, none of which says anything about another.
pub struct Secrets {
    hash_key: [u8; 32],
    /// Hashes what is stored of requests with an `Idempotency-Key`.
    pub idempotency: [u8; 32],
    /// Keeps one account from learning what another one has asked.
    pub prefixes: [u8; 32],
    /// Encrypts the keys of attached servers.
    attached: [u8; 32],
    /// Decides which requests are canaries.
    pub canaries: [u8; 32],
    /// Signs and checks the sessions of the management API.
    pub session_signing: EncodingKey,
    pub session_checking: DecodingKey,
    /// Signs tickets for nodes.
    pub ticket_signing: EncodingKey,
    /// What nodes check tickets with: Ed25519, base64url.
    pub ticket_public: String,
}

/// BLAKE3 of a key or token, keyed with the gateway's secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

impl Secrets {
    /// Reads the secret from `<folder>/secret`, or makes it on first start.
    ///
    /// # Errors
    /// When the folder can't be used or the file is damaged.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let advice = || format!("cannot use the folder {}; choose another with COMMONWATT_DATA", folder.display());
        std::fs::create_dir_all(folder).with_context(advice)?;
        let path = folder.join("secret");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => create(&path).with_context(advice)?,
            Err(error) => return Err(error).with_context(advice),
        };
        let Ok(master) = BASE32_NOPAD.decode(text.trim().to_uppercase().as_bytes()) else {
            bail!("{} is damaged: restore it from a backup, since every key depends on it", path.display());
        };
        Self::derive(&master).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Derives every key from the one secret.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn derive(master: &[u8]) -> anyhow::Result<Self> {
        if master.len() < 32 {
            bail!("the secret is shorter than 32 bytes");
        }
        let session = blake3::derive_key("commonwatt 2026 session signing", master);
        let ticket = Ed25519KeyPair::from_seed_unchecked(&blake3::derive_key("commonwatt 2026 ticket signing", master))
            .map_err(|_| anyhow!("the ticket key can't be made"))?;
        let ticket_private = ticket.to_pkcs8v1().map_err(|_| anyhow!("the ticket key can't be made"))?;
        Ok(Self {
            hash_key: blake3::derive_key("commonwatt 2026 key hashing", master),
            idempotency: blake3::derive_key("commonwatt 2026 idempotency", master),
            attached: blake3::derive_key("commonwatt 2026 attached servers", master),
            canaries: blake3::derive_key("commonwatt 2026 canaries", master),
            prefixes: blake3::derive_key("commonwatt 2026 prefixes", master),
            session_signing: EncodingKey::from_secret(&session),
            session_checking: DecodingKey::from_secret(&session),
            ticket_signing: EncodingKey::from_ed_der(ticket_private.as_ref()),
            ticket_public: BASE64_URL_SAFE_NO_PAD.encode(ticket.public_key()),
        })
    }

    /// The hash under which a key or token is stored.
    pub fn hash(&self, secret: &str) -> SecretHash {
        SecretHash(*blake3::keyed_hash(&self.hash_key, secret.as_bytes()).as_bytes())
    }

    /// Encrypts the key of an attached server for its row: nonce, then the sealed bytes. It opens for this server alone.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, server: Uuid, key: &str) -> anyhow::Result<Vec<u8>> {
        let mut sealed = key.as_bytes().to_vec();
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &self.attached);
        let nonce =
            cipher.and_then(|cipher| cipher.seal_in_place_append_tag(Aad::from(server.as_bytes()), &mut sealed));
        let nonce = nonce.map_err(|_| anyhow!("the server's key can't be encrypted"))?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] made for the same server.
    ///
    /// # Errors
    /// When it was made for another server, or with another secret.
    pub fn unseal(&self, server: Uuid, sealed: &[u8]) -> anyhow::Result<String> {
        let another = || anyhow!("its key was encrypted with another secret: attach the server anew");
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(another)?;
        let mut key = sealed.to_vec();
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &self.attached).map_err(|_| another())?;
        let opened = cipher.open_in_place(Nonce::from(nonce), Aad::from(server.as_bytes()), &mut key);
        let length = opened.map_err(|_| another())?.len();
        key.truncate(length);
        String::from_utf8(key).map_err(|_| another())
    }
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

fn create(path: &Path) -> anyhow::Result<String> {
    let secret = random()?;
    // Complete under another name first: two replicas that start together must not read half a secret.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&fresh, path);
    std::fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(std::fs::read_to_string(path)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_read_again() {
        let folder = std::env::temp_dir().join(format!("secrets-{}", uuid::Uuid::now_v7()));
        let first = Secrets::open(&folder).unwrap();
        let second = Secrets::open(&folder).unwrap();
        assert_eq!(first.ticket_public, second.ticket_public);
        assert!(first.hash("a").matches(&second.hash("a").0));
        assert!(!first.hash("a").matches(&second.hash("b").0));
        assert!(!first.hash("a").matches(&[]));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_server_s_key_opens_for_that_server_and_this_secret_alone() {
        let (one, two) = (Secrets::derive(&[1; 32]).unwrap(), Secrets::derive(&[2; 32]).unwrap());
        let (server, other) = (Uuid::now_v7(), Uuid::now_v7());
        let sealed = one.seal(server, "sk-upstream").unwrap();
        assert_eq!(one.unseal(server, &sealed).unwrap(), "sk-upstream");
        assert_ne!(sealed, one.seal(server, "sk-upstream").unwrap(), "never twice the same");
        assert!(!sealed.windows(11).any(|bytes| bytes == b"sk-upstream"));
        for refused in [one.unseal(other, &sealed), two.unseal(server, &sealed), one.unseal(server, &sealed[..5])] {
            assert!(!refused.unwrap_err().to_string().contains("sk-"));
        }
    }

    #[test]
    fn another_secret_derives_other_keys() {
        let (one, two) = (Secrets::derive(&[1; 32]).unwrap(), Secrets::derive(&[2; 32]).unwrap());
        assert_ne!(one.ticket_public, two.ticket_public);
        assert!(!one.hash("a").matches(&two.hash("a").0));
        assert!(Secrets::derive(&[1; 31]).is_err());
    }
}
