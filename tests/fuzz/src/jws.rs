//! Words signed by a key, whoever reads them: what is accepted was signed by that key, with EdDSA, and says what the reader
//! takes it to say.

use std::fmt::Debug;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde::Serialize;
use serde_json::Value;

use crate::duplicates;

static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
static STRANGER: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap());

/// The head of a word that is as it should be.
const HEAD: &str = r#"{"typ":"JWT","alg":"EdDSA"}"#;

/// The key that the reader goes by.
pub fn public_key() -> &'static [u8] {
    KEY.public_key().as_ref()
}

/// The same as text.
pub fn public_text() -> String {
    BASE64.encode(public_key())
}

/// Ed25519 by that key, as text.
pub fn signature(bytes: &[u8]) -> String {
    BASE64.encode(KEY.sign(bytes))
}

/// A word of the key's holder: a JWS with this head and these claims.
pub fn signed(head: &[u8], claims: &[u8]) -> String {
    let body = body(head, claims);
    format!("{body}.{}", signature(body.as_bytes()))
}

/// Hands the bytes to a reader as they are, and, where they are a head, a line break and claims, signed by the right key and
/// by wrong ones.
pub fn check<Claims: Serialize + PartialEq + Debug>(bytes: &[u8], read: impl Fn(&str) -> Option<Claims>) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some((head, claims)) = text.split_once('\n') else { return word(text, &read) };
    word(&signed(head.as_bytes(), claims.as_bytes()), &read);
    let body = body(head.as_bytes(), claims.as_bytes());
    assert_eq!(read(&format!("{body}.{}", BASE64.encode(STRANGER.sign(body.as_bytes())))), None, "a stranger's");
    assert_eq!(read(&format!("{body}.")), None, "nobody's");
    for secret in [public_key(), public_text().as_bytes()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, body.as_bytes());
        assert_eq!(read(&format!("{body}.{}", BASE64.encode(tag))), None, "the public key is no secret");
    }
}

fn body(head: &[u8], claims: &[u8]) -> String {
    format!("{}.{}", BASE64.encode(head), BASE64.encode(claims))
}

fn word<Claims: Serialize + PartialEq + Debug>(text: &str, read: &impl Fn(&str) -> Option<Claims>) {
    let Some(accepted) = read(text) else { return };
    let parts: Vec<&str> = text.split('.').collect();
    let [head, claims, signature] = parts[..] else { unreachable!("accepted with {} parts", parts.len()) };
    let signature = BASE64.decode(signature).unwrap();
    let body = format!("{head}.{claims}");
    UnparsedPublicKey::new(&ED25519, public_key()).verify(body.as_bytes(), &signature).unwrap();
    let (head, claims) = (BASE64.decode(head).unwrap(), BASE64.decode(claims).unwrap());
    assert_eq!(serde_json::from_slice::<Value>(&head).unwrap()["alg"], "EdDSA");
    assert!(duplicates::find(&head).iter().all(|member| member != "/alg"), "two algorithms");
    let known = serde_json::to_value(&accepted).unwrap();
    for twice in duplicates::find(&claims) {
        assert_eq!(known.pointer(&twice), None, "{twice} stands twice");
    }
    assert_eq!(read(&signed(HEAD.as_bytes(), known.to_string().as_bytes())).as_ref(), Some(&accepted));
    for cut in [&text[..text.len() - 1], &text[1..], body.as_str()] {
        assert_eq!(read(cut), None, "cut");
    }
}
