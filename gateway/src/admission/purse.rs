//! What this replica may spend of one thing without asking anybody: the credit of an account, or a part of a limit. Pure:
//! no clock, no lock, no database; the model check in `tests/` explores every interleaving of it.

/// Seconds over which recent use is averaged.
const MEMORY: u64 = 16;
/// The average is kept in fractions of this, so that one request a second is seen too.
const FRACTION: u64 = 1024;

/// A leased amount, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Purse {
    /// Leased, and neither held nor spent. Below zero: something cost more than was held for it, and the next lease pays.
    spendable: i64,
    /// Reserved for requests that run.
    held: u64,
    /// Grows when everything leased before has become void: a window is over, or the others took this replica for dead.
    generation: u64,
    /// What others may still lease, as far as the last lease told.
    left_over: u64,
    /// Held or spent in the running second.
    used_now: u64,
    /// Used in the last [`MEMORY`] seconds or so, times [`FRACTION`].
    used_before: u64,
    /// How many seconds that were, times [`FRACTION`]: fewer at the beginning.
    seconds_before: u64,
    /// The most that was held at once, fading.
    peak: u64,
    /// Below this much the next lease is asked for ahead of need.
    low_water: i64,
}

/// A part of a purse that is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    pub amount: u64,
    generation: u64,
}

impl Purse {
    /// True when this much can be held now.
    pub fn covers(&self, amount: u64) -> bool {
        amount == 0 || i64::try_from(amount).is_ok_and(|amount| amount <= self.spendable)
    }

    /// Reserves an amount that the purse [covers](Purse::covers).
    pub fn hold(&mut self, amount: u64) -> Held {
        self.spendable -= bounded(amount);
        self.held += amount;
        self.peak = self.peak.max(self.held);
        self.used_now = self.used_now.saturating_add(amount);
        Held { amount, generation: self.generation }
    }

    /// Replaces what was held by what was spent. Returns true when the spending counts against what is leased now.
    pub fn settle(&mut self, held: Held, spent: u64) -> bool {
        if held.generation != self.generation {
            return false;
        }
        self.held = self.held.saturating_sub(held.amount);
        self.spendable = self.spendable.saturating_add(bounded(held.amount)).saturating_sub(bounded(spent));
        // What was held and not needed is no use.
        self.used_now = self.used_now.saturating_sub(held.amount).saturating_add(spent);
        true
    }

    /// Adds what was leased; the rest is what others may still lease.
    pub fn add(&mut self, granted: u64, left_over: u64) {
        self.spendable = self.spendable.saturating_add(bounded(granted));
        self.left_over = left_over;
        self.low_water = self.spendable / 2;
    }

    /// What has to be leased at least so that `needed` is covered, an old debt included.
    pub fn missing(&self, needed: u64) -> u64 {
        u64::try_from(bounded(needed).saturating_sub(self.spendable)).unwrap_or(0)
    }

    /// True when more should be leased before somebody waits for it.
    pub fn runs_low(&self) -> bool {
        self.spendable <= self.low_water && self.expected(MEMORY) > 0
    }

    /// What will be spent in so many seconds if things go on as they have.
    pub fn expected(&self, seconds: u64) -> u64 {
        let used = self.used_before.saturating_add(self.used_now.saturating_mul(FRACTION));
        let expected = u128::from(used) * u128::from(seconds) / u128::from(self.seconds_before.max(FRACTION));
        u64::try_from(expected).unwrap_or(u64::MAX)
    }

    /// The most that was held at once of late.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// A second has passed.
    pub fn tick(&mut self) {
        self.peak = self.held.max(self.peak - self.peak.div_ceil(MEMORY));
        let fading = self.used_before - self.used_before.div_ceil(MEMORY);
        self.used_before = fading.saturating_add(self.used_now.saturating_mul(FRACTION));
        self.seconds_before = self.seconds_before - self.seconds_before.div_ceil(MEMORY) + FRACTION;
        self.used_now = 0;
    }

    /// Takes out what is more than twice the amount to keep, so that it can be brought back.
    pub fn take_excess(&mut self, keep: u64) -> u64 {
        let spendable = u64::try_from(self.spendable).unwrap_or(0);
        let excess = if spendable > keep.saturating_mul(2) { spendable - keep } else { 0 };
        self.spendable -= bounded(excess);
        self.low_water = self.low_water.min(self.spendable / 2);
        excess
    }

