//! Receipts of nodes and of gateways, as everybody reads them.

use openapi::log::ed25519::PublicKey;
use openapi::receipt::jws::Jws;
use openapi::receipt::{NodeReceipt, Receipt};

use crate::jws;

/// Reads both kinds of receipts. What is read is either consistent or says why not.
pub fn check(bytes: &[u8]) {
    let key = PublicKey(jws::public_key().try_into().unwrap());
    jws::check(bytes, |text| Jws::read(text).ok()?.verify::<NodeReceipt>(&key).ok());
    jws::check(bytes, |text| {
        let receipt = Jws::read(text).ok()?.verify::<Receipt>(&key).ok()?;
        // It may say what it wants, and nobody trips over it.
        drop(receipt.check());
        Some(receipt)
    });
}
