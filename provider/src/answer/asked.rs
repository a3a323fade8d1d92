//! What both endpoints come down to: a body that is read, turned into tokens and fitted into the model's context.

use openapi::chat::ChatRequest;
use openapi::completion::{CompletionRequest, Prompt};
use openapi::continuation::SoFar;
use openapi::error::ApiError;
use openapi::fields::Fields;
use openapi::node::Ticket;
use openapi::sampling::Sampling;
use openapi::upstream::Endpoint;

use super::shape::prompt_field;
use crate::engine::Engine;
use crate::node::Node;

/// A request, read and validated.
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) model: String,
    pub(super) prompt: Vec<u32>,
    pub(super) sampling: Sampling,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Asked {
    /// Reads a body and turns its prompt into tokens.
    ///
    /// # Errors
    /// 400 that says what is wrong.
    pub(super) fn read(engine: &Engine, endpoint: Endpoint, body: &[u8]) -> Result<Self, ApiError> {
        match endpoint {
            Endpoint::Chat => {
                let ChatRequest { model, messages, sampling, stream, include_usage } = ChatRequest::parse(body)?;
                let prompt = engine.tokenize_chat(&messages)?;
                Ok(Self { endpoint, model, prompt, sampling, stream, include_usage })
            }
            Endpoint::Completion => {
                let CompletionRequest { model, prompt, sampling, stream, include_usage } =
                    CompletionRequest::parse(body)?;
                let prompt = match prompt {
                    Prompt::Text(text) => engine.tokenize_text(&text)?,
                    Prompt::Tokens(tokens) => known_tokens(engine, tokens)?,
                };
                Ok(Self { endpoint, model, prompt, sampling, stream, include_usage })
            }
        }
    }

    /// The most tokens that the answer can have on this node: what was asked for, or what fits the context.
    ///
    /// # Errors
    /// 404 when this node serves another model, 400 when the prompt alone is too long or empty.
    pub(super) fn most_tokens(&self, node: &Node, ticket: Option<&Ticket>) -> Result<usize, ApiError> {
        node.check_model(&self.model, ticket)?;
        let (context, prompt) = (node.backend.context_length() as usize, self.prompt.len());
        let field = prompt_field(self.endpoint);
        if prompt == 0 {
            return Err(ApiError::invalid("The prompt is empty. Send at least one token.").with_param(field));
        }
        if prompt >= context {
            return Err(ApiError::context_length_exceeded(context, prompt, field));
        }
        let room = context - prompt;
        Ok(self.sampling.max_tokens.map_or(room, |most| room.min(most as usize)))
    }
}

/// The endpoint that a body is meant for.
///
/// # Errors
/// 400 when it is not one JSON object.
pub(super) fn endpoint_of(body: &[u8]) -> Result<Endpoint, ApiError> {
    let fields = Fields::parse(body)?;
    let has = |name: &str| fields.left_over().any(|field| field == name);
    Ok(if has("prompt") && !has("messages") { Endpoint::Completion } else { Endpoint::Chat })
}

/// What another node has said must be tokens of this model, and no more than the answer may have.
///
/// # Errors
/// 400: the gateway then tries another node.
pub(super) fn check_so_far(engine: &Engine, so_far: &SoFar, max_tokens: usize) -> Result<(), ApiError> {
    if so_far.token_ids.len() > max_tokens {
        let message = format!("The answer has {} tokens, and may have {max_tokens}.", so_far.token_ids.len());
        return Err(ApiError::invalid(message).with_param("so_far"));
    }
    check_tokens(engine, &so_far.token_ids, "so_far")
}

fn known_tokens(engine: &Engine, tokens: Vec<u32>) -> Result<Vec<u32>, ApiError> {
    check_tokens(engine, &tokens, "prompt")?;
    Ok(tokens)
}

fn check_tokens(engine: &Engine, tokens: &[u32], field: &str) -> Result<(), ApiError> {
    let vocabulary = engine.vocabulary();
    match tokens.iter().find(|token| **token as usize >= vocabulary) {
        None => Ok(()),
        Some(token) => {
            Err(ApiError::invalid(format!("Invalid '{field}': {token} is not a token; ids lie below {vocabulary}."))
                .with_param(field)
                .with_code("invalid_value"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_which_endpoint_it_is_for() {
        let of = |body: &str| endpoint_of(body.as_bytes());
        assert_eq!(of(r#"{"messages":[]}"#), Ok(Endpoint::Chat));
        assert_eq!(of(r#"{"prompt":"x"}"#), Ok(Endpoint::Completion));
        // What is missing or too much is then refused in that endpoint's words.
        assert_eq!(of(r#"{"prompt":"x","messages":[]}"#), Ok(Endpoint::Chat));
        assert_eq!(of("{}"), Ok(Endpoint::Chat));
        assert_eq!(of("[").unwrap_err().status, 400);
    }
}
