//! `Idempotency-Key`: a request that is sent again, at the same time or within a day, gets the first one's answer and is
//! billed once. Of all that ask the same on this gateway the first leads: it finds the answer or computes it, and all
//! read it from one recording. Among the gateways a claim in Postgres decides who computes.

mod ask;

mod claims;

mod lead;

mod reader;

mod recording;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::response::Response;
use futures_util::FutureExt as _;
use openapi::error::ApiError;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Failure;
use crate::inference::{self, Endpoint, Named};
use ask::Ask;
pub use ask::Submission;
use claims::Claims;
use lead::{Leader, lead};
use reader::Reader;
use recording::{MOST_BYTES, Recording};

/// Serves a request, once however often it is sent if it bears a key.
///
/// # Errors
/// What the client has to know, in OpenAI's shape.
pub async fn serve(
    app: &App,
    caller: Caller,
    submission: Submission,
    endpoint: Endpoint,
    body: Bytes,
) -> Result<Response, Failure> {
    let compute =
        move |app: App, caller, named, body| async move { inference::serve(&app, caller, named, endpoint, body).await };
    serve_with(app, caller, submission, body, compute).await
}

/// The same for whatever computes an answer to a body.
///
/// # Errors
/// What the client has to know, in OpenAI's shape.
pub async fn serve_with<C>(
    app: &App,
    caller: Caller,
    submission: Submission,
    body: Bytes,
    compute: impl FnOnce(App, Caller, Named, Bytes) -> C + Send + 'static,
) -> Result<Response, Failure>
where
    C: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    let Submission { id, key, trace, client_request } = submission;
    let named = Named { caller: trace, client_request, ..Named::of(id) };
    // In a box, or each of the services around it moves the whole request.
    let compute = move |app, caller, named, body| compute(app, caller, named, body).boxed();
    let Some(key) = key else { return compute(app.clone(), caller, named, body).await };
    let ask = asked(app, Ask::each(&app.secrets, (caller.key.account, id), &key, &body)).await?;
    // Whoever reads along does so with a key of their own.
    let watch = caller.watch();
    let revoked = async move { watch.revoked().cancelled().await };
    let app = app.clone();
    let idempotency = app.idempotency.clone();
    let compute = move |billed_as| compute(app, caller, Named { billed_as, ..named }, body);
    idempotency.once(ask, compute, revoked).await
}

/// The request as it was asked before, if it was, whichever secret the gateway had then; else as the newest one has it.
async fn asked(app: &App, each: Vec<Ask>) -> Result<Ask, Failure> {
    let mut each = each.into_iter();
    let newest = each.next().ok_or_else(ApiError::internal)?;
    for older in each {
        if app.idempotency.claims.knows(&older).await? {
            return Ok(older);
        }
    }
    Ok(newest)
}

/// The answers that are being found or computed under a key on this gateway.
#[derive(Clone)]
pub struct Idempotency {
    claims: Claims,
    running: Running,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Idempotency {
    /// Claims in the name of `replica`. What runs when `closing` is given is dropped, and its claim lapses.
    pub fn new(database: PgPool, replica: Uuid, closing: CancellationToken) -> Self {
        let (running, tasks) = (Running::default(), TaskTracker::new());
        Self { claims: Claims::new(database, replica), running, tasks, closing }
    }

    /// Answers with what `compute` gives, or gave. Once begun it runs to its end, also when its client leaves: that client
    /// has said that it will come back. The reply ends when `revoked` does.
    async fn once<C, R>(
        &self,
        ask: Ask,
        compute: impl FnOnce(Uuid) -> C + Send + 'static,
        revoked: R,
    ) -> Result<Response, Failure>
    where
        C: Future<Output = Result<Response, Failure>> + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (reader, leader) = self.running.enter(&ask);
        if let Some(leader) = leader {
            let (claims, closing) = (self.claims.clone(), self.closing.clone());
            let leading = async move {
                tokio::select! {
                    () = lead(claims, ask, leader, compute) => {}
                    () = closing.cancelled() => {}
                }
            };
            self.tasks.spawn(leading.in_current_span());
        }
        reader.reply(Box::pin(revoked)).await
    }

    /// Waits until every answer is computed and kept. Call it when no request can come any more.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Removes answers that are older than a day, and says how many. Call it every hour.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(&self) -> Result<u64, sqlx::Error> {
        self.claims.sweep().await
    }
}

/// The recordings of this gateway, by fingerprint.
#[derive(Clone, Default)]
struct Running(Arc<Mutex<HashMap<[u8; 32], Recording>>>);

impl Running {
    /// Joins those who wait for the same answer; the first of them leads.
    fn enter(&self, ask: &Ask) -> (Reader, Option<Leader>) {
        match self.recordings().entry(ask.fingerprint) {
            Entry::Occupied(running) => (running.get().follow(), None),
            Entry::Vacant(place) => {
                let seat = Seat { running: self.clone(), fingerprint: ask.fingerprint };
                let (recording, beyond, reader) = Recording::begin();
                place.insert(recording.clone());
                (reader, Some(Leader { recording, beyond, seat }))
            }
        }
    }

    fn recordings(&self) -> MutexGuard<'_, HashMap<[u8; 32], Recording>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as it is held, others who ask the same follow.
struct Seat {
    running: Running,
    fingerprint: [u8; 32],
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.running.recordings().remove(&self.fingerprint);
    }
}

fn conflict() -> ApiError {
    let message = "This Idempotency-Key was used for another request within the last 24 hours. Send that request \
                   unchanged to the same path to get its answer, or use a new key for this one.";
    ApiError::new(409, "invalid_request_error", Some("idempotency_conflict"), message)
}

fn in_progress() -> ApiError {
    const SECONDS: u32 = 5;
    let message =
        "The first request with this Idempotency-Key is still running. Send it again later to get its answer.";
    ApiError::new(409, "invalid_request_error", Some("idempotency_in_progress"), message).with_retry_after(SECONDS)
}

fn too_long() -> ApiError {
    let message = format!(
        "The answer to the first request with this Idempotency-Key is longer than {MOST_BYTES} bytes, so only its first \
         reader gets it. Use a new key to have it computed, and billed, again."
    );
    ApiError::new(409, "invalid_request_error", Some("idempotency_answer_too_long"), message)
}

#[cfg(test)]
mod tests;
