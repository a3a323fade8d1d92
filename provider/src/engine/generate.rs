//! One answer: tokens out of the engine, text and an ending out of the tokens.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use mistralrs::{Constraint, NormalRequest, Request, RequestMessage, Response, SamplingParams};
use openapi::chat::FinishReason;
use openapi::sampling::Sampling;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Engine;
use super::hook::Hook;
use super::sampler::Sampler;
use super::stop::StopMatcher;
use super::text::TextDecoder;
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
    /// The tokens of the answer since the step before.
    pub token_ids: Vec<u32>,
    /// Set on the last step.
    pub finish_reason: Option<FinishReason>,
}

/// What the engine is asked to do.
pub struct Task {
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    pub seed: i64,
    /// At least 1; prompt and answer fit the context together.
    pub max_tokens: usize,
}

/// An answer in the making. Dropping it stops the engine at its next token.
pub struct Generation {
    sampled: mpsc::UnboundedReceiver<u32>,
    failed: oneshot::Receiver<EngineError>,
    decoder: TextDecoder,
    stop: StopMatcher,
    end_tokens: Arc<[u32]>,
    remaining: usize,
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
        let hook = Hook {
            sampler: Sampler::new(task.sampling.clone(), task.seed),
            prompt_tokens: task.prompt.len(),
            max_tokens: task.max_tokens,
            end_token: self.end_tokens.first().copied().unwrap_or_default(),
            sampled: sampled_to,
            cancelled: cancel.clone(),
            emitted: AtomicUsize::new(0),
            _slot: slot,
        };
        let generation = Generation {
            sampled,
            failed,
            decoder: TextDecoder::new(Arc::clone(&self.tokenizer)),
            stop: StopMatcher::new(task.sampling.stop),
            end_tokens: Arc::clone(&self.end_tokens),
            remaining: task.max_tokens,
            finished: false,
            _cancel: cancel.clone().drop_guard(),
        };
        let request = request(task.prompt, task.max_tokens, hook, responses_to);
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
        if self.finished {
            return None;
        }
        let token = tokio::select! {
            biased;
            token = self.sampled.recv() => token,
            error = &mut self.failed => {
                self.finished = true;
                return Some(Err(error.unwrap_or_else(|_| EngineError("it ended without a word".to_owned()))));
            }
        };
        let Some(token) = token else {
            self.finished = true;
            return Some(Err(EngineError("it let go of the request".to_owned())));
        };
        let step = self.step(token);
        self.finished = step.finish_reason.is_some();
        Some(Ok(step))
    }

    fn step(&mut self, token: u32) -> Step {
        if self.end_tokens.contains(&token) {
            let rest = self.decoder.finish();
            return self.last(&rest, Vec::new(), FinishReason::Stop);
        }
        self.remaining -= 1;
        let mut text = self.decoder.push(token);
        if self.remaining == 0 {
            text.push_str(&self.decoder.finish());
            return self.last(&text, vec![token], FinishReason::Length);
        }
        let found = self.stop.push(&text);
        Step { text: found.text, token_ids: vec![token], finish_reason: found.stopped.then_some(FinishReason::Stop) }
    }

    fn last(&mut self, text: &str, token_ids: Vec<u32>, reason: FinishReason) -> Step {
        let found = self.stop.push(text);
        if found.stopped {
            return Step { text: found.text, token_ids, finish_reason: Some(FinishReason::Stop) };
        }
        Step { text: found.text + &self.stop.finish(), token_ids, finish_reason: Some(reason) }
    }
}
