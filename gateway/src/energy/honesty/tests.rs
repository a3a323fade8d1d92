use openapi::energy::Boundary;
use openapi::energy::report::PoolWindow;
use openapi::hardware::{Precision, device};

use super::bounds::Instructions;
use super::*;

const MODEL: Model = Model { parameters: 8_000_000_000, weight_bytes: 16_000_000_000, precision: Precision::Sixteen };

fn machine() -> Machine {
    let device = device("nvidia-h100-sxm");
    Machine { device, instructions: Instructions::Unknown, power_limit_milliwatts: 700_000, processors: 1 }
}

fn class() -> Class {
    Class {
        device: "nvidia-h100-sxm x1".to_owned(),
        model: "llama".to_owned(),
        quantisation: "BF16".to_owned(),
        batch_bucket: 8,
        boundary: Boundary::Device,
    }
}

fn claim(joules: u64, tier: Tier) -> Energy {
    let microjoules = Microjoules::new(joules * 1_000_000);
    Energy {
        microjoules,
        low_microjoules: microjoules,
        high_microjoules: microjoules,
        marginal_microjoules: Microjoules::ZERO,
        prefill_microjoules: Microjoules::ZERO,
        tier,
        boundary: Boundary::Device,
        method: "test/1".to_owned(),
        settled: true,
    }
}

/// What is wrong with a claim for 200 answer tokens of a prompt of 200, which take about 100 J.
fn kinds(judge: &mut Judge, node: u128, claim: Option<&Energy>) -> Vec<Kind> {
    let busy = Microseconds::new(10_000_000);
    let work = Work { prompt_tokens: 200, cached_tokens: 0, completion_tokens: 200, busy, tokens_per_step: 64 };
    let settled = Settled {
        node: Uuid::from_u128(node),
        class: &class(),
        machine: &machine(),
        model: &MODEL,
        work,
        batch: 8.0,
        claim,
        is_canary: false,
        at: Microseconds::new(5),
    };
    judge.observe_settled(&settled).into_iter().map(|verdict| verdict.kind).collect()
}

#[test]
fn an_impossible_claim_costs_belief_until_many_good_ones() {
    let mut judge = Judge::default();
    let node = Uuid::from_u128(1);
    assert!(judge.standing(node).believed);
    assert_eq!(kinds(&mut judge, 1, Some(&claim(1, Tier::B))), [Kind::BelowFloor]);
    assert_eq!(kinds(&mut judge, 1, Some(&claim(9_000, Tier::B))), [Kind::AboveCeiling]);
    let standing = judge.standing(node);
    assert_eq!((standing.believed, standing.tier_cap, standing.reasons.len()), (false, Tier::X, 2));
    for _ in 0..1_000 {
        assert_eq!(kinds(&mut judge, 1, Some(&claim(100, Tier::B))), []);
    }
    assert!(judge.standing(node).believed);
}

#[test]
fn parts_are_parts() {
    let mut judge = Judge::default();
    let marginal_microjoules = Microjoules::new(100_000_001);
    assert_eq!(kinds(&mut judge, 1, Some(&Energy { marginal_microjoules, ..claim(100, Tier::B) })), [Kind::Insane]);
}

#[test]
fn silence_is_not_believed() {
    let mut judge = Judge::default();
    for attempt in 0..100 {
        let claim = claim(100, Tier::B);
        assert_eq!(kinds(&mut judge, 1, (attempt % 11 > 0).then_some(&claim)), []);
    }
    let found: Vec<Kind> = (0..6).flat_map(|_| kinds(&mut judge, 1, Some(&claim(0, Tier::X)))).collect();
    assert!(found.contains(&Kind::Silent));
    judge.pardon(Uuid::from_u128(1));
    assert!(judge.standing(Uuid::from_u128(1)).believed);
}

#[test]
fn silence_and_vagueness_win_nothing() {
    let mut judge = Judge::default();
    let rank = |judge: &Judge, tier, claimed| judge.ranking_microjoules_per_token(&class(), tier, claimed);
    assert_eq!(rank(&judge, Tier::X, Some(1)), u64::MAX, "nothing is known");
    for _ in 0..64 {
        for node in 0..20 {
            assert_eq!(kinds(&mut judge, u128::from(node), Some(&claim(90 + node, Tier::B))), []);
        }
    }
    let ninetieth = rank(&judge, Tier::X, Some(1));
    // Nodes claim 90 to 109 J for 200 tokens.
    assert!((530_000..=545_000).contains(&ninetieth), "{ninetieth}");
    assert_eq!(rank(&judge, Tier::B, None), ninetieth);
    assert_eq!(rank(&judge, Tier::A, Some(400_000)), 420_000);
    assert_eq!(rank(&judge, Tier::B, Some(400_000)), 460_000);
    assert_eq!(rank(&judge, Tier::E, Some(400_000)), ninetieth, "to measure badly is no better than not to");
    assert_eq!(rank(&judge, Tier::A, Some(9_000_000)), ninetieth, "and to measure is never worse");
}

#[test]
fn estimates_are_compared_with_estimates() {
    let mut judge = Judge::default();
    for _ in 0..200 {
        for node in 0..10 {
            assert_eq!(kinds(&mut judge, node, Some(&claim(100, Tier::B))), []);
            assert_eq!(kinds(&mut judge, 10 + node, Some(&claim(300, Tier::E))), []);
        }
    }
}

fn report(sequence: u64, joules: u64) -> EnergyReport {
    let total = Microjoules::new(joules * 1_000_000);
    let before = Microjoules::new(sequence * 1_000_000_000);
    let pool = PoolWindow {
        pool: "gpu-0".to_owned(),
        tier: Tier::B,
        boundary: Boundary::Device,
        counter_from: before - total,
        counter_to: before,
        attributed: Microjoules::ZERO,
        elsewhere: Microjoules::ZERO,
        idle: total,
        foreign: Microjoules::ZERO,
    };
    EnergyReport {
        sequence,
        previous: String::new(),
        from: Microseconds::new(sequence * 1_000_000),
        to: Microseconds::new((sequence + 1) * 1_000_000),
        busy_microseconds: Microseconds::ZERO,
        pools: vec![pool],
        costs: Default::default(),
        grid: None,
        settled: Vec::new(),
    }
}

fn reported(judge: &mut Judge, report: &EnergyReport) -> Vec<Kind> {
    let verdicts = judge.observe_report(&Reported {
        node: Uuid::from_u128(1),
        report,
        digest: "",
        machine: &machine(),
        oldest_running: None,
        at: Microseconds::new(u64::MAX),
    });
    verdicts.into_iter().map(|verdict| verdict.kind).collect()
}

#[test]
fn a_gap_lowers_the_tier_and_a_second_copy_counts_for_nothing() {
    let mut judge = Judge::default();
    assert_eq!(reported(&mut judge, &report(1, 100)), []);
    assert_eq!(reported(&mut judge, &report(3, 100)), [Kind::MissingReport]);
    let standing = judge.standing(Uuid::from_u128(1));
    assert_eq!((standing.believed, standing.tier_cap), (true, Tier::C));
    assert_eq!(reported(&mut judge, &report(3, 5_000)), [Kind::Replayed], "and not too much power");
    assert!(!judge.standing(Uuid::from_u128(1)).believed);
    judge.forget(Uuid::from_u128(1));
    assert_eq!(reported(&mut judge, &report(3, 100)), []);
}
