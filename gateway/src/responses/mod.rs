//! `/v1/responses`: what is asked becomes a chat completion, which is held for, routed, metered, continued and settled as
//! any other, and its answer becomes a response. Only storing it is done here.

mod draft;

mod relay;

pub mod routes;

mod table;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use openapi::responses::in_our_words;
use sqlx::PgPool;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Failure;
use crate::idempotency::{self, Submission};
use crate::inference::{self, Endpoint, Named};
use draft::Draft;

/// What the gateway's operator says about storing.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// False: nothing is stored, whatever is asked.
    pub store: bool,
    /// 0 keeps them until they are deleted.
    pub keep_days: u16,
}

impl Settings {
    /// Deletes what was kept for long enough, and says how many. Call it every hour.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(self, database: &PgPool) -> Result<u64, sqlx::Error> {
        if self.keep_days == 0 { Ok(0) } else { table::sweep(database, self.keep_days).await }
    }
}

/// Serves a request, once however often it is sent if it bears a key.
///
/// # Errors
/// What the client has to know, in OpenAI's shape.
async fn serve(app: &App, caller: Caller, submission: Submission, body: Bytes) -> Result<Response, Failure> {
    let compute = |app: App, caller, named, body: Bytes| async move { answer(&app, caller, named, &body).await };
    idempotency::serve_with(app, caller, submission, body, compute).await
}

async fn answer(app: &App, caller: Caller, named: Named, body: &[u8]) -> Result<Response, Failure> {
    let mut draft = Draft::read(app, caller.key.account, named.id, body).await?;
    let chat = std::mem::take(&mut draft.chat).into();
    let reply = inference::serve(app, caller, named, Endpoint::Responses, chat).await;
    let reply = reply.map_err(|Failure(error)| in_our_words(error))?;
    match reply.status() {
        StatusCode::OK if draft.stream => Ok(relay::stream(app, draft, reply)),
        StatusCode::OK => relay::whole(app, draft, reply).await,
        _ => Ok(reply),
    }
}

#[cfg(test)]
mod tests;
