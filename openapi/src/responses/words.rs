//! A node judges a chat completion; whoever asked for a response reads about the fields of that.

use crate::error::ApiError;

/// A chat completion's fields by the names that they have here. Longer names before those that they begin with.
const NAMES: [(&str, &str); 6] = [
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
    (".function.", "."),
    ("messages", "input"),
];

/// The same error about the fields of a response.
#[must_use]
pub fn in_our_words(mut error: ApiError) -> ApiError {
    error.detail.message = renamed(&error.detail.message);
    error.detail.param = error.detail.param.map(|param| match renamed(&param) {
        // Instructions and earlier items stand before it, so its place in the list says nothing.
        place if place.starts_with("input[") => "input".to_owned(),
        other => other,
    });
    error
}

fn renamed(text: &str) -> String {
    NAMES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_fields_of_a_response() {
        for (param, ours) in [
            ("messages", "input"),
            ("messages[3].content", "input"),
            ("response_format.json_schema.schema", "text.format.schema"),
            ("tools[1].function.parameters", "tools[1].parameters"),
            ("max_completion_tokens", "max_output_tokens"),
            ("temperature", "temperature"),
        ] {
            let error = in_our_words(ApiError::invalid(format!("Invalid '{param}'.")).with_param(param));
            assert_eq!(error.detail.param.as_deref(), Some(ours));
            assert!(!error.detail.message.contains("messages"), "{}", error.detail.message);
        }
        let long = in_our_words(ApiError::context_length_exceeded(10, 20, "messages")).detail.message;
        assert!(long.ends_with("reduce the length of the input."), "{long}");
    }
}
