//! All routes of a node, and the two doors that lead to them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use openapi::blob::{BLOB_PATH, OUTLINE_PATH};
use openapi::continuation::{CONTINUE_PATH, SoFar};
use openapi::energy::report::ENERGY_PATH;
use openapi::error::ApiError;
use openapi::model::ModelList;
use openapi::node::{COUNT_PATH, FAREWELL_PATH, LIMIT_PATH, MOVE_PATH, OFFER_PATH, STATUS_PATH, Ticket};
use openapi::receipt::RECEIPTS_PATH;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::blobs;
use crate::calls;
use crate::error::Failure;
use crate::node::{Node, Served};
use crate::receipts::{Draft, Receipts};
use crate::ticket::TicketVerifier;
use crate::told::Told;

/// The way a request came in.
#[derive(Clone)]
pub struct Doorway {
    pub node: Arc<Node>,
    pub(crate) gateway: Option<Counter>,
}

/// What a gateway brings is checked here, and what is done for it written down.
#[derive(Clone)]
pub struct Counter {
    pub tickets: Arc<TicketVerifier>,
    pub receipts: Arc<Receipts>,
}

impl Doorway {
    /// Lets a request in: through the tunnel only with a valid ticket.
    ///
    /// # Errors
    /// 401 without one.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Option<Ticket>, ApiError> {
        self.gateway.as_ref().map(|gateway| gateway.tickets.verify(headers)).transpose()
    }

    /// Begins to note a request for its receipt, where a gateway wants one.
    pub(crate) fn draft(
        &self,
        served: &Arc<Served>,
        ticket: Option<&Ticket>,
        body: &[u8],
        so_far: &SoFar,
    ) -> Option<Draft> {
        self.gateway.as_ref()?.receipts.draft(served, ticket?, body, so_far)
    }
}

/// The door for this machine's own clients: OpenAI's API, no ticket.
pub fn local(node: Arc<Node>) -> Router {
    let (api, document) = openai().split_for_parts();
    let document = Arc::new(document);
    let api = api.route("/healthz", get(|| async { "ok" })).route(
        "/openapi.json",
        get(move || {
            let document = Arc::clone(&document);
            async move { openapi_json(&document) }
        }),
    );
    finish(api, Doorway { node, gateway: None })
}

/// The door for one gateway: the same API, with a ticket, and what gateway and node say to each other beside it.
/// `told` keeps what the gateway says of the tunnel.
pub fn tunnelled(node: Arc<Node>, gateway: Counter, told: Told) -> Router {
    let (api, _) = openai().split_for_parts();
    let leave = told.clone();
    let api = api
        .route(OFFER_PATH, get(calls::offer))
        .route(STATUS_PATH, get(calls::status))
        .route(ENERGY_PATH, get(calls::energy))
        .route(RECEIPTS_PATH, get(calls::receipts))
        .route(BLOB_PATH, get(blobs::range))
        .route(OUTLINE_PATH, get(blobs::outline))
        .route(LIMIT_PATH, post(calls::limit))
        .route(COUNT_PATH, post(answer::count))
        .route(CONTINUE_PATH, post(answer::go_on))
        .route(FAREWELL_PATH, post(|farewell| async move { leave.leave(farewell) }))
        .route(MOVE_PATH, post(|| async move { told.move_away() }));
    finish(api, Doorway { node, gateway: Some(gateway) })
}

/// The description of the local API.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = openai().into_openapi();
    document.info.title = "Commonwatt node".to_owned();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(
        "What a node serves on its own machine, in OpenAI's shapes. Gateways use the same API with tickets.".to_owned(),
    );
    document.info.license =
        Some(utoipa::openapi::LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build());
    document
}

fn openai() -> OpenApiRouter<Doorway> {
    OpenApiRouter::with_openapi(schemas())
        .routes(routes!(models))
        .routes(routes!(answer::chat))
        .routes(routes!(answer::completion))
        .routes(routes!(answer::embed::embeddings))
}

/// Schemas that only responses without a typed body refer to.
fn schemas() -> utoipa::openapi::OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(openapi::error::ErrorBody)))]
    struct Schemas;
    <Schemas as utoipa::OpenApi>::openapi()
}

fn finish(api: Router<Doorway>, door: Doorway) -> Router {
    api.fallback(unknown_url)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(door)
}

/// The models that this node serves.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", responses((status = 200, body = ModelList), Failure))]
async fn models(State(door): State<Doorway>, headers: HeaderMap) -> Result<Response, Failure> {
    door.admit(&headers)?;
    Ok(json(&ModelList::from(door.node.models().map(|served| served.model()).collect::<Vec<_>>())))
}

async fn unknown_url(method: Method, uri: Uri) -> Failure {
    ApiError::unknown_url(method.as_str(), uri.path()).into()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    ApiError::method_not_allowed(method.as_str(), uri.path()).into()
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Failure(ApiError::internal()).into_response()
}

/// A value as a JSON response.
pub(crate) fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn openapi_json(document: &utoipa::openapi::OpenApi) -> Response {
    json(document)
}
