//! A sequential test that finds a node which claims too little, soon and seldom wrongly.
//!
//! Each claim gives `x = ln(claimed / expected)`. A cumulative sum (Page, "Continuous Inspection Schemes", Biometrika 41,
//! 1954) adds how far `x` lies below a reference and forgets what is above zero; it tells when it passes a threshold.
//! Honest nodes differ: their medians lie around 0 with the class's spread σ, 0.15 where the class does not show it. So
//! the reference is a number of spreads, and no number of claims makes the choice better than that:
//!
//! | sum | reference | honest nodes beyond it | nodes of half their claim beyond it, at σ = 0.15 |
//! |---|---|---|---|
//! | not believed | 3.25 σ | 0.06 % | 91 % |
//! | watched | 1.8 σ | 3.6 % | 99.8 % |
//!
//! What is missing to 100 % are nodes that take so much more than others that half of it is what a frugal honest node
//! takes. At one false rejection in a thousand no test of these figures finds more than 94 % (Neyman and Pearson's
//! lemma: Φ(0.693/0.15 − 3.09)); a class of 20 nodes, whose median and spread are themselves uncertain, leaves 80 %. A node
//! that began honestly has no such cover: a third sum compares it with itself.
//!
//! The rates hold for the spread that is assumed. In simulated classes of 20 nodes, of 1,000 claims each, 0.05 % of honest
//! nodes are not believed at a true spread of 0.15, none of 10,000 at 0.10, and 0.5 % at 0.20: twenty nodes say too little
//! of their own spread to outweigh the assumption.
//!
//! The threshold is [`THRESHOLD`] deviations of a single claim. A node exactly at the reference then goes on for 450
//! claims on average, one half a deviation better for 10⁹, and one that claims half of what it did is found in 10 to 40:
//! see [`average_run_length`].

use std::collections::VecDeque;

use super::classes::{Class, Comparison};
use super::robust::median;
use super::verdict::{Finding, Kind};

/// Spreads below the class's median at which an honest node is not believed.
const REJECTED: f64 = 3.25;
/// And at which it is watched.
const WATCHED: f64 = 1.8;
/// How far below its own baseline a node's claims may fall, as a logarithm: to 0.7 times.
const FALL: f64 = 0.35;
/// Deviations of one claim that a sum may reach.
pub const THRESHOLD: f64 = 20.0;
/// The largest step that one claim counts for, so that no single one decides.
const STEP: f64 = 1.0;
/// Claims that make a node's baseline in a class, and classes that have one.
const BASELINE: usize = 32;
const CLASSES: usize = 16;

/// A cumulative sum of how far values lie below a reference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cusum(f64);

impl Cusum {
    /// Takes a value; true when the sum passes the threshold, whereupon it begins anew.
    pub fn observe(&mut self, value: f64, reference: f64, threshold: f64) -> bool {
        self.0 = (self.0 + (reference - value).min(STEP)).max(0.0);
        let passed = self.0 > threshold;
        if passed {
            self.0 = 0.0;
        }
        passed
    }
}

/// Claims until a sum passes its threshold, on average: Siegmund's approximation ("Sequential Analysis", 1985, §2.6).
/// `drift` is how far the mean lies below the reference, negative above it, and `threshold` what the sum may reach, both
/// in deviations of one claim.
pub fn average_run_length(drift: f64, threshold: f64) -> f64 {
    let height = threshold + 1.166;
    if drift.abs() < 1e-6 {
        return height.powi(2);
    }
    ((-2.0 * drift * height).exp() + 2.0 * drift * height - 1.0) / (2.0 * drift.powi(2))
}

/// The test of one node. Others it is compared with over all its classes, and itself in each.
#[derive(Clone, Debug, Default)]
pub struct UnderClaim {
    rejected: Cusum,
    watched: Cusum,
    /// The class that was seen last stands last.
    earlier: VecDeque<Earlier>,
}

/// A node's own claims in one class.
#[derive(Clone, Debug)]
struct Earlier {
    class: Class,
    first: Vec<f64>,
    baseline: Option<f64>,
    fallen: Cusum,
}

impl Earlier {
    fn observe(&mut self, ratio: f64, threshold: f64) -> bool {
        if let Some(baseline) = self.baseline {
            return self.fallen.observe(ratio - baseline, -FALL, threshold);
        }
        self.first.push(ratio);
        if self.first.len() == BASELINE {
            self.baseline = Some(median(&mut self.first));
            self.first = Vec::new();
        }
        false
    }
}

impl UnderClaim {
    /// Takes a claim of a class.
    pub fn observe(&mut self, class: &Class, claim: &Comparison) -> Vec<Finding> {
        let (ratio, threshold) = (claim.log_ratio, THRESHOLD * claim.noise);
        let rejected = self.rejected.observe(ratio, -REJECTED * claim.spread, threshold);
        let watched = self.watched.observe(ratio, -WATCHED * claim.spread, threshold);
        let mut earlier = self.earlier_in(class);
        let fallen = earlier.observe(ratio, threshold);
        self.earlier.push_back(earlier);
        let figures =
            [("claimed over expected", ratio.exp()), ("class spread", claim.spread), ("claim noise", claim.noise)];
        let found = [
            (rejected, Kind::UnderClaim, "It claims so little that hardly one honest node in a thousand would."),
            (watched, Kind::LowClaim, "It claims less than nearly all other nodes of its class for the same work."),
            (
                fallen,
                Kind::SuddenDrop,
                "Its claims have fallen below 0.7 times its own earlier ones without a new start.",
            ),
        ];
        found
            .into_iter()
            .filter(|found| found.0)
            .map(|(_, kind, reason)| Finding::new(kind, reason, &figures))
            .collect()
    }

