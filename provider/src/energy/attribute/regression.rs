//! Linear regression that learns window by window, starting from what is believed beforehand.

/// Recursive least squares with a prior and slow forgetting (Ljung, "System Identification", section 11.2).
#[derive(Clone, Debug)]
pub(super) struct Regression<const N: usize> {
    mean: [f64; N],
    covariance: [[f64; N]; N],
    /// Variances beyond which nothing is forgotten: what has not been seen for long is as unknown as at the beginning.
    widest: [f64; N],
    /// Observations of long ago count for less, by this factor each time.
    keep: f64,
}

impl<const N: usize> Regression<N> {
    /// `deviation` is how far off each coefficient may be.
    pub(super) fn new(mean: [f64; N], deviation: [f64; N], keep: f64) -> Self {
        let widest = deviation.map(|deviation| deviation * deviation);
        let mut covariance = [[0.0; N]; N];
        for at in 0..N {
            covariance[at][at] = widest[at];
        }
        Self { mean, covariance, widest, keep }
    }

    pub(super) fn mean(&self) -> &[f64; N] {
        &self.mean
    }

    /// Learns that these features came with this outcome, which is as noisy as its variance says.
    pub(super) fn observe(&mut self, features: &[f64; N], outcome: f64, variance: f64) {
        let spread: [f64; N] = std::array::from_fn(|row| dot(&self.covariance[row], features));
        let surprise = outcome - dot(&self.mean, features);
        let scale = dot(&spread, features) + variance;
        if !scale.is_finite() || scale <= 0.0 || !surprise.is_finite() {
            return;
        }
        for row in 0..N {
            self.mean[row] += spread[row] * surprise / scale;
            for column in 0..N {
                self.covariance[row][column] -= spread[row] * spread[column] / scale;
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.covariance.iter_mut().flatten().for_each(|entry| *entry /= self.keep);
        for at in 0..N {
            let excess = self.covariance[at][at] / self.widest[at];
            if excess > 1.0 {
                // Row and column alike, which keeps the matrix a covariance.
                let shrink = excess.sqrt().recip();
                for other in 0..N {
                    self.covariance[at][other] *= shrink;
                    self.covariance[other][at] *= shrink;
                }
            }
        }
    }
}

fn dot<const N: usize>(one: &[f64; N], other: &[f64; N]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_learned_through_noise_and_a_changed_one_again() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut line = Regression::new([1.0, 1.0], [10.0, 10.0], 0.99);
        for (intercept, slope) in [(3.0, 0.5), (5.0, 2.0)] {
            for _ in 0..2_000 {
                let at = random.f64() * 10.0;
                let noise = random.f64() - 0.5;
                line.observe(&[1.0, at], intercept + slope * at + noise, 0.1);
            }
            let [found_intercept, found_slope] = *line.mean();
            assert!((found_intercept - intercept).abs() < 0.2 && (found_slope - slope).abs() < 0.05, "{line:?}");
        }
    }

    #[test]
    fn what_is_never_seen_stays_as_believed_and_nothing_explodes() {
        let mut line = Regression::new([1.0, 7.0], [2.0, 2.0], 0.9);
        for _ in 0..10_000 {
            line.observe(&[1.0, 0.0], 3.0, 0.01);
        }
        let [seen, unseen] = *line.mean();
        assert!((seen - 3.0).abs() < 0.05 && (unseen - 7.0).abs() < 1e-9, "{line:?}");
        assert!(line.covariance.iter().flatten().all(|entry| entry.is_finite() && entry.abs() <= 4.0 + 1e-9));
        line.observe(&[f64::NAN, 1.0], 1.0, 0.1);
        assert!((line.mean()[0] - seen).abs() < 0.05, "nonsense teaches nothing");
    }
}
