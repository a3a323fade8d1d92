//! What a receipt says of a prompt and an answer: nothing, to whoever has not got their salt; to whoever has, whether
//! these were they.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sse::Event;

/// 32 bytes that only the customer, the gateway and the nodes of one request know. In base64url.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt(pub [u8; 32]);

/// A keyed BLAKE3 of a request's or an answer's bytes, in base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct Commitment(pub [u8; 32]);

/// A text that is not 32 bytes in base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("32 bytes in base64url without padding are expected")]
pub struct Not32Bytes;

/// Takes in an answer as it goes out.
#[derive(Clone, Debug)]
pub struct Committing(blake3::Hasher);

impl Salt {
    /// The commitment to a request's body, as it was sent, without white space around it.
    pub fn request(&self, body: &[u8]) -> Commitment {
        let mut committing = Committing(blake3::Hasher::new_keyed(&self.of("commonwatt 2026 receipt request")));
        committing.push(body.trim_ascii());
        committing.end()
    }

    /// Begins the commitment to an answer: to its event stream without comments and named events, each with the empty
    /// line behind it. An unstreamed answer is the one event `data: <body>`.
    pub fn answer(&self) -> Committing {
        Committing(blake3::Hasher::new_keyed(&self.of("commonwatt 2026 receipt answer")))
    }

    /// The commitment to an unstreamed answer.
    pub fn whole_answer(&self, body: &[u8]) -> Commitment {
        let mut committing = self.answer();
        [b"data: ", body, b"\n\n"].into_iter().for_each(|bytes| committing.push(bytes));
        committing.end()
    }

    /// Apart, so that an answer never passes for a request.
    fn of(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }
}

impl Committing {
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes in an event, if it is one of the answer's: those have data and no name.
    pub fn event(&mut self, event: &Event) {
        if event.is_of_answer() {
            self.push(&event.raw);
        }
    }

    /// The commitment to all that was pushed.
    pub fn end(&self) -> Commitment {
        Commitment(*self.0.finalize().as_bytes())
    }
}

/// Salts show themselves nowhere.
impl std::fmt::Debug for Salt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Salt")
    }
}

fn bytes(text: &str) -> Result<[u8; 32], Not32Bytes> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(Not32Bytes)
}

impl TryFrom<String> for Salt {
    type Error = Not32Bytes;

    fn try_from(text: String) -> Result<Self, Not32Bytes> {
        bytes(&text).map(Self)
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        BASE64URL_NOPAD.encode(&salt.0)
    }
}

impl TryFrom<String> for Commitment {
    type Error = Not32Bytes;

    fn try_from(text: String) -> Result<Self, Not32Bytes> {
        bytes(&text).map(Self)
    }
}

impl From<Commitment> for String {
    fn from(commitment: Commitment) -> Self {
        BASE64URL_NOPAD.encode(&commitment.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_says_these_bytes_under_this_salt_and_nothing_else() {
        let (salt, other) = (Salt([1; 32]), Salt([2; 32]));
        assert_eq!(salt.request(b"a"), salt.request(b"a"));
        assert_ne!(salt.request(b"a"), other.request(b"a"));
        assert_ne!(salt.request(b"a"), salt.request(b"b"));
        let mut answer = salt.answer();
        answer.push(b"a");
        assert_ne!(answer.end(), salt.request(b"a"), "an answer is no request");
    }

    #[test]
    fn an_answer_may_come_in_any_pieces_and_a_whole_one_is_one_event() {
        let salt = Salt([1; 32]);
        let mut pieces = salt.answer();
        for piece in ["da", "ta: {}\n", "\n"] {
            pieces.push(piece.as_bytes());
        }
        assert_eq!(pieces.end(), salt.whole_answer(b"{}"));
    }

    #[test]
    fn both_are_read_as_they_are_written_and_the_salt_is_not_shown() {
        let salt = Salt([0xab; 32]);
        let text = serde_json::to_string(&salt).unwrap();
        assert_eq!(serde_json::from_str::<Salt>(&text).unwrap(), salt);
        assert_eq!(format!("{salt:?}"), "Salt");
        for wrong in ["\"\"", "\"AAAA\"", "7", "\"q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\""] {
            assert!(serde_json::from_str::<Salt>(wrong).is_err() && serde_json::from_str::<Commitment>(wrong).is_err());
        }
    }
}
