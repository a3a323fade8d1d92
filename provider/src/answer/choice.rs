//! One of the answers to a request, on its way to the client: what it has had already is left out, and what the rest is made
//! of is told apart.

use openapi::chat::FinishReason;
use openapi::continuation::ChoiceSoFar;

use super::logprobs::Rated;
use super::parts::{Part, Splitter};
use super::shape::Shape;
use crate::engine::Form;

/// An answer in the making.
pub(super) struct Choice {
    index: u32,
    splitter: Splitter,
    /// What the client has had already, in bytes and in tokens with chances: not again.
    shown: u64,
    rated: u64,
    opened: bool,
    finished: bool,
    /// Tokens whose chances go out with the next part.
    unsaid: Vec<Rated>,
    /// Characters that they begin after.
    offset: u64,
    whole: Whole,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) thought: String,
    /// Names and arguments.
    pub(super) calls: Vec<(String, String)>,
    pub(super) rated: Vec<Rated>,
    pub(super) finish_reason: FinishReason,
}

impl Choice {
    /// What is missing of an answer of which there is so much.
    pub(super) fn new(index: u32, form: &Form, so_far: &ChoiceSoFar) -> Self {
        Self {
            index,
            splitter: Splitter::new(form),
            shown: so_far.text_bytes,
            rated: so_far.logprobs,
            opened: so_far.opened,
            finished: so_far.finished,
            unsaid: Vec::new(),
            offset: 0,
            whole: Whole {
                text: String::new(),
                thought: String::new(),
                calls: Vec::new(),
                rated: Vec::new(),
                finish_reason: FinishReason::Stop,
            },
        }
    }

    /// The prompt stands before the answer.
    pub(super) fn echo(&mut self, text: String, rated: Vec<Rated>) -> Vec<Part> {
        self.rate(rated);
        self.shown(vec![Part::Text(text)])
    }

    /// What a step's text adds.
    pub(super) fn step(&mut self, text: &str, rated: Vec<Rated>) -> Vec<Part> {
        self.rate(rated);
        let parts = self.splitter.push(text);
        self.shown(parts)
    }

    /// What was held back until the answer ended.
    pub(super) fn rest(&mut self) -> Vec<Part> {
        let parts = self.splitter.finish();
        self.shown(parts)
    }

    /// Why it ended, if it did so for this reason.
    pub(super) fn reason(&self, reason: FinishReason) -> FinishReason {
        match reason {
            FinishReason::Stop if self.splitter.calls() > 0 => FinishReason::ToolCalls,
            reason => reason,
        }
    }

    /// The events that say this.
    pub(super) fn streamed(&mut self, shape: &Shape, parts: &[Part]) -> String {
        let mut events = self.opening(shape);
        for part in parts {
            let rated = std::mem::take(&mut self.unsaid);
            events.push_str(&shape.part(self.index, part, &rated, &mut self.offset));
        }
        events
    }

    /// The event that says why it ended.
    pub(super) fn finish(&mut self, shape: &Shape, reason: FinishReason) -> String {
        if std::mem::replace(&mut self.finished, true) {
            return String::new();
        }
        let (opening, rated) = (self.opening(shape), std::mem::take(&mut self.unsaid));
        opening + &shape.finish(self.index, self.reason(reason), &rated, &mut self.offset)
    }

    /// Keeps this for an answer that goes out in one piece.
    pub(super) fn collect(&mut self, parts: Vec<Part>) {
        self.whole.rated.append(&mut self.unsaid);
        for part in parts {
            match part {
                Part::Text(text) => self.whole.text.push_str(&text),
                Part::Thought(text) => self.whole.thought.push_str(&text),
                Part::Call { name, .. } => self.whole.calls.push((name, String::new())),
                Part::Arguments { text, .. } => {
                    self.whole.calls.last_mut().into_iter().for_each(|(_, arguments)| arguments.push_str(&text));
                }
            }
        }
    }

    /// The whole answer.
    pub(super) fn into_whole(mut self, reason: FinishReason) -> Whole {
        self.collect(Vec::new());
        Whole { finish_reason: self.reason(reason), ..self.whole }
    }

    fn opening(&mut self, shape: &Shape) -> String {
        match std::mem::replace(&mut self.opened, true) {
            true => String::new(),
            false => shape.opening(self.index),
        }
    }

    fn rate(&mut self, rated: Vec<Rated>) {
        let known = usize::try_from(self.rated).unwrap_or(usize::MAX).min(rated.len());
        self.rated -= known as u64;
        self.offset += rated[..known].iter().map(Rated::characters).sum::<u64>();
        self.unsaid.extend(rated.into_iter().skip(known));
    }

    /// Leaves out what has gone out before.
    fn shown(&mut self, parts: Vec<Part>) -> Vec<Part> {
        parts.into_iter().filter_map(|part| self.new_part(part)).collect()
    }

    fn new_part(&mut self, part: Part) -> Option<Part> {
        let text = part.text();
        let known = text.len().min(usize::try_from(self.shown).unwrap_or(usize::MAX));
        self.shown -= known as u64;
        if known == text.len() {
            return None;
        }
        // Whoever counts otherwise than by whole characters has not read this text.
        let rest = || text.get(known..).unwrap_or_default().to_owned();
        Some(match &part {
            Part::Text(_) => Part::Text(rest()),
            Part::Thought(_) => Part::Thought(rest()),
            Part::Arguments { index, .. } => Part::Arguments { index: *index, text: rest() },
            Part::Call { .. } => part,
        })
    }
}

#[cfg(test)]
mod tests {
    use openapi::chat::Tool;

    use super::*;

    fn form() -> Form {
        let tool = Tool { name: "sum".into(), description: None, parameters: serde_json::json!({}) };
        Form { tools: vec![tool], ..Form::default() }
    }

    const ANSWER: &str = "Né: <tool_call>\n{\"name\": \"sum\", \"arguments\": {\"of\": []}}\n</tool_call>";

    fn bytes(parts: &[Part]) -> u64 {
        parts.iter().map(|part| part.text().len() as u64).sum()
    }

    #[test]
    fn whatever_the_client_has_is_not_said_again() {
        let whole = Choice::new(0, &form(), &ChoiceSoFar::default()).step(ANSWER, Vec::new());
        assert_eq!(whole.len(), 3);
        let mut shown = 0;
        for said in 0..=whole.len() {
            let so_far = ChoiceSoFar { text_bytes: shown, ..ChoiceSoFar::default() };
            let rest = Choice::new(0, &form(), &so_far).step(ANSWER, Vec::new());
            assert_eq!(rest, whole[said..], "after {shown} bytes");
            shown += whole.get(said).map_or(0, |part| bytes(std::slice::from_ref(part)));
        }
        let within = ChoiceSoFar { text_bytes: 3, ..ChoiceSoFar::default() };
        assert_eq!(Choice::new(0, &form(), &within).step(ANSWER, Vec::new())[0], Part::Text(":".into()));
    }

    #[test]
    fn an_answer_with_calls_ends_for_their_sake() {
        let mut choice = Choice::new(0, &form(), &ChoiceSoFar::default());
        let parts = choice.step(ANSWER, Vec::new());
        choice.collect(parts);
        assert_eq!(choice.reason(FinishReason::Length), FinishReason::Length);
        let whole = choice.into_whole(FinishReason::Stop);
        assert_eq!((whole.text.as_str(), whole.finish_reason), ("Né:", FinishReason::ToolCalls));
        assert_eq!(whole.calls, [("sum".to_owned(), "{\"of\": []}".to_owned())]);
    }
}
