//! The OpenAI-shaped API.

use axum::Extension;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use openapi::chat::ChatCompletion;
use openapi::completion::Completion;
use openapi::embedding::EmbeddingList;
use openapi::error::ApiError;
use openapi::model::{Model, ModelList};

use crate::app::App;
use crate::auth::Caller;
use crate::body::{Json, RawJson};
use crate::error::Failure;
use crate::idempotency::{self, Submission};
use crate::inference::Endpoint;
use crate::inference::estimate::{self, Estimate, NoEstimate};
use crate::router::RequestId;

/// Answers a conversation, whole or streamed.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI", security(("key" = [])), params(Submission),
    request_body(content = serde_json::Value, description = "As OpenAI's `chat.completions.create`"),
    responses((status = 200, body = ChatCompletion), Failure))]
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
    request_body(content = serde_json::Value, description = "As OpenAI's `completions.create`"),
    responses((status = 200, body = Completion), Failure))]
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
    request_body(content = serde_json::Value, description = "As OpenAI's `embeddings.create`"),
    responses((status = 200, body = EmbeddingList), Failure))]
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
    request_body(content = serde_json::Value, description = "As for `/v1/chat/completions`, `/v1/completions` or `/v1/embeddings`"),
    responses((status = 200, body = Estimate), Failure))]
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

/// The models that can be asked now with this key.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", security(("key" = [])), responses((status = 200, body = ModelList), Failure))]
pub async fn models(app: App, caller: Caller) -> Json<ModelList> {
    let limits = &caller.key.limits;
    let allowed = app.nodes.models().data.into_iter().filter_map(|model| match limits.allow_model(&model.id) {
        true => Some(model),
        // Allowed under its content address alone, so that is what to ask for.
        false => limits.allow_model(&model.manifest).then(|| Model { id: model.manifest.clone(), ..model }),
    });
    Json(allowed.collect::<Vec<_>>().into())
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "OpenAI", security(("key" = [])), params(("model" = String, Path)),
    responses((status = 200, body = Model), Failure))]
pub async fn model(app: App, caller: Caller, Path(model): Path<String>) -> Result<Json<Model>, Failure> {
    caller.key.limits.check_model(&model)?;
    let found = app.nodes.models().data.into_iter().find(|found| found.id == model || found.manifest == model);
    found.map(Json).ok_or_else(|| ApiError::model_not_found(&model).into())
}
