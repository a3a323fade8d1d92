//! The answer on its way: a chat completion comes in, a response goes out, event by event where the client wants a stream.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::Response;
use http_body_util::BodyExt;
use openapi::error::ApiError;
use openapi::responses::Translator;
use openapi::sse::Scanner;

use super::draft::{Draft, now};
use crate::app::App;
use crate::error::Failure;
use crate::inference::node_failed;

/// The longest event of a chat stream.
const LONGEST_EVENT: usize = 8 * 1024 * 1024;

/// Answers with the whole JSON. It is settled by now; what is left is to store it.
pub(super) async fn whole(app: &App, draft: Draft, reply: Response) -> Result<Response, Failure> {
    let (mut parts, body) = reply.into_parts();
    let broken_off = |error: axum::Error| {
        tracing::error!(%error, "an answer broke off between its meter and its translation");
        ApiError::internal()
    };
    let completion = body.collect().await.map_err(broken_off)?.to_bytes();
    let mut response = Translator::whole(draft.response.clone(), &completion, now()).map_err(|error| {
        tracing::warn!(%error, response = draft.response.id, "an answer could not be translated");
        node_failed()
    })?;
    response.store = draft.keep(app, &response).await;
    let json = serde_json::to_vec(&response).map_err(|_| ApiError::internal())?;
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(json)))
}

/// Answers with an event stream. When the client leaves, it is dropped, and with it the chat stream.
pub(super) fn stream(app: &App, draft: Draft, reply: Response) -> Response {
    let (parts, body) = reply.into_parts();
    let relay = Relay {
        app: app.clone(),
        body,
        scanner: Scanner::new(LONGEST_EVENT),
        translator: Translator::new(draft.response.clone()),
        draft,
    };
    let pieces = futures_util::stream::unfold(Some(Box::new(relay)), |relay| async { relay?.piece().await });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// In a box, since it is handed on with each piece.
struct Relay {
    app: App,
    body: Body,
    scanner: Scanner,
    translator: Translator,
    draft: Draft,
}

/// What goes out next, and who goes on.
type Piece = Option<(Result<Bytes, Infallible>, Option<Box<Relay>>)>;

impl Relay {
    /// The next bytes for the client. The last event waits until the response is stored, and nothing else does.
    async fn piece(mut self: Box<Self>) -> Piece {
        if self.translator.is_complete() {
            let now = now();
            let stored = self.draft.keep(&self.app, &self.translator.finished(now)).await;
            return Some((Ok(self.translator.end(now, stored).into()), None));
        }
        loop {
            let Some(Ok(frame)) = self.body.frame().await else { return self.broken_off() };
            let Ok(bytes) = frame.into_data() else { continue };
            let Ok(events) = self.scanner.push(&bytes) else { return self.broken_off() };
            let written = events.iter().map(|event| self.translator.push(event)).collect::<Vec<_>>().concat();
            if !written.is_empty() || self.translator.is_complete() {
                return Some((Ok(written.into()), Some(self)));
            }
        }
    }

    /// Nothing more comes; the client hears of it unless it has heard already how the answer ended.
    fn broken_off(mut self: Box<Self>) -> Piece {
        let bytes = self.translator.break_off();
        (!bytes.is_empty()).then(|| (Ok(bytes.into()), None))
    }
}
