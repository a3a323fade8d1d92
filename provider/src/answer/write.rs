//! Writes an answer while the engine computes it, and stops the engine when nobody reads it any more.

use std::sync::Arc;
use std::time::Duration;

use openapi::chat::FinishReason;
use openapi::continuation::SoFar;
use openapi::energy::{Energy, Status, disclose};
use openapi::error::ApiError;
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::sse;
use openapi::usage::Usage;

use super::line::{Line, Output, Stopped};
use super::shape::Shape;
use crate::energy::Share;
use crate::engine::{Engine, EngineError, Step, Task};
use crate::node::Node;
use crate::slots::Place;

/// An answer is held back no longer than this for the last reading of its energy; the figure is provisional then.
pub(super) const SETTLED_WITHIN: Duration = Duration::from_millis(150);

/// Makes bytes of steps.
pub(super) struct Writer {
    engine: Arc<Engine>,
    shape: Shape,
    line: Line,
    output: Output,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// The text so far, where it leaves in one piece.
    text: String,
    opened: bool,
    finished: bool,
}

impl Writer {
    /// Writes what is missing of an answer of which there is so much.
    pub(super) fn new(engine: Arc<Engine>, shape: Shape, line: Line, prompt_tokens: usize, so_far: &SoFar) -> Self {
        Self {
            engine,
            shape,
            output: line.output(),
            line,
            prompt_tokens: prompt_tokens as u64,
            completion_tokens: so_far.token_ids.len() as u64,
            text: String::new(),
            opened: so_far.opened,
            finished: so_far.finished,
        }
    }

    /// Waits for a slot, computes and writes. Returns the error to answer with when nothing could be written.
    pub(super) async fn run(mut self, node: Arc<Node>, task: Task, place: Place) -> Option<ApiError> {
        let written = self.write(&node, task, place).await;
        node.metrics.request(self.prompt_tokens, self.completion_tokens);
        self.line.close(written).await
    }

    async fn write(&mut self, node: &Node, mut task: Task, place: Place) -> Result<(), Stopped> {
        let slot = self.line.slot(place, &mut task.limit).await?;
        let (share, presence) = node.energy.open(self.shape.attempt());
        let Some(slot) = slot else {
            drop(presence);
            let nothing =
                Step { text: String::new(), token_ids: Vec::new(), finish_reason: Some(FinishReason::Length) };
            return self.end(nothing, share).await;
        };
        task.presence = Some(presence);
        let mut generation = self.engine.generate(task, slot).await.map_err(failed)?;
        while let Some(step) = self.line.during("computing", generation.next()).await? {
            let step = step.map_err(failed)?;
            if step.finish_reason.is_some() {
                // The engine lets go of the sequence, and its energy can be read to the end.
                drop(generation);
                return self.end(step, share).await;
            }
            self.send(&step, share.energy()).await?;
        }
        Ok(())
    }

    /// Writes the last step: what is left of the text at once, the ending with the energy of it all.
    async fn end(&mut self, mut last: Step, mut share: Share) -> Result<(), Stopped> {
        if self.output != Output::Whole && !last.text.is_empty() {
            let text = Step {
                text: std::mem::take(&mut last.text),
                token_ids: std::mem::take(&mut last.token_ids),
                finish_reason: None,
            };
            self.send(&text, share.energy()).await?;
        }
        let energy = self.line.during("metering", share.settled(SETTLED_WITHIN)).await?;
        self.send(&last, energy).await
    }

    async fn send(&mut self, step: &Step, energy: Energy) -> Result<(), Stopped> {
        let piece = self.piece(step, energy);
        self.line.send(piece).await
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

fn failed(error: EngineError) -> Stopped {
    tracing::error!(%error, "an answer failed");
    Stopped::Failed(ApiError::internal())
}
