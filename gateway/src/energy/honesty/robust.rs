//! Statistics that a few wild values don't move.

/// A median absolute deviation of a normal distribution times this is its standard deviation.
pub(super) const NORMAL: f64 = 1.4826;

/// The middle value, or the mean of the two in the middle; 0 of none. Orders the values.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let is_odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = if is_odd { *upper } else { below.iter().copied().fold(f64::NEG_INFINITY, f64::max) };
    f64::midpoint(lower, *upper)
}

/// The value that this part of them does not exceed, between two neighbours in proportion; 0 of none. Orders the values.
pub(super) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let at = part.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians_and_percentiles_are_the_usual_ones() {
        assert_eq!(median(&mut []), 0.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(percentile(&mut [], 0.9), 0.0);
        assert_eq!(percentile(&mut [30.0, 10.0, 20.0], 0.75), 25.0);
    }

    proptest! {
        #[test]
        fn the_median_is_the_percentile_of_a_half(mut values in prop::collection::vec(-1e6..1e6, 1..40)) {
            let middle = median(&mut values);
            prop_assert!((middle - percentile(&mut values, 0.5)).abs() < 1e-6);
        }
    }
}
