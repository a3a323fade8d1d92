//! The call to a node, up to its acknowledgement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Request as HttpRequest, Response, StatusCode};
use openapi::continuation::{CONTINUE_PATH, Continuation};
use openapi::error::{ApiError, ErrorBody};
use openapi::node::TICKET_HEADER;
use openapi::trace::TRACE_HEADER;

use super::forward::{Events, Fault};
use super::request::Request;
use super::said::Said;
use crate::app::App;
use crate::nodes::{Call, Node, NodeBody, StallWatch};

/// A node acknowledges a request at once, even when it must wait for a slot.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);
const LONGEST_ERROR: usize = 64 * 1024;

/// Calls a node with an attempt of the request, whose body is `body`, and waits until it acknowledges that. The call is
/// broken off when this is dropped.
pub(super) fn call(
    app: &App,
    said: &Said,
    node: Arc<Node>,
    (request, body): (&Request, Bytes),
    call: Call,
) -> BoxFuture<'static, Result<Box<Events>, Fault>> {
    let made = make(app, said, &node, (request, body), call);
    let (silence, tokens, goes_on) = (app.node_silence, said.tokens(), said.model().is_some());
    let longest = request.endpoint.longest_event();
    Box::pin(async move {
        let made = made.map_err(|error| Fault::Node(error.to_string()))?;
        let response = tokio::time::timeout(HEADERS_WITHIN, node.call(made)).await;
        let response = response
            .map_err(|_| Fault::Node("it did not answer".to_owned()))?
            .map_err(|error| Fault::Node(error.to_string()))?;
        if response.status() != StatusCode::OK {
            return Err(match refusal(response).await {
                // The client's request was good enough for the node that began.
                Fault::Client(error) if goes_on => Fault::Node(error.detail.message),
                fault => fault,
            });
        }
        let watch = StallWatch::new(node.typical_gap(), silence, Instant::now());
        Ok(Box::new(Events::new(response.into_body(), watch, tokens, longest)))
    })
}

/// The call, with its ticket.
fn make(
    app: &App,
    said: &Said,
    node: &Node,
    (request, body): (&Request, Bytes),
    call: Call,
) -> anyhow::Result<HttpRequest<Full<Bytes>>> {
    let mut ticket = HeaderValue::try_from(node.ticket(&app.secrets, &call)?)?;
    // No other call has the same: it would only push others out of HTTP/2's table of what may come again.
    ticket.set_sensitive(true);
    let (path, body) = ask(request, body, said)?;
    let mut made = HttpRequest::post(path).header(CONTENT_TYPE, "application/json").header(TICKET_HEADER, ticket);
    if let Some(trace) = call.trace {
        made = made.header(TRACE_HEADER, trace.to_string());
    }
    Ok(made.extension(call).body(Full::new(body))?)
}

/// What the node is asked for: the answer, or what is missing of it.
fn ask(request: &Request, body: Bytes, said: &Said) -> serde_json::Result<(&'static str, Bytes)> {
    let path = request.endpoint.path();
    if said.is_nothing() {
        return Ok((path, body));
    }
    let request = serde_json::from_slice(&body)?;
    let continuation = Continuation { path: path.to_owned(), request, so_far: said.so_far() };
    Ok((CONTINUE_PATH, serde_json::to_vec(&continuation)?.into()))
}

/// Reads a node's error. Only a verdict on the request itself is passed on to the client.
async fn refusal(response: Response<NodeBody>) -> Fault {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), LONGEST_ERROR).collect().await;
    let detail =
        body.ok().and_then(|body| serde_json::from_slice::<ErrorBody>(&body.to_bytes()).ok()).map(|body| body.error);
    match (status.as_u16(), detail) {
        (400 | 413 | 415 | 422, Some(detail)) => {
            Fault::Client(ApiError { status: status.as_u16(), detail, retry_after: None })
        }
        (429 | 503, Some(_)) => {
            const SECONDS: u32 = 5;
            let message = "All nodes that serve this model are busy. Try again shortly.";
            Fault::Busy(ApiError::overloaded(message, seconds.unwrap_or(SECONDS)))
        }
        (_, Some(detail)) => Fault::Node(format!("it answered {status}: {}", openapi::error::echo(&detail.message))),
        (_, None) => Fault::Node(format!("it answered {status}")),
    }
}
