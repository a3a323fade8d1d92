//! A node that changes its key: both keys have signed this very change.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use gateway::nodes::key::proven_key;
use openapi::node::KeyChange;
use uuid::Uuid;

use crate::{duplicates, jws};

/// Reads a change to the key that signs here, from one that does not.
pub fn check(bytes: &[u8]) {
    let Ok(change) = serde_json::from_slice::<KeyChange>(bytes) else { return };
    assert!(duplicates::find(bytes).is_empty(), "a member stands twice");
    let (node, previous) = (Uuid::from_u128(7), [9; 32]);
    assert!(proven_key(node, &previous, &change).is_err(), "nobody holds the previous key");
    let public_key = jws::public_text();
    let signed = jws::signature(&KeyChange::signed_bytes(node, &BASE64.encode(previous), &public_key));
    let half = KeyChange { public_key, signature: signed, ..change };
    let refused = proven_key(node, &previous, &half).unwrap_err();
    assert_eq!(refused.detail.param.as_deref(), Some("previous_signature"));
    let refused = proven_key(Uuid::from_u128(8), &previous, &half).unwrap_err();
    assert_eq!(refused.detail.param.as_deref(), Some("signature"), "another node's");
}
