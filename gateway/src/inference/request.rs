//! What the gateway reads of a request. The rest goes to the node untouched, and is the node's to judge.

use axum::body::Bytes;
use openapi::error::ApiError;
use openapi::fields::Fields;

/// Which of the paths that compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
}

impl Endpoint {
    /// The path, the same here and on the node.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }

    /// The word in the database.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat.completions",
            Self::Completions => "completions",
        }
    }

    const fn prompt_field(self) -> &'static str {
        match self {
            Self::ChatCompletions => "messages",
            Self::Completions => "prompt",
        }
    }
}

/// A request, read as far as routing needs it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) endpoint: Endpoint,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn read(endpoint: Endpoint, body: Bytes) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(&body)?;
        let model = fields.string("model")?.ok_or_else(|| ApiError::missing("model"))?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        if !fields.left_over().any(|field| field == endpoint.prompt_field()) {
            return Err(ApiError::missing(endpoint.prompt_field()));
        }
        Ok(Self { endpoint, model, stream, body })
    }
}
