//! How soon a node begins to answer, how fast it goes on, and how long it usually pauses between two tokens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::remaining;

/// What was learned of a node's latency counts for half after this long; the order of Finagle's ten seconds to 1/e.
const HALF_LIFE: Duration = Duration::from_secs(10);
/// Times between tokens that are kept: enough for a median, few enough to follow the node's load.
const GAPS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Speed {
    first_byte: Duration,
    answered_at: Option<Instant>,
    /// Time for a token of an answer.
    token_time: Duration,
    /// That the token time was learned from.
    answers: u32,
    gaps: VecDeque<Duration>,
}

impl Speed {
    /// A rise counts at once and a fall as time goes by: the peak EWMA of Finagle (twitter/finagle,
    /// `com.twitter.finagle.loadbalancer.PeakEwma`).
    pub(super) fn answered(&mut self, first_byte: Duration, now: Instant) {
        let excess = self.first_byte.saturating_sub(first_byte);
        self.first_byte = first_byte + excess.mul_f64(remaining(self.answered_at, now, HALF_LIFE));
        self.answered_at = self.answered_at.max(Some(now));
    }

    /// That it takes at least so long says something only if it was believed to be faster.
    pub(super) fn silent_for(&mut self, time: Duration, now: Instant) {
        if time > self.faded_first_byte(now) {
            self.answered(time, now);
        }
    }

    pub(super) fn faded_first_byte(&self, now: Instant) -> Duration {
        self.first_byte.mul_f64(remaining(self.answered_at, now, HALF_LIFE))
    }

    pub(super) fn spoke(&mut self, tokens: u64, time: Duration) {
        if let Ok(tokens) = u32::try_from(tokens)
            && tokens > 0
        {
            self.token_time = average(self.token_time, time / tokens);
            self.answers = self.answers.saturating_add(1);
        }
    }

    pub(super) fn tokens_per_second(&self) -> u32 {
        let time = self.token_time.as_nanos();
        u32::try_from(1_000_000_000_u128.checked_div(time).unwrap_or_default()).unwrap_or(u32::MAX)
    }

    pub(super) fn answers(&self) -> u32 {
        self.answers
    }

    pub(super) fn paused(&mut self, gap: Duration) {
        if self.gaps.len() == GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    pub(super) fn typical_gap(&self) -> Option<Duration> {
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    }
}

/// The last figure weighs a fifth.
fn average(known: Duration, new: Duration) -> Duration {
    if known.is_zero() { new } else { (known * 4 + new) / 5 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_late_node_gets_another_chance_and_speed_is_averaged() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        assert_eq!((speed.faded_first_byte(now), speed.tokens_per_second()), (Duration::ZERO, 0));
        speed.answered(SECOND * 4, now);
        assert_eq!(speed.faded_first_byte(now), SECOND * 4);
        assert_eq!(speed.faded_first_byte(now + HALF_LIFE * 2), SECOND);
        assert_eq!(speed.first_byte, SECOND * 4);
        speed.spoke(10, SECOND);
        speed.spoke(0, SECOND);
        assert_eq!((speed.tokens_per_second(), speed.answers()), (10, 1));
        speed.spoke(20, SECOND);
        assert_eq!((speed.tokens_per_second(), speed.answers()), (11, 2));
    }

    #[test]
    fn a_rise_counts_at_once_and_a_fall_with_time() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        speed.answered(SECOND, now);
        speed.answered(SECOND * 9, now);
        assert_eq!(speed.first_byte, SECOND * 9);
        speed.answered(SECOND, now);
        assert_eq!(speed.first_byte, SECOND * 9, "no time went by");
        speed.answered(SECOND, now + HALF_LIFE);
        assert_eq!(speed.first_byte, SECOND * 5, "half way down");
    }

    #[test]
    fn a_node_that_was_not_waited_for_is_at_least_so_slow() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        speed.silent_for(SECOND * 4, now);
        assert_eq!(speed.faded_first_byte(now), SECOND * 4);
        speed.silent_for(SECOND, now + HALF_LIFE);
        assert_eq!(speed.faded_first_byte(now + HALF_LIFE), SECOND * 2, "it was known to be slower");
        speed.silent_for(SECOND * 3, now + HALF_LIFE);
        assert_eq!(speed.faded_first_byte(now + HALF_LIFE), SECOND * 3);
    }

    #[test]
    fn the_typical_gap_is_the_median_of_the_last_ones() {
        let mut speed = Speed::default();
        assert_eq!(speed.typical_gap(), None);
        for milliseconds in [50, 9000, 40, 60, 1] {
            speed.paused(Duration::from_millis(milliseconds));
        }
        assert_eq!(speed.typical_gap(), Some(Duration::from_millis(50)), "whatever one hitch was");
        (0..GAPS).for_each(|_| speed.paused(SECOND));
        assert_eq!((speed.typical_gap(), speed.gaps.len()), (Some(SECOND), GAPS));
    }

    proptest! {
        #[test]
        fn the_peak_is_between_the_newest_answer_and_the_slowest(
            answers in prop::collection::vec((0_u64..60_000, 0_u64..60_000), 1..50),
        ) {
            let (mut speed, mut now, mut slowest) = (Speed::default(), Instant::now(), Duration::ZERO);
            for (first_byte, later) in answers {
                let first_byte = Duration::from_millis(first_byte);
                now += Duration::from_millis(later);
                slowest = slowest.max(first_byte);
                speed.answered(first_byte, now);
                prop_assert!((first_byte..=slowest).contains(&speed.first_byte));
                prop_assert_eq!(speed.faded_first_byte(now), speed.first_byte);
            }
            prop_assert!(speed.faded_first_byte(now + HALF_LIFE * 60) < Duration::from_micros(1), "all is forgotten");
        }
    }
}
