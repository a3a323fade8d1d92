//! Physical floors and ceilings of a claim, from the gateway's own token counts and clock. The figures of the hardware, and
//! the floors of a device, are [`openapi::hardware`]'s; here they are put together for an attempt and for a window.

use openapi::energy::Boundary;
use openapi::hardware::bounds::{
    Work as Computation, doubtful_compute_microjoules, lower_compute_microjoules, lower_idle_microjoules,
    lower_memory_microjoules, upper_microjoules,
};
use openapi::hardware::{Device, Precision};
use openapi::units::{Microjoules, Microseconds};

/// Of a general-purpose processor, in thousandths: what is below this part of its floor is rejected, and what is below the
/// second is looked at. The same as of devices.
const REJECTED_MILLI: u64 = 700;
const DOUBTFUL_MILLI: u64 = 1_100;
/// What a machine behind its power supply, or at the wall, may draw for each unit of its processors' limit: published
/// server stacks give processors 70 % of it (arXiv 2508.15734), and a desktop has its own processor beside its card.
const WHOLE_MACHINE: u64 = 2;
/// Counters move every 100 ms at the slowest, at either end of an attempt or a window.
pub const RESOLUTION: Microseconds = Microseconds::new(200_000);

/// What an attempt was, as the gateway has counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub prompt_tokens: u64,
    /// Of these, which the node did not compute. At most `prompt_tokens`.
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    /// From sending it to its last token, by the gateway's clock.
    pub busy: Microseconds,
    /// The most tokens that can have shared one reading of the weights: the node's slots, times the tokens that a step
    /// yields for each where it speculates. At least 1.
    pub tokens_per_step: u64,
}

impl Work {
    /// Tokens of the prompt that were computed.
    pub fn new_prompt_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_sub(self.cached_tokens)
    }
}

/// What is known of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The class of what computes. None of a general-purpose processor, and where nobody knows.
    pub device: Option<&'static Device>,
    /// What it computes with where it is no device.
    pub instructions: Instructions,
    /// The most that one device or processor may be set to draw. Zero when unknown: there is no ceiling then.
    pub power_limit_milliwatts: u64,
    /// Devices or processors that compute together.
    pub processors: u64,
}

/// What a general-purpose processor multiplies matrices with, which bounds what an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// A matrix unit. The largest, Xeon 6980P, does 1,024 operations of AMX-BF16 a cycle on each of 128 cores: at 3.2 GHz and
    /// 500 W that is 1.2 pJ an operation (Intel 64 Architectures Optimization Reference Manual; Intel ARK).
    Matrix,
    /// Vectors. EPYC 9965 does 128 operations of AVX512-BF16 a cycle on each of 192 cores: at 3.35 GHz and 500 W that is
    /// 6.1 pJ (AMD EPYC 9005 architecture overview).
    Vector,
    /// Nobody knows.
    Unknown,
}

impl Instructions {
    /// The least that an operation takes at rated power and peak rate. Numbers of eight bits are twice as fast as of
    /// sixteen, and narrower ones are not faster still.
    const fn femtojoules_per_operation(self, precision: Precision) -> u64 {
        let sixteen = match self {
            Self::Matrix => 1_000,
            Self::Vector => 4_000,
            Self::Unknown => 0,
        };
        if matches!(precision, Precision::Sixteen) { sixteen } else { sixteen / 2 }
    }
}

/// What is known of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// That one token goes through: of a mixture of experts, the active ones.
    pub parameters: u64,
    /// That one token reads: of a mixture of experts, those of the active parameters.
    pub weight_bytes: u64,
    /// The narrowest numbers that it may be computed in.
    pub precision: Precision,
}

/// The least that computing can have taken. Zero when the machine is unknown.
pub fn floor_compute(work: &Work, machine: &Machine, model: &Model) -> Microjoules {
    computing(work, machine, model, (lower_compute_microjoules, REJECTED_MILLI))
}

/// What computing takes less than in no public measurement.
pub fn doubtful_compute(work: &Work, machine: &Machine, model: &Model) -> Microjoules {
    computing(work, machine, model, (doubtful_compute_microjoules, DOUBTFUL_MILLI))
}

type Floor = fn(&Device, &Computation) -> Microjoules;

fn computing(work: &Work, machine: &Machine, model: &Model, floor: (Floor, u64)) -> Microjoules {
    let tokens = work.new_prompt_tokens().saturating_add(work.completion_tokens);
    let (of_device, milli) = floor;
    if let Some(device) = machine.device {
        let (precision, parameters) = (model.precision, model.parameters);
        return of_device(device, &Computation { precision, parameters, tokens });
    }
    const FEMTOJOULES: u128 = 1_000_000_000;
    let operations = (u128::from(model.parameters) * u128::from(tokens)).saturating_mul(2);
    let each = u128::from(machine.instructions.femtojoules_per_operation(model.precision) * milli / 1_000);
    let microjoules = operations.saturating_mul(each) / FEMTOJOULES;
    Microjoules::new(u64::try_from(microjoules).unwrap_or(u64::MAX))
}

