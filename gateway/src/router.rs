//! Every route and every layer of the gateway, on one screen.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use openapi::error::ApiError;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api;
use crate::app::App;
use crate::body::Json;
use crate::console;
use crate::error::{Failure, Problem};
use crate::log;
use crate::nodes::direct::advertise;
use crate::nodes::{blobs, enrol, key, standing, tunnel};
use crate::responses::routes as responses;
use crate::{audit_log, authors, organization, partners, payouts, receipts, statuses, v1};

/// The id of a request, which its reply bears as `x-request-id`.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

/// A database that takes longer to say anything is away.
const DATABASE_WITHIN: Duration = Duration::from_secs(2);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Milliseconds until the reply began, under OpenAI's name.
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        // Developers, with an inference key
        .routes(routes!(v1::models))
        .routes(routes!(v1::model))
        .routes(routes!(v1::chat_completions))
        .routes(routes!(v1::completions))
        .routes(routes!(responses::create))
        .routes(routes!(responses::show, responses::delete))
        .routes(routes!(responses::input_items))
        .routes(routes!(responses::cancel))
        .routes(routes!(v1::embeddings))
        .routes(routes!(v1::estimate))
        .routes(routes!(receipts::routes::show))
        .routes(routes!(receipts::routes::list))
        .routes(routes!(partners::routes::proposed))
        // People and scripts, with a session or a management key
        .routes(routes!(api::sessions::sign_in))
        .routes(routes!(api::sessions::refresh))
        .routes(routes!(api::sessions::sign_out))
        .routes(routes!(api::me))
        .routes(routes!(api::accounts::change_password))
        .routes(routes!(api::accounts::list))
        .routes(routes!(api::accounts::show))
        .routes(routes!(api::accounts::create_user))
        .routes(routes!(api::accounts::reset_password))
        .routes(routes!(api::keys::create, api::keys::list))
        .routes(routes!(api::keys::change, api::keys::revoke))
        .routes(routes!(api::keys::rotate))
        .routes(routes!(api::limits::show, api::limits::set))
        .routes(routes!(api::nodes::create_token))
        .routes(routes!(api::nodes::list))
        .routes(routes!(api::nodes::show, api::nodes::change, api::nodes::remove))
        .routes(routes!(api::maintenance::plan, api::maintenance::list))
        .routes(routes!(api::maintenance::call_off))
        .routes(routes!(api::attached::attach, api::attached::list))
        .routes(routes!(api::attached::change, api::attached::detach))
        .routes(routes!(api::energy::node))
        .routes(routes!(api::live::watch))
        .routes(routes!(api::routing::show, api::routing::set))
        .routes(routes!(api::usage::over_time::usage))
        .routes(routes!(api::usage::requests::requests))
        .routes(routes!(api::usage::requests::request))
        .routes(routes!(api::energy::request))
        .routes(routes!(api::cancel::cancel))
        .routes(routes!(receipts::routes::of_request))
        .routes(routes!(organization::completions))
        .routes(routes!(organization::costs))
        .routes(routes!(api::prices::list))
        .routes(routes!(api::prices::set))
        .routes(routes!(api::aliases::list))
        .routes(routes!(api::aliases::set, api::aliases::remove))
        .merge(books())
        .routes(routes!(api::audit_log::list))
        // Whoever verifies
        .routes(routes!(receipts::keys::list))
        // Nodes, with a token and then with their own key
        .routes(routes!(enrol::enrol))
        .routes(routes!(tunnel::open))
        .routes(routes!(key::change))
        .routes(routes!(standing::show))
        .routes(routes!(blobs::outline))
        .routes(routes!(blobs::range))
        .routes(routes!(blobs::bad_group))
        .routes(routes!(advertise::advertise))
}

