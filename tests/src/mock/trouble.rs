//! What goes wrong now and then: with which of the requests is decided where they arrive, by counting them, so that a second
//! try of one that had bad luck goes well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One in so many of the requests that order trouble gets it.
pub const ONE_IN: u64 = 100;

/// Longer than a gateway waits for a node that sends nothing.
pub const HANGS_FOR: Duration = Duration::from_secs(6);

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// The answer is status 500.
    Fails,
    /// The answer does not begin before [`HANGS_FOR`] has passed.
    Hangs,
}

/// Counts the requests that order trouble, over all nodes of a process.
#[derive(Debug, Default)]
pub(super) struct Luck(AtomicU64);

impl Luck {
    /// The trouble that this request gets.
    pub(super) fn draw(&self, ordered: Option<Trouble>) -> Option<Trouble> {
        let ordered = ordered?;
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        count.is_multiple_of(ONE_IN).then_some(ordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_has_bad_luck_and_those_that_order_none_do_not_count() {
        let luck = Luck::default();
        let drawn = |ordered| (0..250).filter(|_| luck.draw(ordered).is_some()).count();
        assert_eq!((drawn(None), drawn(Some(Trouble::Fails)), drawn(Some(Trouble::Hangs))), (0, 2, 3));
    }
}
