//! Receipts: what a node signs of an attempt, and what the gateway puts its own name to. None of it is on a request's way:
//!
//! - the meter notes what it has seen ([`Noted`](crate::inference::record::Noted)), and the shipper leaves that in [`table`]
//! - [`follow`] reads what nodes have signed
//! - [`sign`] holds the one against the other and signs; [`keys`] is with what
//! - [`routes`] hands it out

pub(crate) mod follow;

pub mod keys;

pub mod routes;

pub mod sign;

pub mod table;

use openapi::receipt::commitment::Salt;
use uuid::Uuid;

/// Makes the salts of this replica's receipts.
pub struct Receipts {
    key: [u8; 32],
}

impl Receipts {
    /// With a key of its own, which nobody needs again: salts are kept with what they hide.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("no randomness to make salts with"))?;
        Ok(Self { key })
    }

    /// The salt of a request.
    pub fn salt(&self, request: Uuid) -> Salt {
        Salt(*blake3::keyed_hash(&self.key, request.as_bytes()).as_bytes())
    }
}

#[cfg(test)]
mod tests;
