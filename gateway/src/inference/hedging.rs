//! What bounds hedged requests, those for which a second node is asked before the first has begun to answer: a budget for
//! all of this replica's requests, and what is known of how soon answers begin.
//!
//! Source: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013: a second request that waits for
//! the 95th percentile of the expected latency costs 5 % more work and shortens the tail by much.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A request earns one part, a hedge costs ten: when everybody is slow because all nodes are overloaded, the load grows by
/// a tenth and no more. As gRPC bounds retries ("gRFC A6: gRPC Retry Design", throttling; `tokenRatio` 0.1).
const PARTS_OF_A_HEDGE: u32 = 10;
/// So many hedges can be saved up, and a replica begins with them.
const MOST_PARTS: u32 = 10 * PARTS_OF_A_HEDGE;
/// First bytes of a model that are remembered, the newest ones.
const KEPT: usize = 256;
/// As many as a twentieth of them can be told from.
const ENOUGH: usize = 20;
/// The part of all answers that begins in time, in hundredths.
const PERCENTILE: usize = 95;
/// However fast a model usually is, its pace is no reason to ask twice any sooner.
const SOONEST: Duration = Duration::from_millis(50);

/// The bounds of hedged requests on this replica.
pub struct Hedging {
    parts: AtomicU32,
    /// By the model's content address.
    first_bytes: Mutex<HashMap<String, VecDeque<Duration>>>,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { parts: AtomicU32::new(MOST_PARTS), first_bytes: Mutex::default() }
    }
}

impl Hedging {
    /// A request comes in, hedged or not.
    pub(super) fn earn(&self) {
        self.add(1);
    }

    /// Takes a hedge from the budget. False when it is spent.
    pub(super) fn spend(&self) -> bool {
        let left = |parts: u32| parts.checked_sub(PARTS_OF_A_HEDGE);
        self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Gives back what was spent and not used.
    pub(super) fn give_back(&self) {
        self.add(PARTS_OF_A_HEDGE);
    }

    fn add(&self, more: u32) {
        let sum = |parts: u32| (parts < MOST_PARTS).then(|| parts.saturating_add(more).min(MOST_PARTS));
        // Who has saved up the most keeps it.
        let _ = self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
    }

    /// An answer of this model began after so long; or a node that was given up for another one would have begun then at the
    /// earliest. Without those, each slow answer that a hedge replaces would make the next hedge come sooner.
    pub(super) fn learn(&self, model: &str, first_byte: Duration) {
        let mut models = self.lock();
        let Some(known) = models.get_mut(model) else {
            models.insert(model.to_owned(), VecDeque::from([first_byte]));
            return;
        };
        if known.len() == KEPT {
            known.pop_front();
        }
        known.push_back(first_byte);
    }

    /// When all but the slowest twentieth of this model's answers have begun. None until enough of them are known.
    pub(super) fn usual(&self, model: &str) -> Option<Duration> {
        let mut known: Vec<Duration> =
            self.lock().get(model).filter(|known| known.len() >= ENOUGH)?.iter().copied().collect();
        let rank = (known.len() * PERCENTILE).div_ceil(100) - 1;
        let (_, percentile, _) = known.select_nth_unstable(rank);
        Some(SOONEST.max(*percentile))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Duration>>> {
        self.first_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn nineteen_of_twenty_answers_have_begun_by_the_usual_time() {
        let hedging = Hedging::default();
        for milliseconds in (101..=119).rev() {
            hedging.learn("m", MILLISECOND * milliseconds);
        }
        assert_eq!(hedging.usual("m"), None, "too few to tell");
        hedging.learn("m", MILLISECOND * 9000);
        assert_eq!((hedging.usual("m"), hedging.usual("other")), (Some(MILLISECOND * 119), None));
        (0..KEPT).for_each(|_| hedging.learn("m", MILLISECOND));
        assert_eq!(hedging.usual("m"), Some(SOONEST), "what was long ago is forgotten");
        assert_eq!(hedging.lock()["m"].len(), KEPT);
    }

    #[test]
    fn what_was_spent_and_not_used_can_be_spent_again() {
        let hedging = Hedging::default();
        while hedging.spend() {}
        hedging.give_back();
        assert!(hedging.spend() && !hedging.spend());
    }

    proptest! {
        #[test]
        fn hedges_are_a_tenth_of_the_requests_and_what_was_saved(wanted in prop::collection::vec(any::<bool>(), 0..2_000)) {
            let hedging = Hedging::default();
            let mut hedged = 0;
            for (before, wants) in wanted.iter().enumerate() {
                hedging.earn();
                hedged += usize::from(*wants && hedging.spend());
                prop_assert!(hedged <= 10 + (before + 1) / 10, "{hedged} of {}", before + 1);
            }
        }
    }
}
