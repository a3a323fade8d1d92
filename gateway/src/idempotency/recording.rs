//! An answer written down in memory while it comes, for any number of readers. Nobody waits for a slow one.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use openapi::error::ApiError;
use tokio::sync::{mpsc, watch};

use super::reader::Reader;

/// An answer that grows beyond this is given up: its first reader alone gets the rest.
pub(super) const MOST_BYTES: usize = 8 * 1024 * 1024;

/// How a reply begins.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Found among the kept answers, so that it is a replay even for the first reader.
    pub(super) kept: bool,
}

impl Head {
    /// An event stream goes out as it comes; anything else in one piece.
    pub(super) fn is_stream(&self) -> bool {
        self.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
    }
}

/// The answer broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct BrokenOff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    BrokenOff,
    /// The recording is given up; the first reader goes on without it.
    TooLong,
}

/// What is written down so far.
#[derive(Default)]
pub(super) struct Tape {
    pub(super) head: Option<Result<Head, ApiError>>,
    pub(super) pieces: Vec<Bytes>,
    bytes: usize,
    pub(super) end: Option<End>,
}

impl Tape {
    /// True when a reply can begin.
    pub(super) fn can_be_replied(&self) -> bool {
        match &self.head {
            None => false,
            Some(Ok(head)) => head.is_stream() || self.end.is_some(),
            Some(Err(_)) => true,
        }
    }

