//! Compact JWS of the one kind that receipts are (RFC 7515, EdDSA of RFC 8037), read strictly: what two readers could
//! understand in two ways is no receipt.

use data_encoding::BASE64URL_NOPAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::log::ed25519::{PUBLIC_KEY_BYTES, PrivateKey, PublicKey};

/// The longest text that is read.
pub const LONGEST: usize = 32 * 1024;
const ALGORITHM: &str = "EdDSA";
const KIND: &str = "JWT";

/// What signs a token, and under which name.
#[derive(Debug)]
pub struct Signer {
    key: PrivateKey,
    kid: String,
    /// In base64url.
    head: String,
}

/// A token that has been taken apart, and nothing more: who signed it is still to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jws<'a> {
    /// Head and payload as they were signed.
    signed: &'a str,
    payload: Vec<u8>,
    signature: [u8; 64],
    kid: Option<String>,
}

/// Why a text is no token, or not one of this key's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    #[error("it is not three parts in base64url without padding, with dots between them")]
    Parts,
    #[error("its head is not that of an EdDSA signature: {0}")]
    Head(String),
    #[error("its signature has not 64 bytes")]
    SignatureBytes,
    #[error("the signature is not of this text by this key")]
    Signature,
    #[error("its payload is not as it must be: {0}")]
    Payload(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// The name of a key: its thumbprint (RFC 7638), in base64url.
pub fn key_id(key: &PublicKey) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, BASE64URL_NOPAD.encode(&key.0));
    BASE64URL_NOPAD.encode(&Sha256::digest(members))
}

/// A public key in base64url.
pub fn public_key(text: &str) -> Option<PublicKey> {
    let bytes: [u8; PUBLIC_KEY_BYTES] = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()?;
    Some(PublicKey(bytes))
}

/// SHA-256 of a token in lower-case hexadecimal: under this name others refer to it, and the log knows it.
pub fn digest(token: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(token))
}

