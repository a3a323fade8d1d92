//! What a request would take, before it is made: exact for the prompt, bounded for the answer, likely for the rest.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request as HttpRequest;
use hyper::header::CONTENT_TYPE;
use openapi::energy::EnergyTerms;
use openapi::error::{ApiError, ErrorBody};
use openapi::model::ModelKind;
use openapi::node::{COUNT_PATH, PromptCount, TICKET_HEADER};
use openapi::price::{BilledTokens, Price};
use openapi::units::{Microjoules, Nanocredits};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::request::{Endpoint, Request};
use super::route::no_node;
use super::terms::Terms;
use super::typical::Typical;
use super::{check_kind, context_length, dearest, node_failed, price};
use crate::admission::Amounts;
use crate::app::App;
use crate::auth::Caller;
use crate::nodes::{Call, Lease};
use crate::prices::PriceVersion;

/// Counting tokens takes a node milliseconds.
const WITHIN: Duration = Duration::from_secs(10);
const LONGEST_COUNT: usize = 64 * 1024;

/// What a request would take.
#[derive(Debug, Serialize, ToSchema)]
pub struct Estimate {
    /// Always `estimate`.
    object: &'static str,
    model: String,
    /// The node that would get it now, whose price this is.
    node: Uuid,
    price_version: i64,
    /// Nanocredits per token.
    price: Price,
    /// As the node counts them with the model's own template.
    prompt_tokens: u64,
    /// False when no node could count them: then they are the most that the body can hold.
    exact: bool,
    /// What was asked for, or what fits the model's context.
    max_completion_tokens: u64,
    /// The most that it can cost.
    worst_case: Cost,
    /// What the account must have left to begin: as the prompt is not counted before it runs, a byte counts as a token;
    /// for an answer without 'max_tokens', its beginning.
    held: Cost,
    /// As this model's answers usually turn out; null until there was one.
    likely: Option<Likely>,
    /// Until a slot is free, as far as can be foreseen.
    wait_seconds: u64,
}

/// An amount of money.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cost {
    #[schema(value_type = u64)]
    nanocredits: Nanocredits,
    /// In credits, as an exact decimal.
    cost: String,
}

/// How an answer usually turns out.
#[derive(Debug, Serialize, ToSchema)]
pub struct Likely {
    completion_tokens: u64,
    #[serde(flatten)]
    cost: Cost,
    #[schema(value_type = u64)]
    microjoules: Microjoules,
    joules: f64,
    seconds: f64,
}

impl From<Nanocredits> for Cost {
    fn from(nanocredits: Nanocredits) -> Self {
        Self { nanocredits, cost: nanocredits.credits() }
    }
}

/// A refusal in OpenAI's shape, or whatever the limits answered.
pub enum NoEstimate {
    Error(ApiError),
    Refused(crate::admission::Refusal),
}

