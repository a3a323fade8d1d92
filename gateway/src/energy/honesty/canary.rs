//! Hidden canaries: requests of known length, among all others, that a node cannot tell from them.
//!
//! A node that treats what looks like a test honestly, and lies about the rest, must not know which is which: a keyed hash
//! of the request's id decides, and only the gateway has the key.

use std::collections::VecDeque;

use uuid::Uuid;

use super::classes::Comparison;
use super::robust::median;
use super::verdict::{Finding, Kind};

/// One request in so many is a canary.
pub const ONE_IN: u64 = 500;
/// Canaries that are remembered of a node, and how many are enough.
const REMEMBERED: usize = 16;
const ENOUGH: usize = 4;
/// Deviations below the class at which the canaries' median is not believed: those of the sequential test, for the same
/// share of honest nodes.
const REJECTED: f64 = 3.25;

/// Decides which requests are canaries.
#[derive(Clone)]
pub struct Canaries {
    key: [u8; 32],
}

impl Canaries {
    /// With a key that no node knows.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// True of one id in [`ONE_IN`].
    pub fn is_canary(&self, request: Uuid) -> bool {
        let digest = blake3::keyed_hash(&self.key, request.as_bytes());
        let number = digest.as_bytes().iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        number < u64::MAX / ONE_IN
    }
}

impl std::fmt::Debug for Canaries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Canaries")
    }
}

/// What a node has claimed for its last canaries.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// ln(claimed / expected).
    ratios: VecDeque<f64>,
}

impl Claims {
    /// Takes a canary's claim against what its class takes for just this work.
    pub fn observe(&mut self, claim: &Comparison) -> Option<Finding> {
        if self.ratios.len() == REMEMBERED {
            self.ratios.pop_front();
        }
        self.ratios.push_back(claim.log_ratio);
        let count = self.ratios.len();
        // The node's own place in the class, and the noise of so few claims: that of a median.
        let noise = claim.noise.powi(2) * std::f64::consts::FRAC_PI_2 / count as f64;
        let deviation = (claim.spread.powi(2) + noise).sqrt();
        let middle = median(&mut self.ratios.iter().copied().collect::<Vec<f64>>());
        (count >= ENOUGH && middle < -REJECTED * deviation).then(|| {
            let figures = [("claimed over expected", middle.exp()), ("canaries", count as f64)];
            Finding::new(Kind::OffCanary, "It claims too little for requests whose work is known.", &figures)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(log_ratio: f64) -> Comparison {
        Comparison { log_ratio, spread: 0.15, noise: 0.1 }
    }

    #[test]
    fn one_in_five_hundred_is_a_canary_and_the_key_decides_which() {
        let (one, other) = (Canaries::new([1; 32]), Canaries::new([2; 32]));
        let ids = (0..100_000u128).map(Uuid::from_u128);
        let chosen: Vec<Uuid> = ids.filter(|id| one.is_canary(*id)).collect();
        assert!((150..250).contains(&chosen.len()), "{}", chosen.len());
        let both = chosen.iter().filter(|id| other.is_canary(**id)).count();
        assert!(both < 5, "{both}");
        assert!(chosen.iter().all(|id| one.is_canary(*id)));
    }

    #[test]
    fn low_canaries_are_found_and_usual_ones_are_not() {
        let mut claims = Claims::default();
        for _ in 0..40 {
            assert_eq!(claims.observe(&claim(-0.3)), None);
        }
        let found = (1..).find(|_| claims.observe(&claim(0.5f64.ln())).is_some()).unwrap();
        assert!(found <= REMEMBERED, "{found}");
        assert_eq!(Claims::default().observe(&claim(-9.0)), None, "one is too few");
        assert_eq!(claims.ratios.len(), REMEMBERED);
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", Canaries::new([7; 32])), "Canaries");
    }
}
