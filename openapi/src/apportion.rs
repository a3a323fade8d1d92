//! Dividing a whole into whole parts, so that nothing is lost and nothing is made.

/// Divides `total` in proportion to the weights by the method of largest remainders (Hamilton): each gets the whole part
/// of their share, and what is left goes, one by one, to those whose fractions were largest, in their order among equals.
/// The parts add up to `total`, and each is less than one away from its exact share. Without any weight nobody gets
/// anything. Weights of up to 64 bits do not overflow.
#[must_use]
pub fn largest_remainders(total: u64, weights: &[u128]) -> Vec<u64> {
    let sum: u128 = weights.iter().sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let exact = |weight: &u128| u128::from(total) * weight;
    let mut parts: Vec<u64> = weights.iter().map(|weight| (exact(weight) / sum) as u64).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(exact(&weights[*at]) % sum));
    let left = total - parts.iter().sum::<u64>();
    for at in order.into_iter().take(left as usize) {
        parts[at] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_goes_to_the_largest_fractions() {
        assert_eq!(largest_remainders(10, &[85, 5, 8, 2]), [9, 0, 1, 0], "8.5, 0.5, 0.8, 0.2");
        assert_eq!(largest_remainders(7, &[0, 0]), [0, 0]);
        assert_eq!(largest_remainders(7, &[]), [0u64; 0]);
    }

    proptest! {
        #[test]
        fn the_parts_add_up_and_each_is_less_than_one_away(total: u64, weights in prop::collection::vec(0..=u64::MAX, 1..40)) {
            let weights: Vec<u128> = weights.into_iter().map(u128::from).collect();
            let sum: u128 = weights.iter().sum();
            prop_assume!(sum > 0);
            let parts = largest_remainders(total, &weights);
            prop_assert_eq!(parts.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(total));
            for (part, weight) in parts.iter().zip(&weights) {
                let floor = u128::from(total) * weight / sum;
                prop_assert!((floor..=floor + 1).contains(&u128::from(*part)));
            }
        }
    }
}
