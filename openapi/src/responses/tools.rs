//! Tools and the choice among them, from the one API's shape to the other's: here a function's name stands beside its
//! type, there within `function`.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, echo};
use crate::fields::{required, wrong_type, wrong_value};

/// The tools for the chat completion.
pub(super) fn tools(tools: &[Value]) -> Result<Vec<Value>, ApiError> {
    tools.iter().enumerate().map(|(index, tool)| function(&format!("tools[{index}]"), tool)).collect()
}

fn function(param: &str, tool: &Value) -> Result<Value, ApiError> {
    let Value::Object(tool) = tool else { return Err(wrong_type(param, "an object", tool)) };
    check_function(&format!("{param}.type"), tool.get("type").cloned())?;
    let mut function = Map::new();
    for field in ["name", "description", "parameters", "strict"] {
        function
            .extend(tool.get(field).filter(|value| !value.is_null()).map(|value| (field.to_owned(), value.clone())));
    }
    Ok(json!({"type": "function", "function": function}))
}

/// Tools that the service itself would run are not there.
fn check_function(param: &str, kind: Option<Value>) -> Result<(), ApiError> {
    let kind = required(param, kind)?;
    if kind == "function" {
        return Ok(());
    }
    let message = format!(
        "Invalid '{param}': tools of type '{}' are not supported here. Give the model tools of type 'function', and run \
         them yourself.",
        echo(&kind)
    );
    Err(ApiError::invalid(message).with_param(param).with_code("unsupported_value"))
}

/// The choice for the chat completion. None where it says nothing that is not said without it.
pub(super) fn choice(choice: &Value, has_tools: bool) -> Result<Option<Value>, ApiError> {
    let object = match choice {
        Value::String(word) if !has_tools && (word == "auto" || word == "none") => return Ok(None),
        Value::String(_) => return Ok(Some(choice.clone())),
        Value::Object(object) => object,
        other => return Err(wrong_type("tool_choice", "a string or an object", other)),
    };
    match object.get("type").and_then(Value::as_str) {
        Some("function") => Ok(Some(named("tool_choice", object)?)),
        Some("allowed_tools") => allowed(object).map(Some),
        Some(other) => Err(wrong_value("tool_choice.type", other, "'function' and 'allowed_tools'")),
        None => Err(ApiError::missing("tool_choice.type")),
    }
}

fn named(param: &str, object: &Map<String, Value>) -> Result<Value, ApiError> {
    let name = required(&format!("{param}.name"), object.get("name").cloned())?;
    Ok(json!({"type": "function", "function": {"name": name}}))
}

fn allowed(object: &Map<String, Value>) -> Result<Value, ApiError> {
    let Some(Value::Array(tools)) = object.get("tools") else { return Err(ApiError::missing("tool_choice.tools")) };
    let tool = |(index, tool): (usize, &Value)| {
        let param = format!("tool_choice.tools[{index}]");
        let tool = tool.as_object().ok_or_else(|| wrong_type(&param, "an object", tool))?;
        check_function(&format!("{param}.type"), tool.get("type").cloned())?;
        named(&param, tool)
    };
    let tools: Vec<Value> = tools.iter().enumerate().map(tool).collect::<Result<_, _>>()?;
    let mode = required("tool_choice.mode", object.get("mode").cloned())?;
    Ok(json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_choices_take_the_other_shape() {
        let tool = json!({"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true, "description": null});
        assert_eq!(
            tools(&[tool]).unwrap(),
            [json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}})]
        );
        let function = json!({"type": "function", "function": {"name": "f"}});
        for (given, has_tools, expected) in [
            (json!("auto"), false, None),
            (json!("required"), false, Some(json!("required"))),
            (json!("auto"), true, Some(json!("auto"))),
            (json!({"type": "function", "name": "f"}), true, Some(function.clone())),
            (
                json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
                true,
                Some(json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function]}})),
            ),
        ] {
            assert_eq!(choice(&given, has_tools).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn other_tools_are_refused_by_their_type() {
        for kind in ["web_search", "file_search", "mcp", "custom", "code_interpreter"] {
            let error = tools(&[json!({"type": "function", "name": "f"}), json!({"type": kind})]).unwrap_err().detail;
            assert_eq!(error.param.as_deref(), Some("tools[1].type"));
            assert!(error.message.contains(kind), "{}", error.message);
        }
        for (wrong, param) in [
            (json!({"type": "web_search_preview"}), "tool_choice.type"),
            (json!({"type": "function"}), "tool_choice.name"),
            (json!({"type": "allowed_tools", "mode": "auto"}), "tool_choice.tools"),
            (json!(7), "tool_choice"),
        ] {
            assert_eq!(choice(&wrong, true).unwrap_err().detail.param.as_deref(), Some(param), "{wrong}");
        }
    }
}
