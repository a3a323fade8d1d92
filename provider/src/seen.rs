//! Attempts that this node has begun: whoever shows the ticket of one again is not the gateway, which numbers its attempts.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// The node as its gateway knows it, which no other gateway's ticket can name; a request, and which try of it.
pub(crate) type Attempt = (Uuid, Uuid, u32);

/// So many are remembered: a thousand in a second, for as long as tickets live. It takes some 10 MB.
const MOST: usize = 100_000;

/// What has begun, for as long as its ticket could be shown again.
#[derive(Default)]
pub(crate) struct Seen {
    attempts: HashSet<Attempt>,
    /// With the second in which the ticket is refused for its age. Tickets of a gateway live equally long.
    in_order: VecDeque<(u64, Attempt)>,
}

impl Seen {
    /// Remembers an attempt until the second `until`. False when it was known. Beyond [`MOST`] the oldest is forgotten: only
    /// the gateway itself can bring so many.
    pub(crate) fn insert(&mut self, attempt: Attempt, until: u64, now: u64) -> bool {
        while self.in_order.front().is_some_and(|(over, _)| *over <= now || self.in_order.len() >= MOST) {
            if let Some((_, over)) = self.in_order.pop_front() {
                self.attempts.remove(&over);
            }
        }
        let is_new = self.attempts.insert(attempt);
        if is_new {
            self.in_order.push_back((until, attempt));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(number: u32) -> Attempt {
        (Uuid::nil(), Uuid::nil(), number)
    }

    #[test]
    fn an_attempt_is_known_until_its_ticket_is_too_old_for_anybody() {
        let mut seen = Seen::default();
        assert!(seen.insert(attempt(1), 10, 0) && !seen.insert(attempt(1), 10, 9));
        assert!(seen.insert(attempt(2), 20, 9));
        assert!(seen.insert(attempt(1), 20, 10), "its ticket is refused by now");
        assert!(!seen.insert(attempt(2), 20, 10), "the others stay known");
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay_known() {
        let mut seen = Seen::default();
        let count = MOST as u32 + 10;
        assert!((0..count).all(|number| seen.insert(attempt(number), 10, 0)));
        assert_eq!((seen.attempts.len(), seen.in_order.len()), (MOST, MOST));
        assert!(!seen.insert(attempt(count - 1), 10, 0) && seen.insert(attempt(0), 10, 0));
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice_within_its_time(asked in proptest::collection::vec((0_u32..6, 0_u64..5), 0..60)) {
            let (mut seen, mut now) = (Seen::default(), 0);
            let mut begun = std::collections::HashMap::new();
            for (number, pause) in asked {
                now += pause;
                let is_free = begun.get(&number).is_none_or(|until| *until <= now);
                prop_assert_eq!(seen.insert(attempt(number), now + 7, now), is_free);
                if is_free {
                    begun.insert(number, now + 7);
                }
            }
        }
    }
}
