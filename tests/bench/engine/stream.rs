//! One question, and its answer token by token.

use std::net::SocketAddr;
use std::time::Instant;

use futures_util::StreamExt;
use serde_json::{Value, json};

/// Times in nanoseconds.
pub(super) struct Answer {
    /// From the question to the first token.
    pub(super) first: i64,
    /// From one token to the next, on average.
    pub(super) gap: i64,
}

/// Each a token of its own for this model, wherever it stands.
const WORDS: [&str; 24] = [
    "the", "sea", "is", "wide", "and", "wind", "moves", "over", "it", "while", "ships", "go", "from", "one", "land",
    "to", "another", "with", "salt", "grain", "people", "who", "sing", "there",
];

/// Texts that begin differently, so that nobody has computed any part of them before.
#[derive(Default)]
pub(super) struct Prompts(usize);

impl Prompts {
    /// A text of so many words.
    pub(super) fn next(&mut self, words: usize) -> String {
        self.0 += 1;
        let count = self.0;
        let word = |place: usize| WORDS[(count + place * (7 + count / WORDS.len()) + place / 11) % WORDS.len()];
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }
}

/// Asks, and reads the answer as it comes.
pub(super) async fn ask(
    client: &reqwest::Client,
    address: SocketAddr,
    prompt: &str,
    tokens: u64,
) -> Result<Answer, String> {
    let body = json!({
        "model": tests::MODEL,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": true,
        "stream_options": {"include_usage": true},
        // The tokens that end an answer: it has to be as long as it was ordered.
        "logit_bias": {"0": -100, "2": -100},
    });
    let began = Instant::now();
    let response = client.post(format!("http://{address}/v1/completions")).json(&body).send().await;
    let response = response.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())?;
    let (mut pieces, mut rest) = (response.bytes_stream(), Vec::new());
    let (mut first, mut last, mut usage) = (None, 0, Value::Null);
    while let Some(piece) = pieces.next().await {
        rest.extend_from_slice(&piece.map_err(|error| error.to_string())?);
        let now = began.elapsed().as_nanos() as i64;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Some(event) = line.strip_prefix(b"data: {") else { continue };
            let event: Value = serde_json::from_slice(&[b"{", event].concat()).map_err(|error| error.to_string())?;
            if event["usage"].is_object() {
                usage = event["usage"].clone();
            }
            if event["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()) {
                first.get_or_insert(now);
                last = now;
            }
        }
    }
    let words = prompt.split(' ').count() as u64;
    let (Some(first), Some(read), Some(said)) =
        (first, usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64())
    else {
        return Err("an answer without an end".to_owned());
    };
    if (read, said) != (words, tokens) {
        return Err(format!("{said} tokens for a prompt of {read}, and not {tokens} for {words}"));
    }
    Ok(Answer { first, gap: (last - first) / (tokens.cast_signed() - 1).max(1) })
}
