//! Attached servers: any server with OpenAI's API that an administrator has registered by URL and key. To the rest of the
//! gateway one is a node like any other: this is the way to it, which speaks a node's protocol on this side and OpenAI's on
//! the other. Its energy is estimated, and nobody but the gateway signs for it.

mod answer;

mod asked;

pub(crate) mod client;

pub mod described;

mod estimate;

pub(super) mod follow;

mod limit;

mod mirror;

pub mod table;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use axum::body::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use hyper::http::response::Builder;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use openapi::error::ApiError;
use openapi::node::{COUNT_PATH, LIMIT_PATH};
use openapi::receipt::ReceiptId;
use openapi::upstream::{Endpoint, Head, LONGEST_ERROR, Refusal};
use uuid::Uuid;

use answer::{Answer, Source};
use asked::{Asked, Model};
use client::Client;
use described::Description;
use limit::Limits;

use super::Call;
use super::connection::{CallError, Connection, NodeBody};
use super::direct::dial::Dialler;
use super::direct::url::NodeUrl;

/// A server that has not begun to answer by then may have a long prompt to read first: its answer is announced to the
/// gateway, which waits no longer than a little more, and what the server says then comes with it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// For the body of a refusal.
const REFUSAL_WITHIN: Duration = Duration::from_secs(5);

/// An attached server, as it is called.
#[derive(Clone)]
pub(super) struct Attached {
    client: Client,
    /// By content address.
    models: Arc<HashMap<String, Model>>,
    limits: Limits,
}

impl Attached {
    /// A partner says in its receipts what its answers took in energy.
    ///
    /// # Errors
    /// When its key can't be sent.
    pub(super) fn new(
        dialler: Arc<Dialler>,
        url: NodeUrl,
        key: Option<&str>,
        description: &Description,
        is_partner: bool,
    ) -> anyhow::Result<Self> {
        let estimate = if is_partner { estimate::provisional } else { estimate::estimate };
        let models = description.models.iter().map(|model| {
            let by_both_names = Model {
                name: model.name.clone(),
                upstream_name: model.upstream_name.clone(),
                context_length: model.context_length,
                max_price: model.max_price,
                estimate,
            };
            (model.manifest().id(), by_both_names)
        });
        let models = Arc::new(models.collect());
        Ok(Self { client: Client::new(dialler, url, key)?, models, limits: Limits::default() })
    }

    /// Asks whether it is there and takes the key.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub(super) async fn probe(&self) -> anyhow::Result<()> {
        let answer = self.client.send((Method::GET, "/models"), None, Bytes::new()).await;
        let status = answer.map_err(anyhow::Error::msg)?.status();
        match status.as_u16() {
            200 => Ok(()),
            401 | 403 => bail!("it refuses the key with {status}: attach it with another one"),
            404 => bail!("it has nothing at /models: its URL ends before that, mostly with /v1"),
            300..=399 => bail!("it answered {status}, and redirects are not followed: attach the URL that it leads to"),
            _ => bail!("it answered {status}"),
        }
    }

    async fn answer(self, request: Request<Full<Bytes>>) -> Result<Response<NodeBody>, CallError> {
        let path = request.uri().path().to_owned();
        let Some(call) = request.extensions().get::<Call>().cloned() else {
            return Ok(refused(&ApiError::unknown_url(request.method().as_str(), &path)));
        };
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        match path.as_str() {
            "/v1/chat/completions" => self.compute(Endpoint::Chat, &body, &call).await,
            "/v1/completions" => self.compute(Endpoint::Completion, &body, &call).await,
            LIMIT_PATH if self.limits.move_to(&call) => Ok(empty(StatusCode::NO_CONTENT)),
            LIMIT_PATH => Ok(empty(StatusCode::NOT_FOUND)),
            COUNT_PATH => Ok(refused(&ApiError::invalid(
                "The server that serves this model can't count tokens before it computes. Send the request itself, with \
                 'max_tokens' as its limit.",
            ))),
            _ => Ok(refused(&ApiError::unknown_url("POST", &path))),
        }
    }

    async fn compute(self, endpoint: Endpoint, body: &Bytes, call: &Call) -> Result<Response<NodeBody>, CallError> {
        let Some(model) = self.models.get(&call.model) else {
            return Ok(refused(&ApiError::model_not_found(&call.model)));
        };
        let asked = match Asked::read(endpoint, body, model, call) {
            Ok(asked) => asked,
            Err(error) => return Ok(refused(&error)),
        };
        let allowance = self.limits.begin(call);
        let (client, sent) = (self.client.clone(), asked.body.clone());
        let name = ReceiptId { request: call.request, attempt: call.attempt };
        let ask = async move {
            let answer = client.send((Method::POST, endpoint.path()), Some(name), sent).await;
            judge(answer.map_err(Refusal::Failed)?).await
        };
        let mut coming = ask.boxed();
        let source = match tokio::time::timeout(HEAD_WITHIN, &mut coming).await {
            Ok(Ok(body)) => Source::There(body),
            Ok(Err(refusal)) => return told(refusal),
            Err(_) => Source::Coming(coming.map(|judged| judged.map_err(in_words)).boxed()),
        };
        let answer = Answer::new(source, asked, allowance).into_body();
        let head = Response::builder().header(CONTENT_TYPE, "text/event-stream");
        head.body(answer).map_err(|error| CallError::Failed(error.to_string()))
    }
}

