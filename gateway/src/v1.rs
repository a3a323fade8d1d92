//! The OpenAI-shaped API.

use axum::Extension;
use axum::response::{IntoResponse, Response};
use openapi::chat::ChatCompletion;
use openapi::completion::Completion;
use openapi::embedding::EmbeddingList;
use openapi::error::ApiError;
use openapi::model::{Model, ModelList};
use openapi::schema::{ChatEvent, CompletionEvent};

use crate::aliases::listing;
use crate::app::App;
use crate::auth::Caller;
use crate::body::{Json, RawJson, Segment};
use crate::error::Failure;
use crate::idempotency::{self, Submission};
use crate::inference::Endpoint;
use crate::inference::described::{ChatBody, CompletionBody, EmbeddingBody, EstimateBody, NoAnswer, Unestimated};
use crate::inference::estimate::{self, Estimate, NoEstimate};
use crate::router::RequestId;

/// Answers a conversation, whole or streamed.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI", security(("key" = [])), params(Submission),
    request_body = ChatBody,
    responses((status = 200, description = "The answer", content((ChatCompletion = "application/json"), (ChatEvent = "text/event-stream"))),
        NoAnswer, Failure))]
pub async fn chat_completions(
    app: App,
    caller: Caller,
    submission: Submission,
    RawJson(body): RawJson,
) -> Result<Response, Failure> {
    idempotency::serve(&app, caller, submission, Endpoint::ChatCompletions, body).await
}

/// Continues a text, whole or streamed.
#[utoipa::path(post, path = "/v1/completions", tag = "OpenAI", security(("key" = [])), params(Submission),
    request_body = CompletionBody,
    responses((status = 200, description = "The answer", content((Completion = "application/json"), (CompletionEvent = "text/event-stream"))),
        NoAnswer, Failure))]
pub async fn completions(
    app: App,
    caller: Caller,
    submission: Submission,
    RawJson(body): RawJson,
) -> Result<Response, Failure> {
    idempotency::serve(&app, caller, submission, Endpoint::Completions, body).await
}

/// Makes vectors of texts.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI", security(("key" = [])), params(Submission),
    request_body = EmbeddingBody, responses((status = 200, body = EmbeddingList), NoAnswer, Failure))]
pub async fn embeddings(
    app: App,
    caller: Caller,
    submission: Submission,
    RawJson(body): RawJson,
) -> Result<Response, Failure> {
    idempotency::serve(&app, caller, submission, Endpoint::Embeddings, body).await
}

/// Says what a request would take: tokens, cost, energy, wait. The body is the request's own.
#[utoipa::path(post, path = "/v1/estimate", tag = "OpenAI", security(("key" = [])),
    request_body = EstimateBody, responses((status = 200, body = Estimate), Unestimated, Failure))]
pub async fn estimate(
    app: App,
    caller: Caller,
    Extension(id): Extension<RequestId>,
    RawJson(body): RawJson,
) -> Result<Response, Failure> {
    match estimate::estimate(&app, &caller, id.0, body).await {
        Ok(estimate) => Ok(Json(estimate).into_response()),
        Err(NoEstimate::Refused(refusal)) => Ok(refusal.into_response()),
        Err(NoEstimate::Error(error)) => Err(error.into()),
    }
}

/// The models that can be asked now with this key, and the aliases under which they can be asked too.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", security(("key" = [])), responses((status = 200, body = ModelList), Failure))]
pub async fn models(app: App, caller: Caller) -> Json<ModelList> {
    Json(listing::allowed(&app, &caller.key).into())
}

/// One model, by its name, its content address or an alias.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "OpenAI", security(("key" = [])), params(("model" = String, Path)),
    responses((status = 200, body = Model), Failure))]
pub async fn model(app: App, caller: Caller, Segment(name): Segment) -> Result<Json<Model>, Failure> {
    let meant = app.aliases.stands_for(&name);
    let may_ask = caller.key.limits.allow_model(meant.as_deref().unwrap_or(&name));
    let found = listing::find(&app, caller.key.account, &name).filter(|_| may_ask);
    found.map(Json).ok_or_else(|| ApiError::model_not_found(&name).into())
}
