//! The one who leads for all that ask the same on this gateway: finds the answer, or claims and computes it.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use openapi::error::ApiError;
use openapi::sse;
use uuid::Uuid;

use super::ask::Ask;
use super::claims::{Claims, End, Found, Kept};
use super::recording::{Beyond, BrokenOff, Head, Recording};
use super::{Seat, conflict, in_progress, too_long};
use crate::error::Failure;

/// Who waits for another gateway's answer looks this often, at first and later on.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// And not for ever.
const WAIT_LIMIT: Duration = Duration::from_secs(300);
/// A failure is told no later than this, whether or not the database knows that the key is free.
const FREE_WITHIN: Duration = Duration::from_secs(2);
/// While the database is away, an end is written again and again.
const WRITE_AGAIN: Duration = Duration::from_millis(500);
const WRITE_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Pieces that are there at the same time are joined up to about this.
const LONG_PIECE: usize = 64 * 1024;

/// What the leader holds.
pub(super) struct Leader {
    pub(super) recording: Recording,
    pub(super) beyond: Beyond,
    pub(super) seat: Seat,
}

/// Leads until the answer is recorded and kept, or has failed. `compute` is told in whose name to bill.
pub(super) async fn lead<C>(claims: Claims, ask: Ask, leader: Leader, compute: impl FnOnce(Uuid) -> C + Send)
where
    C: Future<Output = Result<Response, Failure>> + Send,
{
    match find(&claims, &ask, &leader.recording).await {
        Ok(Answer::Unknown { billed_as }) => run(&claims, &ask, leader, compute(billed_as)).await,
        Ok(Answer::Kept(head, answer)) => {
            leader.recording.open(head);
            leader.recording.add(&answer);
            leader.recording.end(Ok(()));
        }
        Err(Failure(error)) => {
            // In this order: who asks after hearing of it must not follow, but lead.
            drop(leader.seat);
            leader.recording.refuse(error);
        }
    }
}

enum Answer {
    Kept(Head, Bytes),
    /// It is to be computed here.
    Unknown {
        billed_as: Uuid,
    },
}

/// The answer that is kept, once whoever computes it is ready.
async fn find(claims: &Claims, ask: &Ask, recording: &Recording) -> Result<Answer, Failure> {
    if let Some(billed_as) = claims.claim(ask).await? {
        return Ok(Answer::Unknown { billed_as });
    }
    let (begun, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        match claims.look(ask).await? {
            Found::Nothing => {
                if let Some(billed_as) = claims.claim(ask).await? {
                    return Ok(Answer::Unknown { billed_as });
                }
            }
            Found::Kept(kept) => return open(ask, kept),
            Found::TooLong => return Err(too_long().into()),
            Found::Another => return Err(conflict().into()),
            Found::Running if begun.elapsed() > WAIT_LIMIT => return Err(in_progress().into()),
            Found::Running => {}
        }
        tokio::select! {
            () = recording.left_alone() => return Err(in_progress().into()),
            () = tokio::time::sleep(pause) => pause = (pause * 3 / 2).min(PAUSES.1),
        }
    }
}

fn open(ask: &Ask, kept: Kept) -> Result<Answer, Failure> {
    let answer = ask.open(&kept.sealed).map_err(|_| {
        tracing::error!(request = %ask.request, "a kept answer is damaged");
        ApiError::internal()
    })?;
    let status = StatusCode::from_u16(kept.status).map_err(|_| ApiError::internal())?;
    Ok(Answer::Kept(Head { status, headers: kept.headers.into(), kept: true }, answer.into()))
}

/// Computes the answer, while others are told that the run lives, and writes what became of it.
async fn run(
    claims: &Claims,
    ask: &Ask,
    leader: Leader,
    compute: impl Future<Output = Result<Response, Failure>> + Send,
) {
    let ending = tokio::select! {
        never = claims.keep_alive(ask) => match never {},
        ending = record(&leader, compute) => ending,
    };
    let Leader { recording, beyond, seat } = leader;
    match ending {
        Ending::Good(head) => {
            drop(beyond);
            let end = recording.whole().map_or(End::TooLong, |answer| keep(ask, &head, &answer));
            write(claims, ask, &end).await;
            drop(seat);
        }
        Ending::Bad(last) => {
            // The key is free before anybody hears of the failure and tries again.
            let freed = tokio::time::timeout(FREE_WITHIN, claims.end(ask, &End::Freed)).await;
            drop(seat);
            last.say(&recording, beyond).await;
            if !matches!(freed, Ok(Ok(()))) {
                write(claims, ask, &End::Freed).await;
            }
        }
    }
}

fn keep(ask: &Ask, head: &Head, answer: &[u8]) -> End {
    match ask.seal(answer) {
        Ok(sealed) => End::Kept(Kept { status: head.status.as_u16(), headers: (&head.headers).into(), sealed }),
        Err(_) => {
            tracing::error!(request = %ask.request, "an answer can't be encrypted, so it is not kept");
            End::Freed
        }
    }
}

/// Writes an end, even if the database is away for a while. Readers of the recording do not wait for it.
async fn write(claims: &Claims, ask: &Ask, end: &End) {
    let begun = Instant::now();
    while let Err(error) = claims.end(ask, end).await {
        tracing::warn!(%error, request = %ask.request, "the end of a request with an Idempotency-Key is not written yet");
        if begun.elapsed() > WRITE_WITHIN {
            return;
        }
        tokio::time::sleep(WRITE_AGAIN).await;
    }
}

