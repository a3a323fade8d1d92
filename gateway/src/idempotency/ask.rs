//! What a client asks under an `Idempotency-Key`: the header, the hashes under which it is known, and the encryption of
//! its answer.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use openapi::error::ApiError;
use openapi::netting::CLIENT_REQUEST_HEADER;
use openapi::trace::{TRACE_HEADER, TraceContext};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::{IntoParams, PartialSchema};
use uuid::Uuid;

use crate::error::Failure;
use crate::router::RequestId;
use crate::secrets::Secrets;

const HEADER: &str = "Idempotency-Key";
const LONGEST: usize = 255;
/// Bytes of a client's name for its request.
const LONGEST_NAME: usize = 512;

/// A request's own id, and the key that it shares with the same request sent before.
pub struct Submission {
    pub(super) id: Uuid,
    pub(super) key: Option<Key>,
    /// The client's span.
    pub(super) trace: Option<TraceContext>,
    /// What the client calls the request.
    pub(super) client_request: Option<String>,
}

/// An `Idempotency-Key`, and the path that it was sent to.
pub(super) struct Key {
    text: String,
    path: String,
}

impl<S: Sync> FromRequestParts<S> for Submission {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let RequestId(id) = *parts.extensions.get().ok_or_else(ApiError::internal)?;
        let text = key(&parts.headers)?;
        let key = text.map(|text| Key { text, path: parts.uri.path().to_owned() });
        // One that says nothing is as good as none, as the specification has it.
        let trace = parts.headers.get(TRACE_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self { id, key, trace, client_request: client_request(&parts.headers) })
    }
}

impl IntoParams for Submission {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The same key with the same body answers with the first result for 24 hours, and bills once";
        let parameter = ParameterBuilder::new().name(HEADER).parameter_in(ParameterIn::Header);
        let own = ParameterBuilder::new().name(CLIENT_REQUEST_HEADER).parameter_in(ParameterIn::Header);
        let name = "Your own name for the request, which its receipt is listed with: 1 to 512 visible ASCII characters";
        vec![
            parameter.description(Some(about)).schema(Some(String::schema())).build(),
            own.description(Some(name)).schema(Some(String::schema())).build(),
        ]
    }
}

/// As OpenAI has it, for whoever looks for a request later; one that can't be shown as it came is as good as none.
fn client_request(headers: &HeaderMap) -> Option<String> {
    let name = headers.get(CLIENT_REQUEST_HEADER)?.to_str().ok()?;
    let is_shown = (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_shown.then(|| name.to_owned())
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let plain = |bytes: &[u8]| (1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    if values.next().is_some() || !plain(first.as_bytes()) {
        let message = format!("Send one '{HEADER}' of 1 to {LONGEST} visible ASCII characters, for example a UUID.");
        return Err(ApiError::invalid(message).with_param(HEADER).with_code("invalid_idempotency_key"));
    }
    Ok(first.to_str().ok().map(str::to_owned))
}

/// A request under a key.
///
/// One keyed hash over account, key, path and body gives two halves. The first, the fingerprint, is stored and tells
/// whether two requests are the same. The second is stored nowhere and encrypts the answer: whoever holds the database
/// and the gateway's secret can check a guess at a whole request, but needs the client's own request to read the answer.
pub(super) struct Ask {
    pub(super) account: Uuid,
    pub(super) request: Uuid,
    pub(super) key_hash: [u8; 32],
    pub(super) fingerprint: [u8; 32],
    answer_key: [u8; 32],
}

impl Ask {
    /// What `request` asks for, as each secret of the gateway has it, the newest first.
    pub(super) fn each(secrets: &Secrets, whose: (Uuid, Uuid), key: &Key, body: &[u8]) -> Vec<Self> {
        secrets.all().map(|derived| Self::new(&derived.idempotency, whose, key, body)).collect()
    }

    fn new(secret: &[u8; 32], (account, request): (Uuid, Uuid), key: &Key, body: &[u8]) -> Self {
        let (mut fingerprint, mut answer_key) = ([0; 32], [0; 32]);
        let (name, path) = (key.text.as_bytes(), key.path.as_bytes());
        let mut halves = hash(secret, &[b"request", account.as_bytes(), name, path, body]).finalize_xof();
        halves.fill(&mut fingerprint);
        halves.fill(&mut answer_key);
        let key_hash = *hash(secret, &[b"key", account.as_bytes(), name]).finalize().as_bytes();
        Self { account, request, key_hash, fingerprint, answer_key }
    }

    /// Encrypts the answer: its nonce, then the sealed bytes.
    pub(super) fn seal(&self, answer: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = answer.to_vec();
        let nonce = self.cipher()?.seal_in_place_append_tag(Aad::empty(), &mut sealed)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] made for the same key, path and body.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
        let mut answer = sealed.to_vec();
        let length = self.cipher()?.open_in_place(Nonce::from(nonce), Aad::empty(), &mut answer)?.len();
        answer.truncate(length);
        Ok(answer)
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, Unspecified> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.answer_key)
    }
}

