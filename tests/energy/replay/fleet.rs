//! Twenty nodes that serve one 8-billion-parameter model: what they say of themselves, and what is true.

use std::time::Duration;

use gateway::nodes::marginal::Profile;
use openapi::energy::Tier;
use openapi::units::Microjoules;

use super::trace::{STEPS, ZONES};

/// A kind of machine. Its step takes `fixed_ms + per_token_ms · batch` and costs `fixed + decode · batch` joules.
///
/// The H100 is fitted to what ML.ENERGY v3.0 publishes of Llama-3.1-8B. The others are set to be plausible beside it,
/// from rated power, memory bandwidth, and public figures of single-stream speed.
pub(super) struct Class {
    fixed: f64,
    decode: f64,
    prefill: f64,
    wake: f64,
    pub(super) fixed_ms: f64,
    pub(super) per_token_ms: f64,
    pub(super) prefill_ms: f64,
    pub(super) slots: u32,
    tier: Tier,
    pue_milli: u32,
}

const H100: Class = Class {
    fixed: 3.27,
    decode: 0.0656,
    prefill: 0.03,
    wake: 20.0,
    fixed_ms: 6.2,
    per_token_ms: 0.093,
    prefill_ms: 0.04,
    slots: 32,
    tier: Tier::B,
    pue_milli: 1_200,
};
const A100: Class = Class {
    fixed: 3.6,
    decode: 0.10,
    prefill: 0.045,
    fixed_ms: 10.5,
    per_token_ms: 0.15,
    prefill_ms: 0.08,
    tier: Tier::C,
    pue_milli: 1_400,
    ..H100
};
const L4: Class = Class {
    fixed: 2.2,
    decode: 0.11,
    prefill: 0.035,
    wake: 10.0,
    fixed_ms: 33.0,
    per_token_ms: 1.0,
    prefill_ms: 0.25,
    slots: 16,
    tier: Tier::C,
    pue_milli: 1_150,
};
const RTX_4090: Class = Class {
    fixed: 4.2,
    decode: 0.22,
    prefill: 0.06,
    wake: 60.0,
    fixed_ms: 12.0,
    per_token_ms: 0.5,
    prefill_ms: 0.12,
    tier: Tier::D,
    pue_milli: 1_000,
    ..L4
};
const MAC_MINI: Class = Class {
    fixed: 1.7,
    decode: 0.20,
    prefill: 0.07,
    wake: 20.0,
    fixed_ms: 50.0,
    per_token_ms: 5.0,
    prefill_ms: 1.8,
    slots: 4,
    tier: Tier::A,
    pue_milli: 1_000,
};
const PROCESSOR: Class = Class {
    fixed: 12.0,
    decode: 1.6,
    prefill: 0.8,
    wake: 30.0,
    fixed_ms: 120.0,
    per_token_ms: 12.0,
    prefill_ms: 9.0,
    tier: Tier::E,
    ..MAC_MINI
};

/// Who stands on which grid, in the order of [`ZONES`].
const FLEET: [&[&Class]; 10] = [
    &[&L4, &RTX_4090, &PROCESSOR],
    &[&L4, &RTX_4090, &MAC_MINI],
    &[&L4, &MAC_MINI],
    &[&A100, &RTX_4090],
    &[&A100, &RTX_4090],
    &[&H100, &L4],
    &[&H100],
    &[&RTX_4090, &PROCESSOR],
    &[&A100],
    &[&MAC_MINI, &PROCESSOR],
];

/// A node: its class, its grid, and how far its own figures are off.
pub(super) struct Machine {
    pub(super) class: &'static Class,
    /// Milligrams per kilowatt-hour in each half hour.
    pub(super) trace: [u64; STEPS],
    /// Milligrams per kilowatt-hour over the year.
    pub(super) mean: u64,
    /// True joules for each one that it claims, somewhere within its tier's interval.
    gain: f64,
}

/// Joules at the site, as they are.
#[derive(Clone, Copy)]
pub(super) struct Truth {
    pub(super) step: f64,
    pub(super) decode: f64,
    pub(super) prefill: f64,
    pub(super) wake: f64,
}

/// The twenty.
pub(super) fn fleet(chance: &mut fastrand::Rng) -> Vec<Machine> {
    let mut machines = Vec::new();
    for (zone, classes) in ZONES.iter().zip(FLEET) {
        let trace = zone.replay(chance);
        for class in classes {
            let (low, high) = class.tier.interval_milli();
            let (low, high) = ((low as f64 / 1e3).ln(), (high as f64 / 1e3).ln());
            let gain = (low + (high - low) * chance.f64()).exp();
            machines.push(Machine { class, trace, mean: (zone.mean * 1e3) as u64, gain });
        }
    }
    machines
}

impl Machine {
    /// What the node says of itself, on a grid of this intensity.
    pub(super) fn profile(&self, mg_per_kwh: u64) -> Profile {
        let class = self.class;
        Profile {
            fixed_microjoules_per_step: microjoules(class.fixed),
            decode_microjoules_per_token: microjoules(class.decode),
            prefill_microjoules_per_token: microjoules(class.prefill),
            wake_microjoules: microjoules(class.wake),
            tier: class.tier,
            pue_milli: class.pue_milli,
            mg_per_kwh: Some(mg_per_kwh),
            believed: true,
        }
    }

    /// What is so.
    pub(super) fn truth(&self) -> Truth {
        let (class, site) = (self.class, self.gain * f64::from(self.class.pue_milli) / 1e3);
        Truth {
            step: class.fixed * site,
            decode: class.decode * site,
            prefill: class.prefill * site,
            wake: class.wake * self.gain,
        }
    }

    /// Seconds for a step with so many requests in it.
    pub(super) fn step_seconds(&self, batch: usize) -> f64 {
        (self.class.fixed_ms + self.class.per_token_ms * batch as f64) / 1e3
    }

    /// From a request to its first byte, when nothing else runs.
    pub(super) fn alone(&self, prompt: f64) -> Duration {
        Duration::from_secs_f64(prompt * self.class.prefill_ms / 1e3 + self.step_seconds(1))
    }
}

fn microjoules(joules: f64) -> Microjoules {
    Microjoules::new((joules * 1e6) as u64)
}