enum Ending {
    /// Everybody has all of it.
    Good(Head),
    /// What nobody has heard yet.
    Bad(LastWords),
}

enum LastWords {
    Refusal(ApiError),
    Piece(Bytes, Result<(), BrokenOff>),
}

impl LastWords {
    async fn say(self, recording: &Recording, beyond: Beyond) {
        match self {
            Self::Refusal(error) => recording.refuse(error),
            Self::Piece(piece, how) => {
                if !recording.add(&piece) {
                    // The first reader may be gone, and then nobody misses it.
                    let _ = beyond.send(Ok(piece)).await;
                    if let Err(broken_off) = how {
                        let _ = beyond.send(Err(broken_off)).await;
                    }
                }
                recording.end(how);
            }
        }
    }
}

/// Takes an answer down as it comes, and judges how it ends.
async fn record(leader: &Leader, compute: impl Future<Output = Result<Response, Failure>>) -> Ending {
    let (parts, mut body) = match compute.await {
        Ok(response) => response.into_parts(),
        Err(Failure(error)) => return Ending::Bad(LastWords::Refusal(error)),
    };
    let head = Head { status: parts.status, headers: parts.headers, kept: false };
    leader.recording.open(head.clone());
    let mut tail = Tail::default();
    loop {
        let (piece, end) = next_piece(&mut body).await;
        tail.add(&piece);
        let is_good = head.status == StatusCode::OK && (!head.is_stream() || tail.is_done());
        if let Some(how) = end
            && (how.is_err() || !is_good)
        {
            return Ending::Bad(LastWords::Piece(piece, how));
        }
        let taken = leader.recording.add(&piece) || leader.beyond.send(Ok(piece)).await.is_ok();
        if end.is_some() {
            leader.recording.end(Ok(()));
            return Ending::Good(head);
        }
        if !taken {
            // Too long to come back for, and its one reader has left.
            return Ending::Bad(LastWords::Piece(Bytes::new(), Ok(())));
        }
    }
}

/// All that is there, and whether the body ends with it: a last piece is not passed on before its end is judged.
async fn next_piece(body: &mut Body) -> (Bytes, Option<Result<(), BrokenOff>>) {
    let mut bytes = Vec::new();
    let mut frame = body.frame().await;
    loop {
        match frame {
            Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(error)) => {
                tracing::warn!(%error, "an answer broke off");
                return (bytes.into(), Some(Err(BrokenOff)));
            }
            None => return (bytes.into(), Some(Ok(()))),
        }
        if bytes.len() >= LONG_PIECE {
            return (bytes.into(), None);
        }
        frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => return (bytes.into(), None),
        };
    }
}

/// The last bytes of an answer, which tell whether a stream came to its end.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    const LONGEST: usize = 32;

    fn add(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(&piece[piece.len().saturating_sub(Self::LONGEST)..]);
        self.0.drain(..self.0.len().saturating_sub(Self::LONGEST));
    }

    /// True behind `data: [DONE]`, or the comment that stands for it.
    fn is_done(&self) -> bool {
        let tail = self.0.trim_ascii_end();
        let mark = tail.strip_suffix(b"[DONE]").map(|before| before.trim_ascii_end().ends_with(b"data:"));
        let comment = tail.strip_suffix(sse::END.trim_ascii_end().as_bytes()).map(|before| before.ends_with(b"\n"));
        mark.or(comment).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_byte_is_lost_however_a_body_is_cut() {
        for length in [1, LONG_PIECE - 1, LONG_PIECE, LONG_PIECE + 1] {
            let pieces = (0..4u8).map(move |piece| Ok::<_, BrokenOff>(vec![piece; length]));
            let mut body = Body::from_stream(futures_util::stream::iter(pieces));
            let mut all = Vec::new();
            loop {
                let (piece, end) = next_piece(&mut body).await;
                all.extend_from_slice(&piece);
                if let Some(how) = end {
                    assert_eq!(how, Ok(()));
                    break;
                }
            }
            assert_eq!(all, (0..4u8).flat_map(|piece| vec![piece; length]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stream_is_done_behind_its_end_mark_wherever_it_is_cut() {
        let is_done = |stream: &[u8], at: usize| {
            let (head, rest) = stream.split_at(at.min(stream.len()));
            let mut tail = Tail::default();
            tail.add(head);
            tail.add(rest);
            tail.is_done()
        };
        for at in 0..60 {
            assert!(is_done(b"data: {\"a\": \"a long piece of text\"}\n\ndata: [DONE]\n\n", at));
            assert!(is_done(b"data:[DONE]\r\n\r\n", at));
            assert!(is_done(b"event: response.completed\ndata: {\"a\":1}\n\n: end\n\n", at));
            assert!(!is_done(b"event: response.failed\ndata: {\"a\":\": end\"}\n\n", at));
            assert!(!is_done(b"data: {\"error\":{}}\n\n", at));
            assert!(!is_done(b"data: {\"a\":\"data: [DONE]\"}\n\n", at));
            assert!(!is_done(b"", at));
        }
    }
}
