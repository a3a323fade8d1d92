//! The OpenAI-shaped API.

use axum::Extension;
use axum::extract::Path;
use axum::response::Response;
use openapi::chat::ChatCompletion;
use openapi::completion::Completion;
use openapi::error::ApiError;
use openapi::model::{Model, ModelList};

use crate::app::App;
use crate::auth::Caller;
use crate::body::{Json, RawJson};
use crate::error::Failure;
use crate::inference::{self, Endpoint};
use crate::router::RequestId;

/// Answers a conversation, whole or streamed.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI", security(("key" = [])),
    request_body(content = serde_json::Value, description = "As OpenAI's `chat.completions.create`"),
    responses((status = 200, body = ChatCompletion), Failure))]
pub async fn chat_completions(
    app: App,
    caller: Caller,
    Extension(id): Extension<RequestId>,
    RawJson(body): RawJson,
) -> Result<Response, Failure> {
    inference::serve(&app, caller, id.0, Endpoint::ChatCompletions, body).await
}

/// Continues a text, whole or streamed.
#[utoipa::path(post, path = "/v1/completions", tag = "OpenAI", security(("key" = [])),
    request_body(content = serde_json::Value, description = "As OpenAI's `completions.create`"),
    responses((status = 200, body = Completion), Failure))]
pub async fn completions(
    app: App,
    caller: Caller,
    Extension(id): Extension<RequestId>,
    RawJson(body): RawJson,
) -> Result<Response, Failure> {
    inference::serve(&app, caller, id.0, Endpoint::Completions, body).await
}

/// The models that can be asked now.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", security(("key" = [])), responses((status = 200, body = ModelList), Failure))]
pub async fn models(app: App, _: Caller) -> Json<ModelList> {
    Json(app.nodes.models())
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "OpenAI", security(("key" = [])), params(("model" = String, Path)),
    responses((status = 200, body = Model), Failure))]
pub async fn model(app: App, _: Caller, Path(model): Path<String>) -> Result<Json<Model>, Failure> {
    let found = app.nodes.models().data.into_iter().find(|found| found.id == model || found.manifest == model);
    found.map(Json).ok_or_else(|| ApiError::model_not_found(&model).into())
}
