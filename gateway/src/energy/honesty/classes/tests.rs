use super::*;

const TRUTH: Costs = Costs([3.27e6, 65_600.0, 22_600.0]);

struct Stage {
    statistics: Statistics,
    random: fastrand::Rng,
}

impl Stage {
    fn new() -> Self {
        Self { statistics: Statistics::new(TRUTH.scaled(2.0)), random: fastrand::Rng::with_seed(7) }
    }

    fn sample(&mut self, factor: f64) -> Sample {
        let completion = f64::from(self.random.u32(20..800));
        let amounts = [completion / 8.0, completion, f64::from(self.random.u32(10..3_000))];
        Sample { amounts, microjoules: TRUTH.expected(&amounts) * factor * (0.9 + 0.2 * self.random.f64()) }
    }

    /// Honest nodes of which one differs from the next by a few percent.
    fn fill(&mut self, nodes: u128) {
        for _ in 0..SAMPLES {
            for node in 0..nodes {
                let sample = self.sample(0.9 + 0.2 * node as f64 / nodes as f64);
                assert_eq!(self.statistics.observe(Uuid::from_u128(node), sample), []);
            }
        }
    }

    fn windows(&mut self, windows: u64, factor: f64) -> Vec<Kind> {
        let mut kinds = Vec::new();
        for _ in 0..windows * WINDOW {
            let sample = self.sample(factor);
            kinds.extend(self.statistics.observe(Uuid::max(), sample).into_iter().map(|finding| finding.kind));
        }
        kinds
    }
}

#[test]
fn too_few_nodes_compare_nothing() {
    let mut stage = Stage::new();
    stage.fill(4);
    let sample = stage.sample(1.0);
    assert_eq!(stage.statistics.compare(&sample), None);
    stage.fill(5);
    let comparison = stage.statistics.compare(&sample).unwrap();
    assert!(comparison.log_ratio.abs() < 0.2 && comparison.spread > USUAL_SPREAD / 2.0, "{comparison:?}");
}

#[test]
fn a_node_far_off_is_found_in_the_third_window_and_not_before() {
    for factor in [0.3, 3.0] {
        let mut stage = Stage::new();
        stage.fill(20);
        assert_eq!(stage.windows(2, factor), []);
        assert!(stage.windows(1, factor).contains(&Kind::OutsideClass));
    }
}

#[test]
fn a_minority_of_liars_does_not_move_the_median() {
    let mut stage = Stage::new();
    for _ in 0..4 * SAMPLES {
        for node in 0..20 {
            let sample = stage.sample(if node < 8 { 0.5 } else { 1.0 });
            stage.statistics.observe(Uuid::from_u128(node), sample);
        }
    }
    let samples: Vec<Sample> = (0..100).map(|_| stage.sample(1.0)).collect();
    let mean = samples.iter().map(|sample| stage.statistics.costs.log_ratio(sample)).sum::<f64>() / 100.0;
    assert!(mean.abs() < 0.1, "{mean}");
}

#[test]
fn claims_that_do_not_follow_the_tokens_are_odd() {
    let mut stage = Stage::new();
    stage.fill(20);
    let mut kinds = Vec::new();
    for _ in 0..6 * WINDOW {
        let sample = Sample { microjoules: 2.1e8, ..stage.sample(1.0) };
        kinds.extend(stage.statistics.observe(Uuid::max(), sample).into_iter().map(|finding| finding.kind));
    }
    assert!(kinds.contains(&Kind::OddCosts), "{kinds:?}");
}

#[test]
fn the_ninetieth_percentile_is_above_the_median_and_known_before_anybody_claims() {
    let mut stage = Stage::new();
    let before = stage.statistics.ninetieth_percentile();
    assert!(before > 2 * (TRUTH.0[0] + TRUTH.0[1]) as u64, "{before}");
    stage.fill(20);
    let after = stage.statistics.ninetieth_percentile() as f64;
    let mut usual: Vec<f64> =
        (0..500).map(|_| stage.sample(1.0)).map(|sample| sample.microjoules / sample.amounts[1]).collect();
    let usual = median(&mut usual);
    assert!((1.03..1.15).contains(&(after / usual)), "{after} {usual}");
}

#[test]
fn memory_has_a_bound_and_nodes_that_left_make_room() {
    let mut stage = Stage::new();
    stage.fill(MEMBERS as u128 + 8);
    assert_eq!(stage.statistics.members.len(), MEMBERS);
    assert!(stage.statistics.members.iter().all(|member| member.samples.len() == SAMPLES));
    for _ in 0..MEMBERS * SAMPLES + 1 {
        let sample = stage.sample(1.0);
        stage.statistics.observe(Uuid::max(), sample);
    }
    assert_eq!(stage.statistics.members.len(), MEMBERS);
    assert!(stage.statistics.members.iter().any(|member| member.node == Uuid::max()));
}

#[test]
fn buckets_are_powers_of_two() {
    assert_eq!([0.0, 1.0, 1.4, 1.5, 6.0, 1e9].map(batch_bucket), [1, 1, 1, 2, 8, 65_536]);
    assert_eq!(batch_bucket(f64::NAN), 1);
}
