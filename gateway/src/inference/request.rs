//! What the gateway reads of a request. The rest goes to the node untouched, and is the node's to judge.

use axum::body::Bytes;
use openapi::completion::DEFAULT_MAX_TOKENS;
use openapi::error::ApiError;
use openapi::fields::Fields;
use openapi::sampling;

use crate::nodes::preference::Preference;

/// Which of the paths that compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
}

impl Endpoint {
    /// The path, the same here and on the node.
    pub const fn path(self) -> &'static str {
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

    const fn default_max_tokens(self) -> Option<u32> {
        match self {
            Self::ChatCompletions => None,
            Self::Completions => Some(DEFAULT_MAX_TOKENS),
        }
    }
}

/// A request, read as far as routing and holding need it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) endpoint: Endpoint,
    pub(super) model: String,
    pub(super) stream: bool,
    /// The most tokens that it wants; none: as many as the model will give.
    pub(super) max_tokens: Option<u32>,
    /// What it asks of the nodes that may answer it.
    pub(super) preference: Preference,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn read(endpoint: Endpoint, body: Bytes) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(&body)?;
        let model = fields.string("model")?.ok_or_else(|| ApiError::missing("model"))?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let max_tokens = sampling::max_tokens(&mut fields)?.or(endpoint.default_max_tokens());
        let preference = Preference::read(fields.take("provider")?.as_ref())?;
        if !fields.left_over().any(|field| field == endpoint.prompt_field()) {
            return Err(ApiError::missing(endpoint.prompt_field()));
        }
        Ok(Self { endpoint, model, stream, max_tokens, preference, body })
    }
}
