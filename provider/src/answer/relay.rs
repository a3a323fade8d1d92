//! Passes an answer of the operator's own server on while it arrives. Dropping it drops the server's connection, by which
//! the server knows to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openapi::energy::Energy;
use openapi::error::ApiError;
use openapi::frame::USAGE_EVENT;
use openapi::sse::{Event, Scanner};
use openapi::upstream::{Refusal, TranslateError, Translator};

use super::line::{Line, Output, Stopped};
use super::passed::Passed;
use super::shape::Shape;
use super::write::SETTLED_WITHIN;
use crate::energy::{Presence, Share, StepKind};
use crate::limits::Limit;
use crate::node::Served;
use crate::slots::Place;
use crate::upstream::{Stream, Upstream};

/// Usage and end mark follow the last piece at once; a server that forgets them has said everything.
const ENDING: Duration = Duration::from_secs(5);

/// One answer on its way through.
pub(super) struct Relay {
    upstream: Arc<Upstream>,
    translator: Translator,
    attempt: Option<(uuid::Uuid, u32)>,
    passed: Passed,
    limit: Limit,
    line: Line,
    marked: u64,
}

/// What is metered of it.
struct Metered {
    share: Share,
    /// Until the server has computed everything.
    presence: Option<Presence>,
    /// What it took in the end.
    settled: Option<Energy>,
}

impl Relay {
    pub(super) fn new(upstream: Arc<Upstream>, shape: &Shape, passed: Passed, limit: Limit, line: Line) -> Self {
        // To whoever wants it whole it goes whole, to a gateway that wants it whole as one event.
        let translator = Translator::new(shape.facts(passed.stream, passed.prompt_tokens), Upstream::limits());
        Self { upstream, translator, attempt: shape.attempt(), passed, limit, line, marked: 0 }
    }

    /// Waits for a slot, asks and passes on. Returns the error to answer with when nothing could be written.
    pub(super) async fn run(mut self, node: Arc<Served>, place: Place) -> Option<ApiError> {
        let written = self.pass_on(&node, place).await;
        let tokens = self.translator.tokens();
        node.metrics.request(tokens.prompt, tokens.completion);
        self.line.counted(&node.manifest.name, tokens.prompt, tokens.completion);
        self.line.close(written).await
    }

    async fn pass_on(&mut self, node: &Served, place: Place) -> Result<(), Stopped> {
        let slot = self.line.slot(place, &mut self.limit).await?;
        let (share, presence) = node.energy.open(self.attempt);
        self.line.metered(&share);
        let metered = Metered { share, presence: Some(presence), settled: None };
        // Held until the connection is gone.
        let Some(_slot) = slot else { return self.end_at_limit(metered).await };
        let Some(mut stream) = self.ask().await? else { return self.end_at_limit(metered).await };
        while !self.translator.is_finished() {
            let Some(event) = self.next(&mut stream).await? else {
                drop(stream);
                return self.end_at_limit(metered).await;
            };
            let Some(event) = event else { return self.finish(metered).await };
            let energy = metered.share.energy();
            let bytes = self.translator.push(&event, |_| energy.clone()).map_err(|error| self.broken(&error))?;
            self.mark(&metered, !bytes.is_empty());
            self.send(bytes).await?;
        }
        self.end(stream, metered).await
    }

    /// The stream of the answer; none when the limit was set to nothing meanwhile.
    async fn ask(&mut self) -> Result<Option<Stream>, Stopped> {
        let body = std::mem::take(&mut self.passed.ask.body);
        let (limit, asked) = (&mut self.limit, self.upstream.ask(self.passed.endpoint, body));
        let asked = async {
            tokio::select! {
                biased;
                () = limit.reached(0) => Ok(None),
                stream = asked => stream.map(Some),
            }
        };
        let asked = self.line.during("computing", asked).await?;
        asked.map_err(|refusal| self.refused(refusal))
    }

    /// The next event, or the end of the stream; none when the answer has come to its limit.
    async fn next(&mut self, stream: &mut Stream) -> Result<Option<Option<Event>>, Stopped> {
        let (tokens, told) = (self.translator.tokens().completion, self.passed.ask.most_tokens);
        let limit = &mut self.limit;
        let next = async {
            tokio::select! {
                biased;
                () = limit.is(|limit| is_reached(tokens, told, limit)) => Ok(None),
                event = stream.next() => event.map(Some),
            }
        };
        let next = self.line.during("computing", next).await?;
        next.map_err(|refusal| self.refused(refusal))
    }

    /// One mark for each piece, when it arrives: pieces of several answers that arrive together are of one step. The first
    /// one comes when the prompt has been read.
    fn mark(&mut self, metered: &Metered, is_news: bool) {
        let (tokens, Some(presence)) = (self.translator.tokens(), &metered.presence) else { return };
        let (now, new) = (Instant::now(), tokens.completion.saturating_sub(self.marked));
        let count = |tokens: u64| usize::try_from(tokens).unwrap_or(usize::MAX);
        if is_news && self.marked == 0 {
            presence.mark(now, StepKind::Prefill, (count(tokens.prompt), 0));
        } else if new > 0 {
            presence.mark(now, StepKind::Decode, (count(new), count(tokens.prompt + self.marked)));
        }
        self.marked = tokens.completion.max(u64::from(is_news));
    }

