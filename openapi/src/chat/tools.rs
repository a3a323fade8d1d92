//! The tools that a model may call, and whether it must.
//! Source: OpenAI API reference, "Function calling".

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, echo};
use crate::fields::{Fields, optional, required, wrong_type, wrong_value};

/// As OpenAI allows.
pub(crate) const MOST_TOOLS: usize = 128;
/// Of a tool's name.
pub(crate) const LONGEST_NAME: usize = 64;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema of its arguments, which are one object.
    pub parameters: Value,
}

/// Tools as a request has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// What the model is told of.
    pub all: Vec<Tool>,
    pub choice: ToolChoice,
    /// It may call several in one answer.
    pub parallel: bool,
}

/// Which tools the model may call now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// None of them.
    None,
    /// Any, or none.
    #[default]
    Auto,
    /// One at least.
    Required,
    /// One at least, of these; or, if not `required`, any of these or none.
    Of { names: Vec<String>, required: bool },
}

impl Tools {
    /// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
    ///
    /// # Errors
    /// 400 that names the field and says what is expected.
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, ApiError> {
        let all = match fields.take("tools")? {
            None => Vec::new(),
            Some(Value::Array(items)) => tools(items)?,
            Some(other) => return Err(wrong_type("tools", "an array of objects", &other)),
        };
        let choice = fields.take("tool_choice")?;
        let parallel = fields.boolean("parallel_tool_calls")?;
        if all.is_empty() {
            let given = [("tool_choice", choice.is_some()), ("parallel_tool_calls", parallel.is_some())];
            if let Some((param, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(only_with_tools(param));
            }
        }
        let choice = choice.map_or(Ok(ToolChoice::Auto), |choice| tool_choice(choice, &all))?;
        Ok(Self { all, choice, parallel: parallel.unwrap_or(true) })
    }

    /// The tools that may be called.
    pub fn callable(&self) -> Vec<&Tool> {
        self.all
            .iter()
            .filter(|tool| match &self.choice {
                ToolChoice::None => false,
                ToolChoice::Auto | ToolChoice::Required => true,
                ToolChoice::Of { names, .. } => names.contains(&tool.name),
            })
            .collect()
    }

    /// True when one must be called.
    pub fn must_call(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Of { required: true, .. }) && !self.all.is_empty()
    }
}

fn only_with_tools(param: &str) -> ApiError {
    let message = format!("Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified.");
    ApiError::invalid(message).with_param(param).with_code("invalid_value")
}

fn tools(items: Vec<Value>) -> Result<Vec<Tool>, ApiError> {
    if items.len() > MOST_TOOLS {
        let message = format!(
            "Invalid 'tools': array too long. Expected an array with maximum length {MOST_TOOLS}, but got an array with \
             length {} instead.",
            items.len()
        );
        return Err(ApiError::invalid(message).with_param("tools").with_code("array_above_max_length"));
    }
    let tools: Vec<Tool> =
        items.into_iter().enumerate().map(|(index, item)| tool(index, item)).collect::<Result<_, _>>()?;
    let mut names = BTreeSet::new();
    match tools.iter().position(|tool| !names.insert(&tool.name)) {
        None => Ok(tools),
        Some(index) => {
            let param = format!("tools[{index}].function.name");
            let message = format!("Invalid '{param}': two tools can't have the same name.");
            Err(ApiError::invalid(message).with_param(&param).with_code("invalid_value"))
        }
    }
}

