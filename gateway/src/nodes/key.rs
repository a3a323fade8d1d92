//! A node changes its key: it calls with a greeting, and both keys sign the change. The tunnel that stands is left alone;
//! the next greeting is by the new key.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openapi::error::ApiError;
use openapi::node::{KEY_PATH, KeyChange};
use uuid::Uuid;

use super::greeting;
use super::operate::{self, Replaced};
use crate::app::App;
use crate::body::SmallJson;
use crate::error::Failure;

/// Replaces the key of the node that calls.
#[utoipa::path(post, path = KEY_PATH, tag = "Nodes", request_body = KeyChange, responses((status = 204), Failure))]
pub async fn change(app: App, headers: HeaderMap, SmallJson(body): SmallJson) -> Result<StatusCode, Failure> {
    let node = greeting::who(&app, &headers).await?;
    let change: KeyChange =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
    let public_key = proven_key(node.id, &node.public_key, &change)?;
    match operate::replace_key(&app.database, node.id, (&node.public_key, &public_key)).await? {
        Replaced::Done => {
            tracing::info!(node = %node.id, "a node has changed its key");
            Ok(StatusCode::NO_CONTENT)
        }
        Replaced::Outdated => {
            Err(conflict("The key was changed by another call at the same time. Greet with the key that counts now."))
        }
        Replaced::Taken => Err(conflict("Another node has this key already. Make a new one.")),
    }
}

fn conflict(message: &str) -> Failure {
    ApiError::new(409, "invalid_request_error", Some("key_not_changed"), message).into()
}

/// The new key, if both keys have signed the change.
///
/// # Errors
/// 400 when one of them has not.
pub fn proven_key(node: Uuid, previous: &[u8], change: &KeyChange) -> Result<Vec<u8>, ApiError> {
    let refused = |parameter: &str, which: &str| {
        ApiError::invalid(format!("The change of the key is not signed with {which}.")).with_param(parameter)
    };
    let new = || refused("signature", "the new key");
    let public_key = BASE64_URL_SAFE_NO_PAD.decode(&change.public_key).map_err(|_| new())?;
    if public_key == previous {
        return Err(
            ApiError::invalid("The new key is the one that counts already. Make another.").with_param("public_key")
        );
    }
    let signed = KeyChange::signed_bytes(node, &BASE64_URL_SAFE_NO_PAD.encode(previous), &change.public_key);
    let is_by = |key: &[u8], signature: &str| {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        UnparsedPublicKey::new(&ED25519, key).verify(&signed, &signature).is_ok()
    };
    if !is_by(&public_key, &change.signature) {
        return Err(new());
    }
    if !is_by(previous, &change.previous_signature) {
        return Err(refused("previous_signature", "the key that counts"));
    }
    Ok(public_key)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn key() -> Ed25519KeyPair {
        Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
    }

    fn public(key: &Ed25519KeyPair) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(key.public_key())
    }

    fn signed(node: Uuid, (previous, by): (&Ed25519KeyPair, &Ed25519KeyPair), new: &Ed25519KeyPair) -> KeyChange {
        let bytes = KeyChange::signed_bytes(node, &public(previous), &public(new));
        let sign = |key: &Ed25519KeyPair| BASE64_URL_SAFE_NO_PAD.encode(key.sign(&bytes));
        KeyChange { public_key: public(new), signature: sign(new), previous_signature: sign(by) }
    }

    #[test]
    fn both_keys_must_sign_this_very_change() {
        let (node, old, new, thief) = (Uuid::now_v7(), key(), key(), key());
        let check = |change: &KeyChange| proven_key(node, old.public_key().as_ref(), change);
        let change = signed(node, (&old, &old), &new);
        assert_eq!(check(&change).unwrap(), new.public_key().as_ref());
        let parameter = |change: &KeyChange| check(change).unwrap_err().detail.param.unwrap();
        assert_eq!(
            parameter(&signed(node, (&old, &thief), &thief)),
            "previous_signature",
            "a copied greeting is no key"
        );
        let anothers = KeyChange { public_key: public(&thief), ..change.clone() };
        assert_eq!(parameter(&anothers), "signature", "the new key is not held");
        assert_eq!(parameter(&signed(Uuid::now_v7(), (&old, &old), &new)), "signature", "another node's");
        assert_eq!(parameter(&signed(node, (&old, &old), &old)), "public_key", "the same key");
        for public_key in ["", "?", "AAAA"] {
            assert_eq!(parameter(&KeyChange { public_key: public_key.to_owned(), ..change.clone() }), "signature");
        }
    }
}
