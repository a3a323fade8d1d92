//! What is derived from one secret.

use anyhow::{anyhow, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use openapi::receipt::jws::Signer;
use serde::Serialize;
use uuid::Uuid;

use super::SecretHash;

/// Keys for each use, none of which says anything about another.
pub struct Derived {
    hash_key: [u8; 32],
    /// Hashes what is stored of requests with an `Idempotency-Key`.
    pub idempotency: [u8; 32],
    /// Keeps one account from learning what another one has asked.
    pub prefixes: [u8; 32],
    /// Vouches for what was verified, when it is read from the database.
    vouching: [u8; 32],
    /// Encrypts the keys of attached servers.
    attached: [u8; 32],
    /// Decides which requests are canaries.
    pub canaries: [u8; 32],
    /// What the key of the public log is made from.
    pub log_seed: [u8; 32],
    /// Makes a session's next refresh token from the one before.
    session_renewal: [u8; 32],
    /// Signs and checks the sessions of the management API.
    pub session_signing: EncodingKey,
    pub session_checking: DecodingKey,
    /// Signs tickets for nodes.
    ticket_signing: Signer,
    /// What nodes check tickets with: Ed25519, base64url.
    pub ticket_public: String,
    /// Signs receipts.
    pub receipt_signing: Signer,
}

impl Derived {
    pub(super) fn from(secret: &[u8]) -> anyhow::Result<Self> {
        if secret.len() < 32 {
            bail!("the secret is shorter than 32 bytes");
        }
        let session = blake3::derive_key("commonwatt 2026 session signing", secret);
        let ticket_signing = Signer::from_seed(&blake3::derive_key("commonwatt 2026 ticket signing", secret))
            .ok_or_else(|| anyhow!("the ticket key can't be made"))?;
        Ok(Self {
            hash_key: blake3::derive_key("commonwatt 2026 key hashing", secret),
            idempotency: blake3::derive_key("commonwatt 2026 idempotency", secret),
            attached: blake3::derive_key("commonwatt 2026 attached servers", secret),
            vouching: blake3::derive_key("commonwatt 2026 verified statements", secret),
            canaries: blake3::derive_key("commonwatt 2026 canaries", secret),
            prefixes: blake3::derive_key("commonwatt 2026 prefixes", secret),
            log_seed: blake3::derive_key("commonwatt 2026 log signing", secret),
            session_renewal: blake3::derive_key("commonwatt 2026 session renewal", secret),
            session_signing: EncodingKey::from_secret(&session),
            session_checking: DecodingKey::from_secret(&session),
            ticket_public: BASE64_URL_SAFE_NO_PAD.encode(ticket_signing.public().0),
            ticket_signing,
            receipt_signing: Signer::from_seed(&blake3::derive_key("commonwatt 2026 receipt signing", secret))
                .ok_or_else(|| anyhow!("the receipts' key can't be made"))?,
        })
    }

    /// Signs what nodes and other replicas check with the ticket key: tickets, and whatever else this gateway says to them.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn sign_for_nodes(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        self.ticket_signing.sign(claims).ok_or_else(|| anyhow!("a ticket can't be signed"))
    }

    /// Says of a node's statement that this key has signed it, so that nobody who reads it from the database has to verify that
    /// again.
    pub fn vouch(&self, public_key: &[u8], statement: &str) -> [u8; 32] {
        // Keys have one length.
        let mut hasher = blake3::Hasher::new_keyed(&self.vouching);
        *hasher.update(public_key).update(statement.as_bytes()).finalize().as_bytes()
    }

    pub(super) fn hash(&self, text: &str) -> SecretHash {
        SecretHash(*blake3::keyed_hash(&self.hash_key, text.as_bytes()).as_bytes())
    }

    /// The refresh token that follows another one at some time. Without the secret nobody can tell it, whoever has that other one.
    pub fn next_refresh_token(&self, token: &str, time: i64) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.session_renewal);
        hasher.update(&time.to_be_bytes()).update(token.as_bytes());
        BASE32_NOPAD.encode(hasher.finalize().as_bytes()).to_lowercase()
    }

    pub(super) fn seal(&self, server: Uuid, key: &str) -> anyhow::Result<Vec<u8>> {
        let mut sealed = key.as_bytes().to_vec();
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &self.attached);
        let nonce =
            cipher.and_then(|cipher| cipher.seal_in_place_append_tag(Aad::from(server.as_bytes()), &mut sealed));
        let nonce = nonce.map_err(|_| anyhow!("the server's key can't be encrypted"))?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// None when it was sealed for another server, or with another secret.
    pub(super) fn unseal(&self, server: Uuid, sealed: &[u8]) -> Option<String> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut key = sealed.to_vec();
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &self.attached).ok()?;
        let length = cipher.open_in_place(Nonce::from(nonce), Aad::from(server.as_bytes()), &mut key).ok()?.len();
        key.truncate(length);
        String::from_utf8(key).ok()
    }
}
