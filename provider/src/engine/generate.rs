//! One answer: tokens out of the engine, text and an ending out of the tokens.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use mistralrs::{Constraint, Model, NormalRequest, Request, RequestMessage, Response, SamplingParams};
use openapi::chat::FinishReason;
use openapi::sampling::Sampling;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::guide::Guide;
use super::hook::{Hook, Sampled};
use super::instances::Lent;
use super::sampler::{Chances, Sampler};
use super::stop::StopMatcher;
use super::text::TextDecoder;
use super::untold::Untold;
use super::{Engine, Guided};
use crate::energy::Presence;
use crate::limits::Limit;
use crate::slots::Slot;

/// The engine failed while it worked on an answer. The reason is for the log.
#[derive(Debug, thiserror::Error)]
#[error("the engine failed: {0}")]
pub struct EngineError(pub(super) String);

/// What one token added to an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// May be empty: while a character is incomplete, or text is held back that could become a stop string.
    pub text: String,
    /// The tokens of which some text stands in this step for the first time. The last step names those, too, whose text
    /// belongs to a stop string.
    pub tokens: Vec<Told>,
    /// Set on the last step.
    pub finish_reason: Option<FinishReason>,
}

/// A token, with how likely it was where that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub id: u32,
    pub chances: Option<Box<Chances>>,
}

/// What another node has said of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub tokens: Vec<u32>,
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
    /// Chances are to be given, with those of so many likely tokens.
    pub logprobs: Option<usize>,
    /// The form that the answer is held to, if there is one.
    pub guided: Option<Guided>,
    /// At least 1; prompt and answer fit the context together.
    pub max_tokens: usize,
    /// What the ticket allows, if that is less, and how much of it other answers of the request have had.
    pub limit: Limit,
    pub spent: usize,
    /// Where its energy is metered; nowhere while the node only measures itself.
    pub presence: Option<Arc<Presence>>,
}

/// An answer in the making. Dropping it stops the engine at its next token.
pub struct Generation {
    sampled: mpsc::UnboundedReceiver<Sampled>,
    failed: oneshot::Receiver<EngineError>,
    decoder: TextDecoder,
    stop: StopMatcher,
    untold: Untold<Told>,
    end_tokens: Arc<[u32]>,
    max_tokens: usize,
    limit: Limit,
    spent: usize,
    generated: usize,
    /// What another node has said so far.
    first: Option<Step>,
    finished: bool,
    _cancel: DropGuard,
}

/// Chunks that the engine may have in flight before it would wait for us.
const ENGINE_CHANNEL: usize = 64;

impl Engine {
    /// An instance for one sequence, and where it takes its request.
    async fn lend(&self) -> Result<(Lent<Model>, mpsc::Sender<Request>), EngineError> {
        let instance = self.instance().await.map_err(|error| EngineError(error.to_string()))?;
        let model = instance.get().ok_or_else(|| EngineError("it is gone".to_owned()))?;
        let sender = model.inner().get_sender(None).map_err(|error| EngineError(error.to_string()))?;
        Ok((instance, sender))
    }

