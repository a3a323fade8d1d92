//! What is asked.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::input::{self, Given};
use super::item::Item;
use super::object::Response;
use super::{chat, tools};
use crate::chat::{refuse_unknown, refuse_unless};
use crate::error::ApiError;
use crate::fields::{Fields, optional, required, wrong_type, wrong_value};
use crate::sampling::{SHARE, TEMPERATURE};

/// Handed on to the node, or read by the gateway, as in a chat completion.
const PASSED_ON: [&str; 7] =
    ["models", "prompt_cache_key", "prompt_cache_retention", "provider", "safety_identifier", "service_tier", "user"];
/// Accepted and without effect on the answer.
const NOTES: &[&str] = &["prompt_cache_options"];
/// What OpenAI defines and this server can't honour.
const UNSUPPORTED: [&str; 7] =
    ["access_programs", "background_options", "context_management", "conversation", "image", "moderation", "prompt"];
/// What can be included; of all but the first there is never any, as its tools are not there.
pub(crate) const INCLUDABLE: [&str; 7] = [
    LOGPROBS,
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];
const LOGPROBS: &str = "message.output_text.logprobs";
pub(crate) const MOST_TOP_LOGPROBS: i64 = 20;
/// Of metadata, as OpenAI allows.
pub(crate) const MOST_METADATA: (usize, usize, usize) = (16, 64, 512);

/// A request for a response, read and validated as far as it differs from a chat completion.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseRequest {
    pub input: Vec<Given>,
    pub stream: bool,
    /// What the response repeats. It has no id yet, and `store` says what is wished for.
    pub response: Response,
    /// The chat completion's fields, without its messages.
    chat: Map<String, Value>,
}

impl ResponseRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 that names the field and says what is expected.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let mut chat = Map::new();
        let mut response = Response { model: model(&mut fields)?, ..Response::default() };
        chat.insert("model".to_owned(), json!(response.model));
        let stream = stream(&mut fields, &mut chat)?;
        refuse_unsupported(&mut fields)?;
        response.previous_response_id = fields.string("previous_response_id")?;
        response.instructions = fields.string("instructions")?;
        response.metadata = metadata(fields.take("metadata")?)?;
        response.store = fields.boolean("store")?.unwrap_or(true);
        sampling(&mut fields, &mut chat, &mut response)?;
        logprobs(&mut fields, &mut chat, &mut response)?;
        text(fields.take("text")?, &mut chat, &mut response)?;
        reasoning(fields.take("reasoning")?, &mut chat, &mut response)?;
        tool_fields(&mut fields, &mut chat, &mut response)?;
        pass_on(&mut fields, &mut chat, &mut response)?;
        let input = match fields.take("input")? {
            Some(input) => input::read(input)?,
            None if response.previous_response_id.is_some() => Vec::new(),
            None => return Err(ApiError::missing("input")),
        };
        refuse_unknown(&mut fields, NOTES)?;
        Ok(Self { input, stream, response, chat })
    }

    /// The chat completion for this conversation.
    ///
    /// # Errors
    /// 400 when its items do not fit together.
    pub fn chat<'a>(&self, conversation: impl Iterator<Item = &'a Item>) -> Result<Vec<u8>, ApiError> {
        let messages = chat::messages(self.response.instructions.as_deref(), conversation)?;
        if messages.is_empty() {
            return Err(ApiError::missing("input"));
        }
        let mut body = self.chat.clone();
        body.insert("messages".to_owned(), Value::Array(messages));
        serde_json::to_vec(&body).map_err(|_| ApiError::internal())
    }
}

fn model(fields: &mut Fields<'_>) -> Result<String, ApiError> {
    fields.string("model")?.ok_or_else(|| ApiError::missing("model"))
}

