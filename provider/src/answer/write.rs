//! Writes an answer while it is computed, and stops the engine when nobody reads it any more.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use openapi::chat::FinishReason;
use openapi::continuation::SoFar;
use openapi::energy::{Energy, Status, disclose};
use openapi::error::ApiError;
use openapi::frame::{USAGE_EVENT, UsageFrame, WAITING};
use openapi::sse;
use openapi::usage::Usage;
use tokio::sync::mpsc;
use tokio::time::{Interval, interval};

use super::shape::Shape;
use crate::energy::Share;
use crate::engine::{EngineError, Generation, Step, Task};
use crate::limits::Limit;
use crate::node::Node;
use crate::slots::{Place, Slot};

/// An answer is held back no longer than this for the last reading of its energy; the figure is provisional then.
const SETTLED_WITHIN: Duration = Duration::from_millis(150);

/// A waiting stream says this often that it is alive; the gateway takes a silent node for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// In which form the answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// To a local client, as OpenAI streams.
    Stream,
    /// To a local client, in one piece.
    Whole,
    /// To a gateway: usage frames beside either of the two.
    Frames { stream: bool },
}

/// Makes bytes of steps.
pub(super) struct Writer {
    shape: Shape,
    output: Output,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// The text so far, where it leaves in one piece.
    text: String,
    opened: bool,
    finished: bool,
}

/// Why writing ended early.
enum Stopped {
    ClientLeft,
    Engine(EngineError),
}

