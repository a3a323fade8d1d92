//! Whole answers, from the bytes of a server to the bytes of a node.

mod hostile;

mod recorded;

mod shapes;

use serde_json::Value;

use super::*;
use crate::energy::{Boundary, Energy, EnergyTerms, Tier};
use crate::frame::{USAGE_EVENT, UsageFrame};
use crate::price::Price;
use crate::sse::{Event, Scanner};
use crate::units::{Microjoules, Nanocredits};

/// The client wants pieces and the usage.
fn facts(endpoint: Endpoint) -> Facts {
    let [prompt, cached, completion] = [100, 10, 1_000].map(Nanocredits::new);
    Facts {
        endpoint,
        id: "chatcmpl-ours".to_owned(),
        created: 1_700_000_000,
        model: "smollm2-135m-instruct".to_owned(),
        fingerprint: "attached".to_owned(),
        stream: true,
        include_usage: true,
        prompt_tokens: 0,
        price: Some(Price { prompt, cached, completion }),
        terms: EnergyTerms::default(),
    }
}

fn whole(endpoint: Endpoint) -> Facts {
    Facts { stream: false, include_usage: false, ..facts(endpoint) }
}

/// A joule for each token.
fn energy(tokens: Tokens) -> Energy {
    let microjoules = Microjoules::new((tokens.prompt + tokens.completion) * 1_000_000);
    Energy::exact(microjoules, (Tier::E, Boundary::Device), "test/1")
}

/// What a node sends.
#[derive(Debug, Default)]
struct Sent {
    frames: Vec<UsageFrame>,
    /// Data for the client, in order.
    data: Vec<String>,
}

impl Sent {
    fn json(&self, at: usize) -> Value {
        serde_json::from_str(&self.data[at]).unwrap()
    }

    fn last(&self) -> &UsageFrame {
        self.frames.last().unwrap()
    }

    fn counted(&self) -> (u64, u64) {
        (self.last().prompt_tokens, self.last().completion_tokens)
    }
}

fn events(stream: &[u8]) -> Vec<Event> {
    Scanner::new(usize::MAX).push(stream).unwrap()
}

/// Reads a node's bytes as a gateway does.
fn read(bytes: &[u8]) -> Sent {
    let mut sent = Sent::default();
    for event in events(bytes) {
        match (event.name().unwrap(), event.data().unwrap()) {
            (USAGE_EVENT, data) => sent.frames.push(serde_json::from_str(data).unwrap()),
            ("message", data) => sent.data.push(data.to_owned()),
            other => panic!("{other:?}"),
        }
    }
    sent
}

fn translate_within(limits: Limits, facts: Facts, stream: &[u8]) -> Result<Sent, TranslateError> {
    let mut translator = Translator::new(facts, limits);
    let mut bytes = Vec::new();
    for event in events(stream) {
        bytes.extend(translator.push(&event, energy)?);
    }
    bytes.extend(translator.finish(energy)?);
    Ok(read(&bytes))
}

fn translate(facts: Facts, stream: &str) -> Result<Sent, TranslateError> {
    translate_within(Limits::default(), facts, stream.as_bytes())
}

/// A stream of chunks, each as JSON, with an end mark.
fn stream(chunks: &[&str]) -> String {
    chunks.iter().chain(&["[DONE]"]).map(|chunk| format!("data: {chunk}\n\n")).collect()
}
