//! What a step of decoding costs before anybody has measured one here: the shares that requests get of a measured total
//! until the node has learnt its own, and the total itself where nothing is measured.
//!
//! A step over B sequences costs `fixed + decode · B`, and a token of a prompt costs `prefill`. Where the ML.ENERGY
//! benchmark measured the same model on the same devices its line is taken; otherwise the figures follow from rated
//! power, memory bandwidth and peak rate.

use openapi::hardware::{Device, Precision, Quantisation, parameters, step};

use super::Watts;

/// The part of rated power that devices draw while they wait for their memory. With it the fixed cost comes within a
/// third of what ML.ENERGY measured on H100.
const MEMORY_BOUND_POWER: f64 = 0.75;
/// The part of a memory's bandwidth that decoding gets.
const BANDWIDTH: f64 = 0.7;
/// The part of the peak rate that matrix products get.
const UTILISATION: f64 = 0.45;
/// Operations per parameter and token.
const OPERATIONS: f64 = 2.0;
/// Gigabytes per second that the memory of a machine without accelerators gives: two channels at least, more where
/// there are more threads to feed.
const MACHINE_BANDWIDTH: f64 = 20.0;
const THREAD_BANDWIDTH: f64 = 2.0;
/// Gigaflops of a thread: 16 operations in a cycle (AVX2 with fused multiplication, two threads to a core) at 2.5 GHz.
const THREAD_GIGAFLOPS: f64 = 40.0;
/// Bytes of keys and values that a token of context adds for a model of 8 G parameters (Llama-3.1-8B: 32 layers, 8
/// heads of 128, 16 bit); it grows about with the square root of the parameters (80 layers for nine times as many).
const CONTEXT_BYTES: f64 = 131_072.0;
const CONTEXT_PARAMETERS: f64 = 8e9;
/// Coefficients below this, in microjoules, are raised to it, so that no share is nothing.
const LEAST: f64 = 1.0;

/// A model as far as its energy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model<'a> {
    /// With or without its owner, such as `llama-3.1-8b-instruct`.
    pub name: &'a str,
    /// Such as `Q4_1`.
    pub quantisation: &'a str,
    pub weight_bytes: u64,
    /// Parameters that compute a token; None when they follow from the size.
    pub active_parameters: Option<u64>,
}

/// Where a prior is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Measured elsewhere, the same model on the same devices.
    Measured,
    /// Rated power, bandwidth and peak rate of the accelerator.
    Accelerator,
    /// Estimated power of the machine, and what processors of its size can do.
    Processor,
}

/// Coefficients of a step. All are above zero and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Microjoules of a step, whoever is in it.
    pub fixed_microjoules: f64,
    /// Microjoules of a sequence's token in a step.
    pub decode_microjoules: f64,
    /// Microjoules of a token of a prompt.
    pub prefill_microjoules: f64,
    /// What is drawn while there is no step.
    pub idle_milliwatts: u64,
    /// The part by which a thousand tokens of context make a token dearer.
    pub context_per_thousand: f64,
    pub origin: Origin,
}

impl Prior {
    /// Of a model on so many equal devices, all of them together.
    pub fn of_accelerators(device: &Device, devices: u32, model: &Model<'_>) -> Self {
        let count = f64::from(devices.max(1));
        let hardware = Hardware {
            watts: device.tdp_milliwatts as f64 / 1e3 * count,
            gigabytes_per_second: device.memory_gigabytes_per_second as f64 * count,
            gigaflops: device.peak_gigaflops as f64 * count,
        };
        let each = super::accelerator(device).watts.idle_milliwatts;
        let prior = hardware.prior(model, each * u64::from(devices.max(1)), Origin::Accelerator);
        let line = step(model.name, device.class, devices.max(1), model.precision());
        line.map_or(prior, |line| {
            let measured = Self {
                fixed_microjoules: line.fixed_microjoules as f64,
                decode_microjoules: line.microjoules_per_sequence as f64,
                // The line holds each answer's prompt too, so a prompt's token is not dearer than it.
                prefill_microjoules: prior.prefill_microjoules.min(line.microjoules_per_sequence as f64),
                origin: Origin::Measured,
                ..prior
            };
            measured.with_context(model)
        })
    }

    /// Of a model on a machine's processors.
    pub fn of_processors(watts: Watts, threads: u32, model: &Model<'_>) -> Self {
        let threads = f64::from(threads.max(1));
        let hardware = Hardware {
            watts: watts.busy_milliwatts as f64 / 1e3,
            gigabytes_per_second: MACHINE_BANDWIDTH.max(THREAD_BANDWIDTH * threads),
            gigaflops: THREAD_GIGAFLOPS * threads,
        };
        hardware.prior(model, watts.idle_milliwatts, Origin::Processor)
    }

    /// Reading a byte of context costs what reading a byte of the weights does.
    fn with_context(mut self, model: &Model<'_>) -> Self {
        let bytes = CONTEXT_BYTES * (model.parameters() / CONTEXT_PARAMETERS).sqrt();
        let each = self.fixed_microjoules / (model.weight_bytes.max(1) as f64);
        self.context_per_thousand = 1e3 * bytes * each / self.decode_microjoules;
        self
    }
}

struct Hardware {
    watts: f64,
    gigabytes_per_second: f64,
    gigaflops: f64,
}

impl Hardware {
    fn prior(&self, model: &Model<'_>, idle_milliwatts: u64, origin: Origin) -> Prior {
        let seconds = model.weight_bytes as f64 / (BANDWIDTH * self.gigabytes_per_second * 1e9);
        let operation = self.watts / (self.gigaflops * 1e9);
        let token = OPERATIONS * model.parameters() * operation / UTILISATION * 1e6;
        let prior = Prior {
            fixed_microjoules: (MEMORY_BOUND_POWER * self.watts * seconds * 1e6).max(LEAST),
            decode_microjoules: token.max(LEAST),
            prefill_microjoules: token.max(LEAST),
            idle_milliwatts,
            context_per_thousand: 0.0,
            origin,
        };
        prior.with_context(model)
    }
}