/// Who has which credits, who earns them, and how they leave.
fn books() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::ledger::list))
        .routes(routes!(api::ledger::balance))
        .routes(routes!(api::events::post))
        .routes(routes!(api::splits::add, api::splits::list))
        .routes(routes!(api::epochs::list, api::epochs::close))
        .routes(routes!(api::epochs::statements))
        .routes(routes!(api::epochs::statement))
        .routes(routes!(authors::routes::list))
        .routes(routes!(authors::routes::claim))
        .routes(routes!(authors::routes::assign, authors::routes::take_back))
        .routes(routes!(payouts::routes::list))
        .routes(routes!(payouts::routes::table, payouts::routes::paid))
        .routes(routes!(payouts::routes::destination, payouts::routes::set_destination))
        .routes(routes!(payouts::routes::change))
        .routes(routes!(partners::routes::create, partners::routes::list))
        .routes(routes!(partners::routes::change, partners::routes::end))
        .routes(routes!(partners::routes::invoices))
        .routes(routes!(partners::routes::accept))
        .routes(routes!(partners::routes::nettings, partners::routes::propose))
}

/// The gateway as a service. Layers from the outside in.
pub fn router(app: App) -> Router {
    let (api, document) = routes().split_for_parts();
    // As text it takes a tenth of the memory.
    let document = Bytes::from(statuses::spelled_out(document).to_json().unwrap_or_default());
    api.route("/openapi.json", get(async move || ([(header::CONTENT_TYPE, "application/json")], document)))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        // People, with a browser
        .merge(console::routes())
        // Everybody, for what can be checked
        .merge(log::routes::routes())
        .fallback(unknown_url)
        .method_not_allowed_fallback(method_not_allowed)
        // Nobody changes anything unseen
        .layer(middleware::from_fn_with_state(app.clone(), audit_log::note))
        // A panic is one failed request, not a broken connection
        .layer(CatchPanicLayer::custom(panicked))
        // Replies are nobody else's to keep or to guess the type of
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        // Outermost, so that every reply bears the id under which the log has it
        .layer(middleware::from_fn(with_request_id))
        .with_state(app)
}

/// The description of the API.
pub fn document() -> utoipa::openapi::OpenApi {
    statuses::spelled_out(routes().into_openapi())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Commonwatt gateway",
        description = "OpenAI's API under /v1, management under /api, nodes under /node.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(openapi::error::ErrorBody, Problem, crate::limits::Kind)),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = |about: &str| {
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build())
        };
        components.add_security_scheme("key", bearer("An inference key, `sk-cw-…`"));
        components
            .add_security_scheme("session", bearer("An access token from POST /api/sessions, or a management key"));
    }
}

async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    request.extensions_mut().insert(RequestId(id));
    let span = tracing::info_span!("http", request = %id, method = %request.method(), path = request.uri().path());
    let began = Instant::now();
    let mut response = next.run(request).instrument(span).await;
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    response.headers_mut().insert(PROCESSING, milliseconds.into());
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Ready to take work: the database answers, the journal takes requests, and nothing is being shut down.
async fn ready(app: App) -> Response {
    let asked = sqlx::query_scalar!("select 1 as one").fetch_one(&app.database);
    let database = matches!(tokio::time::timeout(DATABASE_WITHIN, asked).await, Ok(Ok(_)));
    let (stopping, journal) = (app.stop.is_cancelled(), app.journal.state());
    let admits = app.journal.may_admit().is_ok();
    let status = if database && admits && !stopping { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let state = serde_json::json!({
        "replica": app.replica.id(),
        "database": if database { "up" } else { "away" },
        "stopping": stopping,
        "nodes": app.nodes.all().len(),
        "running": app.running.count(),
        "changes_current": app.last_look.is_current(),
        "journal": {
            "open": journal.open,
            "waiting": journal.waiting,
            "set_aside": journal.set_aside,
            "writable": journal.writable,
            "admits": admits,
        },
    });
    (status, Json(state)).into_response()
}

async fn unknown_url(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if uri.path() == "/" && console::is_browser(&method, &headers) {
        return console::redirect().await.into_response();
    }
    if uri.path().starts_with("/api/") {
        return Problem::of(StatusCode::NOT_FOUND, "There is nothing at this path. See /openapi.json.").into_response();
    }
    Failure(ApiError::unknown_url(method.as_str(), uri.path())).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return Problem::of(StatusCode::METHOD_NOT_ALLOWED, "This path has no such method. See /openapi.json.")
            .into_response();
    }
    Failure(ApiError::method_not_allowed(method.as_str(), uri.path())).into_response()
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Failure(ApiError::internal()).into_response()
}
