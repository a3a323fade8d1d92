//! Why a node did not get a request that it could have got: for the client when nobody is left, and for the operator who
//! wonders why no work arrives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::preference::Exclusion;

/// Why not, in the order in which it is looked at: the later the reason, the nearer the node came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// It has lost its connection, or is on its way out.
    Unreachable,
    /// Its operator has paused it, or does maintenance.
    Paused,
    /// It was tried for this request and failed.
    Tried,
    /// It asks for more than was held: more than twice what is usual among the offers that the request may go to.
    AboveHold,
    /// It can't go on with an answer that another node has begun.
    CannotGoOn,
    /// The request asks for something else.
    Preference(Exclusion),
    /// It rests after failures, or has said that it is busy.
    Resting,
    /// It has no free slot.
    Full,
    /// It would have done, and another one was chosen.
    Outdone,
}

impl Skip {
    /// Its name in counters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Paused => "paused",
            Self::Tried => "tried",
            Self::AboveHold => "above_hold",
            Self::CannotGoOn => "cannot_go_on",
            Self::Preference(exclusion) => exclusion.word(),
            Self::Resting => "resting",
            Self::Full => "full",
            Self::Outdone => "outdone",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Unreachable => 0,
            Self::Paused => 1,
            Self::Tried => 2,
            Self::AboveHold => 3,
            Self::CannotGoOn => 4,
            Self::Resting => 5,
            Self::Full => 6,
            Self::Outdone => 7,
            Self::Preference(exclusion) => 8 + exclusion as usize,
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        let own = [
            Self::Unreachable,
            Self::Paused,
            Self::Tried,
            Self::AboveHold,
            Self::CannotGoOn,
            Self::Resting,
            Self::Full,
            Self::Outdone,
        ];
        own.into_iter().chain(Exclusion::ALL.map(Self::Preference))
    }
}

const COUNT: usize = 8 + Exclusion::ALL.len();

/// How often each reason was the reason, for one node.
#[derive(Debug, Default)]
pub struct Skips {
    reasons: [AtomicU64; COUNT],
    chosen: AtomicU64,
}

impl Skips {
    /// It was passed over.
    pub fn skipped(&self, skip: Skip) {
        if let Some(count) = self.reasons.get(skip.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It got the request.
    pub fn chosen(&self) {
        self.chosen.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that it got.
    pub fn times_chosen(&self) -> u64 {
        self.chosen.load(Ordering::Relaxed)
    }

    /// The reasons that there were, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (Skip, u64)> {
        let count = |skip: Skip| self.reasons.get(skip.index()).map_or(0, |count| count.load(Ordering::Relaxed));
        Skip::all().map(move |skip| (skip, count(skip))).filter(|(_, count)| *count > 0)
    }

    /// The same by their names.
    pub fn by_reason(&self) -> BTreeMap<&'static str, u64> {
        self.counts().map(|(skip, count)| (skip.word(), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_counter_and_a_name_of_its_own() {
        let skips = Skips::default();
        for (times, skip) in Skip::all().enumerate() {
            (0..=times).for_each(|_| skips.skipped(skip));
        }
        let words: BTreeSet<&str> = Skip::all().map(Skip::word).collect();
        let counts: BTreeSet<u64> = skips.by_reason().into_values().collect();
        assert_eq!((words.len(), counts.len()), (COUNT, COUNT));
        assert_eq!(skips.by_reason().get("not_named"), Some(&9));
    }

    #[test]
    fn what_came_nearer_is_the_reason_to_tell() {
        let reasons = [Skip::Paused, Skip::Preference(Exclusion::WrongRegion), Skip::Preference(Exclusion::TooDear)];
        assert_eq!(reasons.into_iter().max(), Some(Skip::Preference(Exclusion::TooDear)));
        assert!(Skip::Full > Skip::Resting && Skip::Resting > Skip::Preference(Exclusion::TooMuchCarbon));
    }
}
