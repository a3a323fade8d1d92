//! `input`: a text, or items.

use serde_json::{Map, Value};

use super::item::{Item, ItemStatus, Part, Speaker};
use crate::error::{ApiError, echo};
use crate::fields::{optional, required, wrong_type, wrong_value};

/// Items that a request may bring.
pub(crate) const MOST_ITEMS: usize = 10_000;

/// One item as it was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Item(Item),
    /// The id of an item that was stored before.
    Reference(String),
}

/// Reads `input`.
pub(super) fn read(input: Value) -> Result<Vec<Given>, ApiError> {
    match input {
        Value::String(text) => {
            let content = vec![Part::InputText { text }];
            Ok(vec![Given::Item(message(Speaker::User, String::new(), content))])
        }
        Value::Array(items) if items.len() > MOST_ITEMS => {
            let message = format!("Invalid 'input': at most {MOST_ITEMS} items can be given.");
            Err(ApiError::invalid(message).with_param("input").with_code("array_above_max_length"))
        }
        Value::Array(items) => items.into_iter().enumerate().map(|(index, item)| given(index, item)).collect(),
        other => Err(wrong_type("input", "a string or an array of items", &other)),
    }
}

fn message(role: Speaker, id: String, content: Vec<Part>) -> Item {
    Item::Message { id, role, status: ItemStatus::Completed, content }
}

fn given(index: usize, item: Value) -> Result<Given, ApiError> {
    let param = format!("input[{index}]");
    let at = |field: &str| format!("{param}.{field}");
    let Value::Object(mut item) = item else { return Err(wrong_type(&param, "an object", &item)) };
    let id = optional(&at("id"), item.remove("id"))?.unwrap_or_default();
    let status = ItemStatus::Completed;
    let kind = optional(&at("type"), item.remove("type"))?;
    Ok(Given::Item(match kind.as_deref() {
        None if !item.contains_key("role") && !id.is_empty() => return Ok(Given::Reference(id)),
        None | Some("message") => said(&param, id, item)?,
        Some("item_reference") if id.is_empty() => return Err(ApiError::missing(&at("id"))),
        Some("item_reference") => return Ok(Given::Reference(id)),
        Some("function_call") => Item::FunctionCall {
            id,
            call_id: required(&at("call_id"), item.remove("call_id"))?,
            name: required(&at("name"), item.remove("name"))?,
            arguments: required(&at("arguments"), item.remove("arguments"))?,
            status,
        },
        Some("function_call_output") => Item::FunctionCallOutput {
            id,
            call_id: required(&at("call_id"), item.remove("call_id"))?,
            output: texts(&at("output"), item.remove("output"))?,
            status,
        },
        Some("reasoning") => {
            let content = parts(&at("content"), item.remove("content").unwrap_or(Value::Array(Vec::new())))?;
            Item::Reasoning { id, summary: Vec::new(), content, status }
        }
        Some(other) => {
            let message = format!(
                "Invalid '{}': items of type '{}' are not supported here. Supported are 'message', 'function_call', \
                 'function_call_output', 'reasoning' and 'item_reference'.",
                at("type"),
                echo(other)
            );
            return Err(ApiError::invalid(message).with_param(&at("type")).with_code("unsupported_value"));
        }
    }))
}

fn said(param: &str, id: String, mut item: Map<String, Value>) -> Result<Item, ApiError> {
    let at = |field: &str| format!("{param}.{field}");
    let role = match required(&at("role"), item.remove("role"))?.as_str() {
        "user" => Speaker::User,
        "system" => Speaker::System,
        "developer" => Speaker::Developer,
        "assistant" => Speaker::Assistant,
        other => {
            return Err(wrong_value(&at("role"), other, "'user', 'assistant', 'system' and 'developer'"));
        }
    };
    let content = match item.remove("content") {
        None | Some(Value::Null) => return Err(ApiError::missing(&at("content"))),
        Some(Value::String(text)) if role == Speaker::Assistant => {
            vec![Part::OutputText { text, annotations: Vec::new(), logprobs: Vec::new() }]
        }
        Some(Value::String(text)) => vec![Part::InputText { text }],
        Some(list) => parts(&at("content"), list)?,
    };
    Ok(message(role, id, content))
}