fn tool(index: usize, item: Value) -> Result<Tool, ApiError> {
    let at = |field: &str| format!("tools[{index}].{field}");
    let Value::Object(mut item) = item else {
        return Err(wrong_type(&format!("tools[{index}]"), "an object", &item));
    };
    match item.get("type").and_then(Value::as_str) {
        Some("function") => {}
        Some(other) => return Err(wrong_value(&at("type"), other, "'function'")),
        None => return Err(ApiError::missing(&at("type"))),
    }
    let mut function = match item.remove("function") {
        Some(Value::Object(function)) => function,
        Some(other) => return Err(wrong_type(&at("function"), "an object", &other)),
        None => return Err(ApiError::missing(&at("function"))),
    };
    let description = optional(&at("function.description"), function.remove("description"))?;
    let parameters = match function.remove("parameters") {
        None | Some(Value::Null) => json!({"type": "object", "properties": {}, "additionalProperties": false}),
        Some(Value::Object(parameters)) => object_schema(&at("function.parameters"), parameters)?,
        Some(other) => return Err(wrong_type(&at("function.parameters"), "an object", &other)),
    };
    match function.get("strict") {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(other) => return Err(wrong_type(&at("function.strict"), "a boolean", other)),
    }
    Ok(Tool { name: name(&at("function.name"), function.remove("name"))?, description, parameters })
}

/// Arguments are one object, whether the schema says so or not.
fn object_schema(param: &str, mut schema: Map<String, Value>) -> Result<Value, ApiError> {
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => {}
        None => drop(schema.insert("type".to_owned(), "object".into())),
        Some(_) => {
            let message =
                format!("Invalid '{param}': the schema of a tool's arguments must be of \"type\": \"object\".");
            return Err(ApiError::invalid(message).with_param(param).with_code("invalid_function_parameters"));
        }
    }
    Ok(Value::Object(schema))
}

fn name(param: &str, value: Option<Value>) -> Result<String, ApiError> {
    let name = required(param, value)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        let message = format!(
            "Invalid '{param}': '{}' is no name of a tool. Expected 1 to {LONGEST_NAME} letters, digits, '_' and '-'.",
            echo(&name)
        );
        return Err(ApiError::invalid(message).with_param(param).with_code("invalid_value"));
    }
    Ok(name)
}

fn tool_choice(choice: Value, all: &[Tool]) -> Result<ToolChoice, ApiError> {
    let object = match choice {
        Value::String(word) => {
            return match word.as_str() {
                "none" => Ok(ToolChoice::None),
                "auto" => Ok(ToolChoice::Auto),
                "required" => Ok(ToolChoice::Required),
                other => Err(wrong_value("tool_choice", other, "'none', 'auto' and 'required'")),
            };
        }
        Value::Object(object) => object,
        other => return Err(wrong_type("tool_choice", "a string or an object", &other)),
    };
    match object.get("type").and_then(Value::as_str) {
        Some("function") => {
            let name = named("tool_choice", &object, all)?;
            Ok(ToolChoice::Of { names: vec![name], required: true })
        }
        Some("allowed_tools") => allowed(&object, all),
        Some(other) => Err(wrong_value("tool_choice.type", other, "'function' and 'allowed_tools'")),
        None => Err(ApiError::missing("tool_choice.type")),
    }
}

/// The name of a tool that there is, in `function.name`.
fn named(param: &str, object: &Map<String, Value>, all: &[Tool]) -> Result<String, ApiError> {
    let param = format!("{param}.function.name");
    let name = match object.get("function").and_then(|function| function.get("name")) {
        Some(Value::String(name)) => name,
        Some(other) => return Err(wrong_type(&param, "a string", other)),
        None => return Err(ApiError::missing(&param)),
    };
    if all.iter().any(|tool| tool.name == *name) {
        return Ok(name.clone());
    }
    let message = format!("Invalid value for '{param}': there is no tool '{}' in 'tools'.", echo(name));
    Err(ApiError::invalid(message).with_param(&param).with_code("invalid_value"))
}

