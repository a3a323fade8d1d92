//! From the upstream's events to the node's: the answer under our names, with a usage frame before each piece of it.

use super::answer::Answer;
use super::json::{Object, json};
use super::tokens::{Place, Stated, Tally, Tokens};
use super::{Endpoint, Limits, TranslateError};
use crate::chat::FinishReason;
use crate::energy::{Energy, EnergyTerms, Status, disclose};
use crate::error::echo;
use crate::frame::{USAGE_EVENT, UsageFrame};
use crate::price::Price;
use crate::sse::{self, Event};
use crate::usage::Usage;

/// What is known of an answer before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub endpoint: Endpoint,
    /// The answer's id, such as `chatcmpl-…`.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model by its public name.
    pub model: String,
    /// Names the upstream where it doesn't name itself.
    pub fingerprint: String,
    /// Whether the client wants pieces, or one JSON.
    pub stream: bool,
    /// Whether the client wants the usage at the end of a stream.
    pub include_usage: bool,
    /// Tokens of the prompt until the upstream says how many they are; zero where nobody has an idea.
    pub prompt_tokens: u64,
    /// What the client pays, where somebody pays.
    pub price: Option<Price>,
    /// What turns joules into those of the site, and into carbon.
    pub terms: EnergyTerms,
}

/// One answer on its way.
#[derive(Debug)]
pub struct Translator {
    facts: Facts,
    limits: Limits,
    answer: Answer,
    tally: Tally,
    /// The upstream's own, marked as such.
    fingerprint: Option<String>,
    stream_bytes: usize,
    /// Nothing is written any more.
    over: bool,
}

impl Translator {
    /// An answer of which nothing has come yet.
    pub fn new(facts: Facts, limits: Limits) -> Self {
        Self {
            answer: Answer::new(limits, !facts.stream),
            tally: Tally::new(facts.prompt_tokens),
            facts,
            limits,
            fingerprint: None,
            stream_bytes: 0,
            over: false,
        }
    }

    /// Takes an event and gives the bytes to send on, if any. `energy` says what so many tokens have taken. After the
    /// upstream's `[DONE]` the answer is complete and nothing more comes of it, as after an error.
    ///
    /// # Errors
    /// What the upstream did wrong.
    pub fn push(&mut self, event: &Event, energy: impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        if self.over {
            return Ok(Vec::new());
        }
        let written = self.event(event, &energy);
        self.over |= written.is_err();
        written
    }

    /// The upstream's body has ended: completes an answer that has come to its end without a `[DONE]`.
    ///
    /// # Errors
    /// When a choice is not at its end.
    pub fn finish(&mut self, energy: impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        if self.over {
            return Ok(Vec::new());
        }
        self.over = true;
        self.end(&energy)
    }

