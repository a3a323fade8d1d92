//! Random windows over random steps: whatever a counter moves is somebody's, to the microjoule.

use std::time::{Duration, Instant};

use fastrand::Rng;
use provider::energy::attribute::{BUCKETS, Coefficients, Member, Step, StepKind, Window, divide};

#[test]
fn a_million_windows_lose_nothing() {
    const WINDOWS: u64 = 1_000_000;
    let mut random = Rng::with_seed(8);
    let start = Instant::now();
    let (mut moved, mut given, mut wrong) = (0u128, 0u128, 0u64);
    for _ in 0..WINDOWS {
        let steps = steps(&mut random, start);
        let from = start + Duration::from_micros(random.u64(..200_000));
        let (size, foreign_size) = (random.u32(1..50), random.u32(1..40));
        let window = Window {
            from,
            to: from + Duration::from_micros(random.u64(..300_000)),
            microjoules: random.u64(..1 << size),
            foreign_microjoules: random.u64(..1 << foreign_size),
        };
        let division = divide(&window, &steps, &coefficients(&mut random));
        let parts = [division.attributed_microjoules(), division.idle_microjoules, division.foreign_microjoules];
        wrong += u64::from(parts.iter().sum::<u64>() != window.microjoules);
        moved += u128::from(window.microjoules);
        given += parts.iter().map(|part| u128::from(*part)).sum::<u128>();
    }
    println!("energy: {WINDOWS} windows moved {moved} µJ, {given} µJ were given, {wrong} windows do not add up");
    assert_eq!((moved, wrong), (given, 0));
}

/// Steps with pauses between them, of up to eight sequences.
fn steps(random: &mut Rng, start: Instant) -> Vec<Step> {
    let mut at = start;
    (0..random.usize(..6))
        .map(|_| {
            let from = at + Duration::from_micros(random.u64(..30_000));
            at = from + Duration::from_micros(random.u64(..80_000));
            let kind = if random.bool() { StepKind::Prefill } else { StepKind::Decode };
            let sequences = random.u64(1..8);
            let member = |task| Member { task, tokens: random.u32(1..500), context: random.u32(..4_000) };
            Step { from, to: at, kind, weight_milli: 1_000, members: (0..sequences).map(member).collect() }
        })
        .collect()
}

fn coefficients(random: &mut Rng) -> Coefficients {
    Coefficients {
        fixed: random.f64() * 10.0,
        decode: random.f64(),
        context: random.f64(),
        prefill: random.f64() / 10.0,
        idle_watts: random.f64() * 200.0,
        buckets: [None; BUCKETS],
    }
}