fn allowed(object: &Map<String, Value>, all: &[Tool]) -> Result<ToolChoice, ApiError> {
    const PARAM: &str = "tool_choice.allowed_tools";
    let Some(Value::Object(allowed)) = object.get("allowed_tools") else { return Err(ApiError::missing(PARAM)) };
    let required = match allowed.get("mode").and_then(Value::as_str) {
        Some("auto") => false,
        Some("required") => true,
        Some(other) => return Err(wrong_value(&format!("{PARAM}.mode"), other, "'auto' and 'required'")),
        None => return Err(ApiError::missing(&format!("{PARAM}.mode"))),
    };
    let Some(Value::Array(items)) = allowed.get("tools") else {
        return Err(ApiError::missing(&format!("{PARAM}.tools")));
    };
    let name = |(index, item): (usize, &Value)| {
        let param = format!("{PARAM}.tools[{index}]");
        let item = item.as_object().ok_or_else(|| wrong_type(&param, "an object", item))?;
        named(&param, item, all)
    };
    let names = items.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    Ok(ToolChoice::Of { names, required })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tools: &str, rest: &str) -> Result<Tools, ApiError> {
        Tools::read(&mut Fields::parse(format!(r#"{{"tools":{tools}{rest}}}"#).as_bytes())?)
    }

    const TWO: &str = r#"[{"type":"function","function":{"name":"a","parameters":{"type":"object"}}},
        {"type":"function","function":{"name":"b","description":"B"}}]"#;

    #[test]
    fn a_choice_says_what_may_be_called_and_whether_something_must() {
        for (rest, callable, must) in [
            ("", &["a", "b"][..], false),
            (r#","tool_choice":"auto""#, &["a", "b"], false),
            (r#","tool_choice":"none""#, &[], false),
            (r#","tool_choice":"required""#, &["a", "b"], true),
            (r#","tool_choice":{"type":"function","function":{"name":"b"}}"#, &["b"], true),
            (
                r#","tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"a"}}]}}"#,
                &["a"],
                false,
            ),
        ] {
            let tools = read(TWO, rest).unwrap();
            let names: Vec<&str> = tools.callable().iter().map(|tool| tool.name.as_str()).collect();
            assert_eq!((names.as_slice(), tools.must_call(), tools.parallel), (callable, must, true), "{rest}");
        }
        assert!(!read(TWO, r#","parallel_tool_calls":false"#).unwrap().parallel);
    }

    #[test]
    fn every_mistake_names_its_place() {
        let many = format!("[{}]", vec![r#"{"type":"function","function":{"name":"a"}}"#; 129].join(","));
        let twice = r#"[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}]"#;
        for (tools, rest, param) in [
            ("{}", "", "tools"),
            ("[1]", "", "tools[0]"),
            ("[{}]", "", "tools[0].type"),
            (r#"[{"type":"custom"}]"#, "", "tools[0].type"),
            (r#"[{"type":"function"}]"#, "", "tools[0].function"),
            (r#"[{"type":"function","function":{}}]"#, "", "tools[0].function.name"),
            (r#"[{"type":"function","function":{"name":"a b"}}]"#, "", "tools[0].function.name"),
            (r#"[{"type":"function","function":{"name":"a","parameters":7}}]"#, "", "tools[0].function.parameters"),
            (
                r#"[{"type":"function","function":{"name":"a","parameters":{"type":"string"}}}]"#,
                "",
                "tools[0].function.parameters",
            ),
            (twice, "", "tools[1].function.name"),
            (&many, "", "tools"),
            ("[]", r#","tool_choice":"auto""#, "tool_choice"),
            ("[]", r#","parallel_tool_calls":false"#, "parallel_tool_calls"),
            (TWO, r#","tool_choice":"sometimes""#, "tool_choice"),
            (TWO, r#","tool_choice":{"type":"function","function":{"name":"c"}}"#, "tool_choice.function.name"),
            (TWO, r#","tool_choice":{"type":"allowed_tools"}"#, "tool_choice.allowed_tools"),
            (TWO, r#","parallel_tool_calls":1"#, "parallel_tool_calls"),
        ] {
            let param_named = read(tools, rest).unwrap_err().detail.param;
            assert_eq!(param_named.as_deref(), Some(param), "{tools} {rest}");
        }
    }
}
