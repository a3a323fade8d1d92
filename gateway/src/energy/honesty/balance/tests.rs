use openapi::energy::report::SettledAttempt;
use openapi::energy::{Energy, StepCosts};
use openapi::hardware::device;

use super::super::bounds::Instructions;
use super::*;

const SECOND: Microseconds = Microseconds::new(1_000_000);

fn machine() -> Machine {
    let device = device("nvidia-h100-sxm");
    Machine { device, instructions: Instructions::Unknown, power_limit_milliwatts: 700_000, processors: 1 }
}

/// A second in which so many joules went to attempts, rest and others.
fn report(number: u64, joules: [u64; 3]) -> EnergyReport {
    let [attributed, idle, foreign] = joules.map(|joules| Microjoules::new(joules * 1_000_000));
    let pool = PoolWindow {
        pool: "gpu-0".to_owned(),
        tier: Tier::B,
        boundary: Boundary::Device,
        counter_from: Microjoules::ZERO,
        counter_to: attributed + idle + foreign,
        attributed,
        elsewhere: Microjoules::ZERO,
        idle,
        foreign,
    };
    EnergyReport {
        sequence: number,
        previous: String::new(),
        from: Microseconds::new(number * SECOND.get()),
        to: Microseconds::new((number + 1) * SECOND.get()),
        busy_microseconds: if attributed > Microjoules::ZERO { SECOND } else { Microseconds::ZERO },
        pools: vec![pool],
        costs: StepCosts::default(),
        grid: None,
        settled: Vec::new(),
    }
}

/// What is found in seconds of so many joules, while an attempt runs.
fn found(seconds: &[[u64; 3]]) -> Vec<Kind> {
    let mut balance = Balance::default();
    let mut found = Vec::new();
    for (number, joules) in seconds.iter().enumerate() {
        let findings = balance.observe(&report(number as u64, *joules), &machine(), Some(Microseconds::ZERO));
        found.extend(findings.into_iter().map(|finding| finding.kind));
    }
    found
}

#[test]
fn power_lies_between_rest_and_limit() {
    assert_eq!(found(&[[0, 40, 0]; 20]), []);
    assert_eq!(found(&[[24, 0, 0]]), [Kind::TooLittlePower]);
    assert_eq!(found(&[[26, 0, 0]]), [], "the counter may have moved late");
    assert_eq!(found(&[[883, 0, 0]]), [Kind::TooMuchPower]);
    assert_eq!(found(&[[0, 0, 0]]), [Kind::TooLittlePower, Kind::TooLittlePower], "in it, and in all of them");
    // One alone may have been read late; ten were not.
    assert_eq!(found(&[[0, 28, 0]]), []);
    assert!(found(&[[0, 28, 0]; 10]).contains(&Kind::TooLittlePower));
}

#[test]
fn a_counter_that_stands_still_is_frozen() {
    let (mut both, still) = (report(1, [100, 0, 0]), report(1, [0; 3]).pools);
    both.pools.extend(still);
    let findings = Balance::default().observe(&both, &machine(), None);
    assert_eq!(findings.into_iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Kind::Frozen]);
}

#[test]
fn a_fifth_may_be_foreign() {
    assert_eq!(found(&[[80, 0, 20]; 30]), []);
    assert_eq!(found(&[[79, 0, 21]; 9]), [], "too few");
    assert_eq!(found(&[[79, 0, 21]; 10]), [Kind::MuchForeign]);
}

#[test]
fn who_works_for_others_mostly_is_not_compared() {
    let mut balance = Balance::default();
    for (number, elsewhere, crowd) in [(1, 50, 2.0), (2, 100, 4.0)] {
        let mut report = report(number, [100, 0, 0]);
        report.pools[0].elsewhere = Microjoules::new(elsewhere * 1_000_000);
        balance.observe(&report, &machine(), None);
        assert_eq!(balance.crowd(), crowd);
    }
    let mut kinds = Vec::new();
    for number in 3..12 {
        let mut report = report(number, [100, 0, 0]);
        report.pools[0].elsewhere = report.pools[0].attributed;
        kinds.extend(balance.observe(&report, &machine(), None).into_iter().map(|finding| finding.kind));
    }
    assert!(kinds.contains(&Kind::MuchElsewhere) && balance.crowd() > MOST_CROWD);
}

#[test]
fn the_tier_is_the_worst_of_more_than_a_tenth() {
    let (mut all, part) = (report(1, [100, 0, 0]), report(1, [11, 0, 0]).pools[0].clone());
    assert_eq!(tier(&all), Tier::B);
    all.pools.push(PoolWindow { tier: Tier::E, ..part });
    assert_eq!(tier(&all), Tier::B);
    all.pools.push(all.pools[1].clone());
    assert_eq!(tier(&all), Tier::E);
}

/// A report in whose settled attempts so many joules are.
fn settling(number: u64, joules: [u64; 3], settled: &[u64]) -> EnergyReport {
    let attempt = |joules: &u64| {
        let microjoules = Microjoules::new(joules * 1_000_000);
        let energy = Energy {
            microjoules,
            low_microjoules: microjoules,
            high_microjoules: microjoules,
            marginal_microjoules: Microjoules::ZERO,
            prefill_microjoules: Microjoules::ZERO,
            tier: Tier::B,
            boundary: Boundary::Device,
            method: "test/1".to_owned(),
            settled: true,
        };
        SettledAttempt { request: uuid::Uuid::nil(), attempt: 1, energy }
    };
    EnergyReport { settled: settled.iter().map(attempt).collect(), ..report(number, joules) }
}

#[test]
fn what_attempts_took_is_what_was_attributed_but_for_those_that_run() {
    let began = |second: u64| Some(Microseconds::new(second * SECOND.get()));
    let steps = |last: &[u64], running| {
        let mut balance = Balance::default();
        let mut found = Vec::new();
        // An attempt from before the first report cannot be checked, and one in the second second runs on.
        for (report, running) in [
            (settling(1, [100, 0, 0], &[700]), None),
            (settling(2, [100, 0, 0], &[]), began(2)),
            (settling(3, [100, 0, 0], &[150]), began(3)),
            (settling(4, [100, 0, 0], last), running),
        ] {
            found.extend(balance.observe(&report, &machine(), running).into_iter().map(|finding| finding.kind));
        }
        found
    };
    assert_eq!(steps(&[150], None), []);
    assert_eq!(steps(&[149], None), [Kind::Unbalanced]);
    assert_eq!(steps(&[151], None), [Kind::Unbalanced]);
    assert_eq!(steps(&[], began(3)), [], "the other one runs");
    assert_eq!(steps(&[], began(6)), [Kind::Unbalanced], "it ended before this one began");
}
