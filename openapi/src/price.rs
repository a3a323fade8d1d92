//! What an offer costs, and how the income is shared.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::apportion::largest_remainders;
use crate::units::Nanocredits;

/// The price of a model on a node, in nanocredits per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For a token of the prompt that is computed.
    pub prompt: Nanocredits,
    /// For a token of the prompt that the node still had computed.
    pub cached: Nanocredits,
    /// For a token of the answer.
    pub completion: Nanocredits,
}

/// Tokens that are paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BilledTokens {
    /// All tokens of the prompt, the cached ones among them.
    pub prompt: u64,
    pub cached: u64,
    pub completion: u64,
}

impl Price {
    /// The highest price of a token: one credit. With it no cost of a request overflows.
    pub const HIGHEST: Nanocredits = Nanocredits::new(Nanocredits::PER_CREDIT);

    /// True when no part of it is above [`Price::HIGHEST`].
    pub fn is_sane(&self) -> bool {
        [self.prompt, self.cached, self.completion].iter().all(|part| *part <= Self::HIGHEST)
    }

    /// What these tokens cost. Held at a `BIGINT`'s maximum, which no sane price reaches.
    pub fn cost(&self, tokens: &BilledTokens) -> Nanocredits {
        let cached = tokens.cached.min(tokens.prompt);
        let part = |count: u64, each: Nanocredits| u128::from(count) * u128::from(each.get());
        let total = part(tokens.prompt - cached, self.prompt)
            .saturating_add(part(cached, self.cached))
            .saturating_add(part(tokens.completion, self.completion));
        Nanocredits::new(u64::try_from(total).unwrap_or(u64::MAX).min(i64::MAX as u64))
    }
}

/// A text that is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a price is three whole numbers of nanocredits per token, at most {} each, for prompt, cached prompt and answer, such as 100,25,400",
    Price::HIGHEST.get()
)]
pub struct NoPrice;

/// `prompt,cached,completion`, in nanocredits per token.
impl FromStr for Price {
    type Err = NoPrice;

    fn from_str(text: &str) -> Result<Self, NoPrice> {
        let mut parts = text.split(',').map(|part| part.trim().parse().map(Nanocredits::new));
        let mut next = || parts.next().and_then(Result::ok).ok_or(NoPrice);
        let price = Self { prompt: next()?, cached: next()?, completion: next()? };
        if parts.next().is_none() && price.is_sane() { Ok(price) } else { Err(NoPrice) }
    }
}

/// How an income is shared, in parts per million that add up to a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    pub operator_ppm: u32,
    /// Shared equally by the model's authors; the operator's if the model names none.
    pub authors_ppm: u32,
    pub gateway_ppm: u32,
    /// Pays for checking that nodes do what they say.
    pub audit_fund_ppm: u32,
}

/// One income, divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    pub operator: Nanocredits,
    /// In the order of the model's authors.
    pub authors: Vec<Nanocredits>,
    pub gateway: Nanocredits,
    pub audit_fund: Nanocredits,
}

const MILLION: u32 = 1_000_000;

impl Split {
    /// True when the parts add up.
    pub fn is_whole(&self) -> bool {
        let parts = [self.operator_ppm, self.authors_ppm, self.gateway_ppm, self.audit_fund_ppm];
        parts.iter().map(|part| u64::from(*part)).sum::<u64>() == u64::from(MILLION)
    }

