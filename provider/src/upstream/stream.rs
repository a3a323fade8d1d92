//! An answer of the server, event by event.

use std::collections::VecDeque;
use std::time::Duration;

use openapi::sse::{Event, Scanner};
use openapi::upstream::Refusal;
use reqwest::Response;

use super::{Upstream, within};

/// An answer that has begun. Dropping it closes its connection, by which the server knows to stop.
pub struct Stream {
    response: Response,
    scanner: Scanner,
    ready: VecDeque<Event>,
    silence: Duration,
}

impl Stream {
    pub(super) fn new(response: Response, silence: Duration) -> Self {
        Self { response, scanner: Scanner::new(Upstream::limits().event_bytes), ready: VecDeque::new(), silence }
    }

    /// The next event; `None` at the end of the body. What stands there without a blank line behind it is no event.
    ///
    /// # Errors
    /// When the server falls silent, breaks off, or sends an event without end.
    pub async fn next(&mut self) -> Result<Option<Event>, Refusal> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(bytes) = within(self.silence, self.response.chunk()).await? else { return Ok(None) };
            let events = self.scanner.push(&bytes).map_err(|error| Refusal::Failed(error.to_string()))?;
            self.ready.extend(events);
        }
    }
}
