//! How far a node's word counts: what it claims is held against what the gateway counted. The share of honest answers is
//! the mean of a Beta distribution whose evidence fades (Jøsang and Ismail, "The Beta Reputation System", 2002).

use std::time::{Duration, Instant};

use super::remaining;

/// A newcomer is taken for somebody with this many honest answers…
const PRIOR_HONEST: f64 = 49.0;
/// …and this many lies: a few lies are enough to be found out, and one mishap ruins nobody.
const PRIOR_LIES: f64 = 1.0;
/// Answers weigh half after a week, as what an operator runs does not change faster.
const HALF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// No more evidence counts than that of so many answers, so that fifty lies outweigh any honest past.
const MOST_EVIDENCE: f64 = 400.0;
/// An answer under another model's name weighs as much as so many lies: nobody got what was asked for.
const WRONG_MODEL: f64 = 5.0;
/// One token in so many may be claimed beyond those that were counted: pieces get lost where streams break.
const TOLERANCE: u64 = 100;
/// From here up a node is honest: a newcomer who lost its very first answer is.
const HONEST: f64 = 0.96;
/// From here down the handicap is full.
const DISHONEST: f64 = 0.90;
/// The full handicap: less than a tenth of the work that an honest node gets, still enough to earn trust again.
const FULL_HANDICAP: f64 = 10.0;
const MILLIONTHS: f64 = 1_000_000.0;
/// Answers after which a node's speed is measured well enough to hold its claim against.
const MEASURED_AFTER: u32 = 20;

/// The evidence.
#[derive(Debug, Default)]
pub(super) struct Trust {
    honest: f64,
    lies: f64,
    at: Option<Instant>,
}

impl Trust {
    pub(super) fn judged(&mut self, claimed_tokens: u64, counted_tokens: u64, now: Instant) {
        let is_honest = claimed_tokens.saturating_sub(counted_tokens) <= counted_tokens.div_ceil(TOLERANCE);
        if is_honest { self.take(1.0, 0.0, now) } else { self.take(0.0, 1.0, now) }
    }

    pub(super) fn wrong_model(&mut self, now: Instant) {
        self.take(0.0, WRONG_MODEL, now);
    }

    pub(super) fn honesty_ppm(&self, now: Instant) -> u32 {
        (self.honesty(now) * MILLIONTHS).round() as u32
    }

    pub(super) fn handicap_ppm(&self, now: Instant) -> u32 {
        let shortfall = ((HONEST - self.honesty(now)) / (HONEST - DISHONEST)).clamp(0.0, 1.0);
        (FULL_HANDICAP.powf(shortfall) * MILLIONTHS).round() as u32
    }

    fn take(&mut self, honest: f64, lies: f64, now: Instant) {
        let left = remaining(self.at, now, HALF_LIFE);
        let (honest, lies) = (self.honest * left + honest, self.lies * left + lies);
        let counted = (MOST_EVIDENCE / (honest + lies)).min(1.0);
        (self.honest, self.lies) = (honest * counted, lies * counted);
        self.at = self.at.max(Some(now));
    }

    fn honesty(&self, now: Instant) -> f64 {
        let left = remaining(self.at, now, HALF_LIFE);
        let (honest, lies) = (PRIOR_HONEST + self.honest * left, PRIOR_LIES + self.lies * left);
        honest / (honest + lies)
    }
}