impl Connection for Attached {
    /// Whoever probes it takes this way away.
    fn is_open(&self) -> bool {
        true
    }

    fn send(&self, _: Uuid, request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<NodeBody>, CallError>> {
        self.clone().answer(request).boxed()
    }
}

/// The answer's body, if it is an event stream.
async fn judge(response: Response<Incoming>) -> Result<Incoming, Refusal> {
    let (head, body) = response.into_parts();
    let text = |name| first(&head.headers, name);
    let judged = Head {
        status: head.status.as_u16(),
        content_type: text(CONTENT_TYPE.as_str()),
        content_encoding: text(CONTENT_ENCODING.as_str()),
        retry_after: text(RETRY_AFTER.as_str()),
    };
    if head.status == StatusCode::OK {
        return judged.check(&[]).map(|()| body);
    }
    let said = tokio::time::timeout(REFUSAL_WITHIN, Limited::new(body, LONGEST_ERROR).collect()).await;
    let said = said.ok().and_then(Result::ok).map(|said| said.to_bytes()).unwrap_or_default();
    match judged.check(&said) {
        Err(refusal) => Err(refusal),
        Ok(()) => Err(Refusal::Failed(format!("it answered {}", head.status))),
    }
}

/// All that a header says, if it says it once: of two values nobody knows which one counts.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().unwrap_or("?");
    Some(if values.next().is_some() { "?" } else { value })
}

/// A refusal as a node would say it; what is the server's own fault is no word to the client.
fn told(refusal: Refusal) -> Result<Response<NodeBody>, CallError> {
    match refusal {
        Refusal::Client(error) => Ok(refused(&error)),
        Refusal::Busy { retry_after } => Ok(refused(&ApiError::overloaded("The server has no room.", retry_after))),
        other => Err(CallError::Failed(in_words(other))),
    }
}

fn in_words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Client(error) => format!("it refused the request with {}", error.status),
        Refusal::Busy { retry_after } => format!("it has no room for {retry_after} s"),
        Refusal::Misconfigured(reason) | Refusal::Failed(reason) => reason,
    }
}

fn refused(error: &ApiError) -> Response<NodeBody> {
    let body = serde_json::to_vec(&error.body()).unwrap_or_default();
    let mut head = Response::builder().status(error.status).header(CONTENT_TYPE, "application/json");
    if let Some(seconds) = error.retry_after {
        head = head.header(RETRY_AFTER, seconds);
    }
    with_body(head, body.into())
}

fn empty(status: StatusCode) -> Response<NodeBody> {
    with_body(Response::builder().status(status), Bytes::new())
}

fn with_body(head: Builder, body: Bytes) -> Response<NodeBody> {
    let whole = |body| Full::new(body).map_err(|never| match never {}).boxed_unsync();
    head.body(whole(body)).unwrap_or_else(|_| Response::new(whole(Bytes::new())))
}