    /// All pieces in one.
    pub(super) fn whole(&self) -> Bytes {
        match self.pieces.as_slice() {
            [one] => one.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

/// What comes after a recording was given up, for its first reader.
pub(super) type Beyond = mpsc::Sender<Result<Bytes, BrokenOff>>;

/// The writer's side.
#[derive(Clone)]
pub(super) struct Recording(watch::Sender<Tape>);

impl Recording {
    /// An empty recording and its first reader.
    pub(super) fn begin() -> (Self, Beyond, Reader) {
        let recording = Self(watch::Sender::new(Tape::default()));
        let (beyond, rest) = mpsc::channel(1);
        let reader = Reader::new(recording.0.subscribe(), Some(rest));
        (recording, beyond, reader)
    }

    /// Another reader.
    pub(super) fn follow(&self) -> Reader {
        Reader::new(self.0.subscribe(), None)
    }

    /// Comes back when nobody reads any more.
    pub(super) async fn left_alone(&self) {
        self.0.closed().await;
    }

    /// There will be an answer.
    pub(super) fn open(&self, head: Head) {
        self.0.send_modify(|tape| tape.head = Some(Ok(head)));
    }

    /// There will be none.
    pub(super) fn refuse(&self, error: ApiError) {
        self.0.send_modify(|tape| tape.head = Some(Err(error)));
    }

    /// Adds a piece. False when the recording is given up and the piece must go another way.
    pub(super) fn add(&self, piece: &Bytes) -> bool {
        let mut added = true;
        self.0.send_if_modified(|tape| {
            added = tape.end.is_none() && tape.bytes + piece.len() <= MOST_BYTES;
            if added && !piece.is_empty() {
                tape.bytes += piece.len();
                tape.pieces.push(piece.clone());
            } else if !added {
                tape.end.get_or_insert(End::TooLong);
            }
            true
        });
        added
    }

    /// Nothing more will come.
    pub(super) fn end(&self, how: Result<(), BrokenOff>) {
        let end = if how.is_ok() { End::Complete } else { End::BrokenOff };
        self.0.send_modify(|tape| {
            tape.end.get_or_insert(end);
        });
    }

    /// All of it, unless it was given up.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let tape = self.0.borrow();
        (tape.end == Some(End::Complete)).then(|| tape.whole())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::body::Body;
    use axum::http::HeaderValue;
    use axum::response::Response;
    use http_body_util::BodyExt;

    use super::super::reader::REPLAYED;
    use super::*;

    fn head(media: &'static str) -> Head {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))]);
        Head { status: StatusCode::OK, headers, kept: false }
    }

    async fn reply(reader: Reader) -> Response {
        reader.reply(Box::pin(pending())).await.unwrap()
    }

    async fn rest(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    async fn piece(body: &mut Body) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn everybody_reads_the_same_at_their_own_pace_and_the_first_may_leave() {
        let (recording, _beyond, first) = Recording::begin();
        recording.open(head("text/event-stream; charset=utf-8"));
        let early = recording.follow();
        assert!(recording.add(&Bytes::from_static(b"one ")));
        let mut first = reply(first).await;
        assert!(!first.headers().contains_key(REPLAYED));
        assert_eq!(piece(first.body_mut()).await, "one ", "it comes before the end is there");
        drop(first);
        assert!(recording.add(&Bytes::from_static(b"two ")));
        let mut late = reply(recording.follow()).await;
        assert_eq!(late.headers()[REPLAYED], "true");
        assert_eq!((piece(late.body_mut()).await, piece(late.body_mut()).await), ("one ".into(), "two ".into()));
        assert!(recording.add(&Bytes::from_static(b"three")));
        recording.end(Ok(()));
        assert_eq!(recording.whole().unwrap(), "one two three");
        drop(recording);
        assert_eq!(rest(late.into_body()).await, "three");
        assert_eq!(rest(reply(early).await.into_body()).await, "one two three");
    }

    #[tokio::test]
    async fn what_is_no_stream_goes_out_in_one_piece_or_fails_as_a_whole() {
        let (recording, _beyond, first) = Recording::begin();
        recording.open(head("application/json"));
        assert!(recording.add(&Bytes::from_static(b"{")) && recording.add(&Bytes::from_static(b"}")));
        let (broken, _beyond, second) = Recording::begin();
        broken.open(head("application/json"));
        recording.end(Ok(()));
        broken.end(Err(BrokenOff));
        assert_eq!(rest(reply(first).await.into_body()).await, "{}");
        assert_eq!(second.reply(Box::pin(pending())).await.unwrap_err().0.status, 500);
    }

    #[tokio::test]
    async fn beyond_the_limit_only_the_first_reader_gets_the_rest() {
        let (recording, beyond, first) = Recording::begin();
        recording.open(head("text/event-stream"));
        let following = reply(recording.follow()).await;
        let half = Bytes::from(vec![b'x'; MOST_BYTES / 2]);
        assert!(recording.add(&half) && recording.add(&half));
        assert!(!recording.add(&Bytes::from_static(b"y")), "it is full");
        assert!(!recording.add(&Bytes::new()), "it stays given up");
        recording.end(Ok(()));
        assert_eq!(recording.whole(), None);
        let late = recording.follow().reply(Box::pin(pending())).await.unwrap_err();
        assert_eq!(late.0.detail.code.as_deref(), Some("idempotency_answer_too_long"));
        let following = rest(following.into_body()).await;
        assert!(following.ends_with(b"\n\n") && following[MOST_BYTES..].starts_with(b"data: {\"error\":"));
        beyond.send(Ok(Bytes::from_static(b"y"))).await.unwrap();
        drop(beyond);
        assert!(rest(reply(first).await.into_body()).await.ends_with(b"xxy"));
    }

    #[tokio::test]
    async fn a_revoked_key_ends_its_own_reading_alone() {
        let (recording, _beyond, first) = Recording::begin();
        let refused = recording.follow().reply(Box::pin(async {})).await.unwrap_err();
        assert_eq!(refused.0.status, 401);
        recording.open(head("text/event-stream"));
        let (revoke, revoked) = tokio::sync::oneshot::channel::<()>();
        let mut follower = recording.follow().reply(Box::pin(async { drop(revoked.await) })).await.unwrap();
        recording.add(&Bytes::from_static(b"one "));
        assert_eq!(piece(follower.body_mut()).await, "one ");
        drop(revoke);
        assert!(rest(follower.into_body()).await.starts_with(b"data: {\"error\":"));
        recording.end(Ok(()));
        assert_eq!(rest(reply(first).await.into_body()).await, "one ");
    }

    #[tokio::test]
    async fn readers_hear_when_the_writer_is_gone() {
        let (recording, _beyond, first) = Recording::begin();
        let waiting = recording.follow();
        recording.open(head("text/event-stream"));
        let begun = reply(first).await;
        drop(recording);
        assert!(begun.into_body().collect().await.is_err());
        assert!(reply(waiting).await.into_body().collect().await.is_err());
    }
}
