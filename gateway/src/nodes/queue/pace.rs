//! How fast a kind of requests is served, and so how long the next one has to wait.

use std::time::Duration;

use tokio::time::Instant;

/// As long as nothing was served.
const UNKNOWN: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// The last time between two counts for one part in so many.
const MEMORY: f64 = 8.0;

/// The exponential average of the time between two hand-outs, while somebody waits.
pub(super) struct Pace {
    since: Instant,
    /// At that moment.
    handed: u32,
    seconds: Option<f64>,
}

impl Pace {
    /// From when somebody waits.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, handed: 0, seconds: None }
    }

    /// One was served. Those of one moment share the time that follows.
    pub(super) fn handed(&mut self, now: Instant) {
        if self.handed > 0 && now <= self.since {
            self.handed = self.handed.saturating_add(1);
            return;
        }
        let between = now.duration_since(self.since).as_secs_f64() / f64::from(self.handed.max(1));
        self.seconds = Some(self.seconds.map_or(between, |mean| mean + (between - mean) / MEMORY));
        (self.since, self.handed) = (now, 1);
    }

    /// When one is served that comes after so many: in whole seconds, rounded up.
    pub(super) fn after(&self, length: usize) -> Duration {
        let seconds = self.seconds.map(|mean| (mean * length as f64).ceil().min(LONGEST.as_secs_f64()));
        seconds.map_or(UNKNOWN, Duration::from_secs_f64).max(SHORTEST)
    }

    /// When nothing of the kind has waited.
    pub(super) fn unknown() -> Duration {
        UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_comes_after_many_waits_as_long_as_they_take() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.after(100), UNKNOWN);
        for second in 1..=4 {
            pace.handed(start + Duration::from_secs(2 * second));
        }
        assert_eq!(pace.after(10), Duration::from_secs(20));
        assert_eq!(pace.after(0), SHORTEST);
        assert_eq!(pace.after(1_000_000), LONGEST);
    }

    #[test]
    fn several_at_one_moment_are_as_fast_as_one_at_a_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for batch in 1..=100 {
            for _ in 0..4 {
                pace.handed(start + Duration::from_secs(8 * batch));
            }
        }
        assert_eq!(pace.after(10), Duration::from_secs(21), "a trace of the first 8 seconds, rounded up");
        assert_eq!(pace.after(20), Duration::from_secs(41));
    }

    #[test]
    fn the_pace_follows_a_change() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.handed(start + Duration::from_secs(10));
        for fast in 1..=100 {
            pace.handed(start + Duration::from_secs(10) + Duration::from_millis(100 * fast));
        }
        assert_eq!(pace.after(100), Duration::from_secs(11));
    }
}