    /// Reads what follows the last piece, and completes the answer with the energy of it all.
    async fn end(&mut self, mut stream: Stream, mut metered: Metered) -> Result<(), Stopped> {
        let energy = self.settle(&mut metered).await?;
        loop {
            let next = tokio::time::timeout(ENDING, stream.next());
            // Whatever goes wrong now, the answer is complete.
            let Ok(Ok(Some(event))) = self.line.during("computing", next).await? else {
                return self.finish(metered).await;
            };
            let bytes = self.translator.push(&event, |_| energy.clone()).map_err(|error| self.broken(&error))?;
            self.send(bytes).await?;
            if event.data().is_some_and(|data| data.trim() == "[DONE]") {
                return Ok(());
            }
        }
    }

    /// The server has nothing more to say.
    async fn finish(&mut self, mut metered: Metered) -> Result<(), Stopped> {
        let energy = self.settle(&mut metered).await?;
        let bytes = self.translator.finish(|_| energy.clone()).map_err(|error| self.broken(&error))?;
        self.send(bytes).await
    }

    /// Ends the answer in good order.
    async fn end_at_limit(&mut self, mut metered: Metered) -> Result<(), Stopped> {
        let energy = self.settle(&mut metered).await?;
        let bytes = self.translator.end_at_limit(|_| energy.clone()).map_err(|error| self.broken(&error))?;
        self.send(bytes).await
    }

    /// The answer is held back for the last reading of its energy.
    async fn settle(&mut self, metered: &mut Metered) -> Result<Energy, Stopped> {
        metered.presence = None;
        if metered.settled.is_none() {
            metered.settled = Some(self.line.during("metering", metered.share.settled(SETTLED_WITHIN)).await?);
        }
        Ok(metered.settled.clone().unwrap_or_else(|| metered.share.energy()))
    }

    /// Frames go to a gateway alone.
    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Stopped> {
        let bytes = match self.line.output() {
            Output::Frames { .. } => bytes,
            output => without_frames(&bytes, output),
        };
        self.line.send(bytes).await
    }

    fn refused(&self, refusal: Refusal) -> Stopped {
        Stopped::Failed(failure(refusal, &self.upstream.address()))
    }

    fn broken(&self, error: &TranslateError) -> Stopped {
        self.refused(Refusal::Failed(error.to_string()))
    }
}

/// True when the node must end an answer of so many tokens. A server that was `told` to make no more than the limit ends
/// it itself, and then says what it has used; unless the answer has been cancelled, or the server goes on regardless.
fn is_reached(tokens: u64, told: u64, limit: usize) -> bool {
    let limit = limit as u64;
    if told <= limit { tokens > told } else { tokens >= limit }
}

/// What the client reads of it; the reason goes to the log.
fn failure(refusal: Refusal, address: &str) -> ApiError {
    match refusal {
        Refusal::Client(error) => error,
        Refusal::Busy { retry_after } => {
            ApiError::overloaded("The server behind this node is busy. Try again shortly.", retry_after)
        }
        Refusal::Misconfigured(reason) | Refusal::Failed(reason) => {
            tracing::error!(upstream = address, reason, "the server failed");
            let message = "The server behind this node failed while processing your request. Try again.";
            ApiError::new(502, "server_error", Some("upstream_failed"), message)
        }
    }
}

/// What a local client gets of a node's events.
fn without_frames(bytes: &[u8], output: Output) -> Vec<u8> {
    let events = Scanner::new(usize::MAX).push(bytes).unwrap_or_default();
    let events = events.into_iter().filter(|event| event.name() != Some(USAGE_EVENT));
    match output {
        Output::Whole => {
            events.filter_map(|event| event.data().map(|data| data.as_bytes().to_vec())).collect::<Vec<_>>().concat()
        }
        _ => events.map(|event| event.raw).collect::<Vec<_>>().concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_told_the_limit_ends_the_answer_itself() {
        for (tokens, told, limit, reached) in [
            (0, 5, 0, true),
            (0, 5, 5, false),
            (5, 5, 5, false),
            (6, 5, 5, true),
            (6, 5, 9, true),
            (4, 100, 5, false),
            (5, 100, 5, true),
            (5, 100, 200, false),
            (5, 100, usize::MAX, false),
        ] {
            assert_eq!(is_reached(tokens, told, limit), reached, "{tokens} of {told}, limit {limit}");
        }
    }

    #[test]
    fn a_local_client_sees_no_frames() {
        let bytes = b"event: usage\ndata: {}\n\ndata: {\"a\":1}\n\nevent: usage\ndata: {}\n\ndata: [DONE]\n\n";
        assert_eq!(without_frames(bytes, Output::Stream), b"data: {\"a\":1}\n\ndata: [DONE]\n\n");
        let whole = b"event: usage\ndata: {}\n\ndata: {\"a\":1}\n\n";
        assert_eq!(without_frames(whole, Output::Whole), br#"{"a":1}"#);
    }
}
