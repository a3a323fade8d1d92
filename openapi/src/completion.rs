//! `POST /v1/completions`: what is asked and what is answered.
//! Source: OpenAI API reference, "Completions".

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::{FinishReason, include_usage, refuse_unknown, refuse_unless};
use crate::error::ApiError;
use crate::fields::{Fields, wrong_type};
use crate::sampling::Sampling;
use crate::usage::Usage;

/// OpenAI's default for this endpoint.
pub const DEFAULT_MAX_TOKENS: u32 = 16;

/// A request to continue a text, read and validated.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    pub model: String,
    pub prompt: Prompt,
    pub sampling: Sampling,
    pub stream: bool,
    pub include_usage: bool,
}

/// The text to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

impl CompletionRequest {
    /// Reads and validates a request body.
    ///
    /// # Errors
    /// 400 that names the field and says what is expected.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let mut request = Self {
            model: fields.string("model")?.ok_or_else(|| ApiError::missing("model"))?,
            prompt: prompt(&mut fields)?,
            sampling: Sampling::read(&mut fields)?,
            stream: fields.boolean("stream")?.unwrap_or(false),
            include_usage: include_usage(&mut fields)?,
        };
        request.sampling.max_tokens.get_or_insert(DEFAULT_MAX_TOKENS);
        for single in ["n", "best_of"] {
            refuse_unless(&mut fields, single, |value| value.as_f64() == Some(1.0))?;
        }
        refuse_unless(&mut fields, "echo", |value| *value == false)?;
        refuse_unless(&mut fields, "logprobs", |_| false)?;
        refuse_unless(&mut fields, "suffix", |value| *value == "")?;
        refuse_unknown(&mut fields, &["user", "provider"])?;
        Ok(request)
    }
}

fn prompt(fields: &mut Fields<'_>) -> Result<Prompt, ApiError> {
    const EXPECTED: &str = "a string or an array of token ids";
    let items = match fields.take("prompt")? {
        None => return Err(ApiError::missing("prompt")),
        Some(Value::String(text)) if text.is_empty() => return Err(empty()),
        Some(Value::String(text)) => return Ok(Prompt::Text(text)),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(wrong_type("prompt", EXPECTED, &other)),
    };
    match items.as_slice() {
        [] => Err(empty()),
        [Value::String(text)] if text.is_empty() => Err(empty()),
        [Value::String(text)] => Ok(Prompt::Text(text.clone())),
        [Value::String(_) | Value::Array(_), ..] => {
            Err(ApiError::invalid("Invalid 'prompt': this model answers one prompt a request.")
                .with_param("prompt")
                .with_code("unsupported_value"))
        }
        ids => ids
            .iter()
            .map(|id| {
                let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
                number.ok_or_else(|| wrong_type("prompt", EXPECTED, id))
            })
            .collect::<Result<_, _>>()
            .map(Prompt::Tokens),
    }
}

fn empty() -> ApiError {
    ApiError::invalid("Invalid 'prompt': it is empty. Send at least one token.")
        .with_param("prompt")
        .with_code("empty_string")
}

/// A whole answer, or one piece of a streamed one: OpenAI gives both the same shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Completion {
    pub id: String,
    /// Always `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    pub system_fingerprint: String,
    /// Empty on the last piece of a stream, which carries the usage.
    pub choices: Vec<CompletionChoice>,
    /// On streams only with `include_usage`, and then null on every piece but the last.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::usage::nullable")]
    pub usage: Option<Option<Usage>>,
}

/// The continuation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionChoice {
    pub index: u32,
    pub text: String,
    pub logprobs: Option<bool>,
    /// Null until the last piece of a stream.
    pub finish_reason: Option<FinishReason>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(prompt: &str) -> Result<CompletionRequest, ApiError> {
        CompletionRequest::parse(format!(r#"{{"model":"m","prompt":{prompt}}}"#).as_bytes())
    }

    #[test]
    fn a_prompt_is_text_or_token_ids() {
        assert_eq!(parse("\"hi\"").unwrap().prompt, Prompt::Text("hi".into()));
        assert_eq!(parse("[1,2]").unwrap().prompt, Prompt::Tokens(vec![1, 2]));
        assert_eq!(parse("\"hi\"").unwrap().sampling.max_tokens, Some(16));
        for wrong in ["[[1,2]]", "[]", "\"\"", "[\"\"]", "{}", "7", "[-1]", "[\"a\",\"b\"]"] {
            assert_eq!(parse(wrong).unwrap_err().detail.param.as_deref(), Some("prompt"), "{wrong}");
        }
    }
}
