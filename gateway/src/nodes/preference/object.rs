//! Reads a JSON object inside a request, field by field, with OpenAI's messages.

use openapi::error::{ApiError, echo};
use openapi::fields::wrong_type;
use serde_json::{Map, Value};

/// The most elements of a list.
pub(super) const MOST: usize = 100;

/// An object and where it stands in the request.
pub(super) struct Object<'a> {
    path: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    pub(super) fn new(path: &'static str, value: &'a Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            other => Err(wrong_type(path, "an object", other)),
        }
    }

    /// The name of a field as `param` has it.
    pub(super) fn param(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// A field's value; `null` counts as absent, as it does in the rest of the body.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ApiError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.param(key), "a string", other)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_type(&self.param(key), "a boolean", other)),
        }
    }

    /// Strings, each read by a function that is told its text and the name of the element.
    pub(super) fn list<T>(
        &self,
        key: &str,
        read: impl Fn(&str, &str) -> Result<T, ApiError>,
    ) -> Result<Vec<T>, ApiError> {
        let param = self.param(key);
        let elements = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(elements)) => elements,
            Some(other) => return Err(wrong_type(&param, "an array of strings", other)),
        };
        if elements.len() > MOST {
            return Err(too_long(&param, "array", MOST, elements.len()));
        }
        let element = |(index, element): (usize, &Value)| {
            let param = format!("{param}[{index}]");
            match element {
                Value::String(text) => read(text, &param),
                other => Err(wrong_type(&param, "a string", other)),
            }
        };
        elements.iter().enumerate().map(element).collect()
    }

    /// Refuses fields that are not known: what is not understood would not be heeded.
    pub(super) fn knows(&self, known: &[&str]) -> Result<(), ApiError> {
        let Some(unknown) = self.fields.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
        let param = self.param(&echo(unknown));
        let hint = match unknown.as_str() {
            "zdr" => " Instead of 'zdr', give 'data_collection': 'deny'.",
            _ => "",
        };
        let known = known.join("', '");
        Err(ApiError::invalid(format!("Unknown parameter: '{param}'.{hint} Known in '{}' are '{known}'.", self.path))
            .with_param(&param)
            .with_code("unknown_parameter"))
    }
}

/// The 400 for an `array` or a `string` that is too long.
pub(super) fn too_long(param: &str, kind: &str, most: usize, found: usize) -> ApiError {
    let article = if kind == "array" { "an" } else { "a" };
    ApiError::invalid(format!(
        "Invalid '{param}': {kind} too long. Expected {article} {kind} with maximum length {most}, but got {article} \
         {kind} with length {found} instead."
    ))
    .with_param(param)
    .with_code(&format!("{kind}_above_max_length"))
}
