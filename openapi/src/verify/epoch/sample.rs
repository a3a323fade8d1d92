//! Receipts that are read in place of all.

use sha2::{Digest, Sha256};

use crate::log::hash::Hash;

/// One in so many receipts, chosen by their leaves and a seed. Whoever makes up the seed when the log is closed knows that nobody
/// could foresee which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    one_in: u64,
    seed: String,
}

impl Sample {
    /// None for one in none.
    pub fn new(one_in: u64, seed: &str) -> Option<Self> {
        (one_in > 0).then(|| Self { one_in, seed: seed.to_owned() })
    }

    pub fn one_in(&self) -> u64 {
        self.one_in
    }

    pub fn seed(&self) -> &str {
        &self.seed
    }

    /// Whether the receipt of this leaf is among them: the first eight bytes of the hash of seed and leaf, as a number, are a
    /// multiple.
    pub(super) fn picks(&self, leaf: &Hash) -> bool {
        let hash = Sha256::new().chain_update(&self.seed).chain_update(leaf.0).finalize();
        let first = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        first.is_multiple_of(self.one_in)
    }
}

/// How likely a sample of so many would have found something, had one receipt in a hundred been wrong: in thousandths.
pub(super) fn would_have_found(read: u64) -> u64 {
    const GOOD: f64 = 0.99;
    let read = i32::try_from(read).unwrap_or(i32::MAX);
    // In words only, and rounded down.
    ((1.0 - GOOD.powi(read)) * 1_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_in_so_many_is_picked_and_others_with_another_seed() {
        let leaves: Vec<Hash> = (0..4_000_u32).map(|at| Hash::leaf(&at.to_be_bytes())).collect();
        let picked = |seed| -> Vec<usize> {
            let sample = Sample::new(10, seed).unwrap();
            (0..leaves.len()).filter(|at| sample.picks(&leaves[*at])).collect()
        };
        let (one, other) = (picked("one"), picked("other"));
        assert!((300..500).contains(&one.len()) && one == picked("one") && one != other, "{}", one.len());
        assert!(leaves.iter().all(|leaf| Sample::new(1, "").unwrap().picks(leaf)));
        assert_eq!(Sample::new(0, ""), None);
    }

    #[test]
    fn the_more_are_read_the_surer_it_is() {
        assert_eq!([0, 1, 100, 459, 10_000].map(would_have_found), [0, 10, 633, 990, 1_000]);
    }
}
