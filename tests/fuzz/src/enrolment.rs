//! A node that asks to be bound to an account: nobody enrols another's key, and no signature counts for another token.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use gateway::nodes::enrol::proven_key;
use openapi::node::Enrolment;

use crate::{duplicates, jws};

/// Reads an enrolment as it is, and signed.
pub fn check(bytes: &[u8]) {
    let Ok(enrolment) = serde_json::from_slice::<Enrolment>(bytes) else { return };
    assert!(duplicates::find(bytes).is_empty(), "a member stands twice");
    if let Ok(key) = proven_key(&enrolment) {
        assert_eq!(enrolment.public_key, BASE64.encode(&key));
        let signed = format!("commonwatt enrolment v1\n{}\n{}", enrolment.token, enrolment.public_key);
        let signature = BASE64.decode(&enrolment.signature).unwrap();
        UnparsedPublicKey::new(&ED25519, &key).verify(signed.as_bytes(), &signature).unwrap();
    }
    let public_key = jws::public_text();
    let signature = jws::signature(&Enrolment::signed_bytes(&enrolment.token, &public_key));
    let good = Enrolment { public_key, signature, ..enrolment.clone() };
    assert_eq!(proven_key(&good).unwrap(), jws::public_key());
    let other_token = Enrolment { token: format!("{}x", good.token), ..good.clone() };
    let other_key = Enrolment { public_key: BASE64.encode([9; 32]), ..good.clone() };
    let longer = Enrolment { signature: format!("{}A", good.signature), ..good };
    for bad in [other_token, other_key, longer] {
        assert_eq!(proven_key(&bad).unwrap_err().detail.param.as_deref(), Some("signature"));
    }
}
