//! How likely tokens were, as each of the endpoints writes it.

use std::collections::BTreeMap;

use openapi::chat::{ChatLogprobs, Likely, TokenLogprob};
use openapi::completion::CompletionLogprobs;

use crate::engine::{Chances, Engine};

/// A token of an answer, or of the prompt before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rated {
    pub(super) bytes: Vec<u8>,
    /// None for a prompt's first token.
    pub(super) chances: Option<RatedChances>,
}

/// Chances with the bytes of the tokens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RatedChances {
    logprob: f32,
    top: Vec<(Vec<u8>, f32)>,
}

impl Rated {
    pub(super) fn new(engine: &Engine, token: u32, chances: Option<&Chances>) -> Self {
        let rated = |chances: &Chances| RatedChances {
            logprob: chances.logprob,
            top: chances.top.iter().map(|(token, logprob)| (engine.token_bytes(*token), *logprob)).collect(),
        };
        Self { bytes: engine.token_bytes(token), chances: chances.map(rated) }
    }

    /// Characters of its text.
    pub(super) fn characters(&self) -> u64 {
        text(&self.bytes).chars().count() as u64
    }
}

/// In a chat.
pub(super) fn of_chat(tokens: &[Rated]) -> ChatLogprobs {
    let likely =
        |(bytes, logprob): &(Vec<u8>, f32)| Likely { token: text(bytes), logprob: *logprob, bytes: bytes.clone() };
    let content = tokens.iter().filter_map(|rated| {
        let chances = rated.chances.as_ref()?;
        Some(TokenLogprob {
            token: text(&rated.bytes),
            logprob: chances.logprob,
            bytes: rated.bytes.clone(),
            top_logprobs: chances.top.iter().map(likely).collect(),
        })
    });
    ChatLogprobs { content: content.collect(), refusal: None }
}

/// In a completion, after `offset` characters, which are counted on.
pub(super) fn of_completion(tokens: &[Rated], offset: &mut u64) -> CompletionLogprobs {
    let mut logprobs = CompletionLogprobs::default();
    for rated in tokens {
        let token = text(&rated.bytes);
        let likely = |chances: &RatedChances| {
            let mut likely: BTreeMap<String, f32> =
                chances.top.iter().map(|(bytes, logprob)| (text(bytes), *logprob)).collect();
            // OpenAI gives the token itself beside the likeliest ones.
            likely.entry(token.clone()).or_insert(chances.logprob);
            likely
        };
        logprobs.text_offset.push(*offset);
        *offset += rated.characters();
        logprobs.token_logprobs.push(rated.chances.as_ref().map(|chances| chances.logprob));
        logprobs.top_logprobs.push(rated.chances.as_ref().map(likely));
        logprobs.tokens.push(token);
    }
    logprobs
}

/// A part of a character is shown as OpenAI shows it: by its bytes.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| text + &format!("\\x{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(bytes: &[u8], logprob: f32, top: &[(&str, f32)]) -> Rated {
        let top = top.iter().map(|(token, logprob)| (token.as_bytes().to_vec(), *logprob)).collect();
        Rated { bytes: bytes.to_vec(), chances: Some(RatedChances { logprob, top }) }
    }

    #[test]
    fn a_chat_names_tokens_with_their_bytes() {
        let logprobs = of_chat(&[rated(b"hi", -0.5, &[("hi", -0.5), ("ho", -1.0)]), rated(b"\xf0\x9f", -2.0, &[])]);
        assert_eq!((logprobs.content[0].token.as_str(), logprobs.content[0].top_logprobs.len()), ("hi", 2));
        assert_eq!(
            (logprobs.content[1].token.as_str(), &logprobs.content[1].bytes[..]),
            ("bytes:\\xf0\\x9f", &b"\xf0\x9f"[..])
        );
    }

    #[test]
    fn a_completion_has_lists_of_equal_length_and_offsets_in_characters() {
        let mut offset = 3;
        let first = Rated { bytes: "é".into(), chances: None };
        let logprobs = of_completion(&[first, rated(b" a", -0.5, &[(" b", -0.1)])], &mut offset);
        assert_eq!((&logprobs.text_offset[..], offset), (&[3, 4][..], 6));
        assert_eq!(logprobs.token_logprobs, [None, Some(-0.5)]);
        assert_eq!(logprobs.top_logprobs[1].as_ref().unwrap().len(), 2, "the token itself is there");
        assert_eq!((logprobs.tokens.len(), logprobs.top_logprobs[0].is_none()), (2, true));
    }
}
