//! Writes answers while the engine computes them, one after the other, and stops the engine when nobody reads them any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openapi::chat::FinishReason;
use openapi::continuation::ChoiceSoFar;
use openapi::energy::{Energy, Status, disclose};
use openapi::error::ApiError;
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::sse;
use openapi::usage::Usage;

use super::asked::Asked;
use super::choice::{Choice, Whole};
use super::line::{Line, Output, Stopped};
use super::logprobs::Rated;
use super::parts::Part;
use super::shape::Shape;
use crate::energy::{Presence, Share};
use crate::engine::{Engine, EngineError, Guided, Said, Step, Task, Told};
use crate::limits::Limit;
use crate::node::Served;
use crate::slots::{Place, Slot};

/// An answer is held back no longer than this for the last reading of its energy; the figure is provisional then.
pub(super) const SETTLED_WITHIN: Duration = Duration::from_millis(150);

/// One of the answers that are asked for.
pub(super) struct Sequence {
    /// Which of the prompts.
    pub(super) prompt: usize,
    pub(super) seed: i64,
    pub(super) max_tokens: usize,
    pub(super) so_far: ChoiceSoFar,
}

/// What all of the answers have in common.
pub(super) struct Work {
    pub(super) asked: Asked,
    pub(super) guided: Option<Guided>,
    pub(super) sequences: Vec<Sequence>,
    /// Another node of this build has begun.
    pub(super) same_build: bool,
    pub(super) limit: Limit,
}

/// What an answer is computed with.
struct Desk {
    slot: Arc<Slot>,
    presence: Arc<Presence>,
}

/// Makes bytes of steps.
pub(super) struct Writer {
    engine: Arc<Engine>,
    shape: Shape,
    line: Line,
    output: Output,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// Those that are complete, where they leave in one piece.
    whole: Vec<Whole>,
}

impl Writer {
    pub(super) fn new(engine: Arc<Engine>, shape: Shape, line: Line) -> Self {
        let output = line.output();
        Self { engine, shape, output, line, prompt_tokens: 0, completion_tokens: 0, whole: Vec::new() }
    }

    /// Waits for a slot, computes and writes. Returns the error to answer with when nothing could be written.
    pub(super) async fn run(mut self, node: Arc<Served>, work: Work, place: Place) -> Option<ApiError> {
        self.prompt_tokens = work.asked.prompt_tokens() as u64;
        let written = self.write(&node, work, place).await;
        node.metrics.request(self.prompt_tokens, self.completion_tokens);
        self.line.counted(&node.manifest.name, self.prompt_tokens, self.completion_tokens);
        self.line.close(written).await
    }

