//! The head of an upstream's reply, and what a refusal means for the client and for the operator.

use serde_json::Value;

use crate::error::{ApiError, ErrorDetail, echo};

/// As much of a refusal's body as is worth reading, in bytes.
pub const LONGEST_ERROR: usize = 64 * 1024;
/// As much of an upstream's message as a client reads, in characters.
const LONGEST_MESSAGE: usize = 1000;
/// Seconds after which a busy upstream is tried again if it names none, and the most that it may name.
const RETRY_AFTER: u32 = 5;
const LONGEST_RETRY_AFTER: u32 = 600;

/// What matters of a reply's head. Values of headers are as they stood on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    pub retry_after: Option<&'a str>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is wrong; the client reads this.
    Client(ApiError),
    /// There is no room.
    Busy {
        /// Seconds.
        retry_after: u32,
    },
    /// The upstream does not take our key: its operator must look, the client is told nothing of it.
    Misconfigured(String),
    /// It does not work; the reason is for the log.
    Failed(String),
}

impl Head<'_> {
    /// What the reply means unless it is the event stream that was asked for. `body` is as much of a refusal's body as
    /// was read, at most [`LONGEST_ERROR`] bytes; the body of status 200 need not be read.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self, body: &[u8]) -> Result<(), Refusal> {
        if let Some(encoding) = self.content_encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            // We said that we take none: what unpacks to a thousand times its size is not unpacked at all.
            return Err(Refusal::Failed(format!("it answered {} in the encoding '{}'", self.status, echo(encoding))));
        }
        match self.status {
            200 => self.check_content_type(),
            400 | 404 | 413 | 415 | 422 => Err(self.client(body)),
            401 | 403 => Err(Refusal::Misconfigured(format!("it refused our key with {}", self.status))),
            429 | 503 => Err(Refusal::Busy { retry_after: self.retry_after() }),
            status => Err(Refusal::Failed(format!("it answered {status}"))),
        }
    }

    fn check_content_type(&self) -> Result<(), Refusal> {
        let media_type = self.content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("text/event-stream") {
            return Ok(());
        }
        Err(Refusal::Failed(format!("it answered with '{}' and not with an event stream", echo(media_type))))
    }

    fn client(&self, body: &[u8]) -> Refusal {
        match detail(body) {
            Some(detail) => Refusal::Client(ApiError { status: self.status, detail, retry_after: None }),
            None => Refusal::Failed(format!("it answered {} without saying why", self.status)),
        }
    }

    /// A date, the other form of this header, is read as no value.
    fn retry_after(&self) -> u32 {
        let seconds = self.retry_after.and_then(|value| value.trim().parse().ok());
        seconds.unwrap_or(RETRY_AFTER).clamp(1, LONGEST_RETRY_AFTER)
    }
}

/// Reads OpenAI's error body, or vLLM's older one, whose fields stand at the top. Numbers are no codes of OpenAI's.
fn detail(body: &[u8]) -> Option<ErrorDetail> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error").unwrap_or(&body);
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(echo);
    Some(ErrorDetail {
        message: sanitised(error.get("message")?.as_str()?),
        kind: text("type").unwrap_or_else(|| "invalid_request_error".to_owned()),
        param: text("param"),
        code: text("code"),
    })
}

fn sanitised(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Refusal {
        Head { status, ..Head::default() }.check(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn only_a_plain_event_stream_is_an_answer() {
        let stream = Head { status: 200, content_type: Some("text/event-stream"), ..Head::default() };
        for (content_type, encoding, taken) in [
            (Some("text/event-stream"), None, true),
            (Some("Text/Event-Stream ; charset=utf-8"), Some("identity"), true),
            (Some("text/event-stream"), Some("gzip"), false),
            (Some("text/event-stream"), Some("identity, br"), false),
            (Some("application/json"), None, false),
            (Some("text/html"), None, false),
            (None, None, false),
        ] {
            let head = Head { content_type, content_encoding: encoding, ..stream };
            assert_eq!(head.check(b"").is_ok(), taken, "{head:?}");
        }
    }

    #[test]
    fn a_verdict_on_the_request_is_the_clients() {
        let Refusal::Client(error) = refused(400, include_str!("fixtures/too_long.json")) else { panic!() };
        assert_eq!((error.status, error.detail.kind.as_str()), (400, "exceed_context_size_error"));
        assert!(error.detail.message.starts_with("request (3031 tokens) exceeds"), "{error}");
        let old = r#"{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#;
        assert_eq!(refused(422, old), Refusal::Client(ApiError::new(422, "BadRequestError", None, "too long")));
    }

    #[test]
    fn a_long_and_hostile_message_is_cut_and_cleaned() {
        let body = serde_json::json!({"error": {"message": "a\nb\0c".repeat(1_000), "type": "x".repeat(500)}});
        let Refusal::Client(error) = refused(413, &body.to_string()) else { panic!() };
        assert_eq!(error.detail.message.chars().count(), LONGEST_MESSAGE);
        assert!(error.detail.message.starts_with("a b ca b c") && error.detail.kind.chars().count() <= 81);
    }

    #[test]
    fn what_is_not_the_clients_does_not_reach_it() {
        let secret = r#"{"error":{"message":"Incorrect API key provided: sk-abc"}}"#;
        for status in [401, 403] {
            let reason = format!("it refused our key with {status}");
            assert_eq!(refused(status, secret), Refusal::Misconfigured(reason));
        }
        for (status, body) in [(500, secret), (302, ""), (400, "<html>"), (404, r#"{"detail":"Not Found"}"#)] {
            assert!(matches!(refused(status, body), Refusal::Failed(_)), "{status}");
        }
        let packed = Head { status: 400, content_encoding: Some("gzip"), ..Head::default() };
        assert!(matches!(packed.check(secret.as_bytes()), Err(Refusal::Failed(_))));
    }

    #[test]
    fn a_busy_upstream_says_for_how_long() {
        for (header, seconds) in [
            (None, 5),
            (Some("30"), 30),
            (Some("0"), 1),
            (Some("999999"), 600),
            (Some("Wed, 21 Oct 2026 07:28:00 GMT"), 5),
        ] {
            let head = Head { status: 503, retry_after: header, ..Head::default() };
            assert_eq!(head.check(b""), Err(Refusal::Busy { retry_after: seconds }));
        }
    }
}
