//! The conversation as messages of a chat completion.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::item::{Item, Part};
use crate::error::{ApiError, echo};

/// The messages that say the same: instructions first. Calls that follow one another, or a message of the assistant, are
/// one message with several calls; what was thought is left out.
///
/// # Errors
/// 400 when the output of a call stands there without its call.
pub(super) fn messages<'a>(
    instructions: Option<&str>,
    items: impl Iterator<Item = &'a Item>,
) -> Result<Vec<Value>, ApiError> {
    let mut messages: Vec<Value> =
        instructions.map(|text| json!({"role": "system", "content": text})).into_iter().collect();
    let mut called = BTreeSet::new();
    for item in items {
        match item {
            Item::Message { role, content, .. } => {
                let text: String = content.iter().map(Part::text).collect();
                messages.push(json!({"role": role.role(), "content": text}));
            }
            Item::FunctionCall { call_id, name, arguments, .. } => {
                called.insert(call_id.as_str());
                let function = json!({"name": name, "arguments": arguments});
                call(&mut messages, json!({"id": call_id, "type": "function", "function": function}));
            }
            Item::FunctionCallOutput { call_id, .. } if !called.contains(call_id.as_str()) => {
                let message = format!("No tool call found for function call output with call_id {}.", echo(call_id));
                return Err(ApiError::invalid(message).with_param("input"));
            }
            Item::FunctionCallOutput { call_id, output, .. } => {
                messages.push(json!({"role": "tool", "tool_call_id": call_id, "content": output}));
            }
            Item::Reasoning { .. } => {}
        }
    }
    Ok(messages)
}

/// Adds a call to the assistant's last message, if nobody has spoken since.
fn call(messages: &mut Vec<Value>, call: Value) {
    match messages.last_mut().filter(|last| last["role"] == "assistant") {
        Some(last) => match last.get_mut("tool_calls").and_then(Value::as_array_mut) {
            Some(calls) => calls.push(call),
            None => last["tool_calls"] = json!([call]),
        },
        None => messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::{self, Given};
    use super::*;

    fn messages_of(instructions: Option<&str>, input: Value) -> Result<Vec<Value>, ApiError> {
        let items: Vec<Item> = input::read(input)?
            .into_iter()
            .map(|given| match given {
                Given::Item(item) => item,
                Given::Reference(id) => panic!("{id}"),
            })
            .collect();
        messages(instructions, items.iter())
    }

    #[test]
    fn calls_that_follow_one_another_are_one_message() {
        let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"});
        let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": id});
        let input = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "I look"}, call("a"),
            {"type": "reasoning", "id": "rs_1", "summary": []}, call("b"), output("a"), output("b"), call("c"), output("c"),
            {"role": "developer", "content": "be brief"}]);
        let called = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": id});
        assert_eq!(
            messages_of(Some("instructions"), input).unwrap(),
            [
                json!({"role": "system", "content": "instructions"}),
                json!({"role": "user", "content": "x"}),
                json!({"role": "assistant", "content": "I look", "tool_calls": [called("a"), called("b")]}),
                tool("a"),
                tool("b"),
                json!({"role": "assistant", "content": null, "tool_calls": [called("c")]}),
                tool("c"),
                json!({"role": "system", "content": "be brief"}),
            ]
        );
    }

    #[test]
    fn an_output_without_its_call_is_refused() {
        let input = json!([{"type": "function_call_output", "call_id": "c1", "output": "7"}]);
        let error = messages_of(None, input).unwrap_err().detail;
        assert_eq!(error.param.as_deref(), Some("input"));
        assert!(error.message.contains("c1"), "{}", error.message);
    }
}
