//! The last word to a node that is sent away, so that its operator reads in the node's own log why.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use openapi::node::{FAREWELL_PATH, Farewell, FarewellReason};

use super::connection::{CallError, NodeBody};

const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What is said.
pub(super) fn of(reason: FarewellReason, message: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    let farewell = serde_json::to_vec(&Farewell { reason, message: message.to_owned() })?;
    Ok(Request::post(FAREWELL_PATH).header(CONTENT_TYPE, "application/json").body(Full::from(farewell))?)
}

/// True when somebody is there who has heard it.
pub(super) async fn is_heard(saying: impl Future<Output = Result<Response<NodeBody>, CallError>>) -> bool {
    let answer = tokio::time::timeout(HEARD_WITHIN, saying).await;
    matches!(answer, Ok(Ok(answer)) if answer.status() == StatusCode::ACCEPTED)
}