/// A stream is asked for with its usage, which the last event of ours holds.
fn stream(fields: &mut Fields<'_>, chat: &mut Map<String, Value>) -> Result<bool, ApiError> {
    let stream = fields.boolean("stream")?.unwrap_or(false);
    if stream {
        chat.insert("stream".to_owned(), json!(true));
        chat.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    match fields.take("stream_options")? {
        None => {}
        Some(Value::Object(options)) => match options.get("include_obfuscation") {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Bool(true)) => return Err(ApiError::unsupported("stream_options.include_obfuscation")),
            Some(other) => return Err(wrong_type("stream_options.include_obfuscation", "a boolean", other)),
        },
        Some(other) => return Err(wrong_type("stream_options", "an object", &other)),
    }
    Ok(stream)
}

fn refuse_unsupported(fields: &mut Fields<'_>) -> Result<(), ApiError> {
    refuse_unless(fields, "background", |value| *value == false)?;
    UNSUPPORTED.iter().try_for_each(|field| refuse_unless(fields, field, |_| false))?;
    match fields.string("truncation")?.as_deref() {
        None | Some("disabled") => Ok(()),
        Some("auto") => {
            let message = "Unsupported value: 'truncation' does not support 'auto' here, since nobody but the node counts \
                           tokens. Leave out the oldest items yourself.";
            Err(ApiError::invalid(message).with_param("truncation").with_code("unsupported_value"))
        }
        Some(other) => Err(wrong_value("truncation", other, "'disabled'")),
    }
}

/// Source: OpenAI API reference, "metadata".
fn metadata(value: Option<Value>) -> Result<BTreeMap<String, String>, ApiError> {
    const PARAM: &str = "metadata";
    let (most, longest_key, longest_value) = MOST_METADATA;
    let pairs = match value {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(pairs)) => pairs,
        Some(other) => return Err(wrong_type(PARAM, "an object", &other)),
    };
    let pairs: BTreeMap<String, String> = pairs
        .into_iter()
        .map(|(key, value)| Ok((key, required(PARAM, Some(value))?)))
        .collect::<Result<_, ApiError>>()?;
    let fits =
        |(key, value): (&String, &String)| key.chars().count() <= longest_key && value.chars().count() <= longest_value;
    if pairs.len() <= most && pairs.iter().all(fits) {
        return Ok(pairs);
    }
    let message = format!(
        "Invalid '{PARAM}': at most {most} pairs, with keys of at most {longest_key} and values of at most {longest_value} \
         characters, are supported."
    );
    Err(ApiError::invalid(message).with_param(PARAM).with_code("invalid_value"))
}

fn sampling(fields: &mut Fields<'_>, chat: &mut Map<String, Value>, response: &mut Response) -> Result<(), ApiError> {
    for (name, range, place) in
        [("temperature", TEMPERATURE, &mut response.temperature), ("top_p", SHARE, &mut response.top_p)]
    {
        if let Some(number) = fields.number(name, range)? {
            *place = number;
            chat.insert(name.to_owned(), json!(number));
        }
    }
    let mut count =
        |name| fields.integer(name, 1..=i64::from(i32::MAX)).map(|most| most.and_then(|n| u32::try_from(n).ok()));
    response.max_output_tokens = count("max_output_tokens")?;
    // Of tools that the service itself runs, which there are none of.
    response.max_tool_calls = count("max_tool_calls")?;
    chat.extend(response.max_output_tokens.map(|most| ("max_completion_tokens".to_owned(), json!(most))));
    Ok(())
}

fn logprobs(fields: &mut Fields<'_>, chat: &mut Map<String, Value>, response: &mut Response) -> Result<(), ApiError> {
    let top = fields.integer("top_logprobs", 0..=MOST_TOP_LOGPROBS)?.unwrap_or_default();
    response.top_logprobs = u8::try_from(top).unwrap_or_default();
    let include = match fields.take("include")? {
        None => return Ok(()),
        Some(Value::Array(include)) => include,
        Some(other) => return Err(wrong_type("include", "an array of strings", &other)),
    };
    for (index, wanted) in include.into_iter().enumerate() {
        let param = format!("include[{index}]");
        let wanted = required(&param, Some(wanted))?;
        if !INCLUDABLE.contains(&wanted.as_str()) {
            return Err(wrong_value(&param, &wanted, &format!("'{}'", INCLUDABLE.join("', '"))));
        }
        if wanted == LOGPROBS {
            chat.insert("logprobs".to_owned(), json!(true));
            chat.insert("top_logprobs".to_owned(), json!(top));
        }
    }
    Ok(())
}

