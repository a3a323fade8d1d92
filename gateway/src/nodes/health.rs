//! Whether a node gets work. Pure: time is an argument.

use std::time::{Duration, Instant};

/// Failures in a row after which a node rests.
const PATIENCE: u32 = 3;
const FIRST_REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What is known from a node's own answers.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    resting_until: Option<Instant>,
    first_byte: Duration,
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

    /// Takes a time to the first byte into the average, in which the last one weighs a fifth.
    pub(super) fn answered(&mut self, first_byte: Duration) {
        self.first_byte = if self.first_byte.is_zero() { first_byte } else { (self.first_byte * 4 + first_byte) / 5 };
    }

    pub(super) fn typical_first_byte(&self) -> Duration {
        self.first_byte
    }
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
}
