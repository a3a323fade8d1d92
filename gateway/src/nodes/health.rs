//! Whether a node gets work. Pure: time is an argument.

use std::time::{Duration, Instant};

/// Failures in a row after which a node rests.
const PATIENCE: u32 = 3;
const FIRST_REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// What was learned of a node's latency counts for half after this long without an answer.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// What is known from a node's own answers.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    resting_until: Option<Instant>,
    first_byte: Duration,
    answered_at: Option<Instant>,
    /// Time for a token of an answer.
    token_time: Duration,
}

impl Health {
    /// False while the node rests. After the rest one more failure sends it back, for twice as long.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.resting_until.is_none_or(|until| now >= until)
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.resting_until = None;
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures += 1;
        if let Some(doublings) = self.failures.checked_sub(PATIENCE) {
            let rest = FIRST_REST.saturating_mul(1 << doublings.min(16)).min(LONGEST_REST);
            self.resting_until = Some(now + rest);
        }
    }

    /// Takes a time to the first byte into the average.
    pub(super) fn answered(&mut self, first_byte: Duration, now: Instant) {
        self.first_byte = average(self.first_byte, first_byte);
        self.answered_at = Some(now);
    }

    pub(super) fn typical_first_byte(&self) -> Duration {
        self.first_byte
    }

    /// The same, believed less the longer ago it was: a node that was late gets another chance.
    pub(super) fn faded_first_byte(&self, now: Instant) -> Duration {
        let silence = self.answered_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.first_byte.mul_f64(0.5_f64.powf(silence.as_secs_f64() / HALF_LIFE.as_secs_f64()))
    }

    /// Takes in how long the tokens of an answer took.
    pub(super) fn spoke(&mut self, tokens: u64, time: Duration) {
        if let Ok(tokens) = u32::try_from(tokens)
            && tokens > 0
        {
            self.token_time = average(self.token_time, time / tokens);
        }
    }

    /// None before the first answer.
    pub(super) fn tokens_per_second(&self) -> u32 {
        let time = self.token_time.as_nanos();
        u32::try_from(1_000_000_000_u128.checked_div(time).unwrap_or_default()).unwrap_or(u32::MAX)
    }
}

/// The last figure weighs a fifth.
fn average(known: Duration, new: Duration) -> Duration {
    if known.is_zero() { new } else { (known * 4 + new) / 5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_node_rests_longer_and_longer_and_one_success_heals_it() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed(now);
        health.failed(now);
        assert!(health.is_up(now), "twice is chance");
        health.failed(now);
        assert!(!health.is_up(now) && health.is_up(now + FIRST_REST));
        health.failed(now);
        assert!(!health.is_up(now + FIRST_REST) && health.is_up(now + FIRST_REST * 2));
        for _ in 0..100 {
            health.failed(now);
        }
        assert!(health.is_up(now + LONGEST_REST), "the rest is capped");
        health.succeeded();
        assert!(health.is_up(now));
        health.failed(now);
        assert!(health.is_up(now));
    }

    #[test]
    fn a_late_node_gets_another_chance_and_speed_is_averaged() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!((health.faded_first_byte(now), health.tokens_per_second()), (Duration::ZERO, 0));
        health.answered(Duration::from_secs(4), now);
        assert_eq!(health.faded_first_byte(now), Duration::from_secs(4));
        assert_eq!(health.faded_first_byte(now + HALF_LIFE * 2), Duration::from_secs(1));
        assert_eq!(health.typical_first_byte(), Duration::from_secs(4));
        health.spoke(10, Duration::from_secs(1));
        health.spoke(0, Duration::from_secs(1));
        assert_eq!(health.tokens_per_second(), 10);
        health.spoke(20, Duration::from_secs(1));
        assert_eq!(health.tokens_per_second(), 11);
    }
}
