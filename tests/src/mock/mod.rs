//! A node without a model: what it answers stands in the request. It speaks the node's protocol through real tunnels, as a
//! process of its own, and writes down what it sent, so that the gateway's books can be compared with it.

mod answer;

mod facts;

mod process;

mod receipt;

mod router;

mod serve;

mod trouble;

mod upstream;

mod words;

pub use process::Mock;
pub use serve::{MockSettings, serve};
pub use trouble::{HANGS_FOR, ONE_IN, Trouble};
pub use upstream::serve_upstream;

use openapi::price::Price;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text of every token. It stands nowhere else in an answer, so counting it counts tokens.
pub const TOKEN: &str = "~";

/// What a request wants of the mock node: the request's `user` field, or the text of its first message, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// The answer is complete after this many tokens, unless a limit ends it before.
    pub tokens: u32,
    /// The pause before each of them, in microseconds. 0: all at once.
    pub every_us: u64,
    /// As how long the prompt counts.
    pub prompt_tokens: u64,
    /// Tokens that it claims beyond those that it sends.
    pub overclaim: u64,
    /// It breaks off after this many tokens; 0: it fails at once.
    pub die_after: Option<u32>,
    /// What befalls one in a hundred of those that order it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

impl Default for Order {
    fn default() -> Self {
        Self { tokens: 8, every_us: 0, prompt_tokens: 20, overclaim: 0, die_after: None, trouble: None }
    }
}

/// What the mock node did for one attempt: a line of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub request: Uuid,
    pub attempt: u32,
    pub prompt_tokens: u64,
    /// Tokens in the events for the client that it has handed to its connection.
    pub tokens: u64,
    /// True when the answer came to its end.
    pub whole: bool,
    /// Microseconds since 1970.
    pub began_us: u64,
    pub ended_us: u64,
}

/// What the mock nodes offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MockOffer {
    /// How many nodes the process plays. A tunnel carries 200 answers at a time.
    pub nodes: usize,
    /// Without one the gateway's own list decides.
    pub price: Option<Price>,
    pub context_length: u32,
}

impl Default for MockOffer {
    fn default() -> Self {
        Self { nodes: 2, price: None, context_length: 4096 }
    }
}
