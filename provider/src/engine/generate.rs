//! One answer: tokens out of the engine, text and an ending out of the tokens.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use mistralrs::{Constraint, NormalRequest, Request, RequestMessage, Response, SamplingParams};
use openapi::chat::FinishReason;
use openapi::sampling::Sampling;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Engine;
use super::hook::{Hook, Sampled};
use super::sampler::Sampler;
use super::stop::StopMatcher;
use super::text::TextDecoder;
use super::untold::Untold;
use crate::energy::Presence;
use crate::limits::Limit;
use crate::slots::Slot;

/// The engine failed while it worked on an answer. The reason is for the log.
#[derive(Debug, thiserror::Error)]
#[error("the engine failed: {0}")]
pub struct EngineError(String);

/// What one token added to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// May be empty: while a character is incomplete, or text is held back that could become a stop string.
    pub text: String,
    /// The tokens of which some text stands in this step for the first time. The last step names those, too, whose text
    /// belongs to a stop string.
    pub token_ids: Vec<u32>,
    /// Set on the last step.
    pub finish_reason: Option<FinishReason>,
}

/// What another node has said of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub tokens: Vec<u32>,
    /// Bytes of its text that have gone out.
    pub text_bytes: u64,
    /// This build has said it. Then each token is computed once more in a step of its own, as it was the first time: read at
    /// once, they give other rounding errors, and in the end another text.
    pub same_build: bool,
}

/// What the engine is asked to do.
pub struct Task {
    pub prompt: Vec<u32>,
    /// The answer goes on after this.
    pub said: Said,
    pub sampling: Sampling,
    pub seed: i64,
    /// At least 1; prompt and answer fit the context together.
    pub max_tokens: usize,
    /// What the ticket allows, if that is less.
    pub limit: Limit,
    /// Where its energy is metered; nowhere while the node only measures itself.
    pub presence: Option<Presence>,
}

/// An answer in the making. Dropping it stops the engine at its next token.
pub struct Generation {
    sampled: mpsc::UnboundedReceiver<Sampled>,
    failed: oneshot::Receiver<EngineError>,
    decoder: TextDecoder,
    stop: StopMatcher,
    untold: Untold,
    end_tokens: Arc<[u32]>,
    max_tokens: usize,
    limit: Limit,
    generated: usize,
    /// Tokens of an earlier node that have been told, and bytes of text that have gone out: not again.
    told: usize,
    shown: u64,
    /// What of the text so far has not gone out yet.
    first: Option<Step>,
    finished: bool,
    _cancel: DropGuard,
}

/// Chunks that the engine may have in flight before it would wait for us.
const ENGINE_CHANNEL: usize = 64;

impl Engine {
    /// Starts an answer in a slot, which is free again when the engine has let go of it.
    ///
    /// # Errors
    /// When the engine is gone.
    pub async fn generate(&self, task: Task, slot: Slot) -> Result<Generation, EngineError> {
        let (sampled_to, sampled) = mpsc::unbounded_channel();
        let (responses_to, responses) = mpsc::channel(ENGINE_CHANNEL);
        let (failed_to, failed) = oneshot::channel();
        let cancel = CancellationToken::new();
        let prompt_tokens = task.prompt.len();
        let (read, forced) = match task.said.same_build {
            true => (task.prompt, task.said.tokens.clone()),
            false => ([task.prompt.as_slice(), &task.said.tokens].concat(), Vec::new()),
        };
        let most_steps = task.max_tokens - (read.len() - prompt_tokens).min(task.max_tokens);
        let hook = Hook {
            sampler: Sampler::new(task.sampling.clone(), task.seed),
            prompt_tokens,
            read_tokens: read.len(),
            forced,
            max_tokens: task.max_tokens,
            limit: task.limit.subscribe(),
            end_token: self.end_tokens.first().copied().unwrap_or_default(),
            sampled: sampled_to,
            cancelled: cancel.clone(),
            emitted: AtomicUsize::new(task.said.tokens.len()),
            presence: task.presence,
            _slot: slot,
        };
        let mut generation = Generation {
            sampled,
            failed,
            decoder: TextDecoder::new(Arc::clone(&self.tokenizer)),
            stop: StopMatcher::new(task.sampling.stop),
            untold: Untold::default(),
            end_tokens: Arc::clone(&self.end_tokens),
            max_tokens: task.max_tokens,
            limit: task.limit,
            generated: 0,
            told: task.said.tokens.len(),
            shown: task.said.text_bytes,
            first: None,
            finished: false,
            _cancel: cancel.clone().drop_guard(),
        };
        if generation.replay(&task.said.tokens) {
            return Ok(generation);
        }
        let request = request(read, most_steps, hook, responses_to);
        let runner = self.model.inner();
        let sender = runner.get_sender(None).map_err(|error| EngineError(error.to_string()))?;
        sender.send(request).await.map_err(|_| EngineError("it takes no more requests".to_owned()))?;
        tokio::spawn(drain(responses, failed_to, cancel));
        Ok(generation)
    }
}

