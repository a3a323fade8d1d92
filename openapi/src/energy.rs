//! The energy of one answer: a figure, its interval, and where both come from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::units::Microjoules;

/// How a figure was obtained, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Tier {
    /// Measured at the wall and reconciled with component counters.
    A,
    /// Measured: counters on all material components.
    B,
    /// Measured in part: an accelerator's counter, the host modelled.
    C,
    /// Derived from a gauge, or from measured machines of the same class.
    D,
    /// Estimated from processor time and rated power.
    E,
    /// Unverified: no figure is shown.
    X,
}

impl Tier {
    /// The letter.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::E => "E",
            Self::X => "X",
        }
    }
}

/// What the figure includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// The processor or accelerator alone.
    Device,
    /// The whole machine behind its power supply.
    NodeDc,
    /// The machine at the wall plug.
    Wall,
    /// The wall figure times the site's overhead.
    Facility,
}

impl Boundary {
    /// The word used on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::NodeDc => "node-dc",
            Self::Wall => "wall",
            Self::Facility => "facility",
        }
    }
}

/// Energy attributed to one request, in integers, as node and gateway keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Energy {
    pub microjoules: Microjoules,
    /// Lower end of the 90 % interval.
    pub low_microjoules: Microjoules,
    /// Upper end of the 90 % interval.
    pub high_microjoules: Microjoules,
    pub tier: Tier,
    pub boundary: Boundary,
    /// Name and version of the way it was computed.
    pub method: String,
}

/// [`Energy`] as a client reads it, in joules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnergyUsage {
    pub joules: f64,
    /// The true figure lies in here nine times out of ten.
    pub interval_90: [f64; 2],
    pub tier: Tier,
    pub boundary: Boundary,
    pub method: String,
}

impl From<&Energy> for EnergyUsage {
    fn from(energy: &Energy) -> Self {
        Self {
            joules: energy.microjoules.joules(),
            interval_90: [energy.low_microjoules.joules(), energy.high_microjoules.joules()],
            tier: energy.tier,
            boundary: energy.boundary,
            method: energy.method.clone(),
        }
    }
}
