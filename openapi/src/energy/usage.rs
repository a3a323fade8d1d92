//! The figures that a client reads, derived in integers and shown with three digits.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Boundary, Energy, EnergyTerms, Tier};
use crate::units::Microjoules;

/// Digits that are shown: more would be noise, and would tell one client of another's load in the same step.
const DIGITS: u32 = 3;
/// Microjoules in a kilowatt-hour.
const MICROJOULES_PER_KWH: u128 = 3_600_000_000_000;

/// How far a figure has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// A part of it is predicted, since the counter has not been read yet.
    Provisional,
    /// Read from the counter; the idle share is that of the node's last day.
    Settled,
    /// The node's day is closed: the idle share is final too.
    Final,
    /// The gateway does not believe the node.
    Unverified,
}

/// Energy and carbon of one answer. Joules are attributed to it and idle time's share stands apart; `facility_joules`
/// is both times `pue`, and `g_co2e` is that times the grid's intensity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnergyUsage {
    /// None of tier X, as of all other figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
    /// The true figure lies in here nine times out of ten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_90: Option<[f64; 2]>,
    /// What the answer has caused: without its share of what a step costs whoever is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marginal_joules: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_joules: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_joules: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_share_joules: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility_joules: Option<f64>,
    pub tier: Tier,
    pub boundary: Boundary,
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub g_co2e: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_g_per_kwh: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_basis: Option<String>,
    pub pue: f64,
    /// Of making the machine; not in `g_co2e`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied_g: Option<f64>,
    pub status: Status,
}

impl Status {
    /// The word used on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Settled => "settled",
            Self::Final => "final",
            Self::Unverified => "unverified",
        }
    }

    /// The status of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Provisional, Self::Settled, Self::Final, Self::Unverified]
            .into_iter()
            .find(|status| status.word() == word)
    }
}

/// Makes of a node's integers what a client reads. `status` says how far the idle share has come.
pub fn disclose(energy: &Energy, terms: &EnergyTerms, status: Status) -> EnergyUsage {
    disclose_with_idle(energy, terms.idle_share(energy.microjoules), terms, status)
}

/// The same with an idle share that is known.
pub fn disclose_with_idle(energy: &Energy, idle: Microjoules, terms: &EnergyTerms, status: Status) -> EnergyUsage {
    let energy = &terms.capped(energy);
    let mut usage = EnergyUsage {
        joules: None,
        interval_90: None,
        marginal_joules: None,
        prefill_joules: None,
        decode_joules: None,
        idle_share_joules: None,
        facility_joules: None,
        tier: energy.tier,
        boundary: energy.boundary,
        method: energy.method.clone(),
        g_co2e: None,
        grid_g_per_kwh: None,
        grid_zone: None,
        grid_source: None,
        grid_basis: None,
        pue: f64::from(terms.pue_milli) / 1e3,
        embodied_g: None,
        status,
    };
    if !terms.believed || energy.tier == Tier::X {
        usage.tier = Tier::X;
        usage.status = Status::Unverified;
        return usage;
    }
    // Rounded first and derived afterwards, so that whoever reads the figures can do the same sums with them.
    let joules = rounded(energy.microjoules.get());
    let prefill = rounded(energy.prefill_microjoules.get()).min(joules);
    let idle = rounded(idle.get());
    let facility = facility(joules, idle, terms.pue_milli);
    usage.joules = Some(millionths(joules));
    usage.interval_90 =
        Some([energy.low_microjoules, energy.high_microjoules].map(|end| millionths(rounded(end.get()))));
    usage.marginal_joules = Some(millionths(rounded(energy.marginal_microjoules.get())));
    usage.prefill_joules = Some(millionths(prefill));
    usage.decode_joules = Some(millionths(joules - prefill));
    usage.idle_share_joules = Some(millionths(idle));
    usage.facility_joules = Some(millionths(rounded(facility)));
    if let Some(grid) = &terms.grid {
        usage.g_co2e = Some(billionths(rounded(nanograms(facility, grid.mg_per_kwh))));
        usage.grid_g_per_kwh = Some(grid.mg_per_kwh as f64 / 1e3);
        usage.grid_zone = Some(grid.zone.clone());
        usage.grid_source = Some(grid.source.clone());
        usage.grid_basis = Some(grid.basis.clone());
    }
    usage.embodied_g = terms
        .embodied_nanograms_per_joule
        .map(|per_joule| billionths(rounded(saturated(u128::from(joules) * u128::from(per_joule) / 1_000_000))));
    usage
}

