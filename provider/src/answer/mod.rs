//! One answer, from the body to the last byte: read, tokenise, queue, compute, write.

mod asked;

mod shape;

mod write;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use openapi::continuation::{Continuation, SoFar};
use openapi::error::ApiError;
use openapi::node::{PromptCount, Ticket};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::body::JsonBody;
use crate::engine::{Said, Task};
use crate::error::Failure;
use crate::limits::Limit;
use crate::node::Node;
use crate::router::{Doorway, json};
use crate::slots::Place;
use asked::Asked;
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
    answer(&door.node, ticket, Asked::read(&door.node, Endpoint::Chat, &body)?, SoFar::default()).await
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
    answer(&door.node, ticket, Asked::read(&door.node, Endpoint::Completion, &body)?, SoFar::default()).await
}

/// Goes on with an answer that another node has begun.
pub(crate) async fn go_on(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let ticket = door.admit(&headers)?;
    let begun: Continuation =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
    let endpoint = Endpoint::at(&begun.path).ok_or_else(|| ApiError::unknown_url("POST", &begun.path))?;
    let asked = Asked::read(&door.node, endpoint, begun.request.get().as_bytes())?;
    answer(&door.node, ticket, asked, begun.so_far).await
}

/// Counts the tokens of a request for either endpoint, and refuses what the endpoint would refuse.
pub(crate) async fn count(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let ticket = door.admit(&headers)?;
    let asked = Asked::read(&door.node, asked::endpoint_of(&body)?, &body)?;
    let most_tokens = asked.most_tokens(&door.node, ticket.as_ref())?;
    Ok(json(&PromptCount { prompt_tokens: asked.prompt.len() as u64, max_completion_tokens: most_tokens as u64 }))
}

async fn answer(node: &Arc<Node>, ticket: Option<Ticket>, asked: Asked, so_far: SoFar) -> Result<Response, Failure> {
    let ticket = ticket.as_ref();
    let max_tokens = asked.most_tokens(node, ticket)?;
    asked::check_so_far(node, &so_far, max_tokens)?;
    let place = node.slots.enter().map_err(|_| busy())?;
    let limit = match ticket {
        Some(ticket) => node.limits.open(ticket).map_err(|_| already_runs())?,
        None => Limit::none(),
    };
    let shape = Shape::new(node, asked.endpoint, ticket, asked.include_usage);
    let output = match (ticket, asked.stream) {
        (Some(_), stream) => Output::Frames { stream },
        (None, true) => Output::Stream,
        (None, false) => Output::Whole,
    };
    let writer = Writer::new(shape, output, asked.prompt.len(), &so_far);
    let seed = asked.sampling.seed.or(ticket.map(|ticket| ticket.seed)).unwrap_or_else(random_seed);
    let same_build = so_far.fingerprint.as_deref() == Some(&node.fingerprint);
    let said = Said { tokens: so_far.token_ids, text_bytes: so_far.text_bytes, same_build };
    let task = Task { prompt: asked.prompt, said, sampling: asked.sampling, seed, max_tokens, limit, presence: None };
    Ok(respond(node, writer, task, place).await)
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

fn busy() -> ApiError {
    const SECONDS: u32 = 5;
    ApiError::overloaded("All slots of this node are busy and its queue is full. Try again shortly.", SECONDS)
}

fn already_runs() -> ApiError {
    ApiError::new(
        409,
        "invalid_request_error",
        Some("attempt_already_runs"),
        "This node is already answering this attempt of the request.",
    )
}

fn random_seed() -> i64 {
    let mut bytes = [0; 8];
    // Without a source of randomness the clock must do: a seed is no secret.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bytes = crate::node::unix_seconds().to_le_bytes();
    }
    i64::from_le_bytes(bytes)
}
