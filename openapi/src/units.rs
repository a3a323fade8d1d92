//! Integers with names. Whatever is summed, signed or billed is one of these and never a float.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);

            /// Wraps a count that is already in this unit.
            pub const fn new(count: u64) -> Self {
                Self(count)
            }

            /// The bare count.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The count for a Postgres `BIGINT`; a value beyond it (centuries, or 2.5 GWh) is held at its maximum.
            pub fn to_bigint(self) -> i64 {
                i64::try_from(self.0).unwrap_or(i64::MAX)
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sub for $name {
            type Output = Self;
            /// Saturates at zero: counters that are read by different threads may arrive out of order.
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self::ZERO, Add::add)
            }
        }
    };
}

unit!(
    /// Energy in microjoules (10⁻⁶ J).
    Microjoules
);

unit!(
    /// A span of time in microseconds.
    Microseconds
);

unit!(
    /// Money in nanocredits (10⁻⁹ credit). Prices are nanocredits per token, so a cost needs no rounding.
    Nanocredits
);

impl Nanocredits {
    /// Nanocredits in a credit.
    pub const PER_CREDIT: u64 = 1_000_000_000;

    /// Credits as an exact decimal, such as `0.00001234`, for people and for the API's `cost`.
    pub fn credits(self) -> String {
        let (whole, fraction) = (self.0 / Self::PER_CREDIT, self.0 % Self::PER_CREDIT);
        let text = format!("{whole}.{fraction:09}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// Credits, rounded, where a format wants a number; never for a sum.
    pub fn rounded_credits(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Reads what [`Nanocredits::credits`] writes. `None` for anything else: signs, exponents, more than nine decimals,
    /// more than a `BIGINT` holds.
    pub fn from_credits(text: &str) -> Option<Self> {
        const DECIMALS: usize = 9;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
            return None;
        }
        let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
        let total = whole.parse::<u64>().ok()?.checked_mul(Self::PER_CREDIT)?.checked_add(fraction)?;
        i64::try_from(total).is_ok().then_some(Self(total))
    }
}

/// Credits that may be owed as an exact decimal, such as `-1.5`.
pub fn signed_credits(nanocredits: i64) -> String {
    let sign = if nanocredits < 0 { "-" } else { "" };
    format!("{sign}{}", Nanocredits(nanocredits.unsigned_abs()).credits())
}

impl Microjoules {
    /// Joules for people to read; never for a sum.
    pub fn joules(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<std::time::Duration> for Microseconds {
    fn from(span: std::time::Duration) -> Self {
        Self(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_a_bare_number_on_the_wire() {
        assert_eq!(serde_json::to_string(&Microjoules::new(61_400_000)).unwrap(), "61400000");
        assert_eq!(Microjoules::new(61_400_000).joules(), 61.4);
    }

    #[test]
    fn credits_are_exact_decimals_both_ways() {
        for (count, text) in [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (12_345_000_000_000, "12345")] {
            assert_eq!(Nanocredits::new(count).credits(), text);
            assert_eq!(Nanocredits::from_credits(text), Some(Nanocredits::new(count)));
        }
        for wrong in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000000001", "9223372037", "99999999999999999999", "1,5"]
        {
            assert_eq!(Nanocredits::from_credits(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_owed_has_a_sign() {
        assert_eq!([-1_500_000_000, 0, 1].map(signed_credits), ["-1.5", "0", "0.000000001"]);
        assert_eq!(signed_credits(i64::MIN), "-9223372036.854775808");
    }

    #[test]
    fn what_does_not_fit_a_bigint_is_held_at_its_maximum() {
        assert_eq!(Microseconds::new(u64::MAX).to_bigint(), i64::MAX);
    }
}