fn parts(param: &str, value: Value) -> Result<Vec<Part>, ApiError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(parts) => {
            parts.into_iter().enumerate().map(|(index, value)| part(&format!("{param}[{index}]"), value)).collect()
        }
        other => Err(wrong_type(param, "a string or an array of content parts", &other)),
    }
}

fn part(param: &str, part: Value) -> Result<Part, ApiError> {
    let Value::Object(mut part) = part else { return Err(wrong_type(param, "an object", &part)) };
    let kind = required(&format!("{param}.type"), part.remove("type"))?;
    let mut text = |field: &str| required(&format!("{param}.{field}"), part.remove(field));
    match kind.as_str() {
        "input_text" => Ok(Part::InputText { text: text("text")? }),
        "output_text" => Ok(Part::OutputText { text: text("text")?, annotations: Vec::new(), logprobs: Vec::new() }),
        "refusal" => Ok(Part::Refusal { refusal: text("refusal")? }),
        "reasoning_text" => Ok(Part::ReasoningText { text: text("text")? }),
        "input_image" | "input_file" | "input_audio" => {
            let message = format!("Invalid '{param}': this model reads text only.");
            Err(ApiError::invalid(message).with_param(param).with_code("unsupported_content_type"))
        }
        other => Err(wrong_value(&format!("{param}.type"), other, "'input_text', 'output_text' and 'refusal'")),
    }
}

/// A text, or parts of text, which are joined.
fn texts(param: &str, value: Option<Value>) -> Result<String, ApiError> {
    match value {
        None | Some(Value::Null) => Err(ApiError::missing(param)),
        Some(Value::String(text)) => Ok(text),
        Some(list) => Ok(parts(param, list)?.iter().map(Part::text).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_response_put_out_can_be_put_in_again() {
        let output = [
            json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}]}),
            json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}),
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "status": "completed",
                "content": [{"type": "reasoning_text", "text": "hm"}]}),
            json!({"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "7", "status": "completed"}),
        ];
        for item in output {
            let given = read(json!([item])).unwrap();
            let [Given::Item(given)] = given.as_slice() else { panic!("an item") };
            assert_eq!(serde_json::to_value(given).unwrap(), item);
        }
    }

    #[test]
    fn texts_parts_and_references_are_read() {
        let text = read(json!("hi")).unwrap();
        assert_eq!(text, read(json!([{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}])).unwrap());
        for reference in [json!({"type": "item_reference", "id": "msg_1"}), json!({"id": "msg_1"})] {
            assert_eq!(read(json!([reference])).unwrap(), [Given::Reference("msg_1".to_owned())]);
        }
        let output =
            json!([{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "7"}]}]);
        let given = read(output).unwrap();
        let [Given::Item(Item::FunctionCallOutput { output, .. })] = given.as_slice() else { panic!("an output") };
        assert_eq!(output, "7");
    }

    #[test]
    fn every_mistake_names_its_place() {
        for (input, param, code) in [
            (json!(7), "input", "invalid_type"),
            (json!([7]), "input[0]", "invalid_type"),
            (json!([{"role": "king", "content": "x"}]), "input[0].role", "invalid_value"),
            (json!([{"role": "user"}]), "input[0].content", "missing_required_parameter"),
            (json!([{"type": "message", "content": "x"}]), "input[0].role", "missing_required_parameter"),
            (
                json!([{"role": "user", "content": [{"type": "input_image"}]}]),
                "input[0].content[0]",
                "unsupported_content_type",
            ),
            (json!([{"role": "user", "content": [{"type": "text"}]}]), "input[0].content[0].type", "invalid_value"),
            (json!([{"type": "function_call", "call_id": "c"}]), "input[0].name", "missing_required_parameter"),
            (
                json!([{"type": "function_call_output", "call_id": "c"}]),
                "input[0].output",
                "missing_required_parameter",
            ),
            (json!([{"type": "computer_call"}]), "input[0].type", "unsupported_value"),
            (json!([{"type": "item_reference"}]), "input[0].id", "missing_required_parameter"),
        ] {
            let detail = read(input.clone()).unwrap_err().detail;
            assert_eq!((detail.param.as_deref(), detail.code.as_deref()), (Some(param), Some(code)), "{input}");
        }
    }
}
