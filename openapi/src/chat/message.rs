//! The messages of a conversation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::fields::{Fields, required, wrong_type, wrong_value};

/// One message of the conversation. Parts of text are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// What the assistant has called.
    pub tool_calls: Vec<CalledTool>,
    /// On a tool's message: which call it answers.
    pub tool_call_id: Option<String>,
}

/// Who speaks. `developer` is read as `system`, which is what open models know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    #[default]
    User,
    Assistant,
    Tool,
}

/// A call that the assistant has made earlier in the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledTool {
    pub id: String,
    pub name: String,
    /// A JSON text.
    pub arguments: String,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Result<Vec<Message>, ApiError> {
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
    let messages: Vec<Message> =
        list.into_iter().enumerate().map(|(index, item)| message(index, item)).collect::<Result<_, _>>()?;
    check_answers(&messages)?;
    Ok(messages)
}

/// A tool's message answers a call that the assistant has made.
fn check_answers(messages: &[Message]) -> Result<(), ApiError> {
    let mut called = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        called.extend(message.tool_calls.iter().map(|call| call.id.as_str()));
        if let Some(id) = &message.tool_call_id
            && !called.contains(id.as_str())
        {
            let message = format!(
                "Invalid 'messages[{index}]': a message with role 'tool' must answer a preceding message with \
                 'tool_calls', by its 'tool_call_id'."
            );
            return Err(ApiError::invalid(message).with_param(&format!("messages[{index}].tool_call_id")));
        }
    }
    Ok(())
}

fn message(index: usize, item: Value) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let Value::Object(mut item) = item else {
        return Err(wrong_type(&format!("messages[{index}]"), "an object", &item));
    };
    let role = role(&at("role"), &mut item)?;
    for unsupported in ["function_call", "audio"] {
        if has_content(item.get(unsupported)) {
            return Err(ApiError::unsupported(&at(unsupported)));
        }
    }
    let tool_calls = match role {
        Role::Assistant => tool_calls(&at("tool_calls"), item.remove("tool_calls"))?,
        _ if has_content(item.get("tool_calls")) => return Err(ApiError::unsupported(&at("tool_calls"))),
        _ => Vec::new(),
    };
    let tool_call_id = match role {
        Role::Tool => Some(required(&at("tool_call_id"), item.remove("tool_call_id"))?),
        _ => None,
    };
    // The assistant may have said nothing, or no, or have called a tool instead.
    let said = item.remove("content").filter(|content| !content.is_null());
    let content = match said.or_else(|| item.remove("refusal").filter(|refusal| !refusal.is_null())) {
        None if !tool_calls.is_empty() => String::new(),
        content => content_text(&at("content"), content)?,
    };
    Ok(Message { role, content, tool_calls, tool_call_id })
}

fn role(param: &str, item: &mut Map<String, Value>) -> Result<Role, ApiError> {
    let role = required(param, item.remove("role"))?;
    match role.as_str() {
        "system" | "developer" => Ok(Role::System),
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "tool" => Ok(Role::Tool),
        "function" => Err(ApiError::unsupported(param)),
        other => Err(wrong_value(param, other, "'system', 'developer', 'user', 'assistant' and 'tool'")),
    }
}

fn tool_calls(param: &str, value: Option<Value>) -> Result<Vec<CalledTool>, ApiError> {
    let items = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(wrong_type(param, "an array of objects", &other)),
    };
    let call = |(index, item): (usize, Value)| {
        let at = |field: &str| format!("{param}[{index}].{field}");
        let Value::Object(mut item) = item else {
            return Err(wrong_type(&format!("{param}[{index}]"), "an object", &item));
        };
        match item.get("type").and_then(Value::as_str) {
            None | Some("function") => {}
            Some(other) => return Err(wrong_value(&at("type"), other, "'function'")),
        }
        let id = required(&at("id"), item.remove("id"))?;
        let mut function = match item.remove("function") {
            Some(Value::Object(function)) => function,
            Some(other) => return Err(wrong_type(&at("function"), "an object", &other)),
            None => return Err(ApiError::missing(&at("function"))),
        };
        let name = required(&at("function.name"), function.remove("name"))?;
        let arguments = required(&at("function.arguments"), function.remove("arguments"))?;
        Ok(CalledTool { id, name, arguments })
    };
    items.into_iter().enumerate().map(call).collect()
}

fn has_content(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

fn content_text(param: &str, value: Option<Value>) -> Result<String, ApiError> {
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
    let field = match part.get("type").and_then(Value::as_str) {
        Some("text") => "text",
        Some("refusal") => "refusal",
        Some("image_url" | "input_audio" | "file") => {
            return Err(ApiError::invalid(format!("Invalid '{param}': this model reads text only."))
                .with_param(param)
                .with_code("unsupported_content_type"));
        }
        Some(other) => return Err(wrong_value(&format!("{param}.type"), other, "'text' and 'refusal'")),
        None => return Err(ApiError::missing(&format!("{param}.type"))),
    };
    required(&format!("{param}.{field}"), part.remove(field))
}
