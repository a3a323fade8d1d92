//! `POST /v1/chat/completions`: what is asked and what is answered.
//! Source: OpenAI API reference, "Chat".

mod answer;

mod format;

mod message;

mod tools;

pub use answer::{
    CalledFunction, CalledFunctionDelta, ChatChoice, ChatChunk, ChatCompletion, ChatLogprobs, ChatMessage, ChunkChoice,
    Delta, FinishReason, Likely, TokenLogprob, ToolCall, ToolCallDelta,
};
pub use format::Format;
pub use message::{CalledTool, Message, Role};
pub(crate) use tools::{LONGEST_NAME, MOST_TOOLS};
pub use tools::{Tool, ToolChoice, Tools};

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::fields::{Fields, wrong_type, wrong_value};
use crate::sampling::{MOST_CHOICES, Sampling};

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
];

/// As OpenAI allows.
pub(crate) const MOST_TOP_LOGPROBS: i64 = 20;
/// Of `reasoning_effort`; the first two ask for none.
pub(crate) const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// A request for the next message of a conversation, read and validated.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<Message>,
    pub sampling: Sampling,
    /// Answers.
    pub n: u32,
    /// Tokens are to be given with how likely they were, and with so many that could have stood in their place.
    pub logprobs: Option<u8>,
    pub format: Format,
    pub tools: Tools,
    /// False asks a model that can think before it speaks not to.
    pub thinks: Option<bool>,
    pub stream: bool,
    pub include_usage: bool,
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
            messages: message::read(&mut fields)?,
            sampling: Sampling::read(&mut fields)?,
            n: choices(&mut fields)?,
            logprobs: logprobs(&mut fields)?,
            format: Format::read(&mut fields)?,
            tools: Tools::read(&mut fields)?,
            thinks: thinks(&mut fields)?,
            stream: fields.boolean("stream")?.unwrap_or(false),
            include_usage: include_usage(&mut fields)?,
        };
        for (index, tool) in request.tools.all.iter().enumerate() {
            format::check_length(&format!("tools[{index}].function.parameters"), &tool.parameters)?;
        }
        refuse_unsupported(&mut fields)?;
        refuse_unknown(&mut fields, NOTES)?;
        Ok(request)
    }
}

/// How many answers are asked for.
pub(crate) fn choices(fields: &mut Fields<'_>) -> Result<u32, ApiError> {
    let n = fields.integer("n", 1..=MOST_CHOICES)?.unwrap_or(1);
    Ok(u32::try_from(n).unwrap_or(1))
}

fn logprobs(fields: &mut Fields<'_>) -> Result<Option<u8>, ApiError> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0..=MOST_TOP_LOGPROBS)?;
    if top.is_some() && !wanted {
        let message = "Invalid 'top_logprobs': 'logprobs' must be set to true if it is used.";
        return Err(ApiError::invalid(message).with_param("top_logprobs").with_code("invalid_value"));
    }
    Ok(wanted.then(|| top.and_then(|top| u8::try_from(top).ok()).unwrap_or_default()))
}

/// `reasoning_effort`: models that think here do so or don't.
fn thinks(fields: &mut Fields<'_>) -> Result<Option<bool>, ApiError> {
    match fields.string("reasoning_effort")?.as_deref() {
        None => Ok(None),
        Some("none" | "minimal") => Ok(Some(false)),
        Some("low" | "medium" | "high" | "xhigh") => Ok(Some(true)),
        Some(other) => {
            Err(wrong_value("reasoning_effort", other, "'none', 'minimal', 'low', 'medium', 'high' and 'xhigh'"))
        }
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
    refuse_unless(fields, "modalities", |value| *value == serde_json::json!(["text"]))?;
    refuse_unless(fields, "functions", |value| value.as_array().is_some_and(Vec::is_empty))?;
    refuse_unless(fields, "store", |value| *value == false)?;
    for parameter in ["audio", "prediction", "function_call", "web_search_options", "moderation", "verbosity"] {
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
    fn a_tool_answers_what_the_assistant_has_called() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"x"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c","content":"7"},{"role":"assistant","refusal":"no"}]}"#;
        let messages = ChatRequest::parse(body.as_bytes()).unwrap().messages;
        let call = CalledTool { id: "c".into(), name: "f".into(), arguments: "{}".into() };
        assert_eq!((messages[1].content.as_str(), &messages[1].tool_calls), ("", &vec![call]));
        assert_eq!((messages[2].role, messages[2].tool_call_id.as_deref()), (Role::Tool, Some("c")));
        assert_eq!(messages[3].content, "no");
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
            (r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
            (
                r#"{"model":"m","messages":[{"role":"tool","tool_call_id":"c","content":"x"}]}"#,
                "messages[0].tool_call_id",
            ),
            (
                r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c"}]}]}"#,
                "messages[0].tool_calls[0].function",
            ),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":1000}"#, "n"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"top_logprobs":2}"#, "top_logprobs"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":21}"#,
                "top_logprobs",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"reasoning_effort":"some"}"#,
                "reasoning_effort",
            ),
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
