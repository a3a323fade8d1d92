//! When a token is told. It counts as soon as some of its text goes out and not before, so that whoever counts as the
//! text passes by counts what was seen: text is held back while a character is incomplete or could begin a stop string.

use std::collections::VecDeque;

/// Tokens whose text is still held back.
#[derive(Debug)]
pub(super) struct Untold<T> {
    /// Oldest first, each with the bytes of text that it added.
    tokens: VecDeque<(T, usize)>,
}

impl<T> Untold<T> {
    pub(super) const fn new() -> Self {
        Self { tokens: VecDeque::new() }
    }

    pub(super) fn push(&mut self, token: T, bytes: usize) {
        self.tokens.push_back((token, bytes));
    }

    /// The tokens to tell now, when all text but the last `held` bytes has gone out.
    pub(super) fn tell(&mut self, held: usize) -> Vec<T> {
        let mut left = held;
        let still_held = |(_, bytes): &&(T, usize)| match left.checked_sub(*bytes) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        };
        let kept = self.tokens.iter().rev().take_while(still_held).count();
        self.tokens.drain(..self.tokens.len() - kept).map(|(token, _)| token).collect()
    }

    /// All of them: the answer is over.
    pub(super) fn tell_all(&mut self) -> Vec<T> {
        self.tokens.drain(..).map(|(token, _)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_told_with_the_first_byte_of_its_text() {
        let mut untold = Untold::new();
        untold.push(1, 2);
        assert_eq!(untold.tell(1), [1], "half of it is out");
        untold.push(2, 1);
        assert_eq!(untold.tell(2), [0u32; 0], "nothing of it is out, though the held text is older in part");
        untold.push(3, 4);
        assert_eq!(untold.tell(4), [2], "all of the newer one is held");
        assert_eq!(untold.tell(0), [3]);
    }

    #[test]
    fn the_tokens_of_one_character_are_told_together() {
        let mut untold = Untold::new();
        untold.push(1, 0);
        assert_eq!(untold.tell(0), [0u32; 0], "half a character");
        untold.push(2, 4);
        assert_eq!(untold.tell(4), [0u32; 0], "a whole one that could begin a stop string");
        assert_eq!(untold.tell(0), [1, 2]);
    }

    proptest! {
        /// Whatever is held in between, every token is told once and in order.
        #[test]
        fn no_token_is_lost(steps in prop::collection::vec((0usize..6, 0usize..12), 0..40)) {
            let mut untold = Untold::new();
            let mut told = Vec::new();
            for (token, (bytes, held)) in steps.iter().enumerate() {
                untold.push(token as u32, *bytes);
                told.extend(untold.tell(*held));
            }
            told.extend(untold.tell_all());
            prop_assert_eq!(told, (0..steps.len() as u32).collect::<Vec<_>>());
        }
    }
}
