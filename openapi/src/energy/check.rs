//! Whether figures follow from each other: ours, and those of anyone who publishes joules beside kilowatt-hours or grams.

use serde_json::Value;

use super::usage::{EnergyUsage, facility, nanograms, rounded};
use super::{Status, Tier};

/// Every figure of ours that follows from others follows, to the last digit shown.
///
/// # Errors
/// The names of those that don't.
pub fn recompute(usage: &EnergyUsage) -> Result<(), Vec<&'static str>> {
    let Some(joules) = usage.joules else {
        let silent = usage.facility_joules.is_none() && usage.g_co2e.is_none() && usage.interval_90.is_none();
        let labelled = usage.tier == Tier::X && usage.status == Status::Unverified;
        return if silent && labelled { Ok(()) } else { Err(vec!["joules"]) };
    };
    let joules = scaled(joules, 1e6);
    let of = |figure: Option<f64>| scaled(figure.unwrap_or(f64::NAN), 1e6);
    let (prefill, idle) = (of(usage.prefill_joules), of(usage.idle_share_joules));
    let site = facility(joules, idle, u32::try_from(scaled(usage.pue, 1e3)).unwrap_or(u32::MAX));
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, name| {
        if !holds {
            wrong.push(name);
        }
    };
    let within = usage.interval_90.is_some_and(|[low, high]| scaled(low, 1e6) <= joules && joules <= scaled(high, 1e6));
    expect(within, "interval_90");
    expect(usage.marginal_joules.is_some() && of(usage.marginal_joules) <= joules, "marginal_joules");
    expect(usage.prefill_joules.is_some() && prefill <= joules, "prefill_joules");
    expect(of(usage.decode_joules) == joules.saturating_sub(prefill), "decode_joules");
    expect(usage.idle_share_joules.is_some(), "idle_share_joules");
    expect(of(usage.facility_joules) == rounded(site), "facility_joules");
    let carbon = usage.grid_g_per_kwh.map(|intensity| rounded(nanograms(site, scaled(intensity, 1e3))));
    expect(usage.g_co2e.map(|grams| scaled(grams, 1e9)) == carbon, "g_co2e");
    let sourced = usage.grid_zone.is_some() && usage.grid_source.is_some() && usage.grid_basis.is_some();
    expect(usage.grid_g_per_kwh.is_some() == sourced, "grid_source");
    expect(usage.tier != Tier::X && usage.status != Status::Unverified, "status");
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// What somebody claims of one answer, whatever names they use. Joules, grams and seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Claim {
    pub joules: Option<f64>,
    pub kwh: Option<f64>,
    pub wh: Option<f64>,
    pub g_co2e: Option<f64>,
    pub g_per_kwh: Option<f64>,
    pub pue: Option<f64>,
    pub idle_joules: Option<f64>,
    pub seconds: Option<f64>,
    pub watts: Option<f64>,
    pub peak_watts: Option<f64>,
}

/// The grid that nobody is cleaner than: hydro and nuclear with their construction, in grams per kilowatt-hour.
const CLEANEST_GRID: f64 = 5.0;
/// The grid that nobody is dirtier than: lignite.
const DIRTIEST_GRID: f64 = 1_500.0;
/// Figures are rounded when they are published.
const ROUNDING: f64 = 0.02;
/// A mean below this part of the same request's peak is no measurement of the same thing.
const LEAST_OF_PEAK: f64 = 0.02;

impl Claim {
    /// Reads a payload in the shape of ours, of Neuralwatt's `energy`, of the Energy Disclosure draft's `usage.energy`, of
    /// a Joule Cloud receipt, or of GreenPT's `impact`.
    pub fn read(payload: &Value) -> Self {
        let number = |paths: &[&str]| paths.iter().find_map(|path| payload.pointer(path)?.as_f64());
        let watt_milliseconds = number(&["/energy/total"]);
        let micrograms = number(&["/emissions/total"]);
        Self {
            joules: number(&["/joules", "/energy_joules", "/energy/joules"])
                .or(watt_milliseconds.map(|total| total / 1e3)),
            kwh: number(&["/kwh", "/energy_kwh"]),
            wh: number(&["/wh"]),
            g_co2e: number(&["/g_co2e", "/carbon_g_co2eq", "/carbon/gco2e"]).or(micrograms.map(|total| total / 1e6)),
            g_per_kwh: number(&["/grid_g_per_kwh", "/grid_carbon_intensity", "/carbon/g_per_kwh"]),
            pue: number(&["/pue"]),
            idle_joules: number(&["/idle_share_joules"]),
            seconds: number(&["/duration_seconds"])
                .or(number(&["/inferenceTime/total", "/energy/duration_ms"]).map(|ms| ms / 1e3)),
            watts: number(&["/avg_power_watts"]),
            peak_watts: number(&["/energy/peak_watts"]),
        }
    }