/// The engine's own view of the request: a stream of raw tokens, greedy over what the hook leaves it.
fn request(prompt: Vec<u32>, max_tokens: usize, hook: Hook, response: mpsc::Sender<Response>) -> Request {
    let sampling_params =
        SamplingParams { temperature: Some(0.0), max_len: Some(max_tokens), n_choices: 1, ..SamplingParams::neutral() };
    Request::Normal(Box::new(NormalRequest {
        messages: RequestMessage::CompletionTokens(prompt),
        sampling_params,
        response,
        return_logprobs: false,
        is_streaming: true,
        id: 0,
        constraint: Constraint::None,
        suffix: None,
        tools: None,
        tool_choice: None,
        logits_processors: Some(vec![Arc::new(hook)]),
        return_raw_logits: false,
        web_search_options: None,
        model_id: None,
        truncate_sequence: false,
    }))
}

/// Takes the engine's own chunks out of its way, whatever the client's pace: it waits for whoever does not listen, and
/// all other sequences with it. Ends, and thereby cancels the sequence, with the [`Generation`].
async fn drain(
    mut responses: mpsc::Receiver<Response>,
    failed: oneshot::Sender<EngineError>,
    cancel: CancellationToken,
) {
    loop {
        let response = tokio::select! {
            () = cancel.cancelled() => return,
            response = responses.recv() => response,
        };
        let error = match response {
            None => "it let go of the request".to_owned(),
            Some(Response::InternalError(error) | Response::ValidationError(error)) => error.to_string(),
            Some(Response::ModelError(error, _) | Response::CompletionModelError(error, _)) => error,
            Some(_) => continue,
        };
        // Nobody listens once the answer is complete.
        let _ = failed.send(EngineError(error));
        return;
    }
}

impl Generation {
    /// The next step; `None` after the last one.
    ///
    /// # Errors
    /// When the engine fails. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Step, EngineError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if self.finished {
            return None;
        }
        let sampled = tokio::select! {
            biased;
            () = self.limit.reached(self.generated) => Some(Sampled::LimitReached),
            sampled = self.sampled.recv() => sampled,
            error = &mut self.failed => {
                self.finished = true;
                return Some(Err(error.unwrap_or_else(|_| EngineError("it ended without a word".to_owned()))));
            }
        };
        let step = match sampled {
            Some(Sampled::Token(token)) => self.step(token),
            Some(Sampled::LimitReached) => self.last("", FinishReason::Length),
            None => {
                self.finished = true;
                return Some(Err(EngineError("it let go of the request".to_owned())));
            }
        };
        self.finished = step.finish_reason.is_some();
        Some(Ok(step))
    }

    /// Takes in what another node has said, so that text and stop strings go on where they were. True when the answer
    /// was complete with it, and nothing is left to compute.
    fn replay(&mut self, said: &[u32]) -> bool {
        let mut first = Step { text: String::new(), token_ids: Vec::new(), finish_reason: None };
        for token in said {
            let step = self.step(*token);
            first.text.push_str(&step.text);
            first.finish_reason = step.finish_reason;
            if first.finish_reason.is_some() {
                break;
            }
        }
        self.finished = first.finish_reason.is_some();
        self.first = (!said.is_empty()).then_some(first);
        self.finished
    }

    fn step(&mut self, token: u32) -> Step {
        if self.end_tokens.contains(&token) {
            return self.last("", FinishReason::Stop);
        }
        self.generated += 1;
        let text = self.decoder.push(token);
        self.untold.push(token, text.len());
        if self.generated >= self.max_tokens.min(self.limit.now()) {
            return self.last(&text, FinishReason::Length);
        }
        let found = self.stop.push(&text);
        if found.stopped {
            return self.ended(found.text, FinishReason::Stop);
        }
        let token_ids = self.untold.tell(self.stop.held());
        self.new_part(found.text, token_ids, None)
    }

    /// The step after which nothing is held back any more.
    fn last(&mut self, text: &str, reason: FinishReason) -> Step {
        let rest = self.decoder.finish();
        let found = self.stop.push(&(text.to_owned() + &rest));
        if found.stopped {
            return self.ended(found.text, FinishReason::Stop);
        }
        let text = found.text + &self.stop.finish();
        self.ended(text, reason)
    }

    fn ended(&mut self, text: String, reason: FinishReason) -> Step {
        let token_ids = self.untold.tell_all();
        self.new_part(text, token_ids, Some(reason))
    }

    /// Leaves out what has gone out before.
    fn new_part(&mut self, text: String, mut token_ids: Vec<u32>, finish_reason: Option<FinishReason>) -> Step {
        let told = token_ids.drain(..self.told.min(token_ids.len())).len();
        self.told -= told;
        let shown = text.len().min(usize::try_from(self.shown).unwrap_or(usize::MAX));
        self.shown -= shown as u64;
        // Whoever counts otherwise than by whole characters has not read this text.
        let text = text.get(shown..).unwrap_or_default().to_owned();
        Step { text, token_ids, finish_reason }
    }
}
