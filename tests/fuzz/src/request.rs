//! A client's body, for each of the paths that compute: it is read, or refused with a short sentence.

use std::fmt::Debug;

use gateway::nodes::preference::Preference;
use openapi::chat::ChatRequest;
use openapi::completion::CompletionRequest;
use openapi::embedding::EmbeddingRequest;
use openapi::error::ApiError;
use openapi::fields::Fields;
use openapi::responses::ResponseRequest;
use serde_json::Value;

/// Reads a body as each kind of request.
pub fn check(bytes: &[u8]) {
    refused_well(ChatRequest::parse(bytes));
    refused_well(CompletionRequest::parse(bytes));
    refused_well(EmbeddingRequest::parse(bytes));
    refused_well(ResponseRequest::parse(bytes));
    let fields = Fields::parse(bytes);
    let value = serde_json::from_slice::<Value>(bytes);
    if let (Ok(mut fields), Ok(Value::Object(object))) = (fields, value) {
        refused_well(Preference::read(object.get("provider")));
        for (name, value) in object {
            assert_eq!(fields.take(&name), Ok(Some(value).filter(|value| !value.is_null())), "{name}");
        }
        assert_eq!(fields.left_over().next(), None);
    }
}

fn refused_well<T: Debug>(read: Result<T, ApiError>) {
    let Err(error) = read else { return };
    let message = &error.detail.message;
    assert!((400..500).contains(&error.status), "{error:?}");
    assert!(!message.is_empty() && message.len() < 2_000 && !message.contains(char::is_control), "{message}");
}
