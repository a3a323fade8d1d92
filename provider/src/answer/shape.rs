//! An answer in the shape of its endpoint: whole, or in pieces.

use openapi::chat::{
    CalledFunction, CalledFunctionDelta, ChatChoice, ChatChunk, ChatCompletion, ChatMessage, ChunkChoice, Delta,
    FinishReason, Role, ToolCall, ToolCallDelta,
};
use openapi::completion::{Completion, CompletionChoice, CompletionLogprobs};
use openapi::energy::EnergyTerms;
use openapi::node::Ticket;
use openapi::price::Price;
use openapi::sse;
use openapi::upstream::{Endpoint, Facts};
use openapi::usage::Usage;
use serde::Serialize;

use super::choice::Whole;
use super::logprobs::{self, Rated};
use super::parts::Part;
use crate::node::{Served, unix_seconds};

/// The endpoint at a path.
pub(super) fn endpoint_at(path: &str) -> Option<Endpoint> {
    let below = path.strip_prefix("/v1")?;
    [Endpoint::Chat, Endpoint::Completion].into_iter().find(|endpoint| endpoint.path() == below)
}

/// The request field that holds the prompt.
pub(super) fn prompt_field(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat => "messages",
        Endpoint::Completion => "prompt",
    }
}

/// What every piece of one answer has in common.
pub(super) struct Shape {
    endpoint: Endpoint,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
    /// What a gateway's client pays.
    price: Option<Price>,
    /// Request and attempt, if they are a gateway's.
    attempt: Option<(uuid::Uuid, u32)>,
    terms: EnergyTerms,
}

impl Shape {
    pub(super) fn new(node: &Served, endpoint: Endpoint, ticket: Option<&Ticket>, include_usage: bool) -> Self {
        let request = ticket.map_or_else(uuid::Uuid::now_v7, |ticket| ticket.request);
        let prefix = match endpoint {
            Endpoint::Chat => "chatcmpl",
            Endpoint::Completion => "cmpl",
        };
        Self {
            endpoint,
            id: format!("{prefix}-{}", request.simple()),
            // The same whichever node goes on with the answer.
            created: request.get_timestamp().map_or_else(unix_seconds, |timestamp| timestamp.to_unix().0),
            model: node.manifest.name.clone(),
            fingerprint: node.fingerprint.clone(),
            include_usage,
            price: ticket.map(|ticket| ticket.price),
            attempt: ticket.map(|ticket| (ticket.request, ticket.attempt)),
            terms: ticket.map_or_else(|| node.terms.clone(), |ticket| ticket.energy.clone()),
        }
    }

    /// The same for an answer that comes from another server.
    pub(super) fn facts(&self, stream: bool, prompt_tokens: u64) -> Facts {
        Facts {
            endpoint: self.endpoint,
            id: self.id.clone(),
            created: self.created,
            model: self.model.clone(),
            fingerprint: self.fingerprint.clone(),
            stream,
            include_usage: self.include_usage,
            prompt_tokens,
            price: self.price,
            terms: self.terms.clone(),
        }
    }

    /// Request and attempt, if they are a gateway's.
    pub(super) fn attempt(&self) -> Option<(uuid::Uuid, u32)> {
        self.attempt
    }

    /// What turns joules into those of the site, and into carbon.
    pub(super) fn terms(&self) -> &EnergyTerms {
        &self.terms
    }

    /// The usage with what it cost, where somebody pays.
    pub(super) fn priced(&self, usage: Usage) -> Usage {
        match &self.price {
            Some(price) => usage.at(price),
            None => usage,
        }
    }

    /// The first event of an answer in a chat says who speaks.
    pub(super) fn opening(&self, index: u32) -> String {
        let delta = Delta { role: Some(Role::Assistant), content: Some(String::new()), ..Delta::default() };
        match self.endpoint {
            Endpoint::Chat => self.chat_event(ChunkChoice { index, delta, logprobs: None, finish_reason: None }),
            Endpoint::Completion => String::new(),
        }
    }

    /// A part of an answer, with how likely the tokens were since the one before it. `offset` counts characters in these.
    pub(super) fn part(&self, index: u32, part: &Part, rated: &[Rated], offset: &mut u64) -> String {
        match (self.endpoint, part) {
            (Endpoint::Chat, part) => {
                let logprobs = (!rated.is_empty()).then(|| logprobs::of_chat(rated));
                self.chat_event(ChunkChoice { index, delta: self.delta(index, part), logprobs, finish_reason: None })
            }
            (Endpoint::Completion, Part::Text(text)) => self.completion_event(index, text, rated, (offset, None)),
            (Endpoint::Completion, _) => String::new(),
        }
    }

    /// The event that says why an answer ends.
    pub(super) fn finish(&self, index: u32, reason: FinishReason, rated: &[Rated], offset: &mut u64) -> String {
        match self.endpoint {
            Endpoint::Chat => {
                let logprobs = (!rated.is_empty()).then(|| logprobs::of_chat(rated));
                self.chat_event(ChunkChoice { index, delta: Delta::default(), logprobs, finish_reason: Some(reason) })
            }
            Endpoint::Completion => self.completion_event(index, "", rated, (offset, Some(reason))),
        }
    }