    async fn write(&mut self, node: &Served, work: Work, place: Place) -> Result<(), Stopped> {
        // Nothing but the prompt may be asked for, which no limit on answers forbids.
        let mut limit = if work.asked.echo { Limit::none() } else { work.limit.again() };
        let slot = self.line.slot(place, &mut limit).await?;
        let (share, presence) = node.energy.open(self.shape.attempt());
        self.line.metered(&share);
        let desk = slot.map(|slot| Desk { slot: Arc::new(slot), presence: Arc::new(presence) });
        let count = work.sequences.len();
        for (index, sequence) in work.sequences.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let mut choice = Choice::new(index, &work.asked.form, &sequence.so_far);
            let reason = match &desk {
                // It may have no token at all.
                None => FinishReason::Length,
                Some(desk) => self.answer(&work, (index, sequence, &mut choice), desk, &share).await?,
            };
            if (index as usize) + 1 == count {
                // The engine lets go of the slot, and the energy can be read to the end.
                drop(desk);
                return self.end((index, choice, reason), share).await;
            }
            let events = self.finished(choice, reason);
            self.line.send(events).await?;
        }
        Ok(())
    }

    /// Writes one answer but for its end, and says why it ended.
    async fn answer(
        &mut self,
        work: &Work,
        (index, sequence, choice): (u32, &Sequence, &mut Choice),
        desk: &Desk,
        share: &Share,
    ) -> Result<FinishReason, Stopped> {
        let so_far = &sequence.so_far;
        let spent = usize::try_from(self.completion_tokens).unwrap_or(usize::MAX);
        self.completion_tokens += so_far.token_ids.len() as u64;
        if work.asked.echo && !so_far.finished {
            let parts = self.echo(&work.asked, (sequence, choice), desk).await?;
            self.say((index, choice), parts, (Vec::new(), share.energy())).await?;
        }
        let most = sequence.max_tokens.min(work.limit.now().saturating_sub(spent));
        if so_far.finished {
            let is_full = so_far.token_ids.len() >= most;
            return Ok(if is_full { FinishReason::Length } else { FinishReason::Stop });
        }
        if most == 0 && so_far.token_ids.is_empty() {
            return Ok(FinishReason::Length);
        }
        let mut told = so_far.token_ids.len();
        let task = work.task(sequence, spent, desk);
        let (mut part, mut since) = ("prefill", Instant::now());
        let mut generation = self.engine.generate(task, Arc::clone(&desk.slot)).await.map_err(failed)?;
        while let Some(step) = self.line.during("computing", generation.next()).await? {
            let Step { text, mut tokens, finish_reason } = step.map_err(failed)?;
            if std::mem::replace(&mut part, "decode") == "prefill" {
                self.line.passed("prefill", std::mem::replace(&mut since, Instant::now()));
            }
            let rated = self.rated(&work.asked, &tokens);
            told -= tokens.drain(..told.min(tokens.len())).len();
            let mut parts = choice.step(&text, rated);
            if finish_reason.is_some() {
                parts.extend(choice.rest());
            }
            self.say((index, choice), parts, (tokens, share.energy())).await?;
            if let Some(reason) = finish_reason {
                self.line.passed(part, since);
                return Ok(reason);
            }
        }
        Ok(FinishReason::Stop)
    }

    /// The prompt, with how likely it is where that is asked for.
    async fn echo(
        &mut self,
        asked: &Asked,
        (sequence, choice): (&Sequence, &mut Choice),
        desk: &Desk,
    ) -> Result<Vec<Part>, Stopped> {
        let tokens = asked.prompts.get(sequence.prompt).map(Vec::as_slice).unwrap_or_default();
        let mut rated = Vec::new();
        if let Some(top) = asked.logprobs {
            let at = (Arc::clone(&desk.slot), Some(Arc::clone(&desk.presence)));
            let chances = self.line.during("computing", self.engine.score(tokens, top, at)).await?.map_err(failed)?;
            let pairs = tokens.iter().zip(&chances);
            rated = pairs.map(|(token, chances)| Rated::new(&self.engine, *token, chances.as_ref())).collect();
        }
        Ok(choice.echo(self.engine.text(tokens), rated))
    }

    fn rated(&self, asked: &Asked, tokens: &[Told]) -> Vec<Rated> {
        if asked.logprobs.is_none() {
            return Vec::new();
        }
        tokens.iter().map(|token| Rated::new(&self.engine, token.id, token.chances.as_deref())).collect()
    }

    /// Writes parts of an answer, and before them what the gateway shall know. A frame counts the tokens of which some text
    /// stands in the events up to the next frame, and no other: see [`Step::tokens`].
    async fn say(
        &mut self,
        (index, choice): (u32, &mut Choice),
        parts: Vec<Part>,
        (tokens, energy): (Vec<Told>, Energy),
    ) -> Result<(), Stopped> {
        self.completion_tokens += tokens.len() as u64;
        let mut piece = String::new();
        if let Output::Frames { .. } = self.output {
            piece = self.frame(index, tokens, energy, None);
        }
        if self.streams() {
            piece.push_str(&choice.streamed(&self.shape, &parts));
        } else {
            choice.collect(parts);
        }
        self.line.send(piece).await
    }

    /// What says that an answer is complete.
    fn finished(&mut self, mut choice: Choice, reason: FinishReason) -> String {
        if self.streams() {
            return choice.finish(&self.shape, reason);
        }
        self.whole.push(choice.into_whole(reason));
        String::new()
    }

    /// Writes the end of the last answer, with the energy of them all.
    async fn end(&mut self, (index, choice, reason): (u32, Choice, FinishReason), share: Share) -> Result<(), Stopped> {
        let mut share = share;
        let since = Instant::now();
        let energy = self.line.during("metering", share.settled(SETTLED_WITHIN)).await?;
        self.line.passed("meter", since);
        let usage = self.usage(&energy);
        let mut piece = String::new();
        if let Output::Frames { .. } = self.output {
            piece = self.frame(index, Vec::new(), energy, Some(reason));
        }
        piece.push_str(&self.finished(choice, reason));
        match self.output {
            Output::Stream | Output::Frames { stream: true } => piece.push_str(&self.shape.ending(usage)),
            Output::Whole => piece.push_str(&self.shape.whole(std::mem::take(&mut self.whole), usage)),
            Output::Frames { stream: false } => {
                let whole = self.shape.whole(std::mem::take(&mut self.whole), usage);
                piece.push_str(&format!("data: {whole}\n\n"));
            }
        }
        self.line.send(piece).await
    }

    fn streams(&self) -> bool {
        matches!(self.output, Output::Stream | Output::Frames { stream: true })
    }

    fn usage(&self, energy: &Energy) -> Usage {
        let status = if energy.settled { Status::Settled } else { Status::Provisional };
        let disclosed = disclose(energy, self.shape.terms(), status);
        self.shape.priced(Usage::new(self.prompt_tokens, self.completion_tokens, Some(disclosed)))
    }

    fn frame(&self, choice: u32, tokens: Vec<Told>, energy: Energy, finish_reason: Option<FinishReason>) -> String {
        let frame = UsageFrame {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            token_ids: tokens.into_iter().map(|token| token.id).collect(),
            choice,
            energy,
            finish_reason,
        };
        sse::named(USAGE_EVENT, &frame).unwrap_or_default()
    }
}

impl Work {
    fn task(&self, sequence: &Sequence, spent: usize, desk: &Desk) -> Task {
        Task {
            prompt: self.asked.prompts.get(sequence.prompt).cloned().unwrap_or_default(),
            said: Said { tokens: sequence.so_far.token_ids.clone(), same_build: self.same_build },
            sampling: self.asked.sampling.clone(),
            seed: sequence.seed,
            logprobs: self.asked.logprobs,
            guided: self.guided.clone(),
            max_tokens: sequence.max_tokens,
            limit: self.limit.again(),
            spent,
            presence: Some(Arc::clone(&desk.presence)),
        }
    }
}

pub(super) fn failed(error: EngineError) -> Stopped {
    tracing::error!(%error, "an answer failed");
    Stopped::Failed(ApiError::internal())
}
