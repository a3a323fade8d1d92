//! The choices of an answer: how far each has come and, where the client wants it whole, what it says.

use std::collections::BTreeMap;

use super::json::{Object, json};
use super::merged::{Budget, Merged};
use super::{Endpoint, Limits, TranslateError};
use crate::chat::FinishReason;

/// All choices.
#[derive(Debug)]
pub(super) struct Answer {
    limits: Limits,
    budget: Budget,
    /// Whether pieces are kept.
    collect: bool,
    choices: BTreeMap<usize, Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    finish_reason: Option<String>,
    /// Empty ones where nothing is kept.
    tool_calls: Vec<Merged>,
    message: Merged,
    /// What stands beside the message: log probabilities, the text of a completion, what servers add.
    beside: Merged,
}

/// What a piece was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// False when its choice had ended, and it says nothing.
    pub(super) is_news: bool,
    pub(super) has_content: bool,
    pub(super) is_end: bool,
}

impl Answer {
    pub(super) fn new(limits: Limits, collect: bool) -> Self {
        Self { limits, budget: Budget::new(limits.collected_bytes), collect, choices: BTreeMap::new() }
    }

    /// Takes a piece of a choice.
    pub(super) fn take(&mut self, piece: &Object<'_>) -> Result<Piece, TranslateError> {
        let index = match piece.get("index") {
            Some(index) => index.parse().map_err(|_| TranslateError::NotOpenAi("a choice's index is no number"))?,
            None => 0,
        };
        if index >= self.limits.choices {
            return Err(TranslateError::ManyChoices(self.limits.choices));
        }
        let delta = match piece.get("delta") {
            Some(delta) => Object::parse(delta).map_err(|_| TranslateError::NotOpenAi("a delta is no object"))?,
            None => Object::default(),
        };
        let has_content = has_content(&delta) || piece.get("text").is_some_and(|text| !is_empty(text));
        let choice = self.choices.entry(index).or_default();
        if choice.finish_reason.is_some() {
            let nothing = Piece { is_news: false, has_content: false, is_end: false };
            return if has_content { Err(TranslateError::AfterTheEnd) } else { Ok(nothing) };
        }
        choice.take_tool_calls(&delta, self.limits.tool_calls, self.collect.then_some(&mut self.budget))?;
        if self.collect {
            choice.message.take(&delta, &["tool_calls"], &mut self.budget)?;
            choice.beside.take(piece, &["index", "delta"], &mut self.budget)?;
        }
        if piece.get("finish_reason").is_some() {
            let reason = piece.read("finish_reason");
            choice.finish_reason = Some(reason.ok_or(TranslateError::NotOpenAi("a finish_reason is no string"))?);
        }
        Ok(Piece { is_news: true, has_content, is_end: choice.finish_reason.is_some() })
    }

    pub(super) fn has_several(&self) -> bool {
        self.choices.len() > 1
    }

    /// True when something was said and every choice has ended.
    pub(super) fn is_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.values().all(|choice| choice.finish_reason.is_some())
    }

    /// The choices that have not come to their end; the first one where nothing was said.
    pub(super) fn open(&self) -> Vec<usize> {
        if self.choices.is_empty() {
            return vec![0];
        }
        let is_open = |choice: &Choice| choice.finish_reason.is_none();
        self.choices.iter().filter(|(_, choice)| is_open(choice)).map(|(index, _)| *index).collect()
    }

    /// Why it ended: a limit if one ended any of the choices, the model otherwise, tools and filters among it.
    pub(super) fn finish_reason(&self) -> FinishReason {
        let at_length = self.choices.values().any(|choice| choice.finish_reason.as_deref() == Some("length"));
        if at_length { FinishReason::Length } else { FinishReason::Stop }
    }

    /// The choices of a whole answer, as JSON.
    pub(super) fn whole(&self, endpoint: Endpoint) -> String {
        let choices: Vec<String> = self.choices.iter().map(|(index, choice)| choice.whole(endpoint, *index)).collect();
        format!("[{}]", choices.join(","))
    }
}

impl Choice {
    /// Adds pieces to the tool calls that they name by their index. One without an index, as some servers send them, is a
    /// new call if it has an id, else it belongs to the last one.
    fn take_tool_calls(
        &mut self,
        delta: &Object<'_>,
        most: usize,
        mut budget: Option<&mut Budget>,
    ) -> Result<(), TranslateError> {
        const NO_CALLS: TranslateError = TranslateError::NotOpenAi("its tool calls are no list of objects");
        let Some(calls) = delta.get("tool_calls") else { return Ok(()) };
        let calls: Vec<Object<'_>> = serde_json::from_str(calls).map_err(|_| NO_CALLS)?;
        for call in calls {
            let known = self.tool_calls.len();
            let at = match call.get("index") {
                Some(index) => index.parse().map_err(|_| NO_CALLS)?,
                None if call.get("id").is_some() => known,
                None => known.saturating_sub(1),
            };
            if at >= most {
                return Err(TranslateError::ManyToolCalls(most));
            }
            if at > known {
                return Err(TranslateError::Gap);
            }
            if at == known {
                self.tool_calls.push(Merged::default());
            }
            if let Some(budget) = budget.as_deref_mut() {
                self.tool_calls[at].take(&call, &["index"], budget)?;
            }
        }
        Ok(())
    }

    fn whole(&self, endpoint: Endpoint, index: usize) -> String {
        let mut choice = Object::default();
        match endpoint {
            Endpoint::Chat => {
                choice.set("index", json(&index));
                choice.set("message", self.message());
            }
            Endpoint::Completion => {
                choice.set("text", "\"\"");
                choice.set("index", json(&index));
            }
        }
        choice.set("logprobs", "null");
        choice.set("finish_reason", "null");
        self.beside.fill(&mut choice);
        choice.text()
    }

    fn message(&self) -> String {
        let mut message = Object::default();
        message.set("role", "\"assistant\"");
        // A message that only calls tools has no content.
        message.set("content", if self.tool_calls.is_empty() { "\"\"" } else { "null" });
        message.set("refusal", "null");
        self.message.fill(&mut message);
        if !self.tool_calls.is_empty() {
            let calls: Vec<String> = self.tool_calls.iter().map(Merged::text).collect();
            message.set("tool_calls", format!("[{}]", calls.join(",")));
        }
        message.text()
    }
}

/// True when a delta says something, be it text, reasoning, a refusal or a tool call.
fn has_content(delta: &Object<'_>) -> bool {
    delta.fields().any(|(name, value)| name != "role" && !is_empty(value))
}

fn is_empty(value: &str) -> bool {
    matches!(value, "\"\"" | "[]" | "{}")
}
