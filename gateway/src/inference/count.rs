//! What the gateway counts for itself, since a node earns by what it claims.

use openapi::frame::UsageFrame;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A token is at least a byte of text; but text may be held back for a moment, and some tokens have none.
const TOKENS_WITHOUT_TEXT: u64 = 32;

/// What went by of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Token ids that the node has named.
    named: u64,
    /// It names none, so that only claim and text count.
    unnamed: bool,
    /// Bytes of text in the pieces.
    text_bytes: u64,
    /// Bytes of what else is made of tokens: calls of tools, thoughts, refusals.
    other_bytes: u64,
    /// The node's own word, which is higher if it lies.
    claimed_prompt: u64,
    claimed: u64,
}

impl Count {
    /// The node says what it has used; `names_tokens` says whether nodes of its kind name their tokens.
    pub(super) fn frame(&mut self, frame: &UsageFrame, names_tokens: bool) {
        self.named += frame.token_ids.len() as u64;
        self.unnamed = !names_tokens;
        (self.claimed_prompt, self.claimed) = (frame.prompt_tokens, frame.completion_tokens);
    }

    /// Counts what an event holds. True when it says why the answer ends.
    pub(super) fn piece(&mut self, data: &str) -> bool {
        let piece = read(data);
        self.text_bytes += piece.text_bytes;
        self.other_bytes += piece.other_bytes;
        piece.finishes
    }

    /// Bytes of text in the events so far.
    pub(super) fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Tokens of the answer that are paid for: the smallest of what was claimed, named and seen.
    pub(super) fn completion(&self) -> u64 {
        self.claimed_and_named().min(self.text_bytes + self.other_bytes + TOKENS_WITHOUT_TEXT)
    }

    fn claimed_and_named(&self) -> u64 {
        if self.unnamed { self.claimed } else { self.claimed.min(self.named) }
    }

    /// Tokens of the answer that the node claims.
    pub(super) fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Tokens of the prompt that are paid for: never more than its bytes can be.
    pub(super) fn prompt(&self, most: u64) -> u64 {
        self.claimed_prompt.min(most)
    }

    /// Claimed beyond what was counted, once the answer is complete.
    pub(super) fn overclaimed(&self, most_prompt: u64, complete: bool) -> u64 {
        // An answer that broke off may lack its last pieces, not its last names.
        let completion = if complete { self.completion() } else { self.claimed_and_named() };
        (self.claimed - completion) + (self.claimed_prompt - self.prompt(most_prompt))
    }
}

/// What a chunk or a whole answer holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    text_bytes: u64,
    other_bytes: u64,
    finishes: bool,
}

