//! What a gateway asks of a node beside answers. Offer and status need no ticket: the tunnel itself is authenticated, and
//! they change nothing.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use openapi::error::ApiError;
use openapi::sse;
use serde::Deserialize;

use crate::chain::Chain;
use crate::error::Failure;
use crate::router::{Doorway, json};

/// What the node sells.
pub(crate) async fn offer(State(door): State<Doorway>) -> Response {
    json(&door.node.offer())
}

/// How the node is, now and at every change.
pub(crate) async fn status(State(door): State<Doorway>) -> Response {
    let mut status = door.node.slots.status();
    status.mark_changed(); // the first event is how things are now
    let slots = door.node.slots.clone();
    let events = futures_util::stream::unfold(Some((status, slots)), |known| async {
        let (mut status, slots) = known?;
        status.changed().await.ok()?;
        let now = *status.borrow_and_update();
        // The last word of a node that leaves; the connection can't end before this stream does.
        let gone = slots.is_leaving() && now.running == 0 && now.waiting == 0;
        Some((Ok::<_, Infallible>(sse::data(&now).ok()?), (!gone).then_some((status, slots))))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

/// Which statements a gateway has already.
#[derive(Deserialize)]
pub(crate) struct After {
    #[serde(default)]
    after: u64,
}

/// The node's energy reports, those that it still has and then those to come.
pub(crate) async fn energy(
    State(door): State<Doorway>,
    Query(After { after }): Query<After>,
) -> Result<Response, Failure> {
    let log = door.node.energy.log().ok_or_else(ApiError::internal)?;
    Ok(statements(Arc::clone(&log.chain), after))
}

/// The node's receipts for this gateway, those that it still has and then those to come.
pub(crate) async fn receipts(
    State(door): State<Doorway>,
    Query(After { after }): Query<After>,
) -> Result<Response, Failure> {
    let gateway = door.gateway.ok_or_else(ApiError::internal)?;
    Ok(statements(Arc::clone(&gateway.receipts.chain), after))
}

/// The statements of a chain after this one, and then those to come.
pub fn statements(chain: Arc<Chain>, after: u64) -> Response {
    let newest = chain.newest();
    let events = futures_util::stream::unfold((chain, newest, after), |(chain, mut newest, after)| async move {
        loop {
            // Marked as seen before the look, so that what comes meanwhile is not missed.
            newest.borrow_and_update();
            let kept = Arc::clone(&chain);
            let statements = tokio::task::spawn_blocking(move || kept.after(after)).await.ok()?.ok()?;
            if let Some((last, _)) = statements.last() {
                let last = *last;
                let events: String = statements.iter().filter_map(|(_, statement)| sse::data(statement).ok()).collect();
                return Some((Ok::<_, Infallible>(events), (chain, newest, last)));
            }
            newest.changed().await.ok()?;
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

/// Moves the limit of a running answer to what the ticket says.
pub(crate) async fn limit(State(door): State<Doorway>, headers: HeaderMap) -> Result<StatusCode, Failure> {
    let moved = door.admit(&headers)?.is_some_and(|ticket| door.node.limits.set(&ticket));
    if moved { Ok(StatusCode::NO_CONTENT) } else { Err(not_running().into()) }
}

fn not_running() -> ApiError {
    let message = "This node answers no such attempt of a request, or has just completed it.";
    ApiError::new(404, "invalid_request_error", Some("attempt_not_running"), message)
}