impl EnergyUsage {
    /// Every figure that follows from others follows.
    ///
    /// # Errors
    /// The names of those that don't.
    pub fn recompute(&self) -> Result<(), Vec<&'static str>> {
        super::check::recompute(self)
    }
}

/// [`EnergyUsage`] as an SSE comment `: energy {…}`, with the names that two existing conventions give the same figures:
/// Neuralwatt's (`energy_joules`, `energy_kwh`, `avg_power_watts`, `duration_seconds`, `attribution_method`) and the draft
/// "Energy Disclosure Standard for AI Providers" (`kwh`, `wh`, `source`, `provider`, `grid_carbon_intensity`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnergyComment {
    #[serde(flatten)]
    pub usage: EnergyUsage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_kwh: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kwh: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wh: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avg_power_watts: Option<f64>,
    pub duration_seconds: f64,
    pub attribution_method: String,
    /// `measured`, `derived` or `estimated`.
    pub source: String,
    /// The node.
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_carbon_intensity: Option<f64>,
}

impl EnergyComment {
    /// The comment's content; `microseconds` is how long the node worked.
    pub fn new(usage: EnergyUsage, provider: String, microseconds: u64) -> Self {
        let joules = usage.joules;
        let duration_seconds = microseconds as f64 / 1e6;
        let watts = joules.filter(|_| microseconds > 0).map(|joules| three_digits(joules / duration_seconds));
        let source = match usage.tier {
            Tier::A | Tier::B | Tier::C => "measured",
            Tier::D => "derived",
            Tier::E => "estimated",
            Tier::X => "unverified",
        };
        Self {
            energy_joules: joules,
            energy_kwh: joules.map(|joules| joules / 3.6e6),
            kwh: joules.map(|joules| joules / 3.6e6),
            wh: joules.map(|joules| joules / 3.6e3),
            avg_power_watts: watts,
            duration_seconds,
            attribution_method: usage.method.clone(),
            source: source.to_owned(),
            provider,
            grid_carbon_intensity: usage.grid_g_per_kwh,
            usage,
        }
    }
}

/// Joules of the site.
pub(super) fn facility(joules: u64, idle: u64, pue_milli: u32) -> u64 {
    saturated((u128::from(joules) + u128::from(idle)) * u128::from(pue_milli) / 1_000)
}

/// Carbon of so many microjoules, in nanograms.
pub(super) fn nanograms(microjoules: u64, mg_per_kwh: u64) -> u64 {
    saturated(u128::from(microjoules) * u128::from(mg_per_kwh) * 1_000_000 / MICROJOULES_PER_KWH)
}

/// A count with all but its first three digits zero, rounded to the nearest: as every figure of one request is shown.
pub fn rounded(count: u64) -> u64 {
    let excess = count.checked_ilog10().unwrap_or_default().saturating_sub(DIGITS - 1);
    let unit = 10u64.pow(excess);
    let (whole, rest) = (count / unit, count % unit);
    (whole + u64::from(rest * 2 >= unit && unit > 1)).saturating_mul(unit)
}

fn millionths(count: u64) -> f64 {
    count as f64 / 1e6
}

fn billionths(count: u64) -> f64 {
    count as f64 / 1e9
}

fn three_digits(figure: f64) -> f64 {
    rounded((figure * 1e6) as u64) as f64 / 1e6
}

