//! From the events of a chat completion to those of a response, and from a whole one to a whole one. Pure, and at once:
//! each event goes out as it comes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::chunk::{Call, Chunk};
use super::item::{Item, ItemStatus, Part, Speaker};
use super::object::{IncompleteDetails, Response, ResponseError, ResponseStatus};
use super::output::Output;
use super::words::in_our_words;
use crate::error::{ApiError, ErrorDetail};
use crate::sse::{self, Event};

/// The answer is no chat completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no chat completion: {0}")]
pub struct Untranslatable(&'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    NotBegun,
    Runs,
    /// All of it is there, but for the last event.
    Complete,
    /// Nothing is written any more.
    Over,
}

/// One response on its way.
#[derive(Debug)]
pub struct Translator {
    output: Output,
    stage: Stage,
    /// Where the calls stand in the output, by their number.
    calls: BTreeMap<usize, usize>,
    finish_reason: Option<String>,
}

impl Translator {
    /// A response of which nothing has come yet.
    pub fn new(response: Response) -> Self {
        Self { output: Output::new(response), stage: Stage::NotBegun, calls: BTreeMap::new(), finish_reason: None }
    }

    /// The whole response to a whole chat completion. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// When it is none.
    pub fn whole(response: Response, completion: &[u8], now: u64) -> Result<Response, Untranslatable> {
        let completion = serde_json::from_slice(completion).map_err(|_| Untranslatable("it has another shape"))?;
        let mut translator = Self::new(response);
        translator.take(completion)?;
        translator.complete()?;
        Ok(translator.finished(now))
    }

    /// Takes an event and gives the bytes to send on, if any. Comments go on as they are.
    pub fn push(&mut self, event: &Event) -> Vec<u8> {
        let Some(data) = event.data() else { return event.raw.clone() };
        if matches!(self.stage, Stage::NotBegun | Stage::Runs)
            && let Err(error) = self.event(data)
        {
            self.fail(error);
        }
        self.output.taken()
    }

    /// True when nothing but [`Self::end`] is missing: the moment to store it.
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// The response as its last event shows it, if it is stored. `now` is in seconds since 1970.
    pub fn finished(&self, now: u64) -> Response {
        let mut response = self.output.response.clone();
        response.completed_at = (response.status == ResponseStatus::Completed).then_some(now);
        response
    }

    /// The last event of one that is complete. `now` is in seconds since 1970.
    pub fn end(&mut self, now: u64, stored: bool) -> Vec<u8> {
        if !self.is_complete() {
            return Vec::new();
        }
        self.stage = Stage::Over;
        self.output.response = Response { store: stored, ..self.finished(now) };
        let is_incomplete = self.output.response.status == ResponseStatus::Incomplete;
        self.output.response_event(if is_incomplete { "response.incomplete" } else { "response.completed" });
        [self.output.taken().as_slice(), sse::END.as_bytes()].concat()
    }

    /// The stream has ended; without its end mark, that is a failure.
    pub fn break_off(&mut self) -> Vec<u8> {
        if matches!(self.stage, Stage::NotBegun | Stage::Runs) {
            self.fail(ApiError::internal().detail);
        }
        self.output.taken()
    }

    fn event(&mut self, data: &str) -> Result<(), ErrorDetail> {
        let garbled = |_| ApiError::internal().detail;
        if data == "[DONE]" {
            return self.complete().map_err(garbled);
        }
        let mut chunk: Chunk = serde_json::from_str(data).map_err(|_| ApiError::internal().detail)?;
        match chunk.error.take() {
            Some(error) => Err(error),
            None => self.take(chunk).map_err(garbled),
        }
    }

    fn take(&mut self, chunk: Chunk) -> Result<(), Untranslatable> {
        if let Some(model) = chunk.model {
            self.output.response.model = model;
        }
        self.begin();
        for mut choice in chunk.choices.into_iter().take(1) {
            let (logprobs, calls) = (choice.logprobs(), choice.delta.calls());
            let text = |text: Option<String>| text.filter(|text| !text.is_empty());
            if let Some(thought) = text(choice.delta.reasoning_content) {
                self.thinks(&thought);
            }
            match text(choice.delta.content) {
                Some(text) => self.says(&text, logprobs),
                // A token may be no more than a part of a character.
                None if calls.is_empty() && !logprobs.is_empty() => self.says("", logprobs),
                None => {}
            }
            calls.into_iter().try_for_each(|call| self.calls(call))?;
            if let Some(reason) = choice.finish_reason {
                self.finish(reason);
            }
        }
        if let Some(usage) = chunk.usage {
            self.output.response.usage = Some(usage.into());
        }
        Ok(())
    }

