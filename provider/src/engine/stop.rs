//! Stop strings, across the borders of tokens: text that could become one is held back until it is clear.

/// Looks for stop strings in text that arrives in pieces.
#[derive(Debug)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What may be shown after a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) stopped: bool,
}

impl StopMatcher {
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Adds a piece and returns what may be shown. After a match the rest is thrown away.
    pub(super) fn push(&mut self, piece: &str) -> Found {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Found { text: std::mem::take(&mut self.held), stopped: true };
        }
        let undecided = self.undecided();
        let text = self.held.drain(..self.held.len() - undecided).collect();
        Found { text, stopped: false }
    }

    /// Bytes that are held back now.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// What was still held back when the answer ended for another reason.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The length of the longest ending that could be the beginning of a stop string.
    fn undecided(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        (from..self.held.len())
            .filter(|at| self.held.is_char_boundary(*at))
            .find(|at| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..])))
            .map_or(0, |at| self.held.len() - at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(ToString::to_string).collect());
        let mut shown = String::new();
        for piece in pieces {
            let found = matcher.push(piece);
            shown.push_str(&found.text);
            if found.stopped {
                return (shown, true);
            }
        }
        (shown + &matcher.finish(), false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_never_shown() {
        assert_eq!(run(&["END"], &["one E", "N", "D two"]), ("one ".to_owned(), true));
        assert_eq!(run(&["END"], &["E", "N", "E", "ND"]), ("EN".to_owned(), true));
        assert_eq!(run(&["END"], &["EN"]), ("EN".to_owned(), false));
        assert_eq!(run(&["🙂b"], &["a🙂", "b"]), ("a".to_owned(), true));
    }

    proptest! {
        /// However the text is cut, what is shown is the text up to the first stop string.
        #[test]
        fn cuts_do_not_matter(text in "[abä]{0,40}", stops in prop::collection::vec("[abä]{1,4}", 0..3), cut in 1usize..5) {
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars.chunks(cut).map(|piece| piece.iter().collect()).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (shown, stopped) = run(&stops, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
            // The first stop to be complete ends the answer; of two complete at once the earlier start wins.
            let ended: Vec<_> = stops.iter().filter_map(|stop| text.find(stop)).collect();
            prop_assert_eq!(stopped, !ended.is_empty());
            prop_assert!(stops.iter().all(|stop| !shown.contains(stop)));
            prop_assert!(text.starts_with(&shown));
            if !stopped { prop_assert_eq!(shown, text); }
        }
    }
}