/// Each part goes with its length, so that no two lists of parts look alike.
fn hash(secret: &[u8; 32], parts: &[&[u8]]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher
}

#[cfg(test)]
pub(super) mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// A request of `account` under `key`.
    pub(crate) fn ask(account: Uuid, key: &str, body: &str) -> Ask {
        ask_at(account, "/v1/completions", key, body)
    }

    fn ask_at(account: Uuid, path: &str, key: &str, body: &str) -> Ask {
        let key = Key { text: key.to_owned(), path: path.to_owned() };
        Ask::new(&[7; 32], (account, Uuid::now_v7()), &key, body.as_bytes())
    }

    #[test]
    fn a_key_is_1_to_255_visible_ascii_characters() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", HeaderValue::from_bytes(value).unwrap());
            }
            key(&headers)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"a-1~!"]), Ok(Some("a-1~!".to_owned())));
        assert_eq!(read(&[&[b'x'; 255]]).unwrap().unwrap().len(), 255);
        let wrong: [&[&[u8]]; 6] = [&[b""], &[b"a b"], &[b"a\t"], &[&[b'x'; 256]], &["é".as_bytes()], &[b"a", b"a"]];
        for values in wrong {
            let error = read(values).unwrap_err();
            assert_eq!((error.status, error.detail.param.as_deref()), (400, Some("Idempotency-Key")), "{values:?}");
        }
    }

    #[test]
    fn requests_are_the_same_when_account_key_path_and_body_are() {
        let account = Uuid::now_v7();
        let first = ask(account, "k", "{}");
        assert_eq!(first.fingerprint, ask(account, "k", "{}").fingerprint);
        for (other, same_key) in [
            (ask(account, "k", "{ }"), true),
            (ask_at(account, "/v1/chat/completions", "k", "{}"), true),
            (ask(account, "k2", "{}"), false),
            (ask(Uuid::now_v7(), "k", "{}"), false),
        ] {
            assert_ne!(first.fingerprint, other.fingerprint);
            assert_eq!(first.key_hash == other.key_hash, same_key);
        }
    }

    #[test]
    fn only_the_same_request_opens_an_answer() {
        let account = Uuid::now_v7();
        let sealed = ask(account, "k", "{}").seal(b"the answer").unwrap();
        assert!(!sealed.windows(10).any(|window| window == b"the answer"));
        assert_eq!(ask(account, "k", "{}").open(&sealed).unwrap(), b"the answer");
        assert_ne!(sealed, ask(account, "k", "{}").seal(b"the answer").unwrap(), "a nonce was used twice");
        for other in [ask(account, "k", "{ }"), ask(account, "K", "{}"), ask(Uuid::now_v7(), "k", "{}")] {
            assert!(other.open(&sealed).is_err());
        }
        let mut damaged = sealed.clone();
        damaged[20] ^= 1;
        assert!(ask(account, "k", "{}").open(&damaged).is_err());
        assert!(ask(account, "k", "{}").open(&sealed[..8]).is_err());
    }
}
