//! `POST /v1/chat/completions`: what is asked and what is answered.
//! Source: OpenAI API reference, "Chat".

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::fields::{Fields, wrong_type, wrong_value};
use crate::sampling::Sampling;
use crate::usage::Usage;

/// Accepted and without effect on the answer: they are notes for whoever runs the service.
const NOTES: &[&str] = &[
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "service_tier",
    "provider",
    "models",
    "parallel_tool_calls",
];

/// A request for the next message of a conversation, read and validated.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<Message>,
    pub sampling: Sampling,
    pub stream: bool,
    pub include_usage: bool,
}

/// One message of the conversation. Parts of text are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// Who speaks. `developer` is read as `system`, which is what open models know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl ChatRequest {
    /// Reads and validates a request body.
    ///
    /// # Errors
    /// 400 that names the field and says what is expected.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let request = Self {
            model: fields.string("model")?.ok_or_else(|| ApiError::missing("model"))?,
            messages: messages(&mut fields)?,
            sampling: Sampling::read(&mut fields)?,
            stream: fields.boolean("stream")?.unwrap_or(false),
            include_usage: include_usage(&mut fields)?,
        };
        refuse_unsupported(&mut fields)?;
        refuse_unknown(&mut fields, NOTES)?;
        Ok(request)
    }
}

fn messages(fields: &mut Fields<'_>) -> Result<Vec<Message>, ApiError> {
    let list = match fields.take("messages")? {
        None => return Err(ApiError::missing("messages")),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong_type("messages", "an array of objects", &other)),
    };
    if list.is_empty() {
        return Err(ApiError::invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        )
        .with_param("messages")
        .with_code("empty_array"));
    }
    list.into_iter().enumerate().map(|(index, item)| message(index, item)).collect()
}

fn message(index: usize, item: Value) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let Value::Object(mut item) = item else {
        return Err(wrong_type(&format!("messages[{index}]"), "an object", &item));
    };
    let role = match item.remove("role") {
        None | Some(Value::Null) => return Err(ApiError::missing(&at("role"))),
        Some(Value::String(role)) => role,
        Some(other) => return Err(wrong_type(&at("role"), "a string", &other)),
    };
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => return Err(ApiError::unsupported(&at("role"))),
        other => {
            return Err(wrong_value(&at("role"), other, "'system', 'developer', 'user' and 'assistant'"));
        }
    };
    for unsupported in ["tool_calls", "function_call", "audio"] {
        if has_content(item.get(unsupported)) {
            return Err(ApiError::unsupported(&at(unsupported)));
        }
    }
    Ok(Message { role, content: content(&at("content"), item.remove("content"))? })
}

fn has_content(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

fn content(param: &str, value: Option<Value>) -> Result<String, ApiError> {
    let parts = match value {
        None | Some(Value::Null) => return Err(ApiError::missing(param)),
        Some(Value::String(text)) => return Ok(text),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(wrong_type(param, "a string or an array of content parts", &other)),
    };
    let texts: Vec<String> = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| text_part(&format!("{param}[{index}]"), part))
        .collect::<Result<_, _>>()?;
    Ok(texts.concat())
}

fn text_part(param: &str, part: Value) -> Result<String, ApiError> {
    let Value::Object(mut part) = part else {
        return Err(wrong_type(param, "an object", &part));
    };
    match part.get("type").and_then(Value::as_str) {
        Some("text") => {}
        Some("image_url" | "input_audio" | "file") => {
            return Err(ApiError::invalid(format!("Invalid '{param}': this model reads text only."))
                .with_param(param)
                .with_code("unsupported_content_type"));
        }
        Some(other) => return Err(wrong_value(&format!("{param}.type"), other, "'text'")),
        None => return Err(ApiError::missing(&format!("{param}.type"))),
    }
    match part.remove("text") {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong_type(&format!("{param}.text"), "a string", &other)),
        None => Err(ApiError::missing(&format!("{param}.text"))),
    }
}

/// Reads `stream_options.include_usage`.
///
/// # Errors
/// 400 when either is of another type.
pub fn include_usage(fields: &mut Fields<'_>) -> Result<bool, ApiError> {
    match fields.take("stream_options")? {
        None => Ok(false),
        Some(Value::Object(options)) => flag(&options, "include_usage"),
        Some(other) => Err(wrong_type("stream_options", "an object", &other)),
    }
}

fn flag(options: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match options.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong_type(&format!("stream_options.{name}"), "a boolean", other)),
    }
}

