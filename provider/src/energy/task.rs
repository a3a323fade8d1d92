//! What one sequence has taken so far, from all pools.

use std::time::{Duration, Instant};

use openapi::energy::{Boundary, Energy, Tier};
use openapi::units::Microjoules;
use tokio::sync::watch;
use uuid::Uuid;

use super::attribute::Part;
use super::interval::{Profile, widened};

/// Name and version of the way these figures are made.
pub const METHOD: &str = "step-shapley/1";

/// A sequence that is computed or was, until it is settled.
pub struct TaskMeter {
    /// Request and attempt, if it is a gateway's.
    pub who: Option<(Uuid, u32)>,
    pub left: Option<Instant>,
    figure: watch::Sender<Energy>,
    taken: Taken,
    profile: Profile,
}

/// Sums of parts.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Microjoules by how well they are known.
    by_tier: [u64; Tier::ALL.len()],
    marginal: u64,
    prefill: u64,
}

impl Taken {
    fn add(&mut self, part: &Part, tier: Tier) {
        self.by_tier[tier as usize] += part.microjoules;
        self.marginal += part.marginal_microjoules;
        self.prefill += part.prefill_microjoules;
    }

    /// The figure with its interval, which is the wider the more the request's power has changed while clocks differ.
    fn energy(&self, (if_none, boundary): (Tier, Boundary), profile: &Profile, skew: Duration) -> Energy {
        let sum: u64 = self.by_tier.iter().sum();
        let interval = Tier::ALL.map(|tier| widened(tier.interval_milli(), profile.effective(), skew));
        let end = |of: fn(&(u64, u64)) -> u64| {
            let ends =
                self.by_tier.iter().zip(&interval).map(|(part, interval)| u128::from(*part) * u128::from(of(interval)));
            Microjoules::new((ends.sum::<u128>() / 1_000) as u64)
        };
        Energy {
            microjoules: Microjoules::new(sum),
            low_microjoules: end(|interval| interval.0).min(Microjoules::new(sum)),
            high_microjoules: end(|interval| interval.1).max(Microjoules::new(sum)),
            marginal_microjoules: Microjoules::new(self.marginal),
            prefill_microjoules: Microjoules::new(self.prefill),
            tier: self.tier(sum).unwrap_or(if_none),
            boundary,
            method: METHOD.to_owned(),
            settled: true,
        }
    }

    /// The worst tier that more than a tenth of the sum has.
    fn tier(&self, sum: u64) -> Option<Tier> {
        Tier::ALL.into_iter().rev().find(|tier| self.by_tier[*tier as usize] > sum / 10)
    }
}

impl TaskMeter {
    /// A sequence that begins.
    pub fn new(who: Option<(Uuid, u32)>, figure: watch::Sender<Energy>) -> Self {
        Self { who, left: None, figure, taken: Taken::default(), profile: Profile::default() }
    }

    /// Takes its part of a window between two times in seconds.
    pub fn add(&mut self, part: &Part, tier: Tier, window: (f64, f64)) {
        self.taken.add(part, tier);
        self.profile.add(window, part.microjoules as f64 / 1e6);
    }

    /// Shows what it has taken, with what it is predicted to have taken since the last window.
    pub fn show(&self, quality: (Tier, Boundary), predicted: &[(Part, Tier)], skew: Duration) {
        let mut taken = self.taken;
        predicted.iter().for_each(|(part, tier)| taken.add(part, *tier));
        let profile = self.profile;
        self.figure.send_replace(Energy { settled: false, ..taken.energy(quality, &profile, skew) });
    }

    /// Shows what it has taken in the end.
    pub fn settle(&self, quality: (Tier, Boundary), skew: Duration) -> Energy {
        let energy = self.taken.energy(quality, &self.profile, skew);
        self.figure.send_replace(energy.clone());
        energy
    }
}

/// What a sequence shows before it has taken anything.
pub fn nothing((tier, boundary): (Tier, Boundary)) -> Energy {
    Energy { settled: false, ..Taken::default().energy((tier, boundary), &Profile::default(), Duration::ZERO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(microjoules: u64) -> Part {
        Part { microjoules, marginal_microjoules: microjoules / 2, prefill_microjoules: microjoules / 4 }
    }

    #[test]
    fn the_worst_tier_of_more_than_a_tenth_counts() {
        const QUALITY: (Tier, Boundary) = (Tier::C, Boundary::NodeDc);
        let (figure, shown) = watch::channel(nothing(QUALITY));
        let mut task = TaskMeter::new(None, figure);
        task.add(&part(900), Tier::C, (0.0, 1.0));
        task.add(&part(100), Tier::E, (0.0, 1.0));
        let energy = task.settle(QUALITY, Duration::ZERO);
        assert_eq!((energy.microjoules.get(), energy.tier, energy.settled), (1_000, Tier::C, true));
        assert!((840..=850).contains(&energy.low_microjoules.get()), "{energy:?}: each part within its own interval");
        assert!((1_510..=1_520).contains(&energy.high_microjoules.get()), "{energy:?}");
        assert!(energy.is_sane());
        task.show(QUALITY, &[(part(40), Tier::E)], Duration::ZERO);
        let energy = shown.borrow().clone();
        assert_eq!((energy.microjoules.get(), energy.tier, energy.settled), (1_040, Tier::E, false));
        let coarse = task.settle(QUALITY, Duration::from_millis(300));
        assert!(coarse.high_microjoules > energy.high_microjoules, "a clock that differs widens it");
    }
}