/// The claim, or five quarters of what was measured if that is less: a node may be a little faster than it was, and is
/// not punished for what it promised before it was known.
pub(super) fn believed_speed(claimed: u32, measured: u32, answers: u32) -> u32 {
    if answers < MEASURED_AFTER {
        return claimed;
    }
    claimed.min(u32::try_from(u64::from(measured.max(1)) * 5 / 4).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAIR: u32 = 1_000_000;
    const FULL: u32 = 10_000_000;

    fn after(honest: u32, lies: u32, now: Instant) -> Trust {
        let mut trust = Trust::default();
        (0..honest).for_each(|_| trust.judged(100, 100, now));
        (0..lies).for_each(|_| trust.judged(200, 100, now));
        trust
    }

    #[test]
    fn a_newcomer_is_taken_for_honest() {
        let (trust, now) = (Trust::default(), Instant::now());
        assert_eq!((trust.honesty_ppm(now), trust.handicap_ppm(now)), (980_000, FAIR));
    }

    #[test]
    fn a_few_lies_of_a_newcomer_are_enough() {
        let now = Instant::now();
        assert_eq!(after(0, 1, now).handicap_ppm(now), FAIR, "once is a mishap");
        assert!((FAIR + 1..FULL).contains(&after(0, 3, now).handicap_ppm(now)));
        assert_eq!(after(0, 5, now).handicap_ppm(now), FULL);
    }

    #[test]
    fn a_claim_within_the_tolerance_is_honest() {
        let now = Instant::now();
        for (claimed, counted, is_honest) in [
            (0, 0, true),
            (50, 100, true),
            (101, 100, true),
            (102, 100, false),
            (6, 5, true),
            (7, 5, false),
            (1, 0, false),
            (u64::MAX, 0, false),
        ] {
            let mut trust = Trust::default();
            trust.judged(claimed, counted, now);
            assert_eq!(trust.honesty_ppm(now) > 980_000, is_honest, "{claimed} for {counted}");
        }
    }

    #[test]
    fn the_wrong_model_weighs_more_than_a_lie() {
        let (mut trust, now) = (Trust::default(), Instant::now());
        trust.wrong_model(now);
        assert_eq!(trust.handicap_ppm(now), FULL);
        let mut known = after(1000, 0, now);
        known.wrong_model(now);
        assert_eq!(known.handicap_ppm(now), FAIR, "once is a mishap");
        (0..9).for_each(|_| known.wrong_model(now));
        assert_eq!(known.handicap_ppm(now), FULL);
    }

    #[test]
    fn a_promised_speed_is_believed_until_it_was_measured() {
        assert_eq!(believed_speed(1000, 40, MEASURED_AFTER - 1), 1000);
        assert_eq!(believed_speed(1000, 40, MEASURED_AFTER), 50);
        assert_eq!(believed_speed(45, 40, MEASURED_AFTER), 45);
        assert_eq!(believed_speed(30, 40, MEASURED_AFTER), 30, "nobody is made faster than it says");
        assert_eq!(believed_speed(1000, 0, MEASURED_AFTER), 1, "less than a token a second");
        assert_eq!(believed_speed(u32::MAX, u32::MAX, MEASURED_AFTER), u32::MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whoever_claims_twice_the_tokens_is_found_out_within_fifty_answers(honest in 0_u32..3_000, hours in 0_u64..500) {
            let now = Instant::now();
            let (mut trust, now) = (after(honest, 0, now), now + Duration::from_secs(hours * 3600));
            (0..50).for_each(|_| trust.judged(200, 100, now));
            prop_assert!(trust.handicap_ppm(now) >= 5 * FAIR, "{}", trust.handicap_ppm(now));
        }

        #[test]
        fn one_answer_lost_in_a_thousand_costs_nothing(lost in 0_u32..1_000, seconds in 0_u32..10_000) {
            let (mut trust, mut now) = (Trust::default(), Instant::now());
            for answer in 0..3_000 {
                trust.judged(100, if answer % 1_000 == lost { 0 } else { 100 }, now);
                prop_assert!(trust.handicap_ppm(now) < 1_050_000);
                now += Duration::from_secs(1) * seconds;
            }
        }

        #[test]
        fn the_handicap_grows_as_honesty_falls(honest in 0_u32..500, lies in 0_u32..50) {
            let now = Instant::now();
            let (better, worse) = (after(honest, lies, now), after(honest, lies + 1, now));
            prop_assert!(better.honesty_ppm(now) > worse.honesty_ppm(now));
            prop_assert!(better.handicap_ppm(now) <= worse.handicap_ppm(now));
            prop_assert!((FAIR..=FULL).contains(&worse.handicap_ppm(now)));
        }

        #[test]
        fn in_time_everything_is_forgotten(honest in 0_u32..500, lies in 0_u32..500) {
            let now = Instant::now();
            let later = now + HALF_LIFE * 30;
            prop_assert_eq!(after(honest, lies, now).honesty_ppm(later), 980_000);
        }
    }
}
