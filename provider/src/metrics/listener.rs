//! The listener that Prometheus reads from, and nobody else: it answers `GET /metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::TEXT_FORMAT;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;

/// Serves until `stop` is given.
pub async fn serve(metrics: Arc<Metrics>, listener: TcpListener, stop: CancellationToken) {
    let routes = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    tokio::select! {
        ended = axum::serve(listener, routes).into_future() => tracing::debug!(?ended, "metrics are not served any more"),
        () = stop.cancelled() => {}
    }
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    // The text is made beside the runtime, which has answers to stream.
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