impl Signer {
    /// Signs with the key that a seed gives. None when the library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        let key = PrivateKey::from_seed(seed)?;
        let kid = key_id(&key.public());
        let head = Head { alg: ALGORITHM.to_owned(), typ: Some(KIND.to_owned()), kid: Some(kid.clone()) };
        let head = BASE64URL_NOPAD.encode(&serde_json::to_vec(&head).ok()?);
        Some(Self { key, kid, head })
    }

    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The claims, signed. None when they can't be written as JSON or the library refuses.
    pub fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let claims = serde_json::to_vec(claims).ok()?;
        // Four characters for three bytes, of the claims and of a signature.
        let mut token = String::with_capacity(self.head.len() + claims.len() * 4 / 3 + 96);
        token.push_str(&self.head);
        token.push('.');
        BASE64URL_NOPAD.encode_append(&claims, &mut token);
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Some(token)
    }
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// When it is none, or one of another kind: `none`, HS256 and the like among them.
    pub fn read(token: &'a str) -> Result<Self, NotSigned> {
        if token.len() > LONGEST {
            return Err(NotSigned::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(NotSigned::Parts)?;
        let (head, payload) = signed.split_once('.').ok_or(NotSigned::Parts)?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| NotSigned::Parts);
        let (head, payload, signature) = (decode(head)?, decode(payload)?, decode(signature)?);
        let Head { alg, typ, kid } =
            serde_json::from_slice(&head).map_err(|error| NotSigned::Head(crate::error::echo(&error.to_string())))?;
        if alg != ALGORITHM || typ.is_some_and(|typ| typ != KIND) {
            return Err(NotSigned::Head(format!("alg is '{}'", crate::error::echo(&alg))));
        }
        let signature = signature.try_into().map_err(|_| NotSigned::SignatureBytes)?;
        Ok(Self { signed, payload, signature, kid })
    }

    /// The name of the key that it claims to be signed with.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What is claimed, if this key has signed it.
    ///
    /// # Errors
    /// When it has not, or the claims are others than these.
    pub fn verify<Claims: DeserializeOwned>(&self, key: &PublicKey) -> Result<Claims, NotSigned> {
        if !key.verifies(self.signed.as_bytes(), &self.signature) {
            return Err(NotSigned::Signature);
        }
        self.claimed()
    }

    /// What is claimed, whoever has signed it.
    ///
    /// # Errors
    /// When the claims are others than these.
    pub fn claimed<Claims: DeserializeOwned>(&self) -> Result<Claims, NotSigned> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| NotSigned::Payload(crate::error::echo(&error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Claims {
        tokens: u64,
    }

    fn signer() -> Signer {
        Signer::from_seed(&[7; 32]).unwrap()
    }

    fn read(token: &str) -> Result<Claims, NotSigned> {
        Jws::read(token)?.verify(&signer().public())
    }

    fn part(value: &str) -> String {
        BASE64URL_NOPAD.encode(value.as_bytes())
    }

    /// A token with this head and payload, well signed.
    fn signed(head: &str, payload: &str) -> String {
        let signed = format!("{}.{}", part(head), part(payload));
        let signature = signer().key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    #[test]
    fn rfc_8037_s_key_has_its_thumbprint_and_signs_its_example() {
        let seed = BASE64URL_NOPAD.decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let signer = Signer::from_seed(&seed.try_into().unwrap()).unwrap();
        assert_eq!(signer.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let jws = Jws::read(token).unwrap();
        assert!(signer.public().verifies(jws.signed.as_bytes(), &jws.signature));
    }

    #[test]
    fn what_is_signed_is_read_again() {
        let token = signer().sign(&Claims { tokens: 5 }).unwrap();
        assert_eq!(read(&token), Ok(Claims { tokens: 5 }));
        assert_eq!(Jws::read(&token).unwrap().kid(), Some(signer().kid()));
        assert!(signed(r#"{"alg":"EdDSA"}"#, r#"{"tokens":5}"#).len() < LONGEST);
        let stranger = Signer::from_seed(&[8; 32]).unwrap().public();
        assert_eq!(Jws::read(&token).unwrap().verify::<Claims>(&stranger), Err(NotSigned::Signature));
    }

    #[test]
    fn other_kinds_and_ambiguous_ones_are_no_receipts() {
        let good = r#"{"tokens":5}"#;
        assert_eq!(read(&signed(r#"{"alg":"EdDSA","typ":"JWT","kid":"k"}"#, good)), Ok(Claims { tokens: 5 }));
        for head in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"eddsa"}"#,
            r#"{"alg":"EdDSA","alg":"none"}"#,
            r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#,
            r#"{"alg":"EdDSA","jwk":{}}"#,
            r#"{"alg":"EdDSA","typ":"JWE"}"#,
            "{}",
            "",
        ] {
            assert!(matches!(read(&signed(head, good)), Err(NotSigned::Head(_))), "{head}");
        }
        for payload in [r#"{"tokens":5,"tokens":6}"#, r#"{"tokens":5,"more":1}"#, r#"{"tokens":5.0}"#, "{}", "[]", ""] {
            assert!(matches!(read(&signed(r#"{"alg":"EdDSA"}"#, payload)), Err(NotSigned::Payload(_))), "{payload}");
        }
        let token = signed(r#"{"alg":"EdDSA"}"#, good);
        let (head, rest) = token.split_once('.').unwrap();
        for wrong in [
            String::new(),
            "..".to_owned(),
            head.to_owned(),
            format!("{token}."),
            format!("{token}.{head}"),
            format!("{token}="),
            format!("{head}=.{rest}"),
            format!(" {token}"),
            token[..token.len() - 2].to_owned(),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        assert_eq!(read(&"a".repeat(10 << 20)), Err(NotSigned::TooLong));
    }

    #[test]
    fn hs256_with_the_public_key_is_no_signature() {
        let token = format!("{}.{}.{}", part(r#"{"alg":"HS256"}"#), part(r#"{"tokens":5}"#), part("anything"));
        assert!(matches!(read(&token), Err(NotSigned::Head(_))));
    }

    proptest! {
        #[test]
        fn no_character_of_a_token_can_be_another(tokens: u64, at: prop::sample::Index, other in "[ -~]") {
            let token = signer().sign(&json!({"tokens": tokens})).unwrap();
            let at = at.index(token.len());
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            prop_assert_eq!(Jws::read(&changed).and_then(|jws| jws.verify::<Value>(&signer().public())).is_ok(), changed == token);
        }
    }
}
