//! What is read of a chat completion, whole or a chunk of it. Servers differ in what they leave out, so everything may be
//! missing.

use serde::Deserialize;
use serde_json::Value;

use crate::error::ErrorDetail;
use crate::usage::Usage;

#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<Usage>,
    /// Stands alone, and ends the stream.
    pub(super) error: Option<ErrorDetail>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default, alias = "message")]
    pub(super) delta: Delta,
    logprobs: Option<Logprobs>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    pub(super) content: Option<String>,
    pub(super) reasoning_content: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub(super) index: Option<usize>,
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Function,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Logprobs {
    content: Option<Vec<Value>>,
}

impl Choice {
    /// How likely the tokens were.
    pub(super) fn logprobs(&mut self) -> Vec<Value> {
        self.logprobs.take().and_then(|logprobs| logprobs.content).unwrap_or_default()
    }
}

impl Delta {
    /// Parts of calls.
    pub(super) fn calls(&mut self) -> Vec<Call> {
        self.tool_calls.take().unwrap_or_default()
    }
}
