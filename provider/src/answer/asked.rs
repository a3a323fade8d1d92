//! What both endpoints come down to: a body that is read, turned into tokens and fitted into the model's context.

use std::sync::Arc;

use openapi::chat::{ChatRequest, Format, Tool};
use openapi::completion::{CompletionRequest, Prompt};
use openapi::continuation::SoFar;
use openapi::error::ApiError;
use openapi::fields::Fields;
use openapi::node::Ticket;
use openapi::sampling::Sampling;
use openapi::upstream::Endpoint;

use super::shape::prompt_field;
use crate::engine::{Conversation, Engine, Form, FormError, Guided};
use crate::node::Served;

/// A request, read and validated.
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) model: String,
    /// Each is answered by itself.
    pub(super) prompts: Vec<Vec<u32>>,
    /// Answers to each of them.
    pub(super) n: usize,
    pub(super) sampling: Sampling,
    /// What the answers must look like.
    pub(super) form: Form,
    /// Chances are to be given, with those of so many likely tokens.
    pub(super) logprobs: Option<usize>,
    /// The prompt stands before its answer.
    pub(super) echo: bool,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Asked {
    /// Reads a body and turns its prompts into tokens.
    ///
    /// # Errors
    /// 400 that says what is wrong.
    pub(super) fn read(engine: &Engine, endpoint: Endpoint, body: &[u8]) -> Result<Self, ApiError> {
        let asked = match endpoint {
            Endpoint::Chat => Self::chat(engine, ChatRequest::parse(body)?),
            Endpoint::Completion => Self::completion(engine, CompletionRequest::parse(body)?),
        }?;
        check_tokens(engine, asked.sampling.logit_bias.iter().map(|(token, _)| *token), "logit_bias")?;
        Ok(asked)
    }

    fn chat(engine: &Engine, request: ChatRequest) -> Result<Self, ApiError> {
        let ChatRequest { model, messages, sampling, n, logprobs, format, tools, thinks, stream, include_usage } =
            request;
        let conversation = Conversation { messages: &messages, tools: &tools.all, thinks };
        let prompt = engine.tokenize_chat(&conversation)?;
        let form = Form {
            thinking: prompt.thinking,
            schema: match format {
                Format::Text => None,
                Format::Json { schema } => Some(schema),
            },
            tools: tools.callable().into_iter().cloned().collect(),
            must_call: tools.must_call(),
            parallel: tools.parallel,
        };
        Ok(Self {
            endpoint: Endpoint::Chat,
            model,
            prompts: vec![prompt.tokens],
            n: n as usize,
            sampling,
            form,
            logprobs: logprobs.map(usize::from),
            echo: false,
            stream,
            include_usage,
        })
    }

    fn completion(engine: &Engine, request: CompletionRequest) -> Result<Self, ApiError> {
        let CompletionRequest { model, prompts, sampling, n, logprobs, echo, stream, include_usage } = request;
        let tokens = |prompt| match prompt {
            Prompt::Text(text) => engine.tokenize_text(&text),
            Prompt::Tokens(tokens) => {
                check_tokens(engine, tokens.iter().copied(), "prompt")?;
                Ok(tokens)
            }
        };
        Ok(Self {
            endpoint: Endpoint::Completion,
            model,
            prompts: prompts.into_iter().map(tokens).collect::<Result<_, _>>()?,
            n: n as usize,
            sampling,
            form: Form::default(),
            logprobs: logprobs.map(usize::from),
            echo,
            stream,
            include_usage,
        })
    }

    /// Tokens of all prompts.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(Vec::len).sum()
    }

    /// The most tokens that the answers to each prompt can have on this node: what was asked for, or what fits the context.
    ///
    /// # Errors
    /// 404 when this node serves another model, 400 when a prompt alone is too long or empty.
    pub(super) fn most_tokens(&self, node: &Served, ticket: Option<&Ticket>) -> Result<Vec<usize>, ApiError> {
        node.check_model(&self.model, ticket)?;
        let context = node.keeper.context_length() as usize;
        self.prompts.iter().map(|prompt| self.room(context, prompt.len())).collect()
    }

    fn room(&self, context: usize, prompt: usize) -> Result<usize, ApiError> {
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

    /// Makes ready what holds the answers to their form.
    ///
    /// # Errors
    /// 400 that names the schema that can't be held to.
    pub(super) async fn guided(&self, engine: &Arc<Engine>) -> Result<Option<Guided>, ApiError> {
        if self.form.is_free() {
            return Ok(None);
        }
        let (engine, form) = (Arc::clone(engine), self.form.clone());
        // A large schema takes longer than others may wait.
        let guided =
            tokio::task::spawn_blocking(move || engine.guided(&form).map_err(|error| to_blame(&engine, &form, &error)));
        guided.await.map_err(|_| ApiError::internal())?
    }
}

/// The schema that is to blame for a form that can't be.
fn to_blame(engine: &Engine, form: &Form, error: &FormError) -> ApiError {
    let alone = |tool: &Tool| Form { tools: vec![tool.clone()], must_call: true, ..Form::default() };
    let of_tool = form.tools.iter().find_map(|tool| Some((tool, engine.guided(&alone(tool)).err()?)));
    match of_tool {
        Some((tool, error)) => {
            let message = format!("Invalid schema for function '{}': {error}", tool.name);
            ApiError::invalid(message).with_param("tools").with_code("invalid_function_parameters")
        }
        None => {
            let message = format!("Invalid schema for response_format: {error}");
            ApiError::invalid(message).with_param("response_format").with_code("invalid_json_schema")
        }
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

/// What another node has said must be tokens of this model, and no more than the answers may have.
///
/// # Errors
/// 400: the gateway then tries another node.
pub(super) fn check_so_far(engine: &Engine, so_far: &SoFar, most_tokens: &[usize]) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::invalid(message).with_param("so_far"));
    if so_far.choices.len() > most_tokens.len() {
        return refuse(format!(
            "{} answers have begun, and {} were asked for.",
            so_far.choices.len(),
            most_tokens.len()
        ));
    }
    for (choice, most) in so_far.choices.iter().zip(most_tokens) {
        if choice.token_ids.len() > *most {
            return refuse(format!("The answer has {} tokens, and may have {most}.", choice.token_ids.len()));
        }
    }
    check_tokens(engine, so_far.choices.iter().flat_map(|choice| choice.token_ids.iter().copied()), "so_far")
}

fn check_tokens(engine: &Engine, tokens: impl IntoIterator<Item = u32>, field: &str) -> Result<(), ApiError> {
    let vocabulary = engine.vocabulary();
    match tokens.into_iter().find(|token| *token as usize >= vocabulary) {
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
