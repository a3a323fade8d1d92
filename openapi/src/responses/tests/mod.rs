//! Requests to chat completions, and recorded answers to responses. The recordings are llama.cpp's, as nodes hand them on.

mod asked;

mod events;

use serde_json::{Value, json};

use super::*;
use crate::sse::{Event, Scanner};

/// A stream in which something was said.
const TEXT: &str = include_str!("../../upstream/fixtures/chat.sse");
/// One with calls.
const CALLS: &str = include_str!("../../upstream/fixtures/tool_calls.sse");
/// One with logprobs.
const LOGPROBS: &str = include_str!("../../upstream/fixtures/logprobs.sse");

/// A stream of these chunks, each a `delta` or a whole choice, with usage and end mark.
fn stream(choices: &[Value]) -> String {
    let chunk = |choice: &Value| format!("data: {}\n\n", json!({"model": "small", "choices": [choice]}));
    let usage = json!({"model": "small", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3,
        "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}, "cost": "0.5"}});
    let chunks: String = choices.iter().map(chunk).collect();
    format!("{chunks}data: {usage}\n\n: commonwatt {{}}\n\ndata: [DONE]\n\n")
}

fn delta(delta: Value) -> Value {
    json!({"index": 0, "delta": delta, "finish_reason": null})
}

fn end(reason: &str) -> Value {
    json!({"index": 0, "delta": {}, "finish_reason": reason})
}

fn call(index: usize, id: Option<&str>, function: Value) -> Value {
    delta(json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}))
}

fn asked() -> Response {
    Response { id: format!("resp_{:032x}", 7), created_at: 100, model: "asked".to_owned(), ..Response::default() }
}

/// What becomes of a stream that arrives in these pieces.
fn translated<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut scanner, mut translator) = (Scanner::new(1 << 20), Translator::new(asked()));
    let mut written = Vec::new();
    for piece in pieces {
        scanner.push(piece).unwrap().iter().for_each(|event| written.extend(translator.push(event)));
    }
    written.extend(if translator.is_complete() { translator.end(200, true) } else { translator.break_off() });
    written
}

fn split(bytes: &[u8]) -> Vec<Event> {
    Scanner::new(1 << 20).push(bytes).unwrap()
}

/// The events, comments left out.
fn events(stream: &str) -> Vec<Value> {
    let events = split(&translated([stream.as_bytes()]));
    let values = events.iter().filter_map(|event| {
        let value: Value = serde_json::from_str(event.data()?).unwrap();
        assert_eq!(event.name(), value["type"].as_str(), "an event is named after its type");
        Some(value)
    });
    values.collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}