impl Model<'_> {
    /// Of an unknown quantisation, as if a parameter took a byte.
    fn parameters(&self) -> f64 {
        let by_size = || parameters(self.weight_bytes, self.quantisation).unwrap_or(self.weight_bytes);
        self.active_parameters.unwrap_or_else(by_size).max(1) as f64
    }

    /// ML.ENERGY measured weights of 16 bit and of 8 bit floats; nothing else is compared with them.
    fn precision(&self) -> Precision {
        match Quantisation::named(self.quantisation) {
            Some(known) if known.bits_e4 == 80_000 => Precision::Eight,
            Some(known) if known.precision == Precision::Sixteen => Precision::Sixteen,
            _ => Precision::Four,
        }
    }
}

#[cfg(test)]
mod tests {
    use openapi::hardware::{device, steps::steps};
    use proptest::prelude::*;

    use super::*;

    fn llama(quantisation: &str, weight_bytes: u64) -> Model<'_> {
        Model { name: "llama-3.1-8b-instruct", quantisation, weight_bytes, active_parameters: None }
    }

    #[test]
    fn a_measured_pair_is_preferred() {
        let h100 = device("NVIDIA H100 80GB HBM3").unwrap();
        let prior = Prior::of_accelerators(h100, 1, &llama("BF16", 16_060_522_496));
        assert_eq!((prior.fixed_microjoules, prior.decode_microjoules), (3_269_997.0, 65_642.0));
        assert_eq!((prior.origin, prior.idle_milliwatts), (Origin::Measured, 70_000));
        assert!((25_000.0..25_500.0).contains(&prior.prefill_microjoules), "{}", prior.prefill_microjoules);
        assert!((0.3..0.5).contains(&prior.context_per_thousand), "{}", prior.context_per_thousand);
    }

    #[test]
    fn other_weights_of_it_are_not_the_measured_pair() {
        let h100 = device("NVIDIA H100 80GB HBM3").unwrap();
        let prior = Prior::of_accelerators(h100, 1, &llama("Q4_K_M", 4_920_739_232));
        assert_eq!(prior.origin, Origin::Accelerator);
        // 0.75 · 700 W · 4.92 GB / (0.7 · 3,350 GB/s).
        assert!((1_101_000.0..1_103_000.0).contains(&prior.fixed_microjoules), "{}", prior.fixed_microjoules);
    }

    #[test]
    fn rated_figures_come_near_the_measured_ones_of_dense_models() {
        for step in steps().iter().filter(|step| step.active_parameters == step.parameters) {
            let bytes = if step.precision == Precision::Eight { 1 } else { 2 };
            let model = Model {
                name: "",
                quantisation: if bytes == 1 { "FP8" } else { "BF16" },
                weight_bytes: step.parameters * bytes,
                active_parameters: None,
            };
            let prior = Prior::of_accelerators(device(step.class).unwrap(), step.devices, &model);
            assert_eq!(prior.origin, Origin::Accelerator);
            let fixed = prior.fixed_microjoules / step.fixed_microjoules as f64;
            let decode = prior.decode_microjoules / step.microjoules_per_sequence as f64;
            // Within a third on an H100; a B200 waits for its host, which no rated figure knows.
            let nearest = if step.class == "nvidia-h100-sxm" { 0.76 } else { 0.3 };
            assert!((nearest..1.31).contains(&fixed), "{}: {fixed}", step.model);
            assert!((0.13..0.9).contains(&decode), "{}: {decode}", step.model);
        }
    }

    #[test]
    fn a_small_machine_costs_what_was_measured_at_the_wall() {
        // Joules per token of Llama-3.2-3B Q4_K_M on processors, peak watts over tokens per second at the wall
        // (geerlingguy/ai-benchmarks): an Intel N150, a Raspberry Pi 5.
        let model = Model {
            name: "llama-3.2-3b-instruct",
            quantisation: "Q4_K_M",
            weight_bytes: 2_019_377_696,
            active_parameters: None,
        };
        for (busy_milliwatts, threads, measured) in [(19_000, 4, 2.91), (13_000, 4, 3.02)] {
            let prior = Prior::of_processors(Watts { idle_milliwatts: 4_000, busy_milliwatts }, threads, &model);
            let joules = (prior.fixed_microjoules + prior.decode_microjoules) / 1e6;
            assert!((measured / 2.5..measured * 2.5).contains(&joules), "{joules} is not {measured}");
        }
    }

    proptest! {
        #[test]
        fn every_coefficient_is_above_zero_and_finite(
            weight_bytes: u64, active_parameters: Option<u64>, threads: u32, devices: u32, name in "[a-zA-Z0-9_]{0,6}",
            idle_milliwatts in 1_u64.., busy_milliwatts in 1_u64..,
        ) {
            let model = Model { name: &name, quantisation: &name, weight_bytes, active_parameters };
            let watts = Watts { idle_milliwatts, busy_milliwatts };
            let l4 = device("NVIDIA L4").unwrap();
            for prior in [Prior::of_processors(watts, threads, &model), Prior::of_accelerators(l4, devices, &model)] {
                let coefficients = [prior.fixed_microjoules, prior.decode_microjoules, prior.prefill_microjoules];
                prop_assert!(coefficients.iter().all(|part| part.is_finite() && *part >= LEAST));
                prop_assert!(prior.context_per_thousand.is_finite() && prior.context_per_thousand > 0.0);
                prop_assert!(prior.idle_milliwatts > 0);
            }
        }
    }
}