/// Reads a chunk or a whole answer, of either endpoint.
fn read(data: &str) -> Read {
    #[derive(Deserialize)]
    struct Piece {
        #[serde(default)]
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        delta: Option<Content>,
        message: Option<Content>,
        text: Option<String>,
        finish_reason: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Content {
        content: Option<String>,
        refusal: Option<String>,
        /// Not OpenAI's: vLLM's, llama.cpp's and DeepSeek's name for the thoughts before an answer, and vLLM's newer one.
        reasoning_content: Option<String>,
        reasoning: Option<String>,
        #[serde(default)]
        tool_calls: Option<Vec<ToolCall>>,
    }
    #[derive(Deserialize)]
    struct ToolCall {
        function: Option<Function>,
    }
    #[derive(Deserialize)]
    struct Function {
        name: Option<String>,
        arguments: Option<String>,
    }
    impl Content {
        /// Beside the text.
        fn other_bytes(&self) -> u64 {
            let functions = self.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref());
            let calls = functions.flat_map(|function| [&function.name, &function.arguments]);
            // Servers that give both names of the thoughts give the same thoughts.
            let thoughts = self.reasoning_content.as_ref().or(self.reasoning.as_ref());
            let texts = self.refusal.iter().chain(thoughts).chain(calls.flatten());
            texts.map(|text| text.len() as u64).sum()
        }
    }
    let piece: Piece = serde_json::from_str(data).unwrap_or(Piece { choices: Vec::new() });
    piece.choices.into_iter().fold(Read::default(), |read, choice| {
        let message = choice.delta.or(choice.message);
        let other_bytes = message.as_ref().map_or(0, Content::other_bytes);
        let text = message.and_then(|message| message.content).or(choice.text);
        Read {
            text_bytes: read.text_bytes + text.map_or(0, |text| text.len() as u64),
            other_bytes: read.other_bytes + other_bytes,
            finishes: read.finishes || choice.finish_reason.is_some(),
        }
    })
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Energy, Tier};
    use openapi::units::Microjoules;

    use super::*;

    fn frame(prompt: u64, completion: u64, ids: usize) -> UsageFrame {
        let energy = Energy::exact(Microjoules::ZERO, (Tier::E, Boundary::Device), "test/1");
        UsageFrame {
            prompt_tokens: prompt,
            completion_tokens: completion,
            token_ids: vec![1; ids],
            energy,
            finish_reason: None,
        }
    }

    fn counted(frame: &UsageFrame, pieces: &[&str]) -> Count {
        let mut count = Count::default();
        count.frame(frame, true);
        for piece in pieces {
            count.piece(piece);
        }
        count
    }

    #[test]
    fn text_and_endings_are_found_in_every_shape() {
        for (data, text_bytes) in [
            (r#"{"choices":[{"delta":{"content":"héllo"}}]}"#, 6),
            (r#"{"choices":[{"message":{"role":"assistant","content":"ab"}}]}"#, 2),
            (r#"{"choices":[{"text":"abc","finish_reason":null}]}"#, 3),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, 0),
            (r#"{"choices":[{"delta":{"content":null,"refusal":"no","reasoning_content":"why"}}]}"#, 5),
            (r#"{"choices":[{"delta":{"reasoning":"why","reasoning_content":"why"}}]}"#, 3),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}},{}]}}]}"#, 3),
            (r#"{"choices":[{"delta":{"tool_calls":null,"content":"a"}}]}"#, 1),
            (r#"{"choices":[{"delta":{}}]}"#, 0),
            (r#"{"choices":[],"usage":{}}"#, 0),
            ("[DONE]", 0),
        ] {
            let read = read(data);
            assert_eq!((read.text_bytes + read.other_bytes, read.finishes), (text_bytes, false), "{data}");
        }
        let last = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        assert_eq!(read(last), Read { finishes: true, ..Read::default() });
    }

    #[test]
    fn an_honest_node_is_paid_what_it_claims() {
        let text = r#"{"choices":[{"delta":{"content":"some words of an answer"}}]}"#;
        let count = counted(&frame(9, 5, 5), &[text]);
        assert_eq!((count.prompt(100), count.completion(), count.overclaimed(100, true)), (9, 5, 0));
    }

    #[test]
    fn a_lie_is_not_paid_and_is_seen() {
        let text = r#"{"choices":[{"delta":{"content":"hi"}}]}"#;
        let more_than_it_named = counted(&frame(9, 500, 2), &[text]);
        assert_eq!((more_than_it_named.completion(), more_than_it_named.overclaimed(100, true)), (2, 498));
        let names_without_text = counted(&frame(9, 500, 500), &[text]);
        assert_eq!((names_without_text.completion(), names_without_text.overclaimed(100, true)), (34, 466));
        assert_eq!(names_without_text.overclaimed(100, false), 0, "who knows what was still to come");
        let prompt = counted(&frame(900, 2, 2), &[text]);
        assert_eq!((prompt.prompt(100), prompt.overclaimed(100, true)), (100, 800));
    }

    #[test]
    fn where_nobody_names_tokens_claim_and_text_count() {
        let mut count = Count::default();
        count.frame(&frame(9, 500, 0), false);
        count.piece(r#"{"choices":[{"delta":{"content":"hi"}}]}"#);
        assert_eq!((count.completion(), count.overclaimed(100, true), count.overclaimed(100, false)), (34, 466, 0));
        count.frame(&frame(9, 20, 0), false);
        assert_eq!((count.completion(), count.overclaimed(100, true)), (20, 0));
    }
}
