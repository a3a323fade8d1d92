//! One answer, from the body to the last byte: read, tokenise, queue, compute, write.

mod shape;

mod write;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use openapi::chat::ChatRequest;
use openapi::completion::{CompletionRequest, Prompt};
use openapi::error::ApiError;
use openapi::node::Ticket;
use openapi::sampling::Sampling;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::body::JsonBody;
use crate::engine::Task;
use crate::error::Failure;
use crate::node::Node;
use crate::router::Doorway;
use crate::slots::Place;
use shape::{Endpoint, Shape};
use write::{Output, Writer};

/// Bytes that may lie between the writer and a slow client; beyond, the writer waits and the engine does not.
const PIECES_AHEAD: usize = 32;

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI",
    request_body(content = serde_json::Value, description = "As OpenAI's `chat.completions.create`"),
    responses((status = 200, body = openapi::chat::ChatCompletion), Failure))]
pub async fn chat(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let ticket = door.admit(&headers)?;
    let request = ChatRequest::parse(&body)?;
    let prompt = door.node.engine.tokenize_chat(&request.messages)?;
    let asked = Asked {
        endpoint: Endpoint::Chat,
        model: request.model,
        prompt,
        sampling: request.sampling,
        stream: request.stream,
        include_usage: request.include_usage,
    };
    answer(&door.node, ticket, asked).await
}

/// Continues a text.
#[utoipa::path(post, path = "/v1/completions", tag = "OpenAI",
    request_body(content = serde_json::Value, description = "As OpenAI's `completions.create`"),
    responses((status = 200, body = openapi::completion::Completion), Failure))]
pub async fn completion(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let ticket = door.admit(&headers)?;
    let request = CompletionRequest::parse(&body)?;
    let prompt = match request.prompt {
        Prompt::Text(text) => door.node.engine.tokenize_text(&text)?,
        Prompt::Tokens(tokens) => known_tokens(&door.node, tokens)?,
    };
    let asked = Asked {
        endpoint: Endpoint::Completion,
        model: request.model,
        prompt,
        sampling: request.sampling,
        stream: request.stream,
        include_usage: request.include_usage,
    };
    answer(&door.node, ticket, asked).await
}

/// What both endpoints come down to.
struct Asked {
    endpoint: Endpoint,
    model: String,
    prompt: Vec<u32>,
    sampling: Sampling,
    stream: bool,
    include_usage: bool,
}

async fn answer(node: &Arc<Node>, ticket: Option<Ticket>, asked: Asked) -> Result<Response, Failure> {
    let ticket_model = ticket.as_ref().map(|ticket| ticket.model.as_str());
    if !node.serves(&asked.model) || !ticket_model.is_none_or(|model| node.serves(model)) {
        return Err(ApiError::model_not_found(&asked.model).into());
    }
    let task = task(node, &asked, ticket.as_ref())?;
    let place = node.slots.enter().map_err(|_| busy())?;
    let shape = Shape::new(node, asked.endpoint, ticket.as_ref(), asked.include_usage);
    let output = match (&ticket, asked.stream) {
        (Some(_), stream) => Output::Frames { stream },
        (None, true) => Output::Stream,
        (None, false) => Output::Whole,
    };
    Ok(respond(node, Writer::new(shape, output, task.prompt.len()), task, place).await)
}

/// Fits the request into the model's context.
fn task(node: &Node, asked: &Asked, ticket: Option<&Ticket>) -> Result<Task, ApiError> {
    let context = node.engine.context_length();
    let prompt = asked.prompt.len();
    if prompt == 0 {
        return Err(ApiError::invalid("The prompt is empty. Send at least one token.")
            .with_param(asked.endpoint.prompt_field()));
    }
    if prompt >= context {
        return Err(ApiError::context_length_exceeded(context, prompt, asked.endpoint.prompt_field()));
    }
    let room = context - prompt;
    let seed = asked.sampling.seed.or(ticket.map(|ticket| ticket.seed)).unwrap_or_else(random_seed);
    Ok(Task {
        prompt: asked.prompt.clone(),
        max_tokens: asked.sampling.max_tokens.map_or(room, |most| room.min(most as usize)),
        sampling: asked.sampling.clone(),
        seed,
    })
}

/// Starts the writer and hands out what it writes. A stream begins at once; a whole answer when it is complete.
async fn respond(node: &Arc<Node>, writer: Writer, task: Task, place: Place) -> Response {
    let (pieces_to, mut pieces) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let whole = writer.is_whole();
    let writing = node.answers.spawn(writer.run(Arc::clone(node), task, place, pieces_to));
    if !whole {
        let stream = futures_util::StreamExt::map(ReceiverStream::new(pieces), Ok::<_, std::convert::Infallible>);
        return (event_stream_headers(), Body::from_stream(stream)).into_response();
    }
    match pieces.recv().await {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => {
            let failure = writing.await.ok().flatten().unwrap_or_else(ApiError::internal);
            Failure(failure).into_response()
        }
    }
}

fn event_stream_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ])
}

fn known_tokens(node: &Node, tokens: Vec<u32>) -> Result<Vec<u32>, ApiError> {
    let vocabulary = node.engine.vocabulary();
    match tokens.iter().find(|token| **token as usize >= vocabulary) {
        None => Ok(tokens),
        Some(token) => {
            Err(ApiError::invalid(format!("Invalid 'prompt': {token} is not a token; ids lie below {vocabulary}."))
                .with_param("prompt")
                .with_code("invalid_value"))
        }
    }
}

fn busy() -> ApiError {
    const SECONDS: u32 = 5;
    ApiError::overloaded("All slots of this node are busy and its queue is full. Try again shortly.", SECONDS)
}

fn random_seed() -> i64 {
    let mut bytes = [0; 8];
    // Without a source of randomness the clock must do: a seed is no secret.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bytes = crate::node::unix_seconds().to_le_bytes();
    }
    i64::from_le_bytes(bytes)
}