    /// Starts an answer in a slot, which is free again when the engine has let go of it. An answer that another node has
    /// begun is given once more from its beginning.
    ///
    /// # Errors
    /// When the engine is gone, or what another node has said is not of the form that was asked for.
    pub async fn generate(&self, task: Task, slot: Arc<Slot>) -> Result<Generation, EngineError> {
        let (sampled_to, sampled) = mpsc::unbounded_channel();
        let (responses_to, responses) = mpsc::channel(ENGINE_CHANNEL);
        let (failed_to, failed) = oneshot::channel();
        let cancel = CancellationToken::new();
        let (instance, sender) = self.lend().await?;
        let prompt_tokens = task.prompt.len();
        let said = task.said.tokens;
        // How likely tokens were is only known where each is computed in a step of its own.
        let hands_over_forced = task.logprobs.is_some();
        let (read, forced) = match task.said.same_build || hands_over_forced {
            true => (task.prompt, said.clone()),
            false => ([task.prompt.as_slice(), &said].concat(), Vec::new()),
        };
        let most_steps = task.max_tokens - (read.len() - prompt_tokens).min(task.max_tokens);
        let mut guide = task.guided.map(|guided| guided.0.again());
        if forced.is_empty() {
            guide = guide.map(|guide| caught_up(guide, &said)).transpose()?;
        }
        let hook = Hook {
            sampler: Sampler::new(task.sampling.clone(), task.seed),
            guide: guide.map(Mutex::new),
            top: task.logprobs,
            prompt_tokens,
            read_tokens: read.len(),
            forced,
            hands_over_forced,
            max_tokens: task.max_tokens,
            limit: task.limit.subscribe(),
            spent: task.spent,
            end_tokens: Arc::clone(&self.end_tokens),
            sampled: sampled_to,
            cancelled: cancel.clone(),
            emitted: AtomicUsize::new(said.len()),
            presence: task.presence,
            _instance: instance,
            _slot: slot,
        };
        let mut generation = Generation {
            sampled,
            failed,
            decoder: TextDecoder::new(Arc::clone(&self.tokenizer)),
            stop: StopMatcher::new(task.sampling.stop),
            untold: Untold::new(),
            end_tokens: Arc::clone(&self.end_tokens),
            max_tokens: task.max_tokens,
            limit: task.limit,
            spent: task.spent,
            generated: 0,
            first: None,
            finished: false,
            _cancel: cancel.clone().drop_guard(),
        };
        if !hands_over_forced && generation.replay(&said) {
            return Ok(generation);
        }
        let request = request(read, most_steps, hook, responses_to);
        sender.send(request).await.map_err(|_| EngineError("it takes no more requests".to_owned()))?;
        tokio::spawn(drain(responses, failed_to, cancel));
        Ok(generation)
    }
}

/// The form, at the place where what has been said ends.
fn caught_up(mut guide: Guide, said: &[u32]) -> Result<Guide, EngineError> {
    said.iter().try_for_each(|token| guide.take(*token)).map_err(|lost| EngineError(lost.to_string()))?;
    Ok(guide)
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
    /// The same for a text that is given: a token in it that ends answers ends nothing.
    pub(super) fn of_given_text(mut self) -> Self {
        self.end_tokens = Arc::default();
        self
    }

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
            () = self.limit.reached(self.spent + self.generated) => Some(Sampled::LimitReached),
            sampled = self.sampled.recv() => sampled,
            error = &mut self.failed => {
                self.finished = true;
                return Some(Err(error.unwrap_or_else(|_| EngineError("it ended without a word".to_owned()))));
            }
        };
        let step = match sampled {
            Some(Sampled::Token(id, chances)) => self.step(Told { id, chances }),
            Some(Sampled::LimitReached) => self.last("", FinishReason::Length),
            Some(Sampled::Lost(reason)) => {
                self.finished = true;
                return Some(Err(EngineError(reason)));
            }
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
        let mut first = Step::default();
        for id in said {
            let step = self.step(Told { id: *id, chances: None });
            first.text.push_str(&step.text);
            first.tokens.extend(step.tokens);
            first.finish_reason = step.finish_reason;
            if first.finish_reason.is_some() {
                break;
            }
        }
        self.finished = first.finish_reason.is_some();
        self.first = (!said.is_empty()).then_some(first);
        self.finished
    }

    fn step(&mut self, token: Told) -> Step {
        if self.end_tokens.contains(&token.id) {
            return self.last("", FinishReason::Stop);
        }
        self.generated += 1;
        let text = self.decoder.push(token.id);
        self.untold.push(token, text.len());
        if self.generated >= self.max_tokens || self.spent + self.generated >= self.limit.now() {
            return self.last(&text, FinishReason::Length);
        }
        let found = self.stop.push(&text);
        if found.stopped {
            return self.ended(found.text, FinishReason::Stop);
        }
        Step { text: found.text, tokens: self.untold.tell(self.stop.held()), finish_reason: None }
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
        Step { text, tokens: self.untold.tell_all(), finish_reason: Some(reason) }
    }
}
