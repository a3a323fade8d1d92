//! The form that an answer's text must have.
//! Source: OpenAI API reference, "Structured outputs".

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::{Fields, wrong_type, wrong_value};

/// Of a schema as JSON, in bytes.
const LONGEST_SCHEMA: usize = 64 * 1024;

/// What the text must be.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// JSON that fits this schema.
    Json { schema: Value },
}

impl Format {
    /// Reads `response_format`.
    ///
    /// # Errors
    /// 400 that names the field and says what is expected.
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, ApiError> {
        const PARAM: &str = "response_format";
        let mut format = match fields.take(PARAM)? {
            None => return Ok(Self::Text),
            Some(Value::Object(format)) => format,
            Some(other) => return Err(wrong_type(PARAM, "an object", &other)),
        };
        match format.get("type").and_then(Value::as_str) {
            Some("text") => Ok(Self::Text),
            Some("json_object") => Ok(Self::Json { schema: json!({"type": "object"}) }),
            Some("json_schema") => Self::of_schema(&format!("{PARAM}.json_schema"), format.remove("json_schema")),
            Some(other) => Err(wrong_value(&format!("{PARAM}.type"), other, "'text', 'json_object' and 'json_schema'")),
            None => Err(ApiError::missing(&format!("{PARAM}.type"))),
        }
    }

    fn of_schema(param: &str, value: Option<Value>) -> Result<Self, ApiError> {
        let mut named = match value {
            None | Some(Value::Null) => return Err(ApiError::missing(param)),
            Some(Value::Object(named)) => named,
            Some(other) => return Err(wrong_type(param, "an object", &other)),
        };
        match named.get("name") {
            Some(Value::String(_)) => {}
            Some(other) => return Err(wrong_type(&format!("{param}.name"), "a string", other)),
            None => return Err(ApiError::missing(&format!("{param}.name"))),
        }
        let param = format!("{param}.schema");
        match named.remove("schema") {
            None | Some(Value::Null) => Ok(Self::Json { schema: json!({"type": "object"}) }),
            Some(schema @ Value::Object(_)) => {
                check_length(&param, &schema)?;
                Ok(Self::Json { schema })
            }
            Some(other) => Err(wrong_type(&param, "an object", &other)),
        }
    }
}

/// A schema that is too long is refused before anybody compiles it.
pub(super) fn check_length(param: &str, schema: &Value) -> Result<(), ApiError> {
    let length = schema.to_string().len();
    if length <= LONGEST_SCHEMA {
        return Ok(());
    }
    let message = format!(
        "Invalid '{param}': the schema has {length} bytes; at most {LONGEST_SCHEMA} are supported. Shorten it."
    );
    Err(ApiError::invalid(message).with_param(param).with_code("invalid_json_schema"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str) -> Result<Format, ApiError> {
        Format::read(&mut Fields::parse(format!(r#"{{"response_format":{format}}}"#).as_bytes())?)
    }

    #[test]
    fn forms_are_text_any_object_and_a_schema() {
        assert_eq!(read(r#"{"type":"text"}"#).unwrap(), Format::Text);
        assert_eq!(read("null").unwrap(), Format::Text);
        assert_eq!(read(r#"{"type":"json_object"}"#).unwrap(), Format::Json { schema: json!({"type": "object"}) });
        let named = r#"{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"integer"}}}"#;
        assert_eq!(read(named).unwrap(), Format::Json { schema: json!({"type": "integer"}) });
    }

    #[test]
    fn every_mistake_names_its_place() {
        let long = format!(
            r#"{{"type":"json_schema","json_schema":{{"name":"n","schema":{{"x":"{}"}}}}}}"#,
            "x".repeat(70_000)
        );
        for (format, param) in [
            ("7", "response_format"),
            ("{}", "response_format.type"),
            (r#"{"type":"xml"}"#, "response_format.type"),
            (r#"{"type":"json_schema"}"#, "response_format.json_schema"),
            (r#"{"type":"json_schema","json_schema":{}}"#, "response_format.json_schema.name"),
            (r#"{"type":"json_schema","json_schema":{"name":"n","schema":1}}"#, "response_format.json_schema.schema"),
            (&long, "response_format.json_schema.schema"),
        ] {
            assert_eq!(read(format).unwrap_err().detail.param.as_deref(), Some(param), "{format}");
        }
    }
}