/// The least that reading the weights can have taken, once for each step of the answer.
pub fn floor_memory(work: &Work, model: &Model) -> Microjoules {
    let together = u32::try_from(work.tokens_per_step).unwrap_or(u32::MAX);
    lower_memory_microjoules(model.weight_bytes, together, work.completion_tokens)
}

/// The least that the machine draws in a span, less the counter's resolution. Of a window, not of an attempt; zero when
/// the machine is unknown.
pub fn floor_power(machine: &Machine, span: Microseconds) -> Microjoules {
    let each = machine.device.map(|device| lower_idle_microjoules(device, span - RESOLUTION));
    Microjoules::new(each.unwrap_or_default().get().saturating_mul(machine.processors))
}

/// The most that the machine can draw in a span, with the counter's resolution. None when its limit is unknown.
pub fn ceiling(machine: &Machine, boundary: Boundary, span: Microseconds) -> Option<Microjoules> {
    let limit = machine.power_limit_milliwatts.saturating_mul(machine.processors);
    let limit = if boundary == Boundary::Device { limit } else { limit.saturating_mul(WHOLE_MACHINE) };
    (limit > 0).then(|| upper_microjoules(limit, Microseconds::new(span.get().saturating_add(RESOLUTION.get()))))
}

/// Where a claim lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Less than physics allows.
    Below {
        least: Microjoules,
    },
    /// Less than anybody has published.
    Near {
        least: Microjoules,
    },
    Within,
    /// More than the machine can draw.
    Above {
        most: Microjoules,
    },
}

/// Where the claim for one attempt lies.
pub fn place(claimed: Microjoules, boundary: Boundary, work: &Work, machine: &Machine, model: &Model) -> Place {
    let least = floor_compute(work, machine, model).max(floor_memory(work, model));
    if claimed < least {
        return Place::Below { least };
    }
    if let Some(most) = ceiling(machine, boundary, work.busy).filter(|most| claimed > *most) {
        return Place::Above { most };
    }
    let doubtful = doubtful_compute(work, machine, model);
    if claimed < doubtful { Place::Near { least: doubtful } } else { Place::Within }
}

/// What work may be expected to take on a device that nobody has measured, in microjoules: (a step, a token). A step at
/// three quarters of rated power for the time that 70 % of the memory's rate needs for the weights; a token at 45 % of the
/// peak's efficiency. Against ML.ENERGY's figures this is within a third on H100, and 2.6 times low on B200.
pub fn typical_costs(machine: &Machine, model: &Model) -> Option<(f64, f64)> {
    let device = machine.device?;
    let milliwatts = device.tdp_milliwatts as f64;
    // Devices share the weights and draw together, so their number cancels out.
    let seconds = model.weight_bytes as f64 / (0.7e9 * device.memory_gigabytes_per_second as f64);
    let femtojoules = device.femtojoules_per_operation(model.precision) as f64;
    Some((0.75 * milliwatts * 1e3 * seconds, 2.0 * model.parameters as f64 * femtojoules / 0.45 / 1e9))
}

#[cfg(test)]
mod tests {
    use openapi::hardware::device;
    use proptest::prelude::*;

    use super::*;

    const LLAMA_8B: Model =
        Model { parameters: 8_000_000_000, weight_bytes: 16_060_000_000, precision: Precision::Sixteen };

    fn h100() -> Machine {
        let device = device("nvidia-h100-sxm");
        Machine { device, instructions: Instructions::Unknown, power_limit_milliwatts: 700_000, processors: 1 }
    }

    fn processor(instructions: Instructions) -> Machine {
        Machine { device: None, instructions, power_limit_milliwatts: 130_000, processors: 1 }
    }

    fn work(prompt_tokens: u64, completion_tokens: u64) -> Work {
        let busy = Microseconds::new(10_000_000);
        Work { prompt_tokens, cached_tokens: 0, completion_tokens, busy, tokens_per_step: 256 }
    }

    fn placed(joules: f64, work: &Work, machine: &Machine) -> Place {
        place(Microjoules::new((joules * 1e6) as u64), Boundary::Device, work, machine, &LLAMA_8B)
    }

    #[test]
    fn what_was_not_computed_counts_for_nothing() {
        let whole = floor_compute(&work(700, 300), &h100(), &LLAMA_8B).get();
        let cached = Work { cached_tokens: 700, ..work(700, 300) };
        assert_eq!(floor_compute(&cached, &h100(), &LLAMA_8B).get(), whole * 3 / 10);
        let shared = floor_memory(&work(700, 300), &LLAMA_8B).get();
        let alone = Work { tokens_per_step: 1, ..work(700, 300) };
        assert_eq!(shared, floor_memory(&alone, &LLAMA_8B).get() / 256);
    }

