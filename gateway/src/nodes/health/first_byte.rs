//! How soon a node's answers usually begin. It reads a prompt before it answers, so what is to be expected is a line over the
//! prompt's length: least squares, in which older answers count for less (Welford's recurrences with a constant weight; West,
//! "Updating Mean and Variance Estimates: An Improved Method", Communications of the ACM 22(9), 1979).

use std::time::Duration;

/// So many answers weigh as much as all before them.
const MEMORY: f64 = 32.0;

/// The line, in seconds, over prompts in any unit.
#[derive(Debug, Default)]
pub(super) struct FirstByte {
    answers: f64,
    prompt: f64,
    seconds: f64,
    variance: f64,
    covariance: f64,
}

impl FirstByte {
    pub(super) fn answered(&mut self, first_byte: Duration, prompt: u64) {
        self.answers = (self.answers + 1.0).min(MEMORY);
        let weight = 1.0 / self.answers;
        let (more, later) = (prompt as f64 - self.prompt, first_byte.as_secs_f64() - self.seconds);
        self.prompt += weight * more;
        self.seconds += weight * later;
        self.variance = (1.0 - weight) * (self.variance + weight * more * more);
        self.covariance = (1.0 - weight) * (self.covariance + weight * more * later);
    }

    /// For prompts as they usually are.
    pub(super) fn usual(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }

    /// For a prompt of this length. A longer one is never answered sooner, and one of nothing not before it was asked.
    pub(super) fn of(&self, prompt: u64) -> Duration {
        let steepest = self.seconds / self.prompt;
        if self.variance <= 0.0 || !steepest.is_finite() {
            return self.usual();
        }
        let slope = (self.covariance / self.variance).clamp(0.0, steepest);
        let seconds = self.seconds + slope * (prompt as f64 - self.prompt);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(answers: &[(u64, u64)]) -> FirstByte {
        let mut first_byte = FirstByte::default();
        answers.iter().for_each(|(millis, prompt)| first_byte.answered(Duration::from_millis(*millis), *prompt));
        first_byte
    }

    #[test]
    fn a_long_prompt_is_answered_later_and_a_short_one_sooner_than_usual() {
        let first_byte = after(&[(150, 100), (350, 500), (1_100, 2_000), (250, 300)]);
        for prompt in [0, 200, 1_000, 8_000] {
            let (expected, is) = (Duration::from_millis(100 + prompt / 2), first_byte.of(prompt));
            assert!(is.abs_diff(expected) < Duration::from_millis(1), "{is:?} for {prompt}");
        }
    }

    #[test]
    fn what_is_known_of_one_length_alone_holds_for_all() {
        assert_eq!(FirstByte::default().of(100), Duration::ZERO);
        let first_byte = after(&[(200, 100), (400, 100)]);
        assert_eq!(
            (first_byte.of(10_000), first_byte.usual()),
            (Duration::from_millis(300), Duration::from_millis(300))
        );
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let slow = [(5_000, 100); 100];
        let fast = [(100, 100); 100];
        let usual = after(&[slow, fast].concat()).usual();
        assert!(usual < Duration::from_millis(400), "{usual:?}");
    }

    proptest! {
        #[test]
        fn a_longer_prompt_is_never_answered_sooner(
            answers in prop::collection::vec((0_u64..100_000, 0_u64..100_000), 0..60),
            prompts in [any::<u64>(), any::<u64>()],
        ) {
            let first_byte = after(&answers);
            let [short, long] = [prompts[0].min(prompts[1]), prompts[0].max(prompts[1])];
            prop_assert!(first_byte.of(short) <= first_byte.of(long));
        }
    }
}
