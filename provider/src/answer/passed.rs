//! A request that goes on to the operator's own server, read as far as the node must know it. The rest is the server's to
//! judge.

use openapi::chat::include_usage;
use openapi::error::ApiError;
use openapi::fields::Fields;
use openapi::node::Ticket;
use openapi::upstream::{Endpoint, Unlimited, unlimited};
use serde_json::Value;

use super::shape::prompt_field;
use crate::node::Served;
use crate::upstream::Upstream;

/// Bytes of a token of usual text, where nobody has counted. Source: OpenAI help centre, "What are tokens and how to count
/// them?".
const BYTES_OF_A_TOKEN: u64 = 4;

/// A request for the server.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) endpoint: Endpoint,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// A guess that counts until the server says how many they are, which it does at the end.
    pub(super) prompt_tokens: u64,
    pub(super) ask: Unlimited,
}

impl Passed {
    /// Reads a body, and writes the server's.
    ///
    /// # Errors
    /// 400 that says what is wrong, 404 when this node serves another model.
    pub(super) fn read(
        (node, upstream): (&Served, &Upstream),
        ticket: Option<&Ticket>,
        endpoint: Endpoint,
        body: &[u8],
        seed: i64,
    ) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let model = fields.string("model")?.ok_or_else(|| ApiError::missing("model"))?;
        node.check_model(&model, ticket)?;
        let prompt = fields.take(prompt_field(endpoint))?.ok_or_else(|| ApiError::missing(prompt_field(endpoint)))?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let include_usage = include_usage(&mut fields)?;
        let ask = unlimited(endpoint, body, upstream.model(), node.keeper.context_length(), seed)?;
        Ok(Self { endpoint, stream, include_usage, prompt_tokens: tokens(&prompt), ask })
    }
}

/// About so many tokens a prompt has: each that is given by its id, and one for a few bytes of text.
fn tokens(prompt: &Value) -> u64 {
    let (ids, bytes) = size(prompt);
    ids + bytes.div_ceil(BYTES_OF_A_TOKEN)
}

/// Ids of tokens, and bytes of text, in a prompt or in the messages of a conversation.
fn size(prompt: &Value) -> (u64, u64) {
    match prompt {
        Value::Number(_) => (1, 0),
        Value::String(text) => (0, text.len() as u64),
        Value::Array(items) => items.iter().map(size).fold((0, 0), |(a, b), (c, d)| (a + c, b + d)),
        Value::Object(part) => ["content", "text"]
            .iter()
            .filter_map(|name| part.get(*name))
            .map(size)
            .fold((0, 0), |(a, b), (c, d)| (a + c, b + d)),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prompt_is_guessed_by_its_text_alone() {
        for (prompt, guess) in [
            (json!("abcdefgh"), 2),
            (json!(["abcd", "efghi"]), 3),
            (json!([1, 2, 3]), 3),
            (json!([{"role": "system", "content": "abcd"}, {"role": "user", "content": "é"}]), 2),
            (
                json!([{"role": "user", "content": [{"type": "text", "text": "abcd"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAAAAAA"}}]}]),
                1,
            ),
            (json!([{"role": "assistant", "content": null}]), 0),
            (json!(null), 0),
        ] {
            assert_eq!(tokens(&prompt), guess, "{prompt}");
        }
    }
}
