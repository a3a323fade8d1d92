//! Stop strings against texts full of characters of several bytes, cut anywhere: none is shown, no character is broken, and
//! every token is counted. `COMMONWATT_STOPS` says for how many texts.

use serde_json::{Value, json};
use tests::{Node, conversation};

const TOKENS: u32 = 40;
/// Ends an answer for the model.
const END: &str = "2";

fn count() -> u64 {
    std::env::var("COMMONWATT_STOPS").ok().and_then(|count| count.parse().ok()).unwrap_or(6)
}

fn ask(seed: u64, more: &Value) -> Value {
    let mut body = conversation(json!({
        "messages": [{"role": "user", "content": "🌊🐟 日本語で海について。 Schöne Grüße! Ответь по-русски 🙂"}],
        "temperature": 1.7,
        "seed": seed,
        "max_tokens": TOKENS,
        "logit_bias": {END: -100},
    }));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The bytes of each token of an answer.
fn tokens(answer: &Value) -> Vec<Vec<u8>> {
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let bytes = |token: &Value| serde_json::from_value(token["bytes"].clone()).unwrap();
    tokens.iter().map(bytes).collect()
}

/// What so many bytes say, without a last character that is not complete.
fn said(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // Within the text it stands for what the model broke itself.
        let is_last = chunk.invalid().as_ptr_range().end == bytes.as_ptr_range().end;
        if !(chunk.invalid().is_empty() || is_last) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Some characters of a text, from one of several bytes on where it has any.
fn part(text: &str, chance: &mut fastrand::Rng) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut starts: Vec<usize> = (0..characters.len()).filter(|at| characters[*at].len_utf8() > 1).collect();
    if starts.is_empty() || chance.u8(..4) == 0 {
        starts = (0..characters.len()).collect();
    }
    let start = starts[chance.usize(..starts.len())];
    characters[start..].iter().take(chance.usize(1..=4)).collect()
}

/// The text and the number of tokens at which the first of these strings is complete.
fn stopped(tokens: &[Vec<u8>], stops: &[String]) -> (String, usize) {
    let mut bytes = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        bytes.extend_from_slice(token);
        let text = said(&bytes);
        if let Some(at) = stops.iter().filter_map(|stop| text.find(stop)).min() {
            return (text[..at].to_owned(), number + 1);
        }
    }
    panic!("none of {stops:?} stands in {:?}", said(&bytes));
}

#[tokio::test]
async fn a_stop_string_of_any_characters_is_never_shown_and_every_token_is_counted() {
    let node = Node::start(&[]).await;
    let (mut broad, mut chance) = (0, fastrand::Rng::with_seed(1));
    for seed in 0..count() {
        let free = node.chat(&ask(seed, &json!({"logprobs": true}))).await;
        let (text, tokens) = (free["choices"][0]["message"]["content"].as_str().unwrap(), tokens(&free));
        assert_eq!(tokens.len() as u64, free["usage"]["completion_tokens"].as_u64().unwrap());
        assert!(text.starts_with(&said(&tokens.concat())), "{text:?}");
        let stops: Vec<String> =
            [part(text, &mut chance), part(text, &mut chance), "nowhere at all".into()].into_iter().collect();
        broad += usize::from(stops.iter().any(|stop| !stop.is_ascii()));
        let (before, count) = stopped(&tokens, &stops);

        let whole = node.chat(&ask(seed, &json!({"stop": stops}))).await;
        let choice = &whole["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!(before), &json!("stop")),
            "{stops:?} in {text:?}"
        );
        assert_eq!(whole["usage"]["completion_tokens"], count, "{stops:?} in {text:?}");

        let streaming = json!({"stop": stops, "stream": true, "stream_options": {"include_usage": true}});
        let streamed = node.ask("/v1/chat/completions", &ask(seed, &streaming)).await.bytes().await.unwrap();
        let events = openapi::sse::Scanner::new(1 << 20).push(&streamed).unwrap();
        let chunks: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event.data()?).ok()).collect();
        let joined: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(joined, before, "piece by piece, {stops:?} in {text:?}");
        assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], count);
    }
    println!("stops: {} texts, {broad} cut at characters of several bytes", count());
    assert!(broad as u64 * 2 > count(), "most have some: {broad}");
}