    /// The answer may have no more than it has: ends every choice with the `finish_reason` `length`, and the answer.
    ///
    /// # Errors
    /// None of an answer that is under way.
    pub fn end_at_limit(&mut self, energy: impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        let mut written = Vec::new();
        if self.over {
            return Ok(written);
        }
        for index in self.answer.open() {
            let nothing = match self.facts.endpoint {
                Endpoint::Chat => r#""delta":{}"#,
                Endpoint::Completion => r#""text":"""#,
            };
            let choice = format!(r#"{{"index":{index},{nothing},"logprobs":null,"finish_reason":"length"}}"#);
            let object = json(self.facts.endpoint.piece());
            let head = r#""id":"","object":"#;
            written.extend(self.chunk(&format!("{{{head}{object},\"choices\":[{choice}]}}"), &energy)?);
        }
        self.over = true;
        written.extend(self.end(&energy)?);
        Ok(written)
    }

    /// What was used so far: of an answer that is complete, all of it.
    pub fn tokens(&self) -> Tokens {
        if self.over && self.answer.is_finished() { self.tally.total() } else { self.tally.so_far() }
    }

    /// True when every choice is at its end: what is still to come is usage and the end mark. Who has to wait for the
    /// last reading of a sensor does it now.
    pub fn is_finished(&self) -> bool {
        self.answer.is_finished()
    }

    fn event(&mut self, event: &Event, energy: &impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        self.stream_bytes += event.raw.len();
        if event.raw.len() > self.limits.event_bytes {
            return Err(TranslateError::LongEvent(self.limits.event_bytes));
        }
        if self.stream_bytes > self.limits.stream_bytes {
            return Err(TranslateError::LongStream(self.limits.stream_bytes));
        }
        let text = std::str::from_utf8(&event.raw).map_err(|error| TranslateError::NoJson(error.to_string()))?;
        // Older versions of llama.cpp name a field of the event so.
        if let Some(error) = text.strip_prefix("error:") {
            return Err(TranslateError::Reported(echo(error.trim())));
        }
        match (event.name(), event.data().map(str::trim)) {
            (Some("message"), Some("[DONE]")) => {
                self.over = true;
                self.end(energy)
            }
            // llama.cpp's first word on a list of prompts.
            (Some("message"), Some("null")) => Ok(Vec::new()),
            (Some("message"), Some(data)) => self.chunk(data, energy),
            (Some("error"), data) => Err(TranslateError::Reported(echo(data.unwrap_or_default()))),
            _ => Ok(Vec::new()),
        }
    }

    fn chunk(&mut self, data: &str, energy: &impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        let mut chunk = Object::parse(data).map_err(|error| TranslateError::NoJson(error.to_string()))?;
        if let Some(reported) = reported(&chunk) {
            return Err(TranslateError::Reported(reported));
        }
        if let Some(fingerprint) = chunk.read::<String>("system_fingerprint").filter(|own| !own.is_empty()) {
            self.fingerprint = Some(format!("upstream-{}", echo(&fingerprint)));
        }
        if !self.take(&chunk)? {
            return Ok(Vec::new());
        }
        let tokens = self.tally.so_far();
        let frame = frame(tokens, energy(tokens), None);
        if !self.facts.stream {
            return Ok(frame.into_bytes());
        }
        self.name(&mut chunk);
        // With `include_usage`, OpenAI writes `"usage": null` on every piece but the last.
        if self.facts.include_usage {
            chunk.set("usage", "null");
        } else {
            chunk.remove("usage");
        }
        Ok(format!("{frame}data: {}\n\n", chunk.text()).into_bytes())
    }

    /// Reads choices and usage of a chunk; true when there is something in it for the client.
    fn take(&mut self, chunk: &Object<'_>) -> Result<bool, TranslateError> {
        let choices = chunk.get("choices").ok_or(TranslateError::NotOpenAi("it has no choices"))?;
        let choices: Vec<Object<'_>> = serde_json::from_str(choices)
            .map_err(|_| TranslateError::NotOpenAi("its choices are no list of objects"))?;
        let mut is_news = false;
        let mut place = if choices.is_empty() { Place::Alone } else { Place::Between };
        for choice in &choices {
            let piece = self.answer.take(choice)?;
            is_news |= piece.is_news;
            if piece.has_content {
                self.tally.piece();
            }
            if piece.is_end {
                place = Place::AtAnEnd;
            }
        }
        let Some(usage) = chunk.get("usage") else { return Ok(is_news || choices.is_empty()) };
        let stated: Stated =
            serde_json::from_str(usage).map_err(|_| TranslateError::NotOpenAi("its usage is no usage"))?;
        self.tally.state(stated, place, self.answer.has_several())?;
        Ok(is_news)
    }

    fn end(&mut self, energy: &impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        if !self.answer.is_finished() {
            return Err(TranslateError::Early);
        }
        let tokens = self.tally.total();
        let energy = energy(tokens);
        let usage = self.usage(tokens, &energy);
        let frame = frame(tokens, energy, Some(self.answer.finish_reason()));
        let ending = match (self.facts.stream, self.facts.include_usage) {
            (true, true) => self.event_of(self.facts.endpoint.piece(), "[]", &usage) + sse::DONE,
            (true, false) => sse::DONE.to_owned(),
            (false, _) => {
                let choices = self.answer.whole(self.facts.endpoint);
                self.event_of(self.facts.endpoint.object(), &choices, &usage)
            }
        };
        Ok((frame + &ending).into_bytes())
    }

    fn usage(&self, tokens: Tokens, energy: &Energy) -> String {
        let status = if energy.settled { Status::Settled } else { Status::Provisional };
        let disclosed = disclose(energy, &self.facts.terms, status);
        let usage = Usage::new(tokens.prompt, tokens.completion, Some(disclosed));
        json(&match &self.facts.price {
            Some(price) => usage.at(price),
            None => usage,
        })
    }

    fn event_of(&self, object: &str, choices: &str, usage: &str) -> String {
        let mut event = Object::default();
        event.set("id", "null");
        event.set("object", json(object));
        self.name(&mut event);
        event.set("choices", choices);
        event.set("usage", usage);
        format!("data: {}\n\n", event.text())
    }

    /// Puts our names over the upstream's.
    fn name(&self, chunk: &mut Object<'_>) {
        chunk.set("id", json(&self.facts.id));
        chunk.set("created", json(&self.facts.created));
        chunk.set("model", json(&self.facts.model));
        chunk.set("system_fingerprint", json(self.fingerprint.as_ref().unwrap_or(&self.facts.fingerprint)));
    }
}

fn frame(tokens: Tokens, energy: Energy, finish_reason: Option<FinishReason>) -> String {
    let frame = UsageFrame {
        prompt_tokens: tokens.prompt,
        completion_tokens: tokens.completion,
        token_ids: Vec::new(),
        choice: 0,
        energy,
        finish_reason,
    };
    sse::named(USAGE_EVENT, &frame).unwrap_or_default()
}

/// The error that stands in an answer: OpenAI's `error`, or vLLM's older form with its fields at the top.
fn reported(chunk: &Object<'_>) -> Option<String> {
    let message = |text: &str| {
        let object = Object::parse(text).ok();
        let message = object.as_ref().and_then(|object| object.read::<String>("message"));
        echo(message.as_deref().unwrap_or(text))
    };
    match chunk.get("error") {
        Some(error) => Some(message(error)),
        None if chunk.read::<String>("object").as_deref() == Some("error") => Some(message(&chunk.text())),
        None => None,
    }
}
