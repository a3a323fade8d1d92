//! What the gateway counts for itself, since a node earns by what it claims.

use openapi::frame::UsageFrame;

use super::heard::{Heard, read};

/// A token is at least a byte of text; but text may be held back for a moment, and some tokens have none.
const TOKENS_WITHOUT_TEXT: u64 = 32;
/// Bytes that models write around the name and the arguments of a call.
const AROUND_A_CALL: u64 = 64;

/// What went by of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Token ids that the node has named.
    named: u64,
    /// It names none, so that only claim and text count.
    unnamed: bool,
    /// Bytes in the pieces of what is made of tokens: text, calls of tools, thoughts, refusals.
    bytes: u64,
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

    /// Counts what an event holds, and gives what it holds of each of the answers.
    pub(super) fn piece(&mut self, data: &str) -> Vec<Heard> {
        let heard = read(data);
        for choice in &heard {
            self.bytes += choice.bytes + choice.calls * AROUND_A_CALL;
        }
        heard
    }

    /// Tokens of the answer that are paid for: the smallest of what was claimed, named and seen.
    pub(super) fn completion(&self) -> u64 {
        self.claimed_and_named().min(self.bytes + TOKENS_WITHOUT_TEXT)
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
        (self.claimed - completion).saturating_add(self.claimed_prompt - self.prompt(most_prompt))
    }
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
            choice: 0,
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
        let everything = counted(&frame(u64::MAX, 500, 2), &[text]);
        assert_eq!((everything.prompt(100), everything.overclaimed(100, true)), (100, u64::MAX));
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
