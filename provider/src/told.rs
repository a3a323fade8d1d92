//! What a gateway says of a tunnel while that lasts: to open another one elsewhere, or that it closes this one, and why.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::http::StatusCode;
use openapi::node::Farewell;
use tokio_util::sync::CancellationToken;

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
    pub(crate) fn leave(&self, Json(farewell): Json<Farewell>) -> StatusCode {
        self.farewell.get_or_init(|| farewell);
        StatusCode::ACCEPTED
    }
}