/// Parameters that OpenAI defines and this server can't honour. A value that asks for nothing is let through.
fn refuse_unsupported(fields: &mut Fields<'_>) -> Result<(), ApiError> {
    refuse_unless(fields, "n", |value| value.as_f64() == Some(1.0))?;
    refuse_unless(fields, "response_format", |value| value["type"] == "text")?;
    refuse_unless(fields, "modalities", |value| *value == serde_json::json!(["text"]))?;
    refuse_unless(fields, "tool_choice", |value| *value == "none" || *value == "auto")?;
    refuse_unless(fields, "reasoning_effort", |value| *value == "none")?;
    for list in ["tools", "functions"] {
        refuse_unless(fields, list, |value| value.as_array().is_some_and(Vec::is_empty))?;
    }
    for switch in ["logprobs", "store"] {
        refuse_unless(fields, switch, |value| *value == false)?;
    }
    for parameter in
        ["top_logprobs", "audio", "prediction", "function_call", "web_search_options", "moderation", "verbosity"]
    {
        refuse_unless(fields, parameter, |_| false)?;
    }
    Ok(())
}

/// Refuses a parameter unless its value is harmless.
pub(crate) fn refuse_unless(
    fields: &mut Fields<'_>,
    name: &str,
    harmless: impl Fn(&Value) -> bool,
) -> Result<(), ApiError> {
    match fields.take(name)? {
        Some(value) if !harmless(&value) => Err(ApiError::unsupported(name)),
        _ => Ok(()),
    }
}

/// Refuses fields that nobody knows, as OpenAI does: a misspelt parameter must not be ignored in silence.
pub(crate) fn refuse_unknown(fields: &mut Fields<'_>, notes: &[&str]) -> Result<(), ApiError> {
    for note in notes {
        fields.take(note)?;
    }
    match fields.left_over().next() {
        None => Ok(()),
        Some(name) => {
            let name = crate::error::echo(name);
            Err(ApiError::invalid(format!("Unrecognized request argument supplied: {name}"))
                .with_param(&name)
                .with_code("unknown_parameter"))
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// `max_tokens` or the model's context was reached.
    Length,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatCompletion {
    pub id: String,
    /// Always `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    pub choices: Vec<ChatChoice>,
    pub usage: Usage,
    /// Names the model file and the build that answered.
    pub system_fingerprint: String,
}

/// The answer itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChoice {
    pub index: u32,
    pub message: ChatMessage,
    /// Always null: log probabilities are not offered.
    pub logprobs: Option<bool>,
    pub finish_reason: FinishReason,
}

/// The model's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessage {
    pub role: Role,
    pub content: String,
    /// Always null: models served here are not trained to refuse in a field of its own.
    pub refusal: Option<String>,
}

/// One piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChunk {
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: String,
    pub created: u64,
    pub model: String,
    pub system_fingerprint: String,
    /// Empty on the last chunk, which carries the usage.
    pub choices: Vec<ChunkChoice>,
    /// With `include_usage`: null on every chunk but the last.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::usage::nullable")]
    pub usage: Option<Option<Usage>>,
}

/// What a chunk adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChunkChoice {
    pub index: u32,
    pub delta: Delta,
    pub logprobs: Option<bool>,
    pub finish_reason: Option<FinishReason>,
}

/// The text that a chunk adds; the role stands on the first one only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> (String, Option<String>) {
        let detail = ChatRequest::parse(body.as_bytes()).unwrap_err().detail;
        (detail.message, detail.param)
    }

    #[test]
    fn text_parts_are_joined_and_developer_is_system() {
        let body = r#"{"model":"m","messages":[{"role":"developer","content":"x"},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],"user":"u"}"#;
        let request = ChatRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(request.messages[0].role, Role::System);
        assert_eq!(request.messages[1].content, "ab");
    }

    #[test]
    fn every_mistake_names_its_place() {
        for (body, param) in [
            (r#"{"messages":[]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":"hi"}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":"user"}]}"#, "messages[0].content"),
            (r#"{"model":"m","messages":[{"role":"king","content":"x"}]}"#, "messages[0].role"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
                "messages[0].content[0]",
            ),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{}]}"#, "tools"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":2}"#, "n"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tempratur":1}"#, "tempratur"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":1}}"#,
                "stream_options.include_usage",
            ),
        ] {
            assert_eq!(error(body).1.as_deref(), Some(param), "{body}");
        }
    }
}
