//! What work costs in a class: so much a step, a token of the answer and a token of the prompt.
//!
//! A step costs the same however many share it, and each token in it adds its own (Shapley value of an affine cost; 36
//! series of the ML.ENERGY Leaderboard v3 follow it with a median R² of 0.996). So an attempt of `c` answer tokens beside
//! others, `b` at once, and `p` new prompt tokens takes `step·c/b + completion·c + prompt·p`.

use super::bounds::{Machine, Model, Work, typical_costs};

/// An attempt and what was claimed for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Steps that were its own, answer tokens, and prompt tokens that were computed.
    pub amounts: [f64; 3],
    pub microjoules: f64,
}

impl Sample {
    /// The claim for some work that ran beside others, `batch` at once, itself among them.
    pub fn new(work: &Work, batch: f64, microjoules: u64) -> Self {
        let completion = work.completion_tokens as f64;
        let amounts = [completion / batch.max(1.0), completion, work.new_prompt_tokens() as f64];
        Self { amounts, microjoules: microjoules as f64 }
    }
}

/// Microjoules a step, a token of the answer and a token of the prompt; none is negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs(pub [f64; 3]);

/// How much a first guess weighs against one sample: as if it were right to 100 % and a sample to 10 %.
const GUESS: f64 = 0.01;
/// Coordinates are few and the start is near, so these many sweeps end within a thousandth.
const SWEEPS: usize = 40;

impl Costs {
    /// A first guess from data sheets, or from one claim where they say nothing.
    pub fn guess(machine: &Machine, model: &Model, sample: &Sample) -> Self {
        let sheet = typical_costs(machine, model).map(|(step, token)| Self([step, token, token]));
        sheet.unwrap_or_else(|| {
            let [own, completion, prompt] = sample.amounts;
            let each = sample.microjoules / (own + completion + prompt / 4.0).max(1.0);
            Self([each, each, each / 4.0])
        })
    }

    /// What this work is expected to take; never quite nothing, so that logarithms are finite.
    pub fn expected(&self, amounts: &[f64; 3]) -> f64 {
        self.0.iter().zip(amounts).map(|(cost, amount)| cost * amount).sum::<f64>().max(1.0)
    }

    /// ln(claimed / expected).
    pub fn log_ratio(&self, sample: &Sample) -> f64 {
        (sample.microjoules.max(1.0) / self.expected(&sample.amounts)).ln()
    }

    /// All of them times a factor.
    pub fn scaled(&self, factor: f64) -> Self {
        Self(self.0.map(|cost| cost * factor))
    }

    /// The claim, held between half and twice what is expected, so that no single one bends a fit.
    pub fn tempered(&self, sample: &Sample, level: f64) -> Sample {
        let expected = self.expected(&sample.amounts);
        Sample { microjoules: (sample.microjoules / level).clamp(expected / 2.0, expected * 2.0), ..*sample }
    }

    /// The non-negative costs that fit the samples best, errors in proportion to what these costs expect. What the samples
    /// leave open is as guessed.
    pub fn fitted(&self, samples: impl Iterator<Item = Sample>, guess: &Self) -> Self {
        let (mut products, mut sums) = ([[0.0; 3]; 3], [0.0; 3]);
        for sample in samples {
            let weight = self.expected(&sample.amounts).powi(-2);
            for (row, amount) in sample.amounts.iter().enumerate() {
                sums[row] += weight * amount * sample.microjoules;
                for (column, other) in sample.amounts.iter().enumerate() {
                    products[row][column] += weight * amount * other;
                }
            }
        }
        for (at, cost) in guess.0.iter().enumerate() {
            let weight = GUESS / cost.max(1e-3).powi(2);
            products[at][at] += weight;
            sums[at] += weight * cost;
        }
        self.descended(&products, &sums)
    }

    /// Non-negative least squares by coordinate descent.
    fn descended(mut self, products: &[[f64; 3]; 3], sums: &[f64; 3]) -> Self {
        for _ in 0..SWEEPS {
            for at in 0..3 {
                let others: f64 =
                    (0..3).filter(|other| *other != at).map(|other| products[at][other] * self.0[other]).sum();
                self.0[at] = ((sums[at] - others) / products[at][at]).max(0.0);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: Costs = Costs([3.27e6, 65_600.0, 22_600.0]);

    fn samples() -> Vec<Sample> {
        let mut random = fastrand::Rng::with_seed(3);
        (0..500)
            .map(|_| {
                let completion = f64::from(random.u32(20..800));
                let amounts = [completion / (4.0 + 8.0 * random.f64()), completion, f64::from(random.u32(10..3_000))];
                let microjoules = TRUTH.expected(&amounts) * (0.9 + 0.2 * random.f64());
                Sample { amounts, microjoules }
            })
            .collect()
    }

    #[test]
    fn the_fit_finds_the_costs() {
        let mut costs = Costs([2e6, 40_000.0, 40_000.0]);
        let guess = costs;
        let samples = samples();
        for _ in 0..8 {
            costs = costs.fitted(samples.iter().copied(), &guess);
        }
        for sample in &samples {
            assert!(
                (costs.expected(&sample.amounts) / TRUTH.expected(&sample.amounts) - 1.0).abs() < 0.03,
                "{costs:?}"
            );
        }
        assert!((costs.0[2] / TRUTH.0[2] - 1.0).abs() < 0.1, "{costs:?}");
    }

    #[test]
    fn what_cannot_be_told_apart_stays_as_guessed() {
        let guess = Costs([1e6, 1e5, 1e5]);
        let sample = Sample { amounts: [0.0, 100.0, 0.0], microjoules: 1.5e7 };
        let costs = guess.fitted(std::iter::repeat_n(sample, 50), &guess);
        assert_eq!((costs.0[0], costs.0[2]), (1e6, 1e5));
        assert!((costs.0[1] / 1.5e5 - 1.0).abs() < 0.01, "{costs:?}");
    }

    #[test]
    fn nothing_claimed_is_a_finite_ratio() {
        let costs = Costs([0.0; 3]);
        assert_eq!(costs.log_ratio(&Sample { amounts: [0.0; 3], microjoules: 0.0 }), 0.0);
    }
}
