//! One answer, from the body to the last byte: read, tokenise, queue, compute, write. Where a server of the operator's
//! computes, the body is passed on in place of tokens. Vectors of texts are [`embed`]'s.

mod asked;

mod choice;

pub mod embed;

mod line;

mod logprobs;

mod parts;

mod passed;

mod relay;

mod shape;

mod waking;

mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use openapi::continuation::{ChoiceSoFar, Continuation, SoFar};
use openapi::error::ApiError;
use openapi::model::ModelKind;
use openapi::node::{PromptCount, Ticket};
use openapi::schema::{ChatEvent, CompletionEvent};
use openapi::upstream::Endpoint;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::body::JsonBody;
use crate::engine::Engine;
use crate::error::Failure;
use crate::limits::{Limit, Repeated};
use crate::node::{Backend, Served};
use crate::router::{Doorway, json};
use crate::slots::Place;
use crate::upstream::Upstream;
use asked::Asked;
use line::{Line, Notes, Output};
use passed::Passed;
use relay::Relay;
use shape::Shape;
use waking::when_loaded;
use write::{Sequence, Work, Writer};

/// Bytes that may lie between the writer and a slow client; beyond, the writer waits and the engine does not.
const PIECES_AHEAD: usize = 32;

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI",
    request_body = openapi::chat::ChatRequest,
    responses((status = 200, description = "The answer",
        content((openapi::chat::ChatCompletion = "application/json"), (ChatEvent = "text/event-stream"))), Failure))]
pub async fn chat(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    answer(&door, &headers, Endpoint::Chat, body).await
}

/// Continues a text.
#[utoipa::path(post, path = "/v1/completions", tag = "OpenAI",
    request_body = openapi::completion::CompletionRequest,
    responses((status = 200, description = "The answer",
        content((openapi::completion::Completion = "application/json"), (CompletionEvent = "text/event-stream"))), Failure))]
pub async fn completion(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    answer(&door, &headers, Endpoint::Completion, body).await
}

/// Goes on with an answer that another node has begun.
pub(crate) async fn go_on(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let (ticket, trace) = (door.admit(&headers)?, door.node.traces.begin(&headers));
    let begun: Continuation =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
    let endpoint = shape::endpoint_at(&begun.path).ok_or_else(|| ApiError::unknown_url("POST", &begun.path))?;
    let request = begun.request.get().as_bytes();
    let served = Arc::clone(door.node.asked(request));
    let notes = Notes { trace, draft: door.draft(&served, ticket.as_ref(), request, &begun.so_far) };
    when_loaded(&Arc::clone(&served), ticket.is_some(), move |backend| async move {
        let engine = match &backend {
            Backend::Engine(engine) => engine,
            Backend::Embedder(_) => return Err(writes_nothing(&served).into()),
            Backend::Upstream(_) => return Err(does_not_continue().into()),
        };
        let asked = Asked::read(engine, endpoint, begun.request.get().as_bytes())?;
        compute((&served, engine), ticket.as_ref(), asked, begun.so_far, notes).await
    })
    .await
}

/// Counts the tokens of a request for any endpoint, and refuses what the endpoint would refuse.
pub(crate) async fn count(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let ticket = door.admit(&headers)?;
    let served = door.node.asked(&body);
    let engine = match served.keeper.get().await? {
        Backend::Engine(engine) => engine,
        Backend::Embedder(embedder) => {
            return Ok(json(&embed::count(served, &embedder, ticket.as_ref(), body).await?));
        }
        Backend::Upstream(_) => return Err(does_not_count().into()),
    };
    let asked = Asked::read(&engine, asked::endpoint_of(&body)?, &body)?;
    let most_tokens = asked.most_tokens(served, ticket.as_ref())?;
    let most_tokens = most_tokens.into_iter().map(|most| (most * asked.n) as u64).sum();
    Ok(json(&PromptCount { prompt_tokens: asked.prompt_tokens() as u64, max_completion_tokens: most_tokens }))
}

async fn answer(door: &Doorway, headers: &HeaderMap, endpoint: Endpoint, body: Bytes) -> Result<Response, Failure> {
    let (ticket, trace) = (door.admit(headers)?, door.node.traces.begin(headers));
    let served = Arc::clone(door.node.asked(&body));
    let notes = Notes { trace, draft: door.draft(&served, ticket.as_ref(), &body, &SoFar::default()) };
    when_loaded(&Arc::clone(&served), ticket.is_some(), move |backend| async move {
        match &backend {
            Backend::Engine(engine) => {
                let asked = Asked::read(engine, endpoint, &body)?;
                compute((&served, engine), ticket.as_ref(), asked, SoFar::default(), notes).await
            }
            Backend::Embedder(_) => Err(writes_nothing(&served).into()),
            Backend::Upstream(upstream) => {
                let seed = ticket.as_ref().map_or_else(random_seed, |ticket| ticket.seed);
                let passed = Passed::read((&served, upstream), ticket.as_ref(), endpoint, &body, seed)?;
                pass_on((&served, upstream), ticket.as_ref(), passed, notes).await
            }
        }
    })
    .await
}