impl From<ApiError> for NoEstimate {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

/// Estimates a chat, a completion or embeddings: the body says which. It counts as a request for the limits, and costs nothing.
///
/// # Errors
/// Those that the request itself would meet.
pub async fn estimate(app: &App, caller: &Caller, id: Uuid, body: Bytes) -> Result<Estimate, NoEstimate> {
    let endpoint = endpoint_of(&body)?;
    let request = Request::read(endpoint, body, &caller.key.routing)?.meant(|name| app.aliases.stands_for(name))?;
    if !app.nodes.is_known(request.model()) {
        return Err(ApiError::model_not_found(request.model()).into());
    }
    caller.key.limits.check_model(request.model())?;
    check_kind(app, &request)?;
    let _hold = app
        .admissions
        .hold(&caller.key, Amounts { requests: 1, ..Amounts::default() })
        .await
        .map_err(NoEstimate::Refused)?;
    let at = OffsetDateTime::now_utc();
    let model = request.model();
    let served = |node: &crate::nodes::Node| node.model_named(model).filter(|model| model.kind == endpoint.kind());
    let priced = |node: &crate::nodes::Node| served(node).and_then(|_| price(app, node, model, at));
    app.nodes.await_one(model).await;
    let counts = |node: &crate::nodes::Node| {
        served(node).is_some_and(|model| model.continues || model.kind == ModelKind::Embedding)
    };
    let lease = app
        .nodes
        .lease(model, |node| priced(node).is_some() && counts(node))
        .or_else(|_| app.nodes.lease(model, |node| priced(node).is_some()))
        .map_err(|_| no_node(model))?;
    let price = priced(&lease.node()).ok_or_else(|| no_node(model))?;
    let exact = counts(&lease.node());
    let count = if exact { count(app, &lease, id, &request).await? } else { bound(app, &request) };
    Ok(put_together(app, &lease, &request, (price, count, exact)))
}

fn put_together(
    app: &App,
    lease: &Lease,
    request: &Request,
    (price, count, exact): (PriceVersion, PromptCount, bool),
) -> Estimate {
    let cost = |completion| price.price.cost(&BilledTokens { prompt: count.prompt_tokens, cached: 0, completion });
    let typical = app.typicals.of(request.model());
    let likely = typical.map(|typical| {
        let tokens = typical.completion_tokens.min(count.max_completion_tokens);
        let microjoules = Microjoules::new(typical.microjoules_per_token.get().saturating_mul(tokens));
        Likely {
            completion_tokens: tokens,
            cost: cost(tokens).into(),
            microjoules,
            joules: microjoules.joules(),
            seconds: typical.duration.get() as f64 / 1e6,
        }
    });
    Estimate {
        object: "estimate",
        model: request.model().to_owned(),
        node: lease.node_id(),
        price_version: price.version,
        price: price.price,
        prompt_tokens: count.prompt_tokens,
        exact,
        max_completion_tokens: count.max_completion_tokens,
        worst_case: cost(count.max_completion_tokens).into(),
        held: held(app, request).into(),
        likely,
        wait_seconds: wait(&lease.node(), typical),
    }
}

fn held(app: &App, request: &Request) -> Nanocredits {
    let terms = Terms::of(request, context_length(app, request), OffsetDateTime::now_utc());
    dearest(app, request, &terms)
}

/// Those before us, divided by the slots, each as long as an answer usually takes.
fn wait(node: &Arc<crate::nodes::Node>, typical: Option<Typical>) -> u64 {
    let (status, slots) = (node.status(), u64::from(node.offer().slots.max(1)));
    let before = u64::from(status.running) + u64::from(status.waiting);
    let rounds = (before + 1).div_ceil(slots) - 1;
    typical.map_or(0, |typical| (typical.duration.get().saturating_mul(rounds)).div_ceil(1_000_000))
}

/// The most that it can be, where nobody can count it.
fn bound(app: &App, request: &Request) -> PromptCount {
    let terms = Terms::of(request, context_length(app, request), OffsetDateTime::now_utc());
    PromptCount { prompt_tokens: terms.prompt, max_completion_tokens: terms.most }
}

/// Has the node count the prompt.
async fn count(app: &App, lease: &Lease, id: Uuid, request: &Request) -> Result<PromptCount, ApiError> {
    let node = lease.node();
    let model = node.model_named(request.model()).ok_or_else(|| no_node(request.model()))?;
    let call = Call {
        request: id,
        attempt: 1,
        model: model.id.clone(),
        max_tokens: u32::MAX,
        price: Price::default(),
        energy: EnergyTerms::default(),
        salt: None,
        trace: None,
    };
    let ticket = node.ticket(&app.secrets, &call).map_err(|_| ApiError::internal())?;
    let ask = HttpRequest::post(COUNT_PATH)
        .header(CONTENT_TYPE, "application/json")
        .header(TICKET_HEADER, ticket)
        .extension(call)
        .body(Full::new(request.body.clone()))
        .map_err(|_| ApiError::internal())?;
    let answer = tokio::time::timeout(WITHIN, async {
        let response = node.call(ask).await.ok()?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST_COUNT).collect().await.ok()?;
        Some((status, body.to_bytes()))
    });
    match answer.await {
        Ok(Some((200, body))) => serde_json::from_slice(&body).map_err(|_| node_failed()),
        Ok(Some((status @ (400 | 413 | 415 | 422), body))) => {
            let detail = serde_json::from_slice::<ErrorBody>(&body).map_err(|_| node_failed())?.error;
            Err(ApiError { status, detail, retry_after: None })
        }
        _ => Err(node_failed()),
    }
}

/// What a body is for, by the field that only its endpoint has.
fn endpoint_of(body: &[u8]) -> Result<Endpoint, ApiError> {
    let fields = openapi::fields::Fields::parse(body)?;
    let has = |name: &str| fields.left_over().any(|field| field == name);
    Ok(match () {
        () if has("prompt") => Endpoint::Completions,
        () if has("input") && !has("messages") => Endpoint::Embeddings,
        () => Endpoint::ChatCompletions,
    })
}
