//! Reads a JSON request body field by field. Each reader answers a wrong type or value with OpenAI's own wording, and
//! what nobody read is left over for the caller to refuse.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{ApiError, echo};

/// The top-level fields of a request, each still unparsed.
pub struct Fields<'a> {
    rest: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Splits a body into its fields; a value inside is parsed only when it is read.
    ///
    /// # Errors
    /// 400 when the body is not one JSON object.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::invalid_json("it is not valid UTF-8"))?;
        let rest: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|e| ApiError::invalid_json(&reason(&e)))?;
        Ok(Self { rest })
    }

    /// Takes a field out; an explicit `null` counts as absent, as it does for OpenAI.
    ///
    /// # Errors
    /// 400 when the value is nested deeper, or its text stranger, than JSON allows.
    pub fn take(&mut self, name: &str) -> Result<Option<Value>, ApiError> {
        let Some(raw) = self.rest.remove(name) else { return Ok(None) };
        let value: Value =
            serde_json::from_str(raw.get()).map_err(|e| ApiError::invalid_json(&reason(&e)).with_param(name))?;
        Ok(Some(value).filter(|value| !value.is_null()))
    }

    /// A string.
    ///
    /// # Errors
    /// 400 on another type.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, "a string", &other)),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// 400 on another type.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(name, "a boolean", &other)),
        }
    }

    /// A number within a range.
    ///
    /// # Errors
    /// 400 on another type or outside the range.
    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| wrong_type(name, "a decimal", &value))?;
        within(name, number, &range, "decimal").map(Some)
    }

    /// An integer within a range.
    ///
    /// # Errors
    /// 400 on another type or outside the range.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        // Some clients send 16.0 where they mean 16.
        let whole = value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64);
        let number = value.as_i64().or(whole).ok_or_else(|| wrong_type(name, "an integer", &value))?;
        within(name, number, &range, "integer").map(Some)
    }

    /// The names of the fields that nobody took.
    pub fn left_over(&self) -> impl Iterator<Item = &str> {
        self.rest.keys().map(String::as_str)
    }
}

/// A string within a field, which may be missing.
///
/// # Errors
/// 400 on another type.
pub(crate) fn optional(param: &str, value: Option<Value>) -> Result<Option<String>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(param, "a string", &other)),
    }
}

/// A string within a field.
///
/// # Errors
/// 400 when it is missing or of another type.
pub(crate) fn required(param: &str, value: Option<Value>) -> Result<String, ApiError> {
    optional(param, value)?.ok_or_else(|| ApiError::missing(param))
}

/// The 400 for a value of the wrong type, in OpenAI's words.
pub fn wrong_type(name: &str, expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    ApiError::invalid(format!("Invalid type for '{}': expected {expected}, but got {found} instead.", echo(name)))
        .with_param(name)
        .with_code("invalid_type")
}

/// The 400 for a value of the right type that is not allowed.
pub fn wrong_value(name: &str, found: &str, allowed: &str) -> ApiError {
    ApiError::invalid(format!("Invalid value for '{name}': '{}'. Supported values are: {allowed}.", echo(found)))
        .with_param(name)
        .with_code("invalid_value")
}

fn within<T: PartialOrd + Display>(name: &str, value: T, range: &RangeInclusive<T>, kind: &str) -> Result<T, ApiError> {
    let complaint = if value < *range.start() {
        format!("Expected a value >= {}", range.start())
    } else if value > *range.end() {
        format!("Expected a value <= {}", range.end())
    } else {
        return Ok(value);
    };
    let code = if value < *range.start() { "below_min_value" } else { "above_max_value" };
    Err(ApiError::invalid(format!(
        "Invalid '{name}': {kind} {code}. {complaint}, but got {value} instead.",
        code = code.replace('_', " ")
    ))
    .with_param(name)
    .with_code(&format!("{kind}_{code}")))
}

/// serde_json's reason without its position in our own buffers.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = match text.split_once(" at line ") {
        Some((reason, _)) => reason,
        None => &text,
    };
    let expected_object = reason.contains("expected a map");
    if expected_object { "a JSON object is expected".to_owned() } else { echo(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str, read: impl Fn(&mut Fields<'_>) -> Result<(), ApiError>) -> String {
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        read(&mut fields).unwrap_err().detail.message
    }

    #[test]
    fn wrong_types_and_values_are_named() {
        assert_eq!(
            message(r#"{"stream":"yes"}"#, |f| f.boolean("stream").map(drop)),
            "Invalid type for 'stream': expected a boolean, but got a string instead."
        );
        assert_eq!(
            message(r#"{"temperature":3}"#, |f| f.number("temperature", 0.0..=2.0).map(drop)),
            "Invalid 'temperature': decimal above max value. Expected a value <= 2, but got 3 instead."
        );
        assert_eq!(
            message(r#"{"max_tokens":1.5}"#, |f| f.integer("max_tokens", 1..=9).map(drop)),
            "Invalid type for 'max_tokens': expected an integer, but got a decimal number instead."
        );
    }

    #[test]
    fn null_is_absent_and_what_is_not_read_is_left_over() {
        let mut fields = Fields::parse(br#"{"a":null,"b":16.0,"c":{}}"#).unwrap();
        assert_eq!(fields.string("a").unwrap(), None);
        assert_eq!(fields.integer("b", 0..=99).unwrap(), Some(16));
        assert_eq!(fields.left_over().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn hostile_bodies_are_plain_400s() {
        for body in [&b"[]"[..], b"", b"{", b"\xff\xfe", b"{\"a\":1}x", b"null", b"\"x\""] {
            assert_eq!(Fields::parse(body).err().map(|e| e.status), Some(400), "{body:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let status =
            Fields::parse(deep.as_bytes()).and_then(|mut fields| fields.take("a").map(drop)).unwrap_err().status;
        assert_eq!(status, 400);
        let surrogate = br#"{"a":"\ud800"}"#;
        assert!(Fields::parse(surrogate).and_then(|mut fields| fields.string("a")).is_err());
    }
}
