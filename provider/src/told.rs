//! What a gateway says of a tunnel while that lasts: to open another one elsewhere, or that it closes this one, and why.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use openapi::error::ApiError;
use openapi::node::Farewell;
use tokio_util::sync::CancellationToken;

use crate::body::JsonBody;
use crate::error::Failure;

/// What was said of one tunnel.
#[derive(Clone, Default)]
pub struct Told {
    /// Given when the gateway asks for a tunnel elsewhere.
    pub elsewhere: CancellationToken,
    farewell: Arc<OnceLock<Farewell>>,
}

impl Told {
    /// Why the gateway closes the tunnel, if it has said so.
    pub fn farewell(&self) -> Option<&Farewell> {
        self.farewell.get()
    }

    /// This replica of the gateway is about to stop.
    pub(crate) fn move_away(&self) -> StatusCode {
        self.elsewhere.cancel();
        StatusCode::ACCEPTED
    }

    /// The first word counts.
    pub(crate) fn leave(&self, JsonBody(body): JsonBody) -> Result<StatusCode, Failure> {
        let farewell = serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
        self.farewell.get_or_init(|| farewell);
        Ok(StatusCode::ACCEPTED)
    }
}