    /// The figures follow from each other.
    ///
    /// # Errors
    /// A sentence for each that does not.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let joules = self.joules.or(self.kwh.map(|kwh| kwh * 3.6e6)).or(self.wh.map(|wh| wh * 3.6e3));
        let Some(joules) = joules else { return Err(vec!["no energy is claimed".to_owned()]) };
        let site = (joules + self.idle_joules.unwrap_or(0.0)) * self.pue.unwrap_or(1.0);
        let mut wrong = Vec::new();
        let mut equal = |name: &str, claimed: Option<f64>, computed: Option<f64>| {
            if let (Some(claimed), Some(computed)) = (claimed, computed)
                && (claimed - computed).abs() > computed.abs() * ROUNDING
            {
                wrong.push(format!("{name} is {claimed:e}, and follows to be {computed:e}"));
            }
        };
        equal("kwh", self.kwh, Some(joules / 3.6e6));
        equal("wh", self.wh, Some(joules / 3.6e3));
        equal("g_co2e", self.g_co2e, self.g_per_kwh.map(|intensity| site / 3.6e6 * intensity));
        equal("watts", self.watts, self.seconds.map(|seconds| joules / seconds));
        if let (Some(grams), None) = (self.g_co2e, self.g_per_kwh) {
            let implied = grams / (site / 3.6e6);
            if !(CLEANEST_GRID..=DIRTIEST_GRID).contains(&implied) {
                wrong.push(format!("g_co2e implies a grid of {implied:e} g/kWh, which does not exist"));
            }
        }
        if let (Some(peak), Some(seconds)) = (self.peak_watts, self.seconds)
            && joules / seconds < peak * LEAST_OF_PEAK
        {
            wrong.push(format!("a mean of {:e} W does not go with a peak of {peak} W", joules / seconds));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn scaled(figure: f64, by: f64) -> u64 {
    let count = (figure * by).round();
    if count.is_finite() && count >= 0.0 { count as u64 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::energy::{Boundary, Energy, EnergyTerms, Grid, disclose};
    use crate::units::Microjoules;

    /// Samples from four public documents, which fail their own arithmetic.
    #[test]
    fn published_payloads_that_do_not_add_up_are_refused() {
        let published = [
            ("langchain-neuralwatt README", json!({"energy_joules": 1234.56, "energy_kwh": 3.43e-07}), "kwh"),
            (
                "Energy Disclosure Standard draft",
                json!({"joules": 1500, "kwh": 4.167e-07, "g_co2e": 0.000167, "grid_carbon_intensity": 400}),
                "g_co2e",
            ),
            (
                "Joule Cloud receipt",
                json!({"energy": {"joules": 0.31, "duration_ms": 312, "peak_watts": 547}, "carbon": {"gco2e": 0.07, "g_per_kwh": 110}}),
                "g_co2e",
            ),
            (
                "llm-greenpt README",
                json!({"inferenceTime": {"total": 156, "unit": "ms"}, "energy": {"total": 40433, "unit": "Wms"}, "emissions": {"total": 1, "unit": "ugCO2e"}}),
                "g_co2e",
            ),
        ];
        for (source, payload, wrong) in published {
            let found = Claim::read(&payload).check().expect_err(source);
            assert!(found.iter().any(|sentence| sentence.starts_with(wrong)), "{source}: {found:?}");
        }
        assert!(Claim::read(&json!({})).check().is_err());
        let right = json!({"joules": 1500, "kwh": 4.167e-04, "g_co2e": 0.1667, "grid_carbon_intensity": 400});
        Claim::read(&right).check().unwrap();
    }

    fn energies() -> impl Strategy<Value = (Energy, EnergyTerms)> {
        let parts = (0u64..1 << 48, 0u64..=1_000, 0u64..=1_000, 0usize..5);
        let terms = (1_000u32..3_000, 0u64..5_000_000, prop::option::of(0u64..1_200_000), any::<bool>());
        (parts, terms).prop_map(
            |((microjoules, marginal, prefill, tier), (pue_milli, idle_ppm, mg_per_kwh, believed))| {
                let tier = Tier::ALL[tier];
                let part = |milli: u64| Microjoules::new((u128::from(microjoules) * u128::from(milli) / 1_000) as u64);
                let (low, high) = tier.interval_milli();
                let energy = Energy {
                    microjoules: Microjoules::new(microjoules),
                    low_microjoules: part(low),
                    high_microjoules: part(high),
                    marginal_microjoules: part(marginal),
                    prefill_microjoules: part(prefill),
                    tier,
                    boundary: Boundary::Device,
                    method: "test/1".to_owned(),
                    settled: true,
                };
                let grid = mg_per_kwh.map(|mg_per_kwh| Grid {
                    zone: "DE".to_owned(),
                    mg_per_kwh,
                    source: "s".to_owned(),
                    basis: "b".to_owned(),
                });
                (energy, EnergyTerms { grid, pue_milli, idle_ppm, believed, ..EnergyTerms::default() })
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_disclosed_recomputes((energy, terms) in energies()) {
            let usage = disclose(&energy, &terms, Status::Settled);
            prop_assert_eq!(recompute(&usage), Ok(()), "{:?}", usage);
            let read: EnergyUsage = serde_json::from_str(&serde_json::to_string(&usage).unwrap()).unwrap();
            prop_assert_eq!(recompute(&read), Ok(()));
        }

        #[test]
        fn a_figure_that_was_changed_is_found((energy, terms) in energies(), which in 0usize..3) {
            let mut usage = disclose(&energy, &terms, Status::Settled);
            let figure = match which {
                0 => &mut usage.facility_joules,
                1 => &mut usage.decode_joules,
                _ => &mut usage.g_co2e,
            };
            prop_assume!(figure.is_some_and(|figure| figure > 1e-6));
            *figure = figure.map(|figure| figure * 1.5);
            prop_assert!(recompute(&usage).is_err());
        }
    }
}
