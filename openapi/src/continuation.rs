//! How another node goes on with an answer whose node was lost. Each token is chosen from the request's seed and the
//! token's position alone, so at equal weights and build the text is what the first node would have said.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// On the node, through the tunnel: `POST` with a ticket and a [`Continuation`]; answers as the request's own path does,
/// with what is still missing.
pub const CONTINUE_PATH: &str = "/node/v1/continue";

/// A request, and what its client has of the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Continuation {
    /// The path that the client called.
    pub path: String,
    /// The client's body, byte for byte.
    pub request: Box<RawValue>,
    pub so_far: SoFar,
}

/// The part of an answer that has been given. Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoFar {
    /// What the answer bears as `system_fingerprint`: only a node with the same one can say to the letter what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Those of the answers that have begun, in order.
    pub choices: Vec<ChoiceSoFar>,
}

/// The part of one of the answers that has been given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceSoFar {
    /// The tokens that usage frames have named, in order.
    pub token_ids: Vec<u32>,
    /// Bytes that the client has of its text, of the calls of tools and of the thoughts. Some of the last tokens' text may
    /// be missing, or some text there whose token was not named yet: the node says what follows these bytes.
    pub text_bytes: u64,
    /// Tokens of which the client knows how likely they were.
    #[serde(default)]
    pub logprobs: u64,
    /// The client has its first event.
    pub opened: bool,
    /// The client has the event with the `finish_reason`, and what follows it is missing.
    pub finished: bool,
}
