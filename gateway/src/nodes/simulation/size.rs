//! How large the simulation is, and how much is asked when.

use super::events::{MINUTE, SECOND};

/// Part of the nodes' capacity that is asked for, usually and in the two hot times.
const USUAL: f64 = 0.6;
const HOT: f64 = 1.4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) models: usize,
    /// Microseconds of simulated time.
    pub(super) lasts: u64,
    /// Two spans of too much demand.
    pub(super) hot: [(u64, u64); 2],
    /// Of so many choices one is held against all nodes.
    pub(super) compares_every: u64,
}

impl Size {
    /// For every run of the tests.
    pub(super) const SMALL: Self = Self {
        seed: 1,
        nodes: 400,
        models: 3,
        lasts: 12 * MINUTE,
        hot: [(4 * MINUTE, 5 * MINUTE), (9 * MINUTE, 10 * MINUTE)],
        compares_every: 1,
    };

    /// Ten thousand nodes.
    pub(super) const FULL: Self = Self {
        seed: 1,
        nodes: 10_000,
        models: 10,
        lasts: 5 * MINUTE,
        hot: [(90 * SECOND, 2 * MINUTE), (210 * SECOND, 4 * MINUTE)],
        compares_every: 10,
    };

    /// The second with `COMMONWATT_SIMULATION=full`.
    #[expect(clippy::disallowed_methods, reason = "the size of a test is no setting of a program")]
    pub(super) fn chosen() -> Self {
        let full = std::env::var("COMMONWATT_SIMULATION").is_ok_and(|size| size == "full");
        if full { Self::FULL } else { Self::SMALL }
    }

    /// The part of the capacity that is asked for.
    pub(super) fn load(&self, now: u64) -> f64 {
        let is_hot = self.hot.iter().any(|(from, until)| (*from..*until).contains(&now));
        if is_hot { HOT } else { USUAL }
    }

    /// True when a request that comes now meets what a hot time has left behind.
    pub(super) fn is_hot(&self, now: u64) -> bool {
        self.hot.iter().any(|(from, until)| (*from..*until + (until - from)).contains(&now))
    }

    /// One of the models, by Zipf's law.
    pub(super) fn model(&self, random: &mut fastrand::Rng) -> usize {
        let weight = |model: usize| 1.0 / (model + 1) as f64;
        let mut left = random.f64() * (0..self.models).map(weight).sum::<f64>();
        let passed = |model: &usize| {
            left -= weight(*model);
            left < 0.0
        };
        (0..self.models).find(passed).unwrap_or_default()
    }
}