    fn begin(&mut self) {
        if self.stage == Stage::NotBegun {
            self.stage = Stage::Runs;
            self.output.response_event("response.created");
            self.output.response_event("response.in_progress");
        }
    }

    fn thinks(&mut self, text: &str) {
        if !matches!(self.output.current(), Some((_, Item::Reasoning { .. }))) {
            let (id, status) = (self.output.next_id("rs"), ItemStatus::InProgress);
            self.output.open(Item::Reasoning { id, summary: Vec::new(), content: Vec::new(), status });
            self.output.add_part(Part::ReasoningText { text: String::new() });
        }
        if let Some(Part::ReasoningText { text: so_far }) = self.output.current_part() {
            so_far.push_str(text);
        }
        self.output.part_event("response.reasoning_text.delta", json!({"delta": text}));
    }

    fn says(&mut self, text: &str, logprobs: Vec<Value>) {
        if !matches!(self.output.current(), Some((_, Item::Message { .. }))) {
            let (id, role, status) = (self.output.next_id("msg"), Speaker::Assistant, ItemStatus::InProgress);
            self.output.open(Item::Message { id, role, status, content: Vec::new() });
            let (text, annotations, logprobs) = (String::new(), Vec::new(), Vec::new());
            self.output.add_part(Part::OutputText { text, annotations, logprobs });
        }
        let delta = json!({"delta": text, "logprobs": logprobs});
        if let Some(Part::OutputText { text: so_far, logprobs: all, .. }) = self.output.current_part() {
            so_far.push_str(text);
            all.extend(logprobs);
        }
        self.output.part_event("response.output_text.delta", delta);
    }

    /// A part of a call. One without a number, as some servers send them, is a new call if it has an id, else it belongs to
    /// the last one.
    fn calls(&mut self, call: Call) -> Result<(), Untranslatable> {
        let known = self.calls.len();
        let number = call.index.unwrap_or(if call.id.is_some() { known } else { known.saturating_sub(1) });
        let current = self.output.current().map(|(index, _)| index);
        match self.calls.get(&number) {
            Some(index) if current == Some(*index) => {}
            Some(_) => return Err(Untranslatable("it goes on with a call that is over")),
            None => {
                let name = call.function.name.ok_or(Untranslatable("a call has no name"))?;
                let id = self.output.next_id("fc");
                let call_id = call.id.unwrap_or_else(|| id.replacen("fc", "call", 1));
                let (arguments, status) = (String::new(), ItemStatus::InProgress);
                self.output.open(Item::FunctionCall { id, call_id, name, arguments, status });
                self.calls.insert(number, self.output.response.output.len() - 1);
            }
        }
        let more = call.function.arguments.unwrap_or_default();
        if let Some((_, Item::FunctionCall { arguments, .. })) = self.output.current()
            && !more.is_empty()
        {
            arguments.push_str(&more);
            self.output.item_event("response.function_call_arguments.delta", json!({"delta": more}));
        }
        Ok(())
    }

    /// The model has ended, or a limit has ended it.
    fn finish(&mut self, reason: String) {
        if self.output.response.output.is_empty() {
            self.says("", Vec::new());
        }
        let is_cut = limit(&reason).is_some();
        self.output.close(if is_cut { ItemStatus::Incomplete } else { ItemStatus::Completed });
        self.finish_reason = Some(reason);
    }

    fn complete(&mut self) -> Result<(), Untranslatable> {
        let reason = self.finish_reason.as_deref().ok_or(Untranslatable("it has no end"))?;
        let response = &mut self.output.response;
        response.incomplete_details = limit(reason).map(|reason| IncompleteDetails { reason: reason.to_owned() });
        let is_cut = response.incomplete_details.is_some();
        response.status = if is_cut { ResponseStatus::Incomplete } else { ResponseStatus::Completed };
        self.stage = Stage::Complete;
        Ok(())
    }

    fn fail(&mut self, detail: ErrorDetail) {
        self.begin();
        self.stage = Stage::Over;
        let ErrorDetail { message, kind, param, code } =
            in_our_words(ApiError { status: 500, detail, retry_after: None }).detail;
        self.output.event("error", json!({"code": code, "message": message, "param": param}));
        self.output.abandon();
        let response = &mut self.output.response;
        let code = if kind == "rate_limit_error" { "rate_limit_exceeded" } else { "server_error" };
        response.error = Some(ResponseError { code: code.to_owned(), message });
        (response.status, response.store) = (ResponseStatus::Failed, false);
        self.output.response_event("response.failed");
    }
}

/// The limit that ended an answer.
fn limit(finish_reason: &str) -> Option<&'static str> {
    match finish_reason {
        "length" => Some("max_output_tokens"),
        "content_filter" => Some("content_filter"),
        _ => None,
    }
}
