//! The energy of one answer: integers that node and gateway keep, the figures that a client reads, and the one function
//! that makes the second of the first.
//!
//! Joules are measured and attributed on the node ([`Energy`]). What turns them into the site's joules and into carbon is
//! agreed beforehand ([`EnergyTerms`]). [`disclose`] derives everything else, and [`check`] derives it once more from what
//! is shown.

pub mod check;

pub mod report;

mod usage;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::echo;
use crate::grid::sci::Embodied;
use crate::units::Microjoules;

pub use usage::{EnergyComment, EnergyUsage, Status, disclose, disclose_with_idle, rounded};

/// How a figure was obtained, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
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
    /// All of them, best first.
    pub const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::X];

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

    /// The tier of a letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.letter() == letter)
    }

    /// The part of the node's energy, in thousandths, between which the truth lies nine times out of ten: (low, high).
    /// What is missing is mostly on one side: power supply, fans and board of a machine whose components alone are
    /// measured. An estimate may be off by a factor of 2.5 either way, by which published curves of power over
    /// utilisation disagree.
    pub const fn interval_milli(self) -> (u64, u64) {
        match self {
            Self::A => (970, 1_050),
            Self::B => (950, 1_150),
            Self::C => (900, 1_400),
            Self::D => (800, 1_400),
            Self::E | Self::X => (400, 2_500),
        }
    }
}

/// What the figure includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
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

    /// The boundary of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Device, Self::NodeDc, Self::Wall, Self::Facility].into_iter().find(|boundary| boundary.word() == word)
    }
}

/// Energy attributed to one attempt, in integers, as node and gateway keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Energy {
    /// Its share of what the node drew: these shares, what was idle and what was foreign add up to the counters.
    pub microjoules: Microjoules,
    /// Lower end of the 90 % interval.
    pub low_microjoules: Microjoules,
    /// Upper end of the 90 % interval.
    pub high_microjoules: Microjoules,
    /// What it has caused: without its part of what every step costs whoever is in it. At most `microjoules`.
    pub marginal_microjoules: Microjoules,
    /// The part that went into the prompt; the rest went into the answer. At most `microjoules`.
    pub prefill_microjoules: Microjoules,
    pub tier: Tier,
    pub boundary: Boundary,
    /// Name and version of the way it was computed.
    pub method: String,
    /// True once every counter window that it ran in has been read; until then a part is predicted.
    pub settled: bool,
}

impl Energy {
    /// A figure that is taken to be exact, and all of it caused by the answer.
    pub fn exact(microjoules: Microjoules, (tier, boundary): (Tier, Boundary), method: &str) -> Self {
        Self {
            microjoules,
            low_microjoules: microjoules,
            high_microjoules: microjoules,
            marginal_microjoules: microjoules,
            prefill_microjoules: Microjoules::ZERO,
            tier,
            boundary,
            method: method.to_owned(),
            settled: true,
        }
    }

    /// The part that went into the answer.
    pub fn decode_microjoules(&self) -> Microjoules {
        self.microjoules - self.prefill_microjoules
    }

    /// More than any request takes: a gigajoule. What a node says beyond it is not worth adding up.
    pub const MOST: Microjoules = Microjoules::new(1_000_000_000_000_000);

    /// The same with every part held to [`Energy::MOST`], and the method to a short text.
    #[must_use]
    pub fn held(mut self) -> Self {
        for part in [
            &mut self.microjoules,
            &mut self.low_microjoules,
            &mut self.high_microjoules,
            &mut self.marginal_microjoules,
            &mut self.prefill_microjoules,
        ] {
            *part = (*part).min(Self::MOST);
        }
        self.method = echo(&self.method);
        self
    }

    /// True when the parts are parts, the interval is around the figure, and no part is beyond [`Energy::MOST`].
    pub fn is_sane(&self) -> bool {
        if self.high_microjoules > Self::MOST {
            return false;
        }
        let figure = self.microjoules;
        self.low_microjoules <= figure
            && figure <= self.high_microjoules
            && self.marginal_microjoules <= figure
            && self.prefill_microjoules <= figure
    }
}

/// Whether time without work counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IdlePolicy {
    /// The machine is there for this: all its idle energy is shared by the requests of its day.
    #[default]
    Dedicated,
    /// The machine would run anyway: its idle energy is its owner's.
    Opportunistic,
}

/// What an operator says of the machine and of where it stands. All of it is a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnergyOffer {
    /// Zone of the electricity grid, such as `DE` or `US-CA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Power usage effectiveness in thousandths.
    pub pue_milli: u32,
    #[serde(default)]
    pub idle_policy: IdlePolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied: Option<Embodied>,
    /// What figures of this machine are like.
    pub tier: Tier,
    pub boundary: Boundary,
    /// Names of its accelerators, as their driver gives them.
    #[serde(default)]
    pub accelerators: Vec<String>,
    /// Name of its processor, and how many threads it has.
    pub processor: String,
    pub processors: u32,
}

