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
    fn what_does_not_fit_a_bigint_is_held_at_its_maximum() {
        assert_eq!(Microseconds::new(u64::MAX).to_bigint(), i64::MAX);
    }
}
