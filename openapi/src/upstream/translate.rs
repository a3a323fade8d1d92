//! From the upstream's events to the node's: the answer under our names, with a usage frame before its pieces.

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
    /// Pieces for the client that were not written yet.
    pieces: String,
    /// Something has come of which no frame has told.
    untold: bool,
    /// Nothing is taken any more.
    over: bool,
    /// Its end is written, or never will be.
    ended: bool,
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
            pieces: String::new(),
            untold: false,
            over: false,
            ended: false,
        }
    }

    /// Takes an event and gives the bytes to send on, if any: see [`take`](Self::take) and [`write`](Self::write).
    ///
    /// # Errors
    /// What the upstream did wrong.
    pub fn push(&mut self, event: &Event, energy: impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        self.take(event)?;
        Ok(self.write(energy))
    }

    /// Takes an event. After the upstream's `[DONE]` the answer is complete and nothing more comes of it, as after an error.
    ///
    /// # Errors
    /// What the upstream did wrong.
    pub fn take(&mut self, event: &Event) -> Result<(), TranslateError> {
        if self.over {
            return Ok(());
        }
        let taken = self.event(event);
        (self.over, self.ended) = (self.over || taken.is_err(), taken.is_err());
        taken
    }

    /// The bytes to send on for all that was taken since the last time, if any: what came at once gets one frame. `energy` says
    /// what so many tokens have taken.
    pub fn write(&mut self, energy: impl Fn(Tokens) -> Energy) -> Vec<u8> {
        let mut written = String::new();
        // Where the end is there too, its frame tells what no piece follows.
        if std::mem::take(&mut self.untold) && !(self.over && self.pieces.is_empty()) {
            let tokens = self.tally.so_far();
            written = frame(tokens, energy(tokens), None);
            written.push_str(&std::mem::take(&mut self.pieces));
        }
        if self.over && !std::mem::replace(&mut self.ended, true) {
            written.push_str(&self.ending(&energy));
        }
        written.into_bytes()
    }

    /// True when nothing that comes counts any more.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The upstream's body has ended: completes an answer that has come to its end without a `[DONE]`.
    ///
    /// # Errors
    /// When a choice is not at its end.
    pub fn finish(&mut self, energy: impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        if !self.over {
            self.end()?;
        }
        Ok(self.write(energy))
    }

    /// The answer may have no more than it has: ends every choice with the `finish_reason` `length`, and the answer.
    ///
    /// # Errors
    /// None of an answer that is under way.
    pub fn end_at_limit(&mut self, energy: impl Fn(Tokens) -> Energy) -> Result<Vec<u8>, TranslateError> {
        let open = if self.over { Vec::new() } else { self.answer.open() };
        for index in open {
            let nothing = match self.facts.endpoint {
                Endpoint::Chat => r#""delta":{}"#,
                Endpoint::Completion => r#""text":"""#,
            };
            let choice = format!(r#"{{"index":{index},{nothing},"logprobs":null,"finish_reason":"length"}}"#);
            let object = json(self.facts.endpoint.piece());
            let head = r#""id":"","object":"#;
            self.chunk(&format!("{{{head}{object},\"choices\":[{choice}]}}"))?;
        }
        self.finish(energy)
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

    fn event(&mut self, event: &Event) -> Result<(), TranslateError> {
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
            (Some("message"), Some("[DONE]")) => self.end(),
            // llama.cpp's first word on a list of prompts.
            (Some("message"), Some("null")) => Ok(()),
            (Some("message"), Some(data)) => self.chunk(data),
            (Some("error"), data) => Err(TranslateError::Reported(echo(data.unwrap_or_default()))),
            _ => Ok(()),
        }
    }

    fn chunk(&mut self, data: &str) -> Result<(), TranslateError> {
        let mut chunk = Object::parse(data).map_err(|error| TranslateError::NoJson(error.to_string()))?;
        if let Some(reported) = reported(&chunk) {
            return Err(TranslateError::Reported(reported));
        }
        if self.fingerprint.is_none() {
            let own = chunk.read::<String>("system_fingerprint").filter(|own| !own.is_empty());
            self.fingerprint = own.map(|own| format!("upstream-{}", echo(&own)));
        }
        if !self.read(&chunk)? {
            return Ok(());
        }
        self.untold = true;
        if !self.facts.stream {
            return Ok(());
        }
        self.name(&mut chunk);
        // With `include_usage`, OpenAI writes `"usage": null` on every piece but the last.
        if self.facts.include_usage {
            chunk.set("usage", "null");
        } else {
            chunk.remove("usage");
        }
        self.pieces.push_str("data: ");
        chunk.write(&mut self.pieces);
        self.pieces.push_str("\n\n");
        Ok(())
    }

    /// Reads choices and usage of a chunk; true when there is something in it for the client.
    fn read(&mut self, chunk: &Object<'_>) -> Result<bool, TranslateError> {
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

    /// The upstream has said everything.
    fn end(&mut self) -> Result<(), TranslateError> {
        self.over = true;
        self.ended = !self.answer.is_finished();
        if self.ended { Err(TranslateError::Early) } else { Ok(()) }
    }

    fn ending(&mut self, energy: &impl Fn(Tokens) -> Energy) -> String {
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
        frame + &ending
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
        None if chunk.get("object") == Some("\"error\"") => Some(message(&chunk.text())),
        None => None,
    }
}
