//! An answer in the shape of its endpoint: whole, or in pieces.

use openapi::chat::{ChatChoice, ChatChunk, ChatCompletion, ChatMessage, ChunkChoice, Delta, FinishReason, Role};
use openapi::completion::{Completion, CompletionChoice};
use openapi::energy::EnergyTerms;
use openapi::node::Ticket;
use openapi::price::Price;
use openapi::sse;
use openapi::upstream::{Endpoint, Facts};
use openapi::usage::Usage;
use serde::Serialize;

use crate::node::{Node, unix_seconds};

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
    pub(super) fn new(node: &Node, endpoint: Endpoint, ticket: Option<&Ticket>, include_usage: bool) -> Self {
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

    /// The first event of a chat stream says who speaks.
    pub(super) fn opening(&self) -> String {
        match self.endpoint {
            Endpoint::Chat => {
                self.chat_chunk(Delta { role: Some(Role::Assistant), content: Some(String::new()) }, None)
            }
            Endpoint::Completion => String::new(),
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        match self.endpoint {
            Endpoint::Chat => self.chat_chunk(Delta { role: None, content: Some(text.to_owned()) }, None),
            Endpoint::Completion => self.completion_piece(text, None),
        }
    }

    /// The event that says why the text of a stream ends.
    pub(super) fn finish(&self, reason: FinishReason) -> String {
        match self.endpoint {
            Endpoint::Chat => self.chat_chunk(Delta::default(), Some(reason)),
            Endpoint::Completion => self.completion_piece("", Some(reason)),
        }
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

    /// The whole answer as JSON.
    pub(super) fn whole(&self, text: String, reason: FinishReason, usage: Usage) -> String {
        match self.endpoint {
            Endpoint::Chat => json(&ChatCompletion {
                id: self.id.clone(),
                object: "chat.completion".to_owned(),
                created: self.created,
                model: self.model.clone(),
                choices: vec![ChatChoice {
                    index: 0,
                    message: ChatMessage { role: Role::Assistant, content: text, refusal: None },
                    logprobs: None,
                    finish_reason: reason,
                }],
                usage,
                system_fingerprint: self.fingerprint.clone(),
            }),
            Endpoint::Completion => json(&self.completion(vec![choice(&text, Some(reason))], Some(Some(usage)))),
        }
    }

    fn usage_event(&self, usage: Usage) -> String {
        match self.endpoint {
            Endpoint::Chat => event(&self.chunk(Vec::new(), Some(Some(usage)))),
            Endpoint::Completion => event(&self.completion(Vec::new(), Some(Some(usage)))),
        }
    }

    fn chat_chunk(&self, delta: Delta, finish_reason: Option<FinishReason>) -> String {
        event(&self.chunk(vec![ChunkChoice { index: 0, delta, logprobs: None, finish_reason }], self.no_usage_yet()))
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

    fn completion_piece(&self, text: &str, reason: Option<FinishReason>) -> String {
        event(&self.completion(vec![choice(text, reason)], self.no_usage_yet()))
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

fn choice(text: &str, finish_reason: Option<FinishReason>) -> CompletionChoice {
    CompletionChoice { index: 0, text: text.to_owned(), logprobs: None, finish_reason }
}

/// Strings, numbers and lists of them: writing these types as JSON can't fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn event(value: &impl Serialize) -> String {
    sse::data(value).unwrap_or_default()
}
