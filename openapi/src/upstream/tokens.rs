//! How many tokens an answer has: what the upstream says once it says something, the pieces that came until then.

use serde::Deserialize;

use super::TranslateError;

/// More than any context holds.
const MOST: u64 = u32::MAX as u64;

/// Tokens of prompt and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub prompt: u64,
    pub completion: u64,
    /// True when the upstream has said so. Until then the prompt is the caller's guess, and each piece of a choice with
    /// some content counts as a token.
    pub stated: bool,
}

/// A `usage` of an upstream. Source of the names: OpenAI API reference.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Stated {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

/// Where a `usage` stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On an event of its own.
    Alone,
    /// Beside the end of a choice.
    AtAnEnd,
    /// Beside a piece: the upstream says again and again what has come to be so far.
    Between,
}

/// Counts.
#[derive(Debug)]
pub(super) struct Tally {
    guess: u64,
    pieces: u64,
    alone: Option<Tokens>,
    at_ends: Option<Tokens>,
    running: Option<Tokens>,
    counts_up: bool,
}

impl Tally {
    pub(super) fn new(guess: u64) -> Self {
        Self { guess, pieces: 0, alone: None, at_ends: None, running: None, counts_up: false }
    }

    pub(super) fn piece(&mut self) {
        self.pieces += 1;
    }

    /// The upstream says what was used. llama.cpp says so for each choice, on an event of its own or, for completions,
    /// at the choice's end; with `several` choices these are added up. Others say it once for all, or count up.
    pub(super) fn state(&mut self, stated: Stated, place: Place, several: bool) -> Result<(), TranslateError> {
        let prompt = stated.prompt_tokens.unwrap_or(self.guess);
        let completion = stated.completion_tokens.unwrap_or(self.pieces);
        if prompt > MOST || completion > MOST {
            return Err(TranslateError::ManyTokens);
        }
        let stated = Tokens { prompt, completion, stated: true };
        let sum = |known: Option<Tokens>| match known.filter(|_| several) {
            // Choices share their prompt.
            Some(known) => Tokens {
                prompt: known.prompt.max(prompt),
                completion: (known.completion + completion).min(MOST),
                stated: true,
            },
            None => stated,
        };
        match place {
            Place::Alone => self.alone = Some(sum(self.alone)),
            Place::AtAnEnd => self.at_ends = Some(sum(self.at_ends)),
            Place::Between => self.counts_up = true,
        }
        self.running = Some(stated);
        Ok(())
    }

    /// What was used so far.
    pub(super) fn so_far(&self) -> Tokens {
        let counted = Tokens { prompt: self.guess, completion: self.pieces, stated: false };
        self.running.filter(|_| self.counts_up).unwrap_or(counted)
    }

    /// What was used, once all has been said.
    pub(super) fn total(&self) -> Tokens {
        let running = self.running.filter(|_| self.counts_up);
        self.alone.or(running).or(self.at_ends).unwrap_or_else(|| self.so_far())
    }
}

#[cfg(test)]
mod tests {
    use super::Place::{Alone, AtAnEnd, Between};
    use super::*;

    fn total(said: &[(u64, u64, Place)], several: bool) -> (u64, u64) {
        let mut tally = Tally::new(3);
        for (prompt, completion, place) in said {
            tally.piece();
            let stated = Stated { prompt_tokens: Some(*prompt), completion_tokens: Some(*completion) };
            tally.state(stated, *place, several).unwrap();
        }
        (tally.total().prompt, tally.total().completion)
    }

    #[test]
    fn wherever_usage_stands_the_total_is_the_same() {
        assert_eq!(total(&[(9, 12, Alone)], false), (9, 12));
        assert_eq!(total(&[(9, 12, AtAnEnd)], false), (9, 12));
        assert_eq!(total(&[(9, 1, Between), (9, 2, Between), (9, 12, AtAnEnd), (9, 12, Alone)], false), (9, 12));
        assert_eq!(total(&[(9, 1, Between), (9, 12, AtAnEnd)], false), (9, 12));
        assert_eq!(total(&[(9, 12, Alone), (9, 12, Alone)], false), (9, 12), "said twice, counted once");
    }

    #[test]
    fn what_is_said_of_each_choice_is_added_up() {
        assert_eq!(total(&[(9, 5, Alone), (9, 7, Alone)], true), (9, 12), "llama.cpp, conversations");
        assert_eq!(total(&[(9, 5, AtAnEnd), (9, 7, AtAnEnd)], true), (9, 12), "llama.cpp, completions");
        assert_eq!(total(&[(9, 12, Alone)], true), (9, 12), "vLLM");
        assert_eq!(total(&[(9, 5, Between), (9, 11, AtAnEnd), (9, 12, AtAnEnd)], true), (9, 12), "one that counts up");
    }

    #[test]
    fn until_something_is_said_pieces_count() {
        let mut tally = Tally::new(3);
        assert_eq!(tally.total(), Tokens { prompt: 3, completion: 0, stated: false });
        tally.piece();
        tally.piece();
        assert_eq!(tally.so_far(), Tokens { prompt: 3, completion: 2, stated: false });
        tally.state(Stated { prompt_tokens: Some(8), completion_tokens: None }, Alone, false).unwrap();
        assert_eq!(tally.so_far().completion, 2);
        assert_eq!(tally.total(), Tokens { prompt: 8, completion: 2, stated: true });
    }

    #[test]
    fn absurd_counts_are_refused() {
        let absurd = Stated { prompt_tokens: Some(u64::MAX), completion_tokens: Some(u64::MAX) };
        assert_eq!(Tally::new(0).state(absurd, Alone, false), Err(TranslateError::ManyTokens));
    }
}
