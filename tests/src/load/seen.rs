//! What one client saw of its request.

use std::time::Duration;

use hyper::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::mock::TOKEN;

/// A request as its client saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From `x-request-id`; none when no answer began.
    pub request: Option<Uuid>,
    pub streamed: bool,
    /// 0 when no answer began.
    pub status: u16,
    /// OpenAI's error code, of the reply or of the stream's last event.
    pub code: Option<String>,
    /// The seconds after which a refused client may come back.
    pub retry_after: Option<u64>,
    /// Tokens that arrived, in events that arrived whole.
    pub tokens: u64,
    /// The answer came to its end: `[DONE]`, or the whole JSON.
    pub done: bool,
    /// The client went away before the end.
    pub left: bool,
    pub first_byte: Option<Duration>,
    pub total: Duration,
    /// Between the pieces of a streamed answer, as they arrived.
    pub gaps: Vec<Duration>,
    /// What arrived, as it stood on the wire.
    pub body: Vec<u8>,
}

impl Seen {
    /// Nobody answered.
    pub(super) fn nothing(since: Instant) -> Self {
        let total = since.elapsed();
        Self {
            request: None,
            status: 0,
            code: None,
            retry_after: None,
            streamed: false,
            tokens: 0,
            done: false,
            left: false,
            first_byte: None,
            total,
            gaps: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn head(&mut self, status: u16, headers: &HeaderMap, since: Instant) {
        self.status = status;
        self.request = headers.get("x-request-id").and_then(|id| id.to_str().ok()?.parse().ok());
        self.retry_after = headers.get("retry-after").and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        self.first_byte = Some(since.elapsed());
    }

    /// Looks at what has arrived; `complete` when the reply itself was not broken off.
    pub(super) fn judge(&mut self, complete: bool, streamed: bool, since: Instant) {
        self.total = since.elapsed();
        self.streamed = streamed;
        let text = String::from_utf8_lossy(&self.body);
        if streamed && self.status == 200 {
            let whole = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
            self.tokens = whole.matches(TOKEN).count() as u64;
            self.done = whole.ends_with("data: [DONE]\n\n");
            let last = whole.trim_end().rsplit("\n\n").next().unwrap_or_default();
            self.code = code(last.trim_start_matches("data: "));
        } else if complete {
            self.done = self.status == 200 && serde_json::from_str::<Value>(&text).is_ok();
            self.tokens = if self.done { text.matches(TOKEN).count() as u64 } else { 0 };
            self.code = code(&text);
        }
    }

    /// True when the gateway refused it, or was not there: nothing was done for it.
    pub fn refused(&self) -> bool {
        self.status != 200
    }
}

fn code(json: &str) -> Option<String> {
    let error = serde_json::from_str::<Value>(json).ok()?.get("error")?.clone();
    Some(error["code"].as_str().or(error["type"].as_str()).unwrap_or("error").to_owned())
}