impl Default for EnergyOffer {
    /// Nothing is known of the machine.
    fn default() -> Self {
        Self {
            zone: None,
            pue_milli: 1_000,
            idle_policy: IdlePolicy::Dedicated,
            embodied: None,
            tier: Tier::X,
            boundary: Boundary::Device,
            accelerators: Vec::new(),
            processor: String::new(),
            processors: 0,
        }
    }
}

/// What the engine's steps are known to take on a machine, all its pools together. Routing compares nodes by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepCosts {
    /// Of a step as such, whoever is in it.
    pub fixed_microjoules: Microjoules,
    /// Of a token that is made.
    pub decode_microjoules: Microjoules,
    /// Of a token of a prompt.
    pub prefill_microjoules: Microjoules,
    /// Power while nothing is computed.
    pub idle_milliwatts: u64,
    /// Windows that this was learned from; a first guess while there are few.
    pub windows: u32,
}

/// How much carbon a kilowatt-hour of a grid stands for, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grid {
    /// ISO 3166 code of a country or of a part of one, such as `DE` or `US-CA`, or a bidding zone such as `SE-SE3`.
    pub zone: String,
    /// Milligrams of CO₂ equivalent per kilowatt-hour.
    pub mg_per_kwh: u64,
    /// Data set and year, such as `ember-2025`.
    pub source: String,
    /// What is counted, such as `lifecycle-production`. Figures of different bases are not compared.
    pub basis: String,
}

/// What turns joules of a node into joules of its site, and into carbon. The gateway sets it before a request runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnergyTerms {
    /// None when nobody has said where the node stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// Power usage effectiveness in thousandths: the site's energy over the machines'. 1000 where nothing is added.
    pub pue_milli: u32,
    /// Idle energy of the node for every million of attributed energy, over its last day.
    pub idle_ppm: u64,
    /// Nanograms of CO₂ equivalent that making the machine stands for, per attributed joule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied_nanograms_per_joule: Option<u64>,
    /// False when the gateway does not believe this node's figures: they are tier X, and none is shown.
    pub believed: bool,
    /// What speaks against the node lets none of its figures count for better than this.
    #[serde(default = "best_tier")]
    pub tier_cap: Tier,
}

const fn best_tier() -> Tier {
    Tier::A
}

impl EnergyTerms {
    /// A node's figures for as good as the gateway takes them.
    pub fn capped(&self, energy: &Energy) -> Energy {
        let tier = energy.tier.max(self.tier_cap);
        if tier == energy.tier {
            return energy.clone();
        }
        let (low, high) = tier.interval_milli();
        let end = |milli: u64| {
            let end = u128::from(energy.microjoules.get()) * u128::from(milli) / 1_000;
            Microjoules::new(u64::try_from(end).unwrap_or(u64::MAX)).min(Energy::MOST)
        };
        Energy {
            tier,
            low_microjoules: energy.low_microjoules.min(end(low)),
            high_microjoules: energy.high_microjoules.max(end(high)),
            ..energy.clone()
        }
    }

    /// The part of the node's idle energy that goes with this much attributed energy.
    pub fn idle_share(&self, attributed: Microjoules) -> Microjoules {
        let share = u128::from(attributed.get()) * u128::from(self.idle_ppm) / 1_000_000;
        Microjoules::new(u64::try_from(share).unwrap_or(u64::MAX)).min(Energy::MOST)
    }
}

impl Default for EnergyTerms {
    /// Nothing is known of the site, and nothing is added.
    fn default() -> Self {
        Self {
            grid: None,
            pue_milli: 1_000,
            idle_ppm: 0,
            embodied_nanograms_per_joule: None,
            believed: true,
            tier_cap: Tier::A,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_request_takes_is_held() {
        let quality = (Tier::E, Boundary::Device);
        let absurd = Energy::exact(Microjoules::new(u64::MAX), quality, "m/1");
        assert!(!absurd.is_sane());
        let held = absurd.held();
        assert_eq!((held.microjoules, held.high_microjoules, held.is_sane()), (Energy::MOST, Energy::MOST, true));
        let strange = Energy::exact(Energy::MOST, quality, &format!("m\0{}", "x".repeat(1_000))).held();
        assert!(strange.method.starts_with("mx") && strange.method.len() < 100);
        let ordinary = Energy::exact(Microjoules::new(7), quality, "m/1");
        assert_eq!(ordinary.clone().held(), ordinary);
        let terms = EnergyTerms { idle_ppm: u64::MAX, ..EnergyTerms::default() };
        assert_eq!(terms.idle_share(Energy::MOST), Energy::MOST);
    }
}
