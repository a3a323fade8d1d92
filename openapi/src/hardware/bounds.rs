//! What physics lets a node claim. Whoever states less than the floors or more than the ceiling has measured wrongly,
//! or something else.
//!
//! No floor proves honesty: it lies a few times below what the best published systems reach. All are whole numbers and
//! round towards letting a claim pass; none overflows.

use crate::units::{Microjoules, Microseconds};

use super::{Device, Precision};

/// Claims below these thousandths of rated power over peak rate are rejected. Undervolted and busy with nothing but a
/// prompt, a device may come near to one; the best published decoding stands at 2.8.
const IMPOSSIBLE: u64 = 700;
/// Claims below these are looked at.
const DOUBTFUL: u64 = 1_100;
/// What moving a byte from the memory to the chip costs at least, in picojoules: below the 31 of HBM2 (3.9 pJ/bit,
/// O'Connor et al., "Fine-Grained DRAM", MICRO-50, 2017).
const PICOJOULES_PER_BYTE: u64 = 25;
/// The part of power limits, in thousandths, that devices overshoot them by at most.
const OVERSHOOT: u64 = 1_050;
/// The part of the class's idle power, in thousandths, that meters may read too low.
const IDLE: u64 = 900;

/// In a microjoule.
const PICOJOULES: u128 = 1_000_000;

/// What was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The narrowest numbers that it may have been computed in.
    pub precision: Precision,
    /// Those that take part in a token: of a mixture of experts, the active ones.
    pub parameters: u64,
    /// Tokens of prompts that were not cached, and of answers.
    pub tokens: u64,
}

/// The least that computing can have cost: 0.7 · rated power / peak rate · 2 operations per parameter and token.
pub fn lower_compute_microjoules(device: &Device, work: &Work) -> Microjoules {
    compute(device, work, IMPOSSIBLE)
}

/// What computing costs hardly less than: the same with 1.1.
pub fn doubtful_compute_microjoules(device: &Device, work: &Work) -> Microjoules {
    compute(device, work, DOUBTFUL)
}

/// The least that reading the weights can have cost: 25 pJ for each of their bytes, once per step, shared by
/// `most_batch` sequences. Caches of key and value add to it; they are left out.
pub fn lower_memory_microjoules(weight_bytes: u64, most_batch: u32, completion_tokens: u64) -> Microjoules {
    let picojoules = product([weight_bytes, PICOJOULES_PER_BYTE, completion_tokens, 1]);
    whole(picojoules / (PICOJOULES * u128::from(most_batch.max(1))))
}

/// The least that a device can have drawn while it was busy: nine tenths of its class's idle power.
pub fn lower_idle_microjoules(device: &Device, busy: Microseconds) -> Microjoules {
    whole(picojoules(device.idle_milliwatts, busy, IDLE) / PICOJOULES)
}

/// The most that devices can have drawn while one of them was busy: 1.05 · the sum of their power limits.
pub fn upper_microjoules(power_limit_milliwatts: u64, busy: Microseconds) -> Microjoules {
    whole(picojoules(power_limit_milliwatts, busy, OVERSHOOT).div_ceil(PICOJOULES))
}

fn compute(device: &Device, work: &Work, thousandths: u64) -> Microjoules {
    // A milliwatt over a gigaflop per second is a picojoule.
    const OPERATIONS: u128 = 2;
    const WHOLE: u128 = 1_000;
    let product = product([work.parameters, work.tokens, device.tdp_milliwatts, thousandths]);
    whole(product.saturating_mul(OPERATIONS) / (WHOLE * PICOJOULES * u128::from(device.peak(work.precision))))
}

fn picojoules(milliwatts: u64, busy: Microseconds, thousandths: u64) -> u128 {
    // A milliwatt for a microsecond is a nanojoule, a thousandth of which is a picojoule.
    product([milliwatts, busy.get(), thousandths, 1])
}