    /// Divides an income among everybody, to the last nanocredit, by the method of largest remainders (Hamilton): each
    /// gets the whole part of their share, and what is left goes, one by one, to those whose fractions were largest, in
    /// the order operator, authors, gateway, audit fund among equals.
    pub fn divide(&self, income: Nanocredits, authors: usize) -> Shares {
        let (operator_ppm, authors_ppm) = if authors == 0 {
            (self.operator_ppm + self.authors_ppm, 0)
        } else {
            (self.operator_ppm, self.authors_ppm)
        };
        // Common denominator, so that every author's part is a whole number too.
        let count = authors.max(1) as u128;
        let mut weights = vec![u128::from(operator_ppm) * count];
        weights.extend(std::iter::repeat_n(u128::from(authors_ppm), authors));
        weights.extend([u128::from(self.gateway_ppm) * count, u128::from(self.audit_fund_ppm) * count]);
        let parts: Vec<Nanocredits> =
            largest_remainders(income.get(), &weights).into_iter().map(Nanocredits::new).collect();
        Shares {
            operator: parts[0],
            authors: parts[1..=authors].to_vec(),
            gateway: parts[authors + 1],
            audit_fund: parts[authors + 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(prompt: u64, cached: u64, completion: u64) -> Price {
        Price {
            prompt: Nanocredits::new(prompt),
            cached: Nanocredits::new(cached),
            completion: Nanocredits::new(completion),
        }
    }

    #[test]
    fn a_cost_is_tokens_times_price_and_cached_tokens_are_counted_once() {
        let tokens = BilledTokens { prompt: 10, cached: 4, completion: 3 };
        assert_eq!(price(100, 10, 1000).cost(&tokens).get(), 6 * 100 + 4 * 10 + 3 * 1000);
        let more_cached_than_there_are = BilledTokens { prompt: 2, cached: 9, completion: 0 };
        assert_eq!(price(100, 10, 0).cost(&more_cached_than_there_are).get(), 20);
    }

    #[test]
    fn a_price_is_read_from_three_numbers() {
        assert_eq!("100, 25,400".parse(), Ok(price(100, 25, 400)));
        for wrong in ["", "1,2", "1,2,3,4", "1,2,-3", "1,2,1.5", "1,2,1000000001", "a,b,c"] {
            assert_eq!(wrong.parse::<Price>(), Err(NoPrice), "{wrong}");
        }
    }

    #[test]
    fn the_dearest_request_does_not_overflow() {
        let highest = price(Nanocredits::PER_CREDIT, 0, Nanocredits::PER_CREDIT);
        let tokens = BilledTokens { prompt: u64::from(u32::MAX), cached: 0, completion: u64::from(u32::MAX) };
        assert!(highest.is_sane() && highest.cost(&tokens).get() < i64::MAX as u64);
        assert_eq!(price(u64::MAX, 0, 0).cost(&tokens).get(), i64::MAX as u64, "insane prices are held, not wrapped");
        let all = BilledTokens { prompt: u64::MAX, cached: 1, completion: u64::MAX };
        assert_eq!(price(u64::MAX, u64::MAX, u64::MAX).cost(&all).get(), i64::MAX as u64);
    }

    const SPLIT: Split =
        Split { operator_ppm: 850_000, authors_ppm: 50_000, gateway_ppm: 80_000, audit_fund_ppm: 20_000 };

    #[test]
    fn what_is_left_goes_to_the_largest_fractions() {
        assert!(SPLIT.is_whole());
        let shares = SPLIT.divide(Nanocredits::new(10), 3);
        // 8.5, three times 0.1667, 0.8, 0.2
        assert_eq!((shares.operator.get(), shares.gateway.get(), shares.audit_fund.get()), (9, 1, 0));
        assert_eq!(shares.authors, [Nanocredits::ZERO; 3]);
        assert_eq!(SPLIT.divide(Nanocredits::new(1_000_000), 0).operator.get(), 900_000, "no authors: the operator's");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_made_and_nobody_is_off_by_one(income in 0..=i64::MAX as u64, authors in 0_usize..8,
            operator in 0..=MILLION, rest in 0..=MILLION) {
            let left = MILLION - operator;
            let authors_ppm = rest.min(left);
            let split = Split { operator_ppm: operator, authors_ppm, gateway_ppm: left - authors_ppm, audit_fund_ppm: 0 };
            let shares = split.divide(Nanocredits::new(income), authors);
            let total = shares.operator + shares.gateway + shares.audit_fund + shares.authors.iter().copied().sum();
            prop_assert_eq!(total.get(), income);
            let gateway_exact = u128::from(income) * u128::from(split.gateway_ppm) / u128::from(MILLION);
            prop_assert!(u128::from(shares.gateway.get()).abs_diff(gateway_exact) <= 1);
            let (least, most) = (shares.authors.iter().min(), shares.authors.iter().max());
            prop_assert!(least.zip(most).is_none_or(|(least, most)| most.get() - least.get() <= 1));
        }
    }
}
