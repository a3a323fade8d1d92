//! How soon a node begins to answer, how fast it goes on, and how long it usually pauses between two tokens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::first_byte::FirstByte;
use super::remaining;

/// What was learned of a node's latency counts for half after this long; the order of Finagle's ten seconds to 1/e.
const HALF_LIFE: Duration = Duration::from_secs(10);
/// What is usual of a node counts for half after this long without an answer: one that was late for an hour gets
/// another chance.
const USUAL_HALF_LIFE: Duration = Duration::from_secs(600);
/// Times between tokens that are kept: enough for a median, few enough to follow the node's load.
const GAPS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Speed {
    usual: FirstByte,
    /// How much later than usual it was of late, at its peak.
    excess: Duration,
    answered_at: Option<Instant>,
    /// Time for a token of an answer.
    token_time: Duration,
    /// That the token time was learned from.
    answers: u32,
    gaps: VecDeque<Duration>,
}

impl Speed {
    /// A rise over what is usual counts at once and a fall as time goes by: the peak EWMA of Finagle (twitter/finagle,
    /// `com.twitter.finagle.loadbalancer.PeakEwma`).
    pub(super) fn answered(&mut self, first_byte: Duration, prompt: u64, now: Instant) {
        let before = self.excess(now);
        self.usual.answered(first_byte, prompt);
        self.excess = before.max(first_byte.saturating_sub(self.usual.of(prompt)));
        self.answered_at = self.answered_at.max(Some(now));
    }

    /// That it takes at least so long says something only if it was believed to be faster.
    pub(super) fn silent_for(&mut self, time: Duration, prompt: u64, now: Instant) {
        if self.expected_first_byte(prompt, now).is_none_or(|expected| time > expected) {
            self.answered(time, prompt, now);
        }
    }

    /// What is left of it.
    fn excess(&self, now: Instant) -> Duration {
        self.excess.mul_f64(remaining(self.answered_at, now, HALF_LIFE))
    }

    /// For a prompt of this length: the peak fades to what is usual and no further. None before the first answer.
    pub(super) fn expected_first_byte(&self, prompt: u64, now: Instant) -> Option<Duration> {
        self.answered_at.map(|_| self.usual.of(prompt).saturating_add(self.excess(now)))
    }

    pub(super) fn faded_first_byte(&self, now: Instant) -> Duration {
        (self.usual.usual() + self.excess(now)).mul_f64(remaining(self.answered_at, now, USUAL_HALF_LIFE))
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
        speed.answered(SECOND * 4, 100, now);
        assert_eq!(speed.faded_first_byte(now), SECOND * 4);
        assert_eq!(speed.faded_first_byte(now + USUAL_HALF_LIFE), SECOND * 2);
        speed.spoke(10, SECOND);
        speed.spoke(0, SECOND);
        assert_eq!((speed.tokens_per_second(), speed.answers()), (10, 1));
        speed.spoke(20, SECOND);
        assert_eq!((speed.tokens_per_second(), speed.answers()), (11, 2));
    }

    #[test]
    fn a_rise_counts_at_once_and_fades_to_what_is_usual() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        speed.answered(SECOND, 100, now);
        speed.answered(SECOND * 9, 100, now);
        assert_eq!(speed.faded_first_byte(now), SECOND * 9);
        assert_eq!(speed.expected_first_byte(100, now + HALF_LIFE), Some(SECOND * 7), "half way down to 5");
        assert_eq!(speed.expected_first_byte(100, now + HALF_LIFE * 100), Some(SECOND * 5));
        speed.answered(SECOND * 5, 100, now);
        assert_eq!(speed.expected_first_byte(100, now), Some(SECOND * 9), "no time went by");
    }

    #[test]
    fn a_long_prompt_is_no_reason_to_think_a_node_late() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        for prompt in [100, 1_000, 100, 10_000] {
            speed.answered(Duration::from_millis(100 + prompt), prompt, now);
        }
        let expected = speed.expected_first_byte(100, now).unwrap();
        assert!(expected < SECOND, "{expected:?}");
    }

    #[test]
    fn a_node_that_is_rarely_asked_stays_as_soon_as_it_was_and_one_that_never_was_is_unknown() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        assert_eq!(speed.expected_first_byte(100, now), None);
        (0..50).for_each(|_| speed.answered(SECOND / 4, 100, now));
        assert_eq!(speed.expected_first_byte(100, now + Duration::from_secs(3600)), Some(SECOND / 4));
    }

    #[test]
    fn a_node_that_was_not_waited_for_is_at_least_so_slow() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        let expected = |speed: &Speed| speed.expected_first_byte(100, now).unwrap();
        speed.silent_for(SECOND * 4, 100, now);
        assert_eq!(expected(&speed), SECOND * 4);
        speed.silent_for(SECOND, 100, now);
        assert_eq!(expected(&speed), SECOND * 4, "it was known to be slower");
        speed.silent_for(SECOND * 6, 100, now);
        assert_eq!(expected(&speed), SECOND * 6);
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
        fn what_is_expected_is_no_sooner_than_the_newest_answer_and_the_peak_is_forgotten(
            answers in prop::collection::vec((0_u64..60_000, 0_u64..60_000, 0_u64..10_000), 1..50),
        ) {
            const LITTLE: Duration = Duration::from_micros(1);
            let (mut speed, mut now, mut slowest) = (Speed::default(), Instant::now(), Duration::ZERO);
            for (first_byte, later, prompt) in answers {
                let first_byte = Duration::from_millis(first_byte);
                now += Duration::from_millis(later);
                slowest = slowest.max(first_byte);
                speed.answered(first_byte, prompt, now);
                let usual = speed.usual.of(prompt);
                prop_assert!(speed.expected_first_byte(prompt, now).unwrap() + LITTLE >= first_byte);
                prop_assert!(speed.faded_first_byte(now) <= slowest * 2);
                let much_later = speed.expected_first_byte(prompt, now + HALF_LIFE * 60).unwrap();
                prop_assert!(much_later.abs_diff(usual) < LITTLE, "the peak is forgotten");
            }
            prop_assert!(speed.faded_first_byte(now + USUAL_HALF_LIFE * 60) < LITTLE, "all is forgotten");
        }
    }
}
