//! When a second node is asked as well.

use std::time::Duration;

use openapi::error::ApiError;
use openapi::fields::{wrong_type, wrong_value};
use serde_json::{Number, Value};

use super::object::Object;

const KEY: &str = "hedge_after_ms";
const AUTO: &str = "auto";
const OFF: &str = "off";
/// The latest; by then a node has long begun, or been given up.
pub(super) const LATEST_MILLISECONDS: u64 = 60_000;

/// How long the first node may take to begin before a second one is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hedge {
    /// So long.
    After(Duration),
    /// As long as all but the slowest twentieth of the model's answers took of late.
    Auto,
    /// For ever, whatever the account's own preferences say.
    Off,
}

impl Hedge {
    pub(super) fn read(fields: &Object<'_>) -> Result<Option<Self>, ApiError> {
        const SUPPORTED: &str = "a whole number of milliseconds from 1 to 60000, 'auto', and 'off'";
        let wrong = |found: &str| Err(wrong_value(&fields.param(KEY), found, SUPPORTED));
        match fields.get(KEY) {
            None => Ok(None),
            Some(Value::String(word)) if word == AUTO => Ok(Some(Self::Auto)),
            Some(Value::String(word)) if word == OFF => Ok(Some(Self::Off)),
            Some(Value::String(word)) => wrong(word),
            Some(Value::Number(number)) if !number.is_f64() => match milliseconds(number) {
                Some(milliseconds) => Ok(Some(Self::After(Duration::from_millis(milliseconds)))),
                None => wrong(&number.to_string()),
            },
            Some(other) => Err(wrong_type(&fields.param(KEY), SUPPORTED, other)),
        }
    }

    pub(super) fn to_value(self) -> Value {
        match self {
            // What was read fits.
            Self::After(time) => Value::from(u64::try_from(time.as_millis()).unwrap_or(LATEST_MILLISECONDS)),
            Self::Auto => AUTO.into(),
            Self::Off => OFF.into(),
        }
    }
}

fn milliseconds(number: &Number) -> Option<u64> {
    number.as_u64().filter(|milliseconds| (1..=LATEST_MILLISECONDS).contains(milliseconds))
}
