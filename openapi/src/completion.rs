//! `POST /v1/completions`: what is asked and what is answered.
//! Source: OpenAI API reference, "Completions".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::{FinishReason, choices, include_usage, refuse_unknown, refuse_unless};
use crate::error::ApiError;
use crate::fields::{Fields, wrong_type};
use crate::sampling::{MOST_CHOICES, Sampling};
use crate::usage::Usage;

/// OpenAI's default for this endpoint.
pub const DEFAULT_MAX_TOKENS: u32 = 16;
/// As OpenAI allows.
pub(crate) const MOST_LOGPROBS: i64 = 5;
/// Accepted and without effect on the answer.
const NOTES: &[&str] = &["user", "safety_identifier", "service_tier", "provider", "models"];
/// Prompts of one request.
pub(crate) const MOST_PROMPTS: usize = 128;

/// A request to continue a text, read and validated.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    pub model: String,
    /// At least one; each is answered by itself.
    pub prompts: Vec<Prompt>,
    pub sampling: Sampling,
    /// Answers to each prompt.
    pub n: u32,
    /// Tokens are to be given with how likely they were, and with so many that could have stood in their place.
    pub logprobs: Option<u8>,
    /// The prompt is to stand before its answer.
    pub echo: bool,
    pub stream: bool,
    pub include_usage: bool,
}

/// A text, or its tokens.
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
            prompts: prompts(&mut fields, "prompt", MOST_PROMPTS)?,
            // Nothing but the prompt, and how likely it is, may be what is asked for.
            sampling: Sampling::read_with(&mut fields, 0)?,
            n: choices(&mut fields)?,
            logprobs: fields.integer("logprobs", 0..=MOST_LOGPROBS)?.and_then(|top| u8::try_from(top).ok()),
            echo: fields.boolean("echo")?.unwrap_or(false),
            stream: fields.boolean("stream")?.unwrap_or(false),
            include_usage: include_usage(&mut fields)?,
        };
        request.sampling.max_tokens.get_or_insert(DEFAULT_MAX_TOKENS);
        refuse_unless(&mut fields, "best_of", |value| value.as_f64() == Some(f64::from(request.n)))?;
        if request.sampling.max_tokens == Some(0) && !request.echo {
            let message = "Invalid 'max_tokens': 0 asks for nothing, unless 'echo' asks for the prompt.";
            return Err(ApiError::invalid(message).with_param("max_tokens").with_code("integer_below_min_value"));
        }
        let answers = request.prompts.len() as i64 * i64::from(request.n);
        if answers > MOST_CHOICES {
            let message = format!(
                "Invalid 'n': with these prompts it asks for {answers} answers; at most {MOST_CHOICES} can be had."
            );
            return Err(ApiError::invalid(message).with_param("n").with_code("integer_above_max_value"));
        }
        refuse_unless(&mut fields, "suffix", |value| *value == "")?;
        refuse_unknown(&mut fields, NOTES)?;
        Ok(request)
    }
}

/// The texts in a field: one, or a list of at most `most`.
pub(crate) fn prompts(fields: &mut Fields<'_>, field: &str, most: usize) -> Result<Vec<Prompt>, ApiError> {
    const EXPECTED: &str = "a string, an array of token ids, or an array of either";
    let value = fields.take(field)?.ok_or_else(|| ApiError::missing(field))?;
    match &value {
        Value::Array(items) if matches!(items.first(), Some(Value::String(_) | Value::Array(_))) => {
            if items.len() > most {
                let message = format!("Invalid '{field}': {} texts; at most {most} can be sent at once.", items.len());
                return Err(ApiError::invalid(message).with_param(field).with_code("array_above_max_length"));
            }
            items.iter().map(|item| prompt(item, field)).collect()
        }
        Value::String(_) | Value::Array(_) => Ok(vec![prompt(&value, field)?]),
        other => Err(wrong_type(field, EXPECTED, other)),
    }
}

fn prompt(value: &Value, field: &str) -> Result<Prompt, ApiError> {
    const EXPECTED: &str = "a string or an array of token ids";
    let token = |id: &Value| {
        let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
        number.ok_or_else(|| wrong_type(field, EXPECTED, id))
    };
    match value {
        Value::String(text) if !text.is_empty() => Ok(Prompt::Text(text.clone())),
        Value::Array(ids) if !ids.is_empty() => ids.iter().map(token).collect::<Result<_, _>>().map(Prompt::Tokens),
        Value::String(_) | Value::Array(_) => Err(empty(field)),
        other => Err(wrong_type(field, EXPECTED, other)),
    }
}

fn empty(field: &str) -> ApiError {
    ApiError::invalid(format!("Invalid '{field}': a text is empty. Send at least one token."))
        .with_param(field)
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
    pub logprobs: Option<CompletionLogprobs>,
    /// Null until the last piece of a stream.
    pub finish_reason: Option<FinishReason>,
}

/// How likely the tokens were: four lists of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionLogprobs {
    pub tokens: Vec<String>,
    /// Natural logarithms; null for a prompt's first token, before which there was nothing to guess it from.
    pub token_logprobs: Vec<Option<f32>>,
    /// The likeliest tokens in its place, and the token itself.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token's text begins, in characters from the beginning of the choice's text.
    pub text_offset: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(prompt: &str) -> Result<CompletionRequest, ApiError> {
        CompletionRequest::parse(format!(r#"{{"model":"m","prompt":{prompt}}}"#).as_bytes())
    }

    #[test]
    fn a_prompt_is_text_or_token_ids() {
        assert_eq!(parse("\"hi\"").unwrap().prompts, [Prompt::Text("hi".into())]);
        assert_eq!(parse("[1,2]").unwrap().prompts, [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(parse("[\"a\",[3]]").unwrap().prompts, [Prompt::Text("a".into()), Prompt::Tokens(vec![3])]);
        assert_eq!(parse("\"hi\"").unwrap().sampling.max_tokens, Some(16));
        let many = format!("[{}]", vec!["\"a\""; 129].join(","));
        for wrong in ["[[]]", "[]", "\"\"", "[\"\"]", "{}", "7", "[-1]", "[\"a\",3]", "[[\"a\"]]", &many] {
            assert_eq!(parse(wrong).unwrap_err().detail.param.as_deref(), Some("prompt"), "{wrong}");
        }
    }

    #[test]
    fn nothing_may_be_asked_for_but_the_prompt_itself() {
        let parse =
            |rest: &str| CompletionRequest::parse(format!(r#"{{"model":"m","prompt":["a","b"],{rest}}}"#).as_bytes());
        let scored = parse(r#""echo":true,"logprobs":0,"max_tokens":0"#).unwrap();
        assert_eq!((scored.echo, scored.logprobs, scored.sampling.max_tokens), (true, Some(0), Some(0)));
        for (rest, param) in [
            (r#""max_tokens":0"#, "max_tokens"),
            (r#""logprobs":6"#, "logprobs"),
            (r#""n":65"#, "n"),
            (r#""n":2,"best_of":3"#, "best_of"),
            (r#""suffix":"x""#, "suffix"),
        ] {
            assert_eq!(parse(rest).unwrap_err().detail.param.as_deref(), Some(param), "{rest}");
        }
    }
}