    /// The node has started anew: another program or other settings may honestly take less.
    pub fn restart(&mut self) {
        self.earlier.clear();
    }

    /// Takes out the claims in a class; the class that was not seen for longest makes room.
    fn earlier_in(&mut self, class: &Class) -> Earlier {
        let known = self.earlier.iter().rposition(|earlier| earlier.class == *class);
        if let Some(earlier) = known.and_then(|at| self.earlier.remove(at)) {
            return earlier;
        }
        if self.earlier.len() == CLASSES {
            self.earlier.pop_front();
        }
        Earlier { class: class.clone(), first: Vec::new(), baseline: None, fallen: Cusum::default() }
    }
}

#[cfg(test)]
mod tests {
    use openapi::energy::Boundary;

    use super::*;

    fn class(batch_bucket: u32) -> Class {
        let boundary = Boundary::Device;
        Class { device: String::new(), model: String::new(), quantisation: String::new(), batch_bucket, boundary }
    }

    fn normal(random: &mut fastrand::Rng) -> f64 {
        // Box and Muller.
        (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
    }

    fn claim(log_ratio: f64) -> Comparison {
        Comparison { log_ratio, spread: 0.15, noise: 0.1 }
    }

    /// Kinds with the number of the claim that they were found at, at most `claims`.
    fn run(test: &mut UnderClaim, random: &mut fastrand::Rng, level: f64, claims: usize) -> Vec<(Kind, usize)> {
        let mut found = Vec::new();
        for at in 1..=claims {
            let findings = test.observe(&class(1), &claim(level + 0.1 * normal(random)));
            found.extend(findings.into_iter().map(|finding| (finding.kind, at)));
        }
        found
    }

    #[test]
    fn run_lengths_are_those_of_the_approximation() {
        let mut random = fastrand::Rng::with_seed(1);
        for (drift, threshold) in [(0.0, 5.0), (0.25, 5.0), (1.0, 8.0), (-0.25, 4.0)] {
            let mut length = || {
                let mut sum = Cusum::default();
                // In tenths, so that no value is held at the largest step.
                (1..).find(|_| sum.observe(-(drift + normal(&mut random)) / 10.0, 0.0, threshold / 10.0)).unwrap()
            };
            let mean = (0..4_000).map(|_| f64::from(length())).sum::<f64>() / 4_000.0;
            let expected = average_run_length(drift, threshold);
            assert!((mean / expected - 1.0).abs() < 0.1, "{drift} {threshold}: {mean} {expected}");
        }
        assert!((440.0..460.0).contains(&average_run_length(0.0, THRESHOLD)));
        assert!(average_run_length(-0.5, THRESHOLD) > 1e9);
        assert!((10.0..12.0).contains(&average_run_length(1.98, THRESHOLD)), "half, at the reference of rejection");
    }

    #[test]
    fn half_is_found_at_once_and_a_usual_node_never() {
        let mut random = fastrand::Rng::with_seed(2);
        let found = run(&mut UnderClaim::default(), &mut random, 0.5f64.ln(), 200);
        let first = found.iter().find(|found| found.0 == Kind::UnderClaim).unwrap().1;
        assert!(first < 40, "{first}");
        for level in [-0.25, 0.0, 0.5] {
            assert_eq!(run(&mut UnderClaim::default(), &mut random, level, 10_000), []);
        }
    }

    #[test]
    fn a_node_is_compared_with_itself_until_it_starts_anew() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut test = UnderClaim::default();
        assert_eq!(run(&mut test, &mut random, 0.5, 100), []);
        let found = run(&mut test, &mut random, 0.5 + 0.5f64.ln(), 30);
        assert!(found.iter().all(|found| found.0 == Kind::SuddenDrop) && !found.is_empty(), "{found:?}");
        test.restart();
        assert_eq!(run(&mut test, &mut random, 0.5 + 0.5f64.ln(), 1_000), []);
    }

    #[test]
    fn a_node_that_is_thriftier_in_another_class_has_not_fallen_and_classes_have_a_bound() {
        let mut test = UnderClaim::default();
        for at in 0..2_000 {
            assert_eq!(test.observe(&class(at % 2), &claim(if at % 2 == 0 { 0.4 } else { -0.2 })), []);
        }
        for bucket in 0..100 {
            test.observe(&class(bucket), &claim(0.0));
        }
        assert_eq!(test.earlier.len(), CLASSES);
    }

    #[test]
    fn one_wild_claim_decides_nothing() {
        let mut test = UnderClaim::default();
        for at in 0..1_000 {
            assert_eq!(test.observe(&class(1), &claim(if at % 50 == 49 { -12.0 } else { 0.0 })), []);
        }
    }
}