fn product(factors: [u64; 4]) -> u128 {
    factors.into_iter().map(u128::from).fold(1, u128::saturating_mul)
}

fn whole(microjoules: u128) -> Microjoules {
    Microjoules::new(u64::try_from(microjoules).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hardware::{device, devices, parameters, steps::steps};

    fn work(precision: Precision, parameters: u64) -> Work {
        Work { precision, parameters, tokens: 1 }
    }

    fn h100() -> &'static Device {
        device("NVIDIA H100 80GB HBM3").unwrap()
    }

    #[test]
    fn the_best_published_figures_stand_as_far_above_rated_power_over_peak_as_is_known() {
        // Class, parameters, microjoules per answered token (ML.ENERGY leaderboard 3.0), tenfold ratio.
        for (class, parameters, published, tenfold) in [
            ("nvidia-h100-sxm", 70_000_000_000, 373_142, 37), // Llama-3.1-70B, batch 898
            ("nvidia-h100-sxm", 8_000_000_000, 70_300, 62),   // Llama-3.1-8B, batch 511
            ("nvidia-b200", 405_000_000_000, 1_015_042, 28),  // Llama-3.1-405B, batch 3,589
            ("nvidia-b200", 70_000_000_000, 188_675, 30),     // Llama-3.1-70B, batch 2,042
            ("nvidia-b200", 8_000_000_000, 46_696, 65),       // Llama-3.1-8B, batch 2,043
        ] {
            let rated = compute(device(class).unwrap(), &work(Precision::Sixteen, parameters), 1_000);
            assert_eq!(published * 10 / rated.get(), tenfold, "{class}");
        }
    }

    #[test]
    fn a_token_of_an_8b_on_an_h100_has_these_floors() {
        let work = work(Precision::Sixteen, 8_000_000_000);
        assert_eq!(lower_compute_microjoules(h100(), &work).get(), 7_923);
        assert_eq!(doubtful_compute_microjoules(h100(), &work).get(), 12_451);
        // 16 GB read for eight sequences: a ninth of the 0.455 J that were measured.
        let memory = lower_memory_microjoules(16_060_522_496, 8, 1).get();
        assert_eq!((memory, 454_798 / memory), (50_189, 9));
        assert_eq!(lower_idle_microjoules(h100(), Microseconds::new(1_000_000)).get(), 31_500_000);
        assert_eq!(upper_microjoules(700_000, Microseconds::new(1_000_000)).get(), 735_000_000);
    }

    #[test]
    fn every_measured_line_lies_above_the_floors() {
        for step in steps() {
            let device = device(step.class).unwrap();
            let floor = doubtful_compute_microjoules(device, &work(step.precision, step.active_parameters));
            assert!(step.microjoules_per_token(step.batches.1) > floor.get(), "{}", step.model);
            let bytes = step.active_parameters * if step.precision == Precision::Eight { 1 } else { 2 };
            for batch in [step.batches.0, step.batches.1] {
                let floor = lower_memory_microjoules(bytes, batch, 1);
                assert!(step.microjoules_per_token(batch) > floor.get(), "{}", step.model);
            }
        }
    }

    #[test]
    fn published_figures_at_a_batch_of_one_lie_above_the_floors() {
        // Class, billions of parameters, quantisation, millijoules per token. Cards alone: mlco2/impact#60 and Serial
        // Alice; at the wall: peak watts over tokens per second, geerlingguy/ai-benchmarks.
        for (class, billions, quantisation, millijoules) in [
            ("nvidia-h100-sxm", 7.2, "BF16", 2_600),
            ("nvidia-rtx-5090", 7.6, "F16", 5_500),
            ("nvidia-rtx-5090", 7.6, "Q4_0", 4_900),
            ("nvidia-rtx-5090", 1.1, "F16", 1_660),
            ("nvidia-rtx-5090", 1.1, "Q4_0", 2_100),
            ("nvidia-rtx-4090", 3.2, "Q4_K_M", 780),
            ("nvidia-rtx-3060", 3.2, "Q4_K_M", 1_740),
            ("apple-m4", 3.2, "Q4_K_M", 730),
            ("apple-m3-ultra", 3.2, "Q4_K_M", 1_440),
            ("nvidia-gb10", 3.2, "Q4_K_M", 1_310),
            ("nvidia-rtx-4090", 14.8, "Q4_K_M", 5_000),
            ("nvidia-rtx-3060", 14.8, "Q4_K_M", 7_500),
            ("apple-m3-ultra", 14.8, "Q4_K_M", 4_400),
            ("nvidia-gb10", 14.8, "Q4_K_M", 5_800),
            ("apple-m3-ultra", 70.6, "Q4_K_M", 17_300),
            ("nvidia-gb10", 70.6, "Q4_K_M", 33_000),
        ] {
            let known = crate::hardware::Quantisation::named(quantisation).unwrap();
            let work = work(known.precision, (billions * 1e9) as u64);
            let bytes = (billions * 1e9) as u64 * known.bits_e4 / 80_000;
            assert_eq!(
                parameters(bytes, quantisation).map(|count| count / 100_000_000),
                Some((billions * 10.0) as u64)
            );
            let floor = lower_compute_microjoules(device(class).unwrap(), &work);
            assert!(millijoules * 1_000 > floor.get(), "{class} {quantisation}");
            assert!(millijoules * 1_000 > lower_memory_microjoules(bytes, 1, 1).get(), "{class} {quantisation}");
        }
    }

    #[test]
    fn published_figures_lie_below_the_ceiling() {
        // Class, devices, microjoules per token, tokens in ten seconds (ML.ENERGY leaderboard 3.0).
        for (class, devices, published, tokens) in [
            ("nvidia-h100-sxm", 1, 454_798, 10_696),
            ("nvidia-h100-sxm", 1, 71_348, 96_028),
            ("nvidia-h100-sxm", 4, 373_142, 68_273),
            ("nvidia-h100-sxm", 8, 2_062_586, 23_634),
            ("nvidia-b200", 1, 46_696, 147_993),
            ("nvidia-b200", 1, 150_786, 64_254),
            ("nvidia-b200", 8, 1_015_042, 74_186),
        ] {
            let device = device(class).unwrap();
            let (busy, drawn) = (Microseconds::new(10_000_000), published * tokens);
            let (most, least) =
                (upper_microjoules(device.tdp_milliwatts * devices, busy), lower_idle_microjoules(device, busy));
            assert!(drawn < most.get(), "{class}: {drawn} is more than {most:?}");
            assert!(drawn > least.get() * devices, "{class}: {drawn} is less than {least:?}");
        }
    }

    proptest! {
        #[test]
        fn floors_grow_with_the_work_and_never_overflow(
            at in 0..devices().len(), parameters: u64, tokens: u64, fewer: u64, batch: u32, busy: u64,
        ) {
            let device = &devices()[at];
            let all = Work { precision: Precision::Sixteen, parameters, tokens };
            let part = Work { tokens: tokens.min(fewer), ..all };
            prop_assert!(lower_compute_microjoules(device, &part) <= lower_compute_microjoules(device, &all));
            prop_assert!(lower_compute_microjoules(device, &all) <= doubtful_compute_microjoules(device, &all));
            let narrow = Work { precision: Precision::Four, ..all };
            prop_assert!(lower_compute_microjoules(device, &narrow) <= lower_compute_microjoules(device, &all));
            prop_assert!(
                lower_memory_microjoules(parameters, batch, tokens) <= lower_memory_microjoules(parameters, 1, tokens)
            );
            let busy = Microseconds::new(busy);
            prop_assert!(lower_idle_microjoules(device, busy) <= upper_microjoules(device.tdp_milliwatts, busy));
        }
    }
}
