//! Why a node was chosen, for programs and in words.

use std::fmt::{self, Display, Formatter};

use openapi::units::Nanocredits;

use super::super::preference::Sort;

/// How well a node suits, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It has a free slot, and answers in time where that matters.
    Fit,
    /// It has a free slot, and its first byte usually comes after the latency objective.
    Late,
    /// It has no free slot.
    Full,
}

/// Why a node was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    pub sort: Option<Sort>,
    /// What was sorted by. Price: nanocredits. Throughput: nanoseconds for a token. Latency: microseconds to the
    /// first byte. Energy: marginal nanojoules for a token. Carbon: marginal micrograms of CO₂ equivalent for a
    /// million tokens. Otherwise: requests for every thousand slots. Energy and carbon are upper ends of their
    /// intervals.
    pub figure: u64,
    pub standing: Standing,
    /// Nothing ran on the node.
    pub idle: bool,
    /// The figure is not the node's own: its class's 90th percentile stands in.
    pub assumed: bool,
}

/// Such as `energy: 12.3 mJ/token marginal, busy node`.
impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let in_millions = self.figure as f64 / 1e6;
        let basis = if self.assumed { "assumed" } else { "marginal" };
        match self.sort {
            None => write!(f, "load: {} % of its slots", self.figure / 10)?,
            Some(Sort::Price) => write!(f, "price: {} credits", Nanocredits::new(self.figure).credits())?,
            Some(Sort::Throughput) => write!(f, "throughput: {} tokens/s", Digits(1e9 / self.figure as f64))?,
            Some(Sort::Latency) => write!(f, "latency: {} ms to the first byte", self.figure / 1_000)?,
            Some(Sort::Energy) => write!(f, "energy: {} mJ/token {basis}", Digits(in_millions))?,
            Some(Sort::Carbon) => write!(f, "carbon: {} g/Mtok {basis}", Digits(in_millions))?,
        }
        f.write_str(if self.idle { ", idle node" } else { ", busy node" })?;
        f.write_str(match self.standing {
            Standing::Fit => "",
            Standing::Late => ", above the latency objective",
            Standing::Full => ", no free slot",
        })
    }
}

/// A number with about three digits.
struct Digits(f64);

impl Display for Digits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let decimals = match self.0 {
            figure if figure >= 100.0 => 0,
            figure if figure >= 10.0 => 1,
            figure if figure >= 1.0 => 2,
            _ => 3,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_documented() {
        let of = |sort, figure| Reason { sort, figure, standing: Standing::Fit, idle: false, assumed: false };
        for (reason, text) in [
            (of(Some(Sort::Energy), 12_345_678), "energy: 12.3 mJ/token marginal, busy node"),
            (of(Some(Sort::Carbon), 345_600_000), "carbon: 346 g/Mtok marginal, busy node"),
            (of(Some(Sort::Carbon), 4_600), "carbon: 0.005 g/Mtok marginal, busy node"),
            (of(Some(Sort::Price), 12_000), "price: 0.000012 credits, busy node"),
            (of(Some(Sort::Throughput), 28_571_428), "throughput: 35.0 tokens/s, busy node"),
            (of(Some(Sort::Latency), 120_400), "latency: 120 ms to the first byte, busy node"),
            (of(None, 250), "load: 25 % of its slots, busy node"),
        ] {
            assert_eq!(reason.to_string(), text);
        }
        let waking = Reason { idle: true, assumed: true, ..of(Some(Sort::Energy), 1_500_000) };
        assert_eq!(waking.to_string(), "energy: 1.50 mJ/token assumed, idle node");
        let late = Reason { standing: Standing::Late, ..of(Some(Sort::Energy), 1_500_000) };
        assert_eq!(late.to_string(), "energy: 1.50 mJ/token marginal, busy node, above the latency objective");
        let full = Reason { standing: Standing::Full, ..of(None, 2_000) };
        assert_eq!(full.to_string(), "load: 200 % of its slots, busy node, no free slot");
    }
}
