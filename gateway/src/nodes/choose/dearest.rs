//! How dear a node may be that gets a request, given what others ask for the same: what is held has to cover whoever may
//! get it, and one absurd price must not make every hold larger, nor one price of nothing shut everybody else out.

use openapi::price::Price;
use openapi::units::Nanocredits;

/// A node may cost so many times what is usual.
const TIMES: u64 = 2;

/// The dearest of these offers that may get a request, given what it costs under each. Without a limit of the request's own
/// that is one of up to twice the median of all that cost anything; of an even number, the lower of the two in the middle.
/// So half of them may always get it, and a single price moves the bound no further than to a neighbour of the median.
pub fn dearest(offers: &[Price], cost: impl Fn(&Price) -> Nanocredits, limited: bool) -> Option<Price> {
    let costs: Vec<Nanocredits> = offers.iter().map(cost).collect();
    let bound = if limited { Nanocredits::new(u64::MAX) } else { bound(costs.clone()) };
    let within = offers.iter().zip(costs).filter(|(_, cost)| *cost <= bound);
    within.max_by_key(|(_, cost)| *cost).map(|(price, _)| *price)
}

fn bound(mut costs: Vec<Nanocredits>) -> Nanocredits {
    costs.retain(|cost| *cost > Nanocredits::ZERO);
    if costs.is_empty() {
        return Nanocredits::ZERO;
    }
    let middle = (costs.len() - 1) / 2;
    let (_, median, _) = costs.select_nth_unstable(middle);
    Nanocredits::new(median.get().saturating_mul(TIMES))
}

/// About how many tokens of a prompt come on one of an answer, as a power of two: requests with the same are held for by
/// the same offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mix(i32);

impl Mix {
    /// Beyond this it makes no difference any more.
    const MOST: i32 = 16;

    /// Of a request with so many tokens.
    pub fn of(prompt: u64, completion: u64) -> Self {
        let power = |tokens: u64| tokens.max(1).ilog2() as i32;
        Self((power(prompt) - power(completion)).clamp(-Self::MOST, Self::MOST))
    }

    /// Such a request, with few tokens.
    pub fn cost(self, price: &Price) -> Nanocredits {
        let part = |power: i32, each: Nanocredits| each.get().saturating_mul(1 << power.max(0));
        let prompt = part(self.0, price.prompt.max(price.cached));
        Nanocredits::new(prompt.saturating_add(part(-self.0, price.completion)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn price(each: u64) -> Price {
        let each = Nanocredits::new(each);
        Price { prompt: each, cached: each, completion: each }
    }

    fn cost(price: &Price) -> Nanocredits {
        Mix::of(1, 1).cost(price)
    }

    /// What the dearest asks for each token.
    fn highest(each: &[u64]) -> u64 {
        let offers: Vec<Price> = each.iter().copied().map(price).collect();
        dearest(&offers, cost, false).map_or(0, |price| price.completion.get())
    }

    #[test]
    fn one_absurd_price_makes_no_hold_dearer_and_one_of_nothing_shuts_nobody_out() {
        assert_eq!(highest(&[100, 120, 1_000_000]), 120);
        assert_eq!(highest(&[100, 1_000_000]), 100);
        assert_eq!(highest(&[0, 100, 120]), 120);
        assert_eq!(highest(&[0, 100]), 100);
        assert_eq!(highest(&[0, 0]), 0);
        assert_eq!(highest(&[1_000_000]), 1_000_000, "the only one there is");
        assert_eq!(highest(&[40, 60, 100, 150, 199, 201]), 199, "a wide market");
        assert_eq!(dearest(&[], cost, false), None);
    }

    #[test]
    fn the_requests_own_limit_is_the_bound_where_there_is_one() {
        let offers = [1, 1, 1, 500].map(price);
        assert_eq!(dearest(&offers, cost, true), Some(price(500)));
    }

    #[test]
    fn what_prompts_cost_matters_as_far_as_they_are_long() {
        let offers = [Price { completion: Nanocredits::new(900), ..price(1) }, price(100), price(110)];
        let dearest_for = |prompt, completion| dearest(&offers, |price| Mix::of(prompt, completion).cost(price), false);
        assert_eq!(dearest_for(8_000, 8), Some(offers[2]));
        assert_eq!(dearest_for(8, 8_000), Some(offers[2]), "900 is too much");
        assert_eq!(Mix::of(0, 0), Mix::of(1, 1));
        assert_eq!(Mix::of(u64::MAX, 0).cost(&price(1)), Nanocredits::new(65_537));
    }

    proptest! {
        #[test]
        fn half_of_the_offers_may_get_it_and_none_that_costs_more_than_twice_the_median(each in vec(1_u64..1_000_000, 1..40)) {
            let most = highest(&each);
            let mut sorted = each.clone();
            sorted.sort_unstable();
            prop_assert!(each.iter().filter(|each| **each <= most).count() * 2 >= each.len());
            prop_assert!(most <= 2 * sorted[(each.len() - 1) / 2]);
            prop_assert!(each.contains(&most), "no more is held than somebody asks");
        }

        #[test]
        fn a_single_price_can_move_neither_end(mut each in vec(1_u64..1_000_000, 3..40), at in any::<usize>(), to in any::<u32>()) {
            let mut sorted = each.clone();
            sorted.sort_unstable();
            let middle = (each.len() - 1) / 2;
            let at = at % each.len();
            each[at] = to.into();
            let most = highest(&each);
            // Made nothing, it does not count, which moves the middle by half a place.
            prop_assert!(most <= 2 * sorted[middle + 1], "{most} {sorted:?}");
            prop_assert!(most >= sorted[middle - 1], "{most} {sorted:?}");
        }

        #[test]
        fn offers_of_nothing_change_nothing(each in vec(1_u64..1_000_000, 1..20), free in 0_usize..40) {
            let mut with_free = each.clone();
            with_free.resize(each.len() + free, 0);
            prop_assert_eq!(highest(&with_free), highest(&each));
        }
    }
}
