//! Token ids into text, one token at a time, never half a character.

use std::sync::Arc;

use tokenizers::Tokenizer;

/// Decodes an answer as its tokens arrive.
pub(super) struct TextDecoder {
    tokenizer: Arc<Tokenizer>,
    /// The tokens that still influence how the next one reads.
    window: Vec<u32>,
    /// How many of the window's tokens are already shown.
    shown: usize,
}

/// A character spans at most four byte tokens; one that is longer than this is no character.
const LONGEST_PENDING: usize = 8;

impl TextDecoder {
    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, window: Vec::new(), shown: 0 }
    }

    /// The text that a token adds; empty while a character is incomplete.
    pub(super) fn push(&mut self, token: u32) -> String {
        self.window.push(token);
        let incomplete = self.decode(&self.window).ends_with(char::REPLACEMENT_CHARACTER);
        if incomplete && self.window.len() - self.shown < LONGEST_PENDING {
            return String::new();
        }
        self.finish()
    }

    /// The text of tokens that were held back, as far as they read.
    pub(super) fn finish(&mut self) -> String {
        let whole = self.decode(&self.window);
        let before = self.decode(&self.window[..self.shown]);
        // Some tokenizers write a token differently at the start of a text, so the shown ones stay as context.
        self.window.drain(..self.shown);
        self.shown = self.window.len();
        whole.strip_prefix(&before).map_or(whole.clone(), str::to_owned)
    }

    fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, true).unwrap_or_default()
    }
}