/// Has the engine compute an answer, or what is missing of it.
async fn compute(
    (node, engine): (&Arc<Served>, &Arc<Engine>),
    ticket: Option<&Ticket>,
    asked: Asked,
    so_far: SoFar,
    notes: Notes,
) -> Result<Response, Failure> {
    let seed = asked.sampling.seed.or(ticket.map(|ticket| ticket.seed)).unwrap_or_else(random_seed);
    let same_build = so_far.fingerprint.as_deref() == Some(&node.fingerprint);
    let sequences = sequences(&asked, &asked.most_tokens(node, ticket)?, (engine, so_far), seed)?;
    let guided = asked.guided(engine).await?;
    let (place, limit) = enter(node, ticket)?;
    let shape = Shape::new(node, asked.endpoint, ticket, asked.include_usage);
    let output = output(ticket, asked.stream);
    let (to, pieces) = mpsc::channel(PIECES_AHEAD);
    let writer = Writer::new(Arc::clone(engine), shape, Line::new(to, output, true).noted(notes));
    let work = Work { asked, guided, sequences, same_build, limit };
    let writing = node.answers.spawn(writer.run(Arc::clone(node), work, place));
    Ok(if output == Output::Whole { whole(writing, pieces).await } else { stream(None, pieces) })
}

/// All answers that are asked for, in order, with what there is of each. Each has another seed, which follows from the first.
fn sequences(
    asked: &Asked,
    most_tokens: &[usize],
    (engine, so_far): (&Engine, SoFar),
    seed: i64,
) -> Result<Vec<Sequence>, ApiError> {
    let most_tokens: Vec<usize> = most_tokens.iter().flat_map(|most| std::iter::repeat_n(*most, asked.n)).collect();
    asked::check_so_far(engine, &so_far, &most_tokens)?;
    let so_far = so_far.choices.into_iter().chain(std::iter::repeat_with(ChoiceSoFar::default));
    let sequences = most_tokens.into_iter().zip(so_far).enumerate().map(|(index, (max_tokens, so_far))| Sequence {
        prompt: index / asked.n,
        seed: seed.wrapping_add(index as i64),
        max_tokens,
        so_far,
    });
    Ok(sequences.collect())
}

/// Has the operator's own server compute an answer.
async fn pass_on(
    (node, upstream): (&Arc<Served>, &Arc<Upstream>),
    ticket: Option<&Ticket>,
    passed: Passed,
    notes: Notes,
) -> Result<Response, Failure> {
    let (place, limit) = enter(node, ticket)?;
    let shape = Shape::new(node, passed.endpoint, ticket, passed.include_usage);
    let output = output(ticket, passed.stream);
    let (to, mut pieces) = mpsc::channel(PIECES_AHEAD);
    let line = Line::new(to, output, false).noted(notes);
    let relay = Relay::new(Arc::clone(upstream), &shape, passed, limit, line);
    let writing = node.answers.spawn(relay.run(Arc::clone(node), place));
    if output == Output::Whole {
        return Ok(whole(writing, pieces).await);
    }
    // Begins with its first piece, or with the word that the node is alive: until then what the server says of the request
    // is an answer of its own.
    match pieces.recv().await {
        Some(first) => Ok(stream(Some(first), pieces)),
        None => Err(reason(writing).await),
    }
}

/// A place in the queue, and the limit of the answer.
fn enter(node: &Served, ticket: Option<&Ticket>) -> Result<(Place, Limit), ApiError> {
    let place = node.slots.enter().map_err(|_| if node.slots.is_away() { away() } else { busy() })?;
    let limit = match ticket {
        Some(ticket) => node.limits.open(ticket).map_err(repeated)?,
        None => Limit::none(),
    };
    Ok((place, limit))
}

fn output(ticket: Option<&Ticket>, stream: bool) -> Output {
    match (ticket, stream) {
        (Some(_), stream) => Output::Frames { stream },
        (None, true) => Output::Stream,
        (None, false) => Output::Whole,
    }
}

/// A stream, with a piece that has been taken out already.
fn stream(first: Option<Bytes>, pieces: mpsc::Receiver<Bytes>) -> Response {
    let pieces = futures_util::stream::iter(first).chain(ReceiverStream::new(pieces));
    (event_stream_headers(), Body::from_stream(pieces.map(Ok::<_, std::convert::Infallible>))).into_response()
}

/// A whole answer, when it is complete.
async fn whole(writing: JoinHandle<Option<ApiError>>, mut pieces: mpsc::Receiver<Bytes>) -> Response {
    match pieces.recv().await {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => reason(writing).await.into_response(),
    }
}

/// Why nothing was written.
async fn reason(writing: JoinHandle<Option<ApiError>>) -> Failure {
    Failure(writing.await.ok().flatten().unwrap_or_else(ApiError::internal))
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

fn away() -> ApiError {
    const SECONDS: u32 = 10;
    ApiError::overloaded("The server behind this node is away. Try again shortly.", SECONDS)
}

fn writes_nothing(node: &Served) -> ApiError {
    ModelKind::Embedding.refusal(&node.manifest.name)
}

fn does_not_continue() -> ApiError {
    let message =
        "This node passes requests on to another server and can't go on with an answer that was begun elsewhere.";
    ApiError::new(409, "invalid_request_error", Some("not_continued"), message)
}

fn does_not_count() -> ApiError {
    let message = "This node passes requests on to another server, which counts tokens only while it computes.";
    ApiError::new(501, "invalid_request_error", Some("not_counted"), message)
}

fn repeated(repeated: Repeated) -> ApiError {
    let (code, message) = match repeated {
        Repeated::Runs => ("attempt_already_runs", "This node is already answering this attempt of the request."),
        Repeated::Over => {
            tracing::warn!("refused a ticket that was used before");
            ("ticket_used", "This node has answered this attempt of the request. Another try needs another ticket.")
        }
    };
    ApiError::new(409, "invalid_request_error", Some(code), message)
}

fn random_seed() -> i64 {
    let mut bytes = [0; 8];
    // Without a source of randomness the clock must do: a seed is no secret.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bytes = crate::node::unix_seconds().to_le_bytes();
    }
    i64::from_le_bytes(bytes)
}
