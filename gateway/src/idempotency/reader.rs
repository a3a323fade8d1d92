//! A client's reading of a recording, as a reply: from the beginning, at the client's own pace, until the end or until the
//! client's key is revoked.

use std::pin::Pin;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use openapi::error::ApiError;
use openapi::sse;
use tokio::sync::{mpsc, watch};

use super::recording::{BrokenOff, End, Head, Tape};
use super::too_long;
use crate::auth;
use crate::error::Failure;

/// Tells a reply that is not the first one under its key.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

type Rest = mpsc::Receiver<Result<Bytes, BrokenOff>>;

/// One client's place in a recording.
pub(super) struct Reader {
    tape: watch::Receiver<Tape>,
    at: usize,
    /// Only the first reader has it.
    beyond: Option<Rest>,
}

/// Comes back when the client's key is revoked.
pub(super) type Revoked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What goes out next, and who goes on.
type Piece = Option<(Result<Bytes, BrokenOff>, Option<(Reader, Revoked)>)>;

impl Reader {
    /// At the beginning; the first reader also hears what comes beyond the recording.
    pub(super) fn new(tape: watch::Receiver<Tape>, beyond: Option<Rest>) -> Self {
        Self { tape, at: 0, beyond }
    }

    /// The reply, as soon as it can begin.
    pub(super) async fn reply(mut self, mut revoked: Revoked) -> Result<Response, Failure> {
        let is_first = self.beyond.is_some();
        let (mut head, whole) = tokio::select! {
            biased;
            () = &mut revoked => return Err(auth::revoked().into()),
            opening = self.opening() => opening?,
        };
        if head.kept || !is_first {
            head.headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        let body = match whole {
            Some(whole) => Body::from(whole),
            None => Body::from_stream(futures_util::stream::unfold(Some((self, revoked)), |reader| async {
                let (reader, revoked) = reader?;
                reader.piece(revoked).await
            })),
        };
        Ok((head.status, head.headers, body).into_response())
    }

    /// Head and body; no body when it is to be read piece by piece.
    async fn opening(&mut self) -> Result<(Head, Option<Bytes>), ApiError> {
        let tape = self.tape.wait_for(Tape::can_be_replied).await.map_err(|_| ApiError::internal())?;
        let head = tape.head.clone().ok_or_else(ApiError::internal)??;
        match tape.end {
            Some(End::TooLong) if self.beyond.is_none() => Err(too_long()),
            Some(End::BrokenOff) if !head.is_stream() => Err(ApiError::internal()),
            Some(End::Complete) if !head.is_stream() => Ok((head, Some(tape.whole()))),
            _ => Ok((head, None)),
        }
    }

    async fn piece(mut self, mut revoked: Revoked) -> Piece {
        let next = tokio::select! {
            biased;
            () = &mut revoked => Err(auth::revoked()),
            next = self.next() => next,
        };
        match next {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some((self, revoked)))),
            Ok(Some(Err(broken_off))) => Some((Err(broken_off), None)),
            Ok(None) => None,
            // Ends the stream with an error that OpenAI's SDKs raise.
            Err(error) => Some((Ok(sse::data(&error.body()).unwrap_or_default().into()), None)),
        }
    }

    async fn next(&mut self) -> Result<Option<Result<Bytes, BrokenOff>>, ApiError> {
        let has_next = |tape: &Tape| tape.pieces.len() > self.at || tape.end.is_some();
        let end = match self.tape.wait_for(has_next).await {
            Ok(tape) => match tape.pieces.get(self.at) {
                Some(piece) => {
                    self.at += 1;
                    return Ok(Some(Ok(piece.clone())));
                }
                None => tape.end,
            },
            // Whoever wrote it is gone.
            Err(_) => Some(End::BrokenOff),
        };
        match (end, &mut self.beyond) {
            (Some(End::Complete), _) => Ok(None),
            (Some(End::TooLong), Some(beyond)) => Ok(beyond.recv().await),
            (Some(End::TooLong), None) => Err(too_long()),
            (Some(End::BrokenOff) | None, _) => Ok(Some(Err(BrokenOff))),
        }
    }
}
