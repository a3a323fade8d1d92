//! One inference request, from the body to the last byte. Start reading here.

mod forward;

mod meter;

pub mod record;

mod relay;

mod request;

use axum::body::Bytes;
use axum::response::Response;
use openapi::error::ApiError;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{self, Caller};
use crate::error::{Failure, database_away};
use crate::nodes::NoNode;
use forward::{Fault, forward};
use meter::{Meter, Outcome};
pub use request::Endpoint;
use request::Request;

/// Tries of one request on different nodes, as long as the client has seen nothing of it.
const MOST_ATTEMPTS: usize = 3;

/// Serves one request. Each step takes what the step before it gave; whatever happens, the meter's record is written.
///
/// # Errors
/// What the client has to know, in OpenAI's shape.
pub async fn serve(app: &App, caller: Caller, id: Uuid, endpoint: Endpoint, body: Bytes) -> Result<Response, Failure> {
    let request = Request::read(endpoint, body)?;
    if !app.nodes.is_known(&request.model) {
        return Err(ApiError::model_not_found(&request.model).into());
    }
    let revoked = caller.revoked();
    let mut meter = admit(app, caller, id, &request)?;
    let answer = tokio::select! {
        () = revoked.cancelled() => Err((Outcome::KeyRevoked, auth::revoked())),
        answer = attempt(app, &mut meter, &request) => answer,
    };
    match answer {
        Ok(answer) if request.stream => Ok(relay::stream(answer, meter, revoked)),
        Ok(answer) => relay::whole(answer, meter),
        Err((outcome, error)) => {
            meter.end(outcome, error.status);
            Err(error.into())
        }
    }
}

/// Lets a request in and opens its meter.
fn admit(app: &App, caller: Caller, id: Uuid, request: &Request) -> Result<Meter, ApiError> {
    if app.recorder.is_overfull() {
        return Err(database_away());
    }
    Ok(Meter::open(id, caller, request, app.recorder.clone()))
}

/// Tries nodes until one begins to answer.
async fn attempt(app: &App, meter: &mut Meter, request: &Request) -> Result<forward::Answer, (Outcome, ApiError)> {
    let mut tried = Vec::new();
    loop {
        let lease = match app.nodes.lease(&request.model, &tried) {
            Ok(lease) => lease,
            Err(NoNode) if meter.has_failed() => return Err((Outcome::NodeFailed, node_failed())),
            Err(NoNode) => return Err((Outcome::NoNode, no_node(&request.model))),
        };
        tried.push(lease.node_id());
        match forward(app, meter, lease, request).await {
            Ok(answer) => return Ok(answer),
            Err(Fault::Client(error)) => return Err((Outcome::Refused, error)),
            Err(Fault::Busy(error)) if tried.len() == MOST_ATTEMPTS => return Err((Outcome::NoNode, error)),
            Err(Fault::Node(_)) if tried.len() == MOST_ATTEMPTS => return Err((Outcome::NodeFailed, node_failed())),
            Err(Fault::Busy(_) | Fault::Node(_)) => {}
        }
    }
}

fn no_node(model: &str) -> ApiError {
    const SECONDS: u32 = 5;
    ApiError::overloaded(
        format!("No node can answer for the model '{model}' at the moment. Try again shortly."),
        SECONDS,
    )
}

fn node_failed() -> ApiError {
    ApiError::new(
        502,
        "server_error",
        Some("node_failed"),
        "The node that computed this answer failed before it was complete. Try again.",
    )
}