    /// Takes out everything that is not held.
    pub fn take_all(&mut self) -> u64 {
        let all = u64::try_from(self.spendable).unwrap_or(0);
        self.spendable -= bounded(all);
        self.low_water = 0;
        all
    }

    /// Everything leased so far is void.
    pub fn void(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            used_before: self.used_before,
            seconds_before: self.seconds_before,
            peak: self.peak,
            ..Self::default()
        };
    }

    /// What is held for requests that run.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// What can be held.
    pub fn free(&self) -> u64 {
        u64::try_from(self.spendable).unwrap_or(0)
    }

    /// What others may still lease, as far as is known.
    pub fn left_over(&self) -> u64 {
        self.left_over
    }

    /// What is left to spend, here and elsewhere, as far as is known.
    pub fn remaining(&self) -> u64 {
        self.left_over.saturating_add(u64::try_from(self.spendable).unwrap_or(0))
    }

    /// True when nothing is held, spent or expected.
    pub fn is_idle(&self) -> bool {
        self.held == 0 && self.spendable == 0 && self.used_before == 0 && self.used_now == 0
    }
}

fn bounded(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hold_is_given_back_but_for_what_was_spent() {
        let mut purse = Purse::default();
        purse.add(100, 0);
        let held = purse.hold(60);
        assert!(!purse.covers(41) && purse.covers(40));
        assert!(purse.settle(held, 25));
        assert!(purse.covers(75) && !purse.covers(76));
    }

    #[test]
    fn what_cost_more_than_was_held_is_a_debt_that_the_next_lease_pays() {
        let mut purse = Purse::default();
        purse.add(10, 0);
        let held = purse.hold(10);
        purse.settle(held, 15);
        assert!(!purse.covers(1));
        assert_eq!(purse.missing(1), 6);
        purse.add(6, 0);
        assert!(purse.covers(1) && !purse.covers(2));
    }

    #[test]
    fn a_hold_of_a_window_that_is_over_brings_nothing_into_the_next_one() {
        let mut purse = Purse::default();
        purse.add(10, 0);
        let held = purse.hold(10);
        purse.void();
        assert!(!purse.settle(held, 3));
        assert!(!purse.covers(1), "the seven that were left belong to the old window");
    }

    #[test]
    fn recent_use_fades_to_nothing() {
        let mut purse = Purse::default();
        purse.add(1_000_000, 0);
        for _ in 0..60 {
            let held = purse.hold(160);
            purse.settle(held, 160);
            purse.tick();
        }
        assert!((2_300..=2_600).contains(&purse.expected(16)), "{}", purse.expected(16));
        for _ in 0..400 {
            purse.tick();
        }
        assert_eq!(purse.expected(900), 0);
        assert_eq!(purse.take_excess(0), 1_000_000 - 60 * 160);
        assert!(purse.is_idle());
    }

    #[test]
    fn what_is_expected_does_not_wait_for_a_long_past() {
        let mut purse = Purse::default();
        purse.add(1_000_000, 0);
        for seconds in 1..=40 {
            let held = purse.hold(160);
            purse.settle(held, 160);
            purse.tick();
            assert!(
                (900 * 150..=900 * 161).contains(&purse.expected(900)),
                "{} after {seconds} s",
                purse.expected(900)
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_leased_is_spendable_held_spent_or_brought_back(steps in prop::collection::vec((0_u8..5, 0_u64..1000), 0..60)) {
            let mut purse = Purse::default();
            let (mut leased, mut spent, mut back, mut holds) = (0_i64, 0_i64, 0_i64, Vec::new());
            for (step, amount) in steps {
                match step {
                    0 => { purse.add(amount, 0); leased += bounded(amount); }
                    1 if purse.covers(amount) => holds.push(purse.hold(amount)),
                    2 => if let Some(held) = holds.pop() {
                        let used = amount.min(held.amount);
                        purse.settle(held, used);
                        spent += bounded(used);
                    },
                    3 => back += bounded(purse.take_excess(amount)),
                    _ => purse.tick(),
                }
                let held: u64 = holds.iter().map(|held| held.amount).sum();
                prop_assert_eq!(held, purse.held);
                prop_assert_eq!(leased, purse.spendable + bounded(held) + spent + back);
                prop_assert!(purse.spendable >= 0);
            }
        }
    }
}
