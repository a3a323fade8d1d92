//! How much wider the interval around one request's energy is than that around its node's.
//!
//! A counter's clock is never quite the step log's. An edge between two windows that is late by τ seconds moves τ·p joules
//! from one window to the other, of which a request that draws the power p in both loses nothing; it loses or gains by
//! the difference. So the error of a request with the power p₁, p₂, … in its windows is the sum of τₖ·(pₖ − pₖ₋₁), and if
//! the τₖ are independent its deviation is that of τ times √Σ(pₖ − pₖ₋₁)². For a constant power this is √2·τ/T of its energy.

use std::time::Duration;

/// Nine predictions out of ten of who takes how much of a window are at least so good (the logarithm of a ratio).
const MODEL: f64 = 0.03;

/// A factor of a hundred either way: beyond, an interval says nothing, as of a request that no window has seen yet.
const WIDEST: f64 = 4.605_170_2;

/// Follows the power that is attributed to one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Profile {
    pub joules: f64,
    /// End of the last window with a part in it, and the power there.
    until: f64,
    power: f64,
    /// Sum of the squares of what the power changed by.
    changes: f64,
}

impl Profile {
    /// Takes in what was attributed in the window between two times, in seconds. Windows come in order.
    pub fn add(&mut self, (from, to): (f64, f64), joules: f64) {
        if from > self.until {
            self.changes += self.power.powi(2);
            self.power = 0.0;
        }
        let power = joules / (to - from);
        self.changes += (power - self.power).powi(2);
        (self.joules, self.until, self.power) = (self.joules + joules, to, power);
    }

    /// How long a request of the same energy and constant power would take to depend on the clock as much.
    pub fn effective(&self) -> Duration {
        let changes = self.changes + self.power.powi(2);
        Duration::try_from_secs_f64(self.joules * (2.0 / changes).sqrt()).unwrap_or(Duration::ZERO)
    }
}

/// A node's 90 % interval (low, high, in thousandths of the figure), widened to that of a request: by what the model of a
/// step does not predict, and by the clock, of which nine edges out of ten are off by at most `skew`. The three are
/// independent, so their squares add up; they are ratios, so it is their logarithms that are squared.
pub fn widened((low, high): (u64, u64), effective: Duration, skew: Duration) -> (u64, u64) {
    let clock = 2.0_f64.sqrt() * skew.as_secs_f64() / effective.as_secs_f64().max(1e-6);
    let wider = |milli: u64| {
        let node = (milli as f64 / 1e3).ln().abs();
        node.hypot(MODEL).hypot(clock).min(node.max(WIDEST))
    };
    ((1e3 * (-wider(low)).exp()).floor() as u64, (1e3 * wider(high).exp()).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn an_estimate_hardly_widens_and_a_short_request_at_the_wall_does() {
        let skew = Duration::from_millis(20);
        assert_eq!(widened((400, 2_500), LONG, skew), (399, 2_502));
        assert_eq!(widened((970, 1_050), LONG, skew), (958, 1_059));
        assert_eq!(widened((970, 1_050), Duration::from_millis(200), skew), (862, 1_165));
    }

    #[test]
    fn a_constant_power_is_as_long_as_it_lasts_and_a_burst_is_shorter() {
        let profile = |powers: &[f64]| {
            let (mut profile, mut from) = (Profile::default(), 5.0);
            for power in powers {
                profile.add((from, from + 0.1), power * 0.1);
                from += 0.1;
            }
            profile.effective().as_secs_f64()
        };
        assert!((profile(&[7.0; 30]) - 3.0).abs() < 1e-6);
        assert!(profile(&[100.0, 1.0, 1.0, 1.0, 1.0, 1.0]) < 0.12, "the first window is nearly all of it");
        assert_eq!(Profile::default().effective(), Duration::ZERO);
    }

    #[test]
    fn an_interval_has_an_end() {
        let unseen = widened((970, 1_050), Profile::default().effective(), Duration::from_millis(5));
        assert_eq!(unseen, (9, 100_001));
    }

    #[test]
    fn a_pause_is_a_change() {
        let (mut with, mut without) = (Profile::default(), Profile::default());
        without.add((0.0, 0.1), 1.0);
        without.add((0.1, 0.2), 1.0);
        with.add((0.0, 0.1), 1.0);
        with.add((0.5, 0.6), 1.0);
        assert!(with.effective() < without.effective());
    }

    proptest! {
        /// Never narrower than the node's, and the wider the shorter and the worse the clock.
        #[test]
        fn it_only_widens(low in 1u64..=1000, above in 0u64..5000, millis in 1u64..100_000, skew in 0u64..1000) {
            let interval = (low, 1000 + above);
            let at = |millis, skew| widened(interval, Duration::from_millis(millis), Duration::from_millis(skew));
            let (widened, shorter, worse) = (at(millis, skew), at(millis.div_ceil(2), skew), at(millis, skew + 10));
            for (inner, outer) in [(interval, widened), (widened, shorter), (widened, worse)] {
                prop_assert!(outer.0 <= inner.0 && inner.1 <= outer.1, "{inner:?} {outer:?}");
            }
        }
    }
}