    fn delta(&self, choice: u32, part: &Part) -> Delta {
        let call = |delta| Delta { tool_calls: Some(vec![delta]), ..Delta::default() };
        match part {
            Part::Text(text) => Delta { content: Some(text.clone()), ..Delta::default() },
            Part::Thought(text) => Delta { reasoning_content: Some(text.clone()), ..Delta::default() },
            Part::Call { index, name } => call(ToolCallDelta {
                index: *index,
                id: Some(self.call_id(choice, *index)),
                kind: Some("function".to_owned()),
                function: CalledFunctionDelta { name: Some(name.clone()), arguments: String::new() },
            }),
            Part::Arguments { index, text } => call(ToolCallDelta {
                index: *index,
                id: None,
                kind: None,
                function: CalledFunctionDelta { name: None, arguments: text.clone() },
            }),
        }
    }

    /// The same whichever node goes on with the answer.
    fn call_id(&self, choice: u32, call: u32) -> String {
        let hash = blake3::hash(format!("{}/{choice}/{call}", self.id).as_bytes());
        format!("call_{}", &hash.to_hex()[..24])
    }

    /// What follows it: the usage if asked for, and OpenAI's end mark.
    pub(super) fn ending(&self, usage: Usage) -> String {
        let mut ending = String::new();
        if self.include_usage {
            ending.push_str(&self.usage_event(usage));
        }
        ending.push_str(sse::DONE);
        ending
    }

    /// All answers as JSON.
    pub(super) fn whole(&self, answers: Vec<Whole>, usage: Usage) -> String {
        match self.endpoint {
            Endpoint::Chat => json(&ChatCompletion {
                id: self.id.clone(),
                object: "chat.completion".to_owned(),
                created: self.created,
                model: self.model.clone(),
                choices: (0..).zip(answers).map(|(index, answer)| self.chat_choice(index, answer)).collect(),
                usage,
                system_fingerprint: self.fingerprint.clone(),
            }),
            Endpoint::Completion => {
                let choices = (0..).zip(answers).map(|(index, answer)| {
                    choice(index, &answer.text, completion_logprobs(&answer.rated, &mut 0), Some(answer.finish_reason))
                });
                json(&self.completion(choices.collect(), Some(Some(usage))))
            }
        }
    }

    fn chat_choice(&self, index: u32, answer: Whole) -> ChatChoice {
        let has_called = !answer.calls.is_empty();
        let call = |(call, (name, arguments)): (u32, (String, String))| ToolCall {
            id: self.call_id(index, call),
            kind: "function".to_owned(),
            function: CalledFunction { name, arguments },
        };
        let message = ChatMessage {
            role: Role::Assistant,
            content: (!has_called || !answer.text.is_empty()).then_some(answer.text),
            refusal: None,
            reasoning_content: Some(answer.thought).filter(|thought| !thought.is_empty()),
            tool_calls: (0..).zip(answer.calls).map(call).collect(),
        };
        let logprobs = (!answer.rated.is_empty()).then(|| logprobs::of_chat(&answer.rated));
        ChatChoice { index, message, logprobs, finish_reason: answer.finish_reason }
    }

    fn usage_event(&self, usage: Usage) -> String {
        match self.endpoint {
            Endpoint::Chat => event(&self.chunk(Vec::new(), Some(Some(usage)))),
            Endpoint::Completion => event(&self.completion(Vec::new(), Some(Some(usage)))),
        }
    }

    fn chat_event(&self, choice: ChunkChoice) -> String {
        event(&self.chunk(vec![choice], self.no_usage_yet()))
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Option<Usage>>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage,
        }
    }

    fn completion_event(
        &self,
        index: u32,
        text: &str,
        rated: &[Rated],
        (offset, reason): (&mut u64, Option<FinishReason>),
    ) -> String {
        let choice = choice(index, text, completion_logprobs(rated, offset), reason);
        event(&self.completion(vec![choice], self.no_usage_yet()))
    }

    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Option<Usage>>) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion".to_owned(),
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage,
        }
    }

    /// With `include_usage`, OpenAI writes `"usage": null` on every piece but the last.
    fn no_usage_yet(&self) -> Option<Option<Usage>> {
        self.include_usage.then_some(None)
    }
}

fn choice(
    index: u32,
    text: &str,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<FinishReason>,
) -> CompletionChoice {
    CompletionChoice { index, text: text.to_owned(), logprobs, finish_reason }
}

fn completion_logprobs(rated: &[Rated], offset: &mut u64) -> Option<CompletionLogprobs> {
    (!rated.is_empty()).then(|| logprobs::of_completion(rated, offset))
}

/// Strings, numbers and lists of them: writing these types as JSON can't fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn event(value: &impl Serialize) -> String {
    sse::data(value).unwrap_or_default()
}