/// `text`: the form of the answer. A schema stands beside its name here, and within `json_schema` there.
fn text(value: Option<Value>, chat: &mut Map<String, Value>, response: &mut Response) -> Result<(), ApiError> {
    let mut text = match value {
        None => return Ok(()),
        Some(Value::Object(text)) => text,
        Some(other) => return Err(wrong_type("text", "an object", &other)),
    };
    match text.get("verbosity") {
        None | Some(Value::Null) => {}
        Some(medium) if *medium == "medium" => {}
        Some(_) => return Err(ApiError::unsupported("text.verbosity")),
    }
    let format = match text.remove("format") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(format)) => format,
        Some(other) => return Err(wrong_type("text.format", "an object", &other)),
    };
    response.text["format"] = Value::Object(format.clone());
    let asked = match required("text.format.type", format.get("type").cloned())?.as_str() {
        "json_schema" => {
            let named: Map<String, Value> = format.into_iter().filter(|(field, _)| field != "type").collect();
            json!({"type": "json_schema", "json_schema": named})
        }
        kind @ ("text" | "json_object") => json!({"type": kind}),
        other => return Err(wrong_value("text.format.type", other, "'text', 'json_object' and 'json_schema'")),
    };
    chat.insert("response_format".to_owned(), asked);
    Ok(())
}

fn reasoning(value: Option<Value>, chat: &mut Map<String, Value>, response: &mut Response) -> Result<(), ApiError> {
    let reasoning = match value {
        None => return Ok(()),
        Some(Value::Object(reasoning)) => reasoning,
        Some(other) => return Err(wrong_type("reasoning", "an object", &other)),
    };
    for (field, value) in reasoning.into_iter().filter(|(_, value)| !value.is_null()) {
        match field.as_str() {
            "effort" => {
                response.reasoning["effort"] = value.clone();
                chat.insert("reasoning_effort".to_owned(), value);
            }
            // There is none, and that may be: what was thought is given in full.
            "summary" | "generate_summary" if value == "auto" => {}
            _ => return Err(ApiError::unsupported(&format!("reasoning.{}", crate::error::echo(&field)))),
        }
    }
    Ok(())
}

fn tool_fields(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    response: &mut Response,
) -> Result<(), ApiError> {
    response.tools = match fields.take("tools")? {
        None => Vec::new(),
        Some(Value::Array(tools)) => tools,
        Some(other) => return Err(wrong_type("tools", "an array of objects", &other)),
    };
    let has_tools = !response.tools.is_empty();
    if has_tools {
        chat.insert("tools".to_owned(), Value::Array(tools::tools(&response.tools)?));
    }
    if let Some(choice) = fields.take("tool_choice")? {
        chat.extend(tools::choice(&choice, has_tools)?.map(|choice| ("tool_choice".to_owned(), choice)));
        response.tool_choice = choice;
    }
    if let Some(parallel) = fields.boolean("parallel_tool_calls")? {
        response.parallel_tool_calls = parallel;
        if has_tools {
            chat.insert("parallel_tool_calls".to_owned(), json!(parallel));
        }
    }
    Ok(())
}

fn pass_on(fields: &mut Fields<'_>, chat: &mut Map<String, Value>, response: &mut Response) -> Result<(), ApiError> {
    for name in PASSED_ON {
        if let Some(value) = fields.take(name)? {
            chat.insert(name.to_owned(), value);
        }
    }
    let text = |name: &str| optional(name, chat.get(name).cloned());
    response.prompt_cache_key = text("prompt_cache_key")?;
    response.safety_identifier = text("safety_identifier")?;
    response.user = text("user")?;
    if let Some(tier) = text("service_tier")?.filter(|tier| tier != "auto") {
        response.service_tier = tier;
    }
    Ok(())
}
