//! What a node says of its counters: windows that add up, and what each attempt took. A gateway reads it from
//! [`ENERGY_PATH`] and keeps it beside what it has counted itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Boundary, Energy, Grid, StepCosts, Tier};
use crate::units::{Microjoules, Microseconds};

/// On the node, through the tunnel: `GET`, with `?after=` the last sequence number that the gateway has. An event stream
/// of [`EnergyReport`]s, each a compact JWS (EdDSA) by the node's key: those that the node still has, then those to come.
pub const ENERGY_PATH: &str = "/node/v1/energy";

/// What the counters of a node have moved, and for whom. Reports follow each other without a gap in time as long as the
/// node runs; their sequence numbers never repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnergyReport {
    /// From 1.
    pub sequence: u64,
    /// BLAKE3 of the JWS before this one, lower-case hexadecimal; empty for the first.
    pub previous: String,
    /// The node's clock at both ends, in microseconds since 1970.
    pub from: Microseconds,
    pub to: Microseconds,
    /// Time within these in which the engine computed.
    pub busy_microseconds: Microseconds,
    pub pools: Vec<PoolWindow>,
    /// What steps are known to cost by now.
    pub costs: StepCosts,
    /// What the grid emits now, where the node knows better than the year's average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// Attempts of which every window has been read by now.
    pub settled: Vec<SettledAttempt>,
}

impl EnergyReport {
    /// No node makes so many: with one in every microsecond it takes three centuries.
    pub const HIGHEST_SEQUENCE: u64 = 10_000_000_000_000_000;
}

/// One counter's part: `total = attributed + idle + foreign`, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolWindow {
    /// What is counted, such as `gpu-0`, `package-0` or `machine`.
    pub pool: String,
    pub tier: Tier,
    pub boundary: Boundary,
    /// The counter at both ends, since the node started to read it. Wraps are taken out.
    pub counter_from: Microjoules,
    pub counter_to: Microjoules,
    /// To requests, of this gateway or not.
    pub attributed: Microjoules,
    /// The part of `attributed` that went to requests of others than this gateway.
    pub elsewhere: Microjoules,
    /// While nothing was computed.
    pub idle: Microjoules,
    /// To other programs on the machine.
    pub foreign: Microjoules,
}

impl PoolWindow {
    /// What the counter moved.
    pub fn total(&self) -> Microjoules {
        self.counter_to - self.counter_from
    }

    /// True when every microjoule is accounted for.
    pub fn adds_up(&self) -> bool {
        let parts = [self.attributed, self.idle, self.foreign].map(|part| u128::from(part.get()));
        self.counter_from <= self.counter_to
            && self.elsewhere <= self.attributed
            && parts.iter().sum::<u128>() == u128::from(self.total().get())
    }
}

/// The whole energy of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettledAttempt {
    pub request: Uuid,
    /// From 1.
    pub attempt: u32,
    pub energy: Energy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_adds_up_or_does_not() {
        let mut window = PoolWindow {
            pool: "machine".to_owned(),
            tier: Tier::E,
            boundary: Boundary::NodeDc,
            counter_from: Microjoules::new(100),
            counter_to: Microjoules::new(110),
            attributed: Microjoules::new(7),
            elsewhere: Microjoules::new(2),
            idle: Microjoules::new(2),
            foreign: Microjoules::new(1),
        };
        assert!(window.adds_up());
        window.idle = Microjoules::new(3);
        assert!(!window.adds_up());
        window.counter_from = Microjoules::new(200);
        assert!(!window.adds_up());
        let all = Microjoules::new(u64::MAX);
        (window.counter_from, window.counter_to, window.attributed, window.idle) = (Microjoules::ZERO, all, all, all);
        assert!(!window.adds_up(), "and does not overflow");
    }
}
