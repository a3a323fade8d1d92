//! OpenAI's words for an answer of the mock node, and of the mock server.

use openapi::chat::FinishReason;
use openapi::sse;
use openapi::usage::Usage;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TOKEN;
use crate::MODEL;

/// What every event of an answer says of it.
#[derive(Clone, Debug)]
pub(super) struct Words {
    id: String,
    created: u64,
}

impl Words {
    pub(super) fn new(request: Uuid, began_us: u64) -> Self {
        Self { id: format!("chatcmpl-{}", request.simple()), created: began_us / 1_000_000 }
    }

    /// An answer in one piece.
    pub(super) fn whole(&self, tokens: u32, reason: Option<FinishReason>, usage: &Usage) -> Value {
        let content = TOKEN.repeat(tokens as usize);
        let message = json!({"role": "assistant", "content": content, "refusal": null});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason});
        let mut whole = self.head("chat.completion", json!([choice]));
        whole["usage"] = json!(usage);
        whole
    }

    /// An event of a stream.
    pub(super) fn chunk(&self, delta: Value, reason: Option<FinishReason>) -> String {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
        sse::data(&self.head("chat.completion.chunk", json!([choice]))).expect("JSON")
    }

    /// The event with what was used.
    pub(super) fn usage(&self, usage: &Usage) -> String {
        let mut last = self.head("chat.completion.chunk", json!([]));
        last["usage"] = json!(usage);
        sse::data(&last).expect("JSON")
    }

    fn head(&self, object: &str, choices: Value) -> Value {
        let Self { id, created } = self;
        json!({"id": id, "object": object, "created": created, "model": MODEL, "system_fingerprint": "mock", "choices": choices})
    }
}