    #[test]
    fn claims_have_a_place() {
        // 0.7078 pJ × 2 × 8e9 × 1000 tokens are 11.32 J.
        let work = work(700, 300);
        assert!(matches!(placed(7.9, &work, &h100()), Place::Below { .. }));
        assert!(matches!(placed(8.0, &work, &h100()), Place::Near { .. }));
        assert!(matches!(placed(12.4, &work, &h100()), Place::Near { .. }));
        assert_eq!(placed(12.5, &work, &h100()), Place::Within);
        assert_eq!(placed(7_497.0, &work, &h100()), Place::Within, "700 W for 10.2 s, and 5 %");
        assert_eq!(placed(7_497.1, &work, &h100()), Place::Above { most: Microjoules::new(7_497_000_000) });
        let wall = place(Microjoules::new(7_497_100_000), Boundary::Wall, &work, &h100(), &LLAMA_8B);
        assert_eq!(wall, Place::Within, "the rest of the machine");
        let alone = Work { tokens_per_step: 1, ..work };
        assert_eq!(placed(120.0, &alone, &h100()), Place::Below { least: Microjoules::new(120_450_000) });
    }

    #[test]
    fn the_best_public_measurements_are_within() {
        // ML.ENERGY v3, Llama-3.1-8B on H100 at batches 8, 64 and 511; prompts are not counted there.
        for per_token in [0.455, 0.119, 0.070] {
            assert_eq!(placed(per_token * 300.0, &work(0, 300), &h100()), Place::Within);
        }
    }

    #[test]
    fn a_processor_has_the_floor_of_its_instructions_and_an_unknown_one_that_of_memory() {
        let floor = |instructions, model: &Model| floor_compute(&work(0, 1), &processor(instructions), model).get();
        assert_eq!(floor(Instructions::Matrix, &LLAMA_8B), 11_200);
        assert_eq!(floor(Instructions::Vector, &LLAMA_8B), 44_800);
        for precision in [Precision::Eight, Precision::Four] {
            assert_eq!(floor(Instructions::Vector, &Model { precision, ..LLAMA_8B }), 22_400);
        }
        assert_eq!(floor(Instructions::Unknown, &LLAMA_8B), 0);
        let unknown = processor(Instructions::Unknown);
        assert!(matches!(placed(0.4, &work(700, 300), &unknown), Place::Below { .. }));
        assert_eq!(typical_costs(&unknown, &LLAMA_8B), None);
        assert_eq!(floor_power(&unknown, Microseconds::new(1_000_000)), Microjoules::ZERO);
    }

    #[test]
    fn small_models_on_real_processors_are_within() {
        // At the wall, peak watts over tokens a second, geerlingguy/ai-benchmarks: Llama-3.2-3B Q4 on Ryzen AI 340, Intel
        // N150 and Raspberry Pi 5.
        let model = Model { parameters: 3_200_000_000, weight_bytes: 2_000_000_000, precision: Precision::Eight };
        let alone = Work { tokens_per_step: 1, ..work(0, 100) };
        for per_token in [2_150_000, 2_910_000, 3_020_000] {
            let claimed = Microjoules::new(per_token * 100);
            let place = place(claimed, Boundary::Wall, &alone, &processor(Instructions::Vector), &model);
            assert_eq!(place, Place::Within);
        }
    }

    #[test]
    fn what_is_typical_is_near_what_was_measured() {
        let (step, token) = typical_costs(&h100(), &LLAMA_8B).unwrap();
        // Fitted to ML.ENERGY's figures: 3.27 J a step, 0.0656 J a token.
        assert!((0.7..1.4).contains(&(step / 3.27e6)) && (0.3..1.4).contains(&(token / 0.0656e6)), "{step} {token}");
    }

    proptest! {
        #[test]
        fn less_work_has_no_higher_floor_and_nothing_overflows(
            counts in prop::array::uniform5(any::<u64>()), limit: u64, processors: u64, claimed: u64,
        ) {
            let [prompt_tokens, cached_tokens, completion_tokens, busy, tokens_per_step] = counts;
            let work = Work { prompt_tokens, cached_tokens, completion_tokens, busy: Microseconds::new(busy), tokens_per_step };
            let model = Model { parameters: counts[0], weight_bytes: counts[1], ..LLAMA_8B };
            for machine in [h100(), processor(Instructions::Vector)] {
                let machine = Machine { power_limit_milliwatts: limit, processors, ..machine };
                let fewer = Work { completion_tokens: completion_tokens / 2, ..work };
                prop_assert!(floor_compute(&fewer, &machine, &model) <= floor_compute(&work, &machine, &model));
                prop_assert!(floor_memory(&fewer, &model) <= floor_memory(&work, &model));
                floor_power(&machine, work.busy);
                let claimed = Microjoules::new(claimed);
                if let Place::Below { least } = place(claimed, Boundary::Wall, &work, &machine, &model) {
                    prop_assert!(claimed < least);
                }
            }
        }
    }
}