impl Writer {
    /// Writes what is missing of an answer of which there is so much.
    pub(super) fn new(shape: Shape, output: Output, prompt_tokens: usize, so_far: &SoFar) -> Self {
        Self {
            shape,
            output,
            prompt_tokens: prompt_tokens as u64,
            completion_tokens: so_far.token_ids.len() as u64,
            text: String::new(),
            opened: so_far.opened,
            finished: so_far.finished,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.output == Output::Whole
    }

    /// Waits for a slot, computes and writes. Returns the error to answer with when nothing could be written.
    pub(super) async fn run(
        mut self,
        node: Arc<Node>,
        task: Task,
        place: Place,
        to: mpsc::Sender<Bytes>,
    ) -> Option<ApiError> {
        let written = self.write(&node, task, place, &to).await;
        node.metrics.request(self.prompt_tokens, self.completion_tokens);
        match written {
            Ok(()) | Err(Stopped::ClientLeft) => None,
            Err(Stopped::Engine(error)) => {
                tracing::error!(%error, "an answer failed");
                let failure = ApiError::internal();
                if self.output != Output::Whole {
                    let event = sse::named("error", &failure.body()).unwrap_or_default();
                    // A client that has left needs no error.
                    let _ = to.send(event.into()).await;
                }
                Some(failure)
            }
        }
    }

    async fn write(
        &mut self,
        node: &Node,
        mut task: Task,
        place: Place,
        to: &mpsc::Sender<Bytes>,
    ) -> Result<(), Stopped> {
        let mut alive = interval(KEEP_ALIVE);
        alive.reset();
        let slot = self.wait(place, &mut task.limit, &mut alive, to).await?;
        let (share, presence) = node.energy.open(self.shape.attempt());
        let Some(slot) = slot else {
            drop(presence);
            let nothing =
                Step { text: String::new(), token_ids: Vec::new(), finish_reason: Some(FinishReason::Length) };
            return self.end(nothing, share, to).await;
        };
        task.presence = Some(presence);
        let mut generation = node.engine.generate(task, slot).await.map_err(Stopped::Engine)?;
        while let Some(step) = self.next_step(&mut generation, &mut alive, to).await? {
            if step.finish_reason.is_some() {
                // The engine lets go of the sequence, and its energy can be read to the end.
                drop(generation);
                return self.end(step, share, to).await;
            }
            self.send(&step, share.energy(), to).await?;
        }
        Ok(())
    }

    /// Writes the last step: what is left of the text at once, the ending with the energy of it all.
    async fn end(&mut self, mut last: Step, mut share: Share, to: &mpsc::Sender<Bytes>) -> Result<(), Stopped> {
        if self.output != Output::Whole && !last.text.is_empty() {
            let text = Step {
                text: std::mem::take(&mut last.text),
                token_ids: std::mem::take(&mut last.token_ids),
                finish_reason: None,
            };
            self.send(&text, share.energy(), to).await?;
        }
        let energy = tokio::select! {
            () = to.closed() => return Err(Stopped::ClientLeft),
            energy = share.settled(SETTLED_WITHIN) => energy,
        };
        self.send(&last, energy, to).await
    }

    /// Waits for a slot; none is needed when the answer may have no token at all.
    async fn wait(
        &self,
        place: Place,
        limit: &mut Limit,
        alive: &mut Interval,
        to: &mpsc::Sender<Bytes>,
    ) -> Result<Option<Slot>, Stopped> {
        let mut slot = std::pin::pin!(place.slot());
        let mut nothing_allowed = std::pin::pin!(limit.reached(0));
        loop {
            tokio::select! {
                biased;
                () = &mut nothing_allowed => return Ok(None),
                () = to.closed() => return Err(Stopped::ClientLeft),
                slot = &mut slot => return Ok(Some(slot)),
                _ = alive.tick() => self.keep_alive(WAITING, to).await,
            }
        }
    }

    async fn send(&mut self, step: &Step, energy: Energy, to: &mpsc::Sender<Bytes>) -> Result<(), Stopped> {
        let piece = self.piece(step, energy);
        if !piece.is_empty() && to.send(piece.into()).await.is_err() {
            return Err(Stopped::ClientLeft);
        }
        Ok(())
    }

    async fn next_step(
        &self,
        generation: &mut Generation,
        alive: &mut Interval,
        to: &mpsc::Sender<Bytes>,
    ) -> Result<Option<Step>, Stopped> {
        loop {
            tokio::select! {
                step = generation.next() => return step.transpose().map_err(Stopped::Engine),
                () = to.closed() => return Err(Stopped::ClientLeft),
                _ = alive.tick() => self.keep_alive("computing", to).await,
            }
        }
    }

    async fn keep_alive(&self, doing: &str, to: &mpsc::Sender<Bytes>) {
        if self.output != Output::Whole {
            // Whether the client is still there is asked for at the next turn.
            let _ = to.send(sse::comment(doing).into()).await;
        }
    }

    /// The bytes of one step: what the gateway shall know first, then what the client sees. A frame counts the tokens of
    /// which some text stands in the events up to the next frame, and no other: see [`Step::token_ids`].
    fn piece(&mut self, step: &Step, energy: Energy) -> String {
        self.completion_tokens += step.token_ids.len() as u64;
        let status = if energy.settled { Status::Settled } else { Status::Provisional };
        let disclosed = disclose(&energy, self.shape.terms(), status);
        let usage = self.shape.priced(Usage::new(self.prompt_tokens, self.completion_tokens, Some(disclosed)));
        match self.output {
            Output::Stream => self.streamed(step, usage),
            Output::Whole => self.collected(step, usage),
            Output::Frames { stream } => {
                let frame = self.frame(step, energy);
                let answer = if stream { self.streamed(step, usage) } else { self.collected(step, usage) };
                let answer = if stream || answer.is_empty() { answer } else { format!("data: {answer}\n\n") };
                frame + &answer
            }
        }
    }

    fn frame(&self, step: &Step, energy: Energy) -> String {
        let frame = UsageFrame {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            token_ids: step.token_ids.clone(),
            energy,
            finish_reason: step.finish_reason,
        };
        sse::named(USAGE_EVENT, &frame).unwrap_or_default()
    }

    fn streamed(&mut self, step: &Step, usage: Usage) -> String {
        let mut piece = if self.opened { String::new() } else { self.shape.opening() };
        self.opened = true;
        if !step.text.is_empty() {
            piece.push_str(&self.shape.text(&step.text));
        }
        if let Some(reason) = step.finish_reason {
            if !self.finished {
                piece.push_str(&self.shape.finish(reason));
            }
            piece.push_str(&self.shape.ending(usage));
        }
        piece
    }

    fn collected(&mut self, step: &Step, usage: Usage) -> String {
        self.text.push_str(&step.text);
        let whole = |reason: FinishReason| self.shape.whole(std::mem::take(&mut self.text), reason, usage);
        step.finish_reason.map(whole).unwrap_or_default()
    }
}