fn saturated(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::Grid;

    pub(crate) fn specimen() -> (Energy, EnergyTerms) {
        let energy = Energy {
            microjoules: Microjoules::new(61_400_000),
            low_microjoules: Microjoules::new(57_000_000),
            high_microjoules: Microjoules::new(71_000_000),
            marginal_microjoules: Microjoules::new(21_300_000),
            prefill_microjoules: Microjoules::new(16_000_000),
            tier: Tier::B,
            boundary: Boundary::NodeDc,
            method: "step-shapley/1".to_owned(),
            settled: true,
        };
        let grid = Grid {
            zone: "DE".to_owned(),
            mg_per_kwh: 334_100,
            source: "ember-2025".to_owned(),
            basis: "lifecycle-production".to_owned(),
        };
        let terms = EnergyTerms {
            grid: Some(grid),
            pue_milli: 1_200,
            idle_ppm: 159_610,
            embodied_nanograms_per_joule: Some(6_500),
            ..EnergyTerms::default()
        };
        (energy, terms)
    }

    #[test]
    fn the_payload_reads_as_documented() {
        let (energy, terms) = specimen();
        let usage = disclose(&energy, &terms, Status::Provisional);
        assert_eq!(
            serde_json::to_string(&usage).unwrap(),
            r#"{"joules":61.4,"interval_90":[57.0,71.0],"marginal_joules":21.3,"prefill_joules":16.0,"decode_joules":45.4,"idle_share_joules":9.8,"facility_joules":85.4,"tier":"B","boundary":"node-dc","method":"step-shapley/1","g_co2e":0.00793,"grid_g_per_kwh":334.1,"grid_zone":"DE","grid_source":"ember-2025","grid_basis":"lifecycle-production","pue":1.2,"embodied_g":0.000399,"status":"provisional"}"#
        );
    }

    #[test]
    fn a_node_that_is_not_believed_shows_no_figure() {
        let (energy, mut terms) = specimen();
        terms.believed = false;
        let usage = disclose(&energy, &terms, Status::Settled);
        assert_eq!(
            serde_json::to_string(&usage).unwrap(),
            r#"{"tier":"X","boundary":"node-dc","method":"step-shapley/1","pue":1.2,"status":"unverified"}"#
        );
    }

    #[test]
    fn the_comment_speaks_three_dialects() {
        let (energy, terms) = specimen();
        let usage = disclose(&energy, &terms, Status::Settled);
        let comment = serde_json::to_value(EnergyComment::new(usage, "node-1".to_owned(), 2_000_000)).unwrap();
        for (key, value) in [
            ("joules", 61.4),
            ("energy_joules", 61.4),
            ("energy_kwh", 61.4 / 3.6e6),
            ("wh", 61.4 / 3.6e3),
            ("avg_power_watts", 30.7),
            ("grid_carbon_intensity", 334.1),
        ] {
            assert_eq!(comment[key], value, "{key}");
        }
        assert_eq!((&comment["source"], &comment["provider"]), (&"measured".into(), &"node-1".into()));
    }

    #[test]
    fn three_digits_are_shown() {
        for (count, shown) in [(0, 0), (7, 7), (999, 999), (1_004, 1_000), (1_005, 1_010), (9_995, 10_000)] {
            assert_eq!(rounded(count), shown);
        }
        assert_eq!(rounded(u64::MAX), 18_400_000_000_000_000_000);
    }

    #[test]
    fn what_speaks_against_a_node_makes_its_figures_less_certain() {
        let (energy, terms) = specimen();
        let usage = disclose(&energy, &EnergyTerms { tier_cap: Tier::E, ..terms.clone() }, Status::Settled);
        let before = disclose(&energy, &terms, Status::Settled);
        assert_eq!((usage.tier, usage.joules), (Tier::E, before.joules));
        let ([low, high], [narrow_low, narrow_high]) = (usage.interval_90.unwrap(), before.interval_90.unwrap());
        assert!(low < narrow_low && high > narrow_high && usage.recompute().is_ok(), "{usage:?}");
        let better = disclose(&energy, &EnergyTerms { tier_cap: Tier::A, ..terms }, Status::Settled);
        assert_eq!(better, before, "nothing makes a figure better than it is");
    }
}
