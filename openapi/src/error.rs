//! OpenAI's error body, and the errors that the gateway and the node both answer with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every reply that is not a success on a `/v1` path.
/// Source: OpenAI API reference, "Error codes".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// What went wrong, for a person (`message`) and for a program (`type`, `code`, `param`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// The field of the request that is to blame.
    pub param: Option<String>,
    pub code: Option<String>,
}

/// An error that is ready to be answered: HTTP status, body, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {}", detail.message)]
pub struct ApiError {
    pub status: u16,
    pub detail: ErrorDetail,
    /// Seconds for `Retry-After`, with 429 and 503.
    pub retry_after: Option<u32>,
}

/// As much of a client's own text as an error repeats.
const ECHO_LIMIT: usize = 80;

impl ApiError {
    /// An error of this status, OpenAI `type`, `code` and message.
    pub fn new(status: u16, kind: &str, code: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            status,
            detail: ErrorDetail {
                message: message.into(),
                kind: kind.to_owned(),
                param: None,
                code: code.map(str::to_owned),
            },
            retry_after: None,
        }
    }

    /// The request is wrong: status 400, `invalid_request_error`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", None, message)
    }

    /// Names the field to blame.
    #[must_use]
    pub fn with_param(mut self, param: &str) -> Self {
        self.detail.param = Some(param.to_owned());
        self
    }

    /// Sets OpenAI's `code`.
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        self.detail.code = Some(code.to_owned());
        self
    }

    /// Says after how many seconds another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The body is not JSON, or not a JSON object.
    pub fn invalid_json(reason: &str) -> Self {
        Self::invalid(format!(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP \
             library correctly. The API expects a JSON payload, but what was sent was not valid JSON: {reason}.)"
        ))
    }

    /// The body is larger than the server reads.
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::new(
            413,
            "invalid_request_error",
            Some("request_too_large"),
            format!("The request body is larger than the limit of {limit_bytes} bytes. Send a shorter request."),
        )
    }

    /// The body came with another content type than `application/json`.
    pub fn not_json_content_type() -> Self {
        Self::new(
            415,
            "invalid_request_error",
            Some("unsupported_content_type"),
            "Send the request with the header 'Content-Type: application/json'.",
        )
    }

    /// A required field is missing.
    pub fn missing(param: &str) -> Self {
        Self::invalid(format!("Missing required parameter: '{param}'."))
            .with_param(param)
            .with_code("missing_required_parameter")
    }

    /// The model does not exist, or not for this caller.
    pub fn model_not_found(model: &str) -> Self {
        Self::new(
            404,
            "invalid_request_error",
            Some("model_not_found"),
            format!("The model '{}' does not exist or you do not have access to it.", echo(model)),
        )
        .with_param("model")
    }

    /// The prompt and the answer asked for do not fit the model's context, all counted in tokens.
    pub fn context_length_exceeded(context: usize, prompt: usize, param: &str) -> Self {
        Self::invalid(format!(
            "This model's maximum context length is {context} tokens. However, your prompt resulted in {prompt} \
             tokens. Please reduce the length of the {param}."
        ))
        .with_param(param)
        .with_code("context_length_exceeded")
    }

    /// A known parameter that this model or server can't honour.
    pub fn unsupported(param: &str) -> Self {
        Self::invalid(format!("Unsupported parameter: '{param}' is not supported with this model."))
            .with_param(param)
            .with_code("unsupported_parameter")
    }

    /// Nothing lies at this path.
    pub fn unknown_url(method: &str, path: &str) -> Self {
        Self::new(
            404,
            "invalid_request_error",
            Some("unknown_url"),
            format!(
                "Unknown request URL: {method} {}. Please check the URL for typos. Models are asked at \
                 /v1/chat/completions and /v1/completions.",
                echo(path)
            ),
        )
    }

    /// The path exists, but not for this method.
    pub fn method_not_allowed(method: &str, path: &str) -> Self {
        Self::new(
            405,
            "invalid_request_error",
            Some("method_not_allowed"),
            format!("Not allowed to {method} on {}.", echo(path)),
        )
    }

    /// Our own fault. The cause goes to the log, never into the reply.
    pub fn internal() -> Self {
        Self::new(
            500,
            "server_error",
            Some("internal_error"),
            "The server had an error while processing your request. Try again; if it stays, contact the operator and \
             give the x-request-id.",
        )
    }

    /// There is more work than can be done now.
    pub fn overloaded(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(503, "server_error", Some("overloaded"), message).with_retry_after(retry_after)
    }

    /// The JSON body that goes to the client.
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: self.detail.clone() }
    }
}

/// A client's own text, shortened and without control characters, for use within an error message.
pub fn echo(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(ECHO_LIMIT).collect();
    if text.chars().nth(ECHO_LIMIT).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_openai_s_four_fields() {
        let body = serde_json::to_value(ApiError::model_not_found("gpt-9").body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"error": {
                "message": "The model 'gpt-9' does not exist or you do not have access to it.",
                "type": "invalid_request_error", "param": "model", "code": "model_not_found",
            }})
        );
    }

    #[test]
    fn a_long_or_hostile_echo_is_cut_and_cleaned() {
        let message = ApiError::model_not_found(&format!("\0\n{}", "x".repeat(1_000_000))).detail.message;
        assert!(message.len() < 200, "{} bytes", message.len());
        assert!(!message.contains(['\0', '\n']));
    }
}
