use proptest::prelude::*;

use super::*;

/// The weight of the first model.
const WHOLE: u32 = 1_000;

fn coefficients() -> Coefficients {
    Coefficients { fixed: 3.0, decode: 0.06, context: 0.15, prefill: 0.02, idle_watts: 110.0, buckets: [None; BUCKETS] }
}

/// A day of steps one after the other, some with pauses between them, and a window somewhere over them.
#[derive(Clone, Debug)]
struct Scene {
    window: Window,
    steps: Vec<Step>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let member = (0u64..6, 1u32..600, 0u32..4_000);
    let step = (0u64..40, 0u64..60, any::<bool>(), prop::collection::btree_map(0u64..6, member, 1..6));
    let window = (0u64..400, 0u64..400, 0u64..2_000_000_000, 0u64..3_000_000);
    (prop::collection::vec(step, 0..20), window).prop_map(|(steps, (begin, length, microjoules, foreign))| {
        let start = Instant::now();
        let mut at = 0;
        let at_millisecond = |millisecond: u64| start + Duration::from_millis(millisecond);
        let steps = steps.into_iter().map(|(pause, length, prefill, members)| {
            let from = at + pause;
            at = from + length;
            let member = |(task, (_, tokens, context)): (u64, (u64, u32, u32))| Member {
                task,
                tokens: if prefill { tokens } else { 1 },
                context,
            };
            Step {
                from: at_millisecond(from),
                to: at_millisecond(at),
                kind: if prefill { StepKind::Prefill } else { StepKind::Decode },
                weight_milli: WHOLE,
                members: members.into_iter().map(member).collect(),
            }
        });
        let steps = steps.collect();
        let window = Window {
            from: at_millisecond(begin),
            to: at_millisecond(begin + length),
            microjoules,
            foreign_microjoules: foreign,
        };
        Scene { window, steps }
    })
}

fn total(division: &Division) -> u64 {
    division.attributed_microjoules() + division.idle_microjoules + division.foreign_microjoules
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_microjoule_is_somebodys(scene in scenes()) {
        let division = divide(&scene.window, &scene.steps, &coefficients());
        prop_assert_eq!(total(&division), scene.window.microjoules);
        for part in division.parts.values() {
            prop_assert!(part.marginal_microjoules <= part.microjoules && part.prefill_microjoules <= part.microjoules);
        }
        prop_assert!(division.busy <= span(scene.window.from, scene.window.to));
    }

    #[test]
    fn whatever_the_coefficients(scene in scenes(), fixed in -1.0..10.0, decode in -1.0..10.0, idle in -1.0..10.0) {
        let odd = Coefficients { fixed, decode, context: f64::NAN, prefill: 0.0, idle_watts: idle, buckets: [None; BUCKETS] };
        prop_assert_eq!(total(&divide(&scene.window, &scene.steps, &odd)), scene.window.microjoules);
    }

    /// Who is in no step gets nothing.
    #[test]
    fn a_null_player_gets_nothing(scene in scenes()) {
        let division = divide(&scene.window, &scene.steps, &coefficients());
        for task in division.parts.keys() {
            let is_there = scene.steps.iter().any(|step| {
                overlap(&scene.window, step).is_some() && step.members.iter().any(|member| member.task == *task)
            });
            prop_assert!(is_there, "{}", task);
        }
    }

    /// Two who do the same get the same, to one microjoule.
    #[test]
    fn symmetry(mut scene in scenes()) {
        const TWIN: TaskId = 1_000;
        for step in &mut scene.steps {
            let twin = step.members.iter().find(|member| member.task == 0).map(|member| Member { task: TWIN, ..*member });
            step.members.extend(twin);
        }
        let division = divide(&scene.window, &scene.steps, &coefficients());
        let of = |task| division.parts.get(&task).map_or(0, |part| part.microjoules);
        prop_assert!(of(0).abs_diff(of(TWIN)) <= 1, "{:?}", division);
    }

    /// The order of steps and members is no matter, to the last microjoule.
    #[test]
    fn permutation(scene in scenes(), seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shuffled = scene.steps.clone();
        shuffled.iter_mut().for_each(|step| random.shuffle(&mut step.members));
        let division = divide(&scene.window, &scene.steps, &coefficients());
        prop_assert_eq!(&division, &divide(&scene.window, &shuffled, &coefficients()));
        random.shuffle(&mut shuffled);
        let other = divide(&scene.window, &shuffled, &coefficients());
        // Sums of floats depend on their order in the last bit, which may decide who gets an odd microjoule.
        for (task, part) in &division.parts {
            prop_assert!(part.microjoules.abs_diff(other.parts[task].microjoules) <= 1);
        }
    }

    /// A cost that is the sum of two costs is shared as the sum of their shares.
    #[test]
    fn additivity(scene in scenes()) {
        let both = coefficients();
        let shared = Coefficients { decode: 0.0, prefill: 0.0, ..both.clone() };
        let own = Coefficients { fixed: 0.0, ..both.clone() };
        let (both, shared, own) = (
            claims(&scene.window, &scene.steps, &both).0,
            claims(&scene.window, &scene.steps, &shared).0,
            claims(&scene.window, &scene.steps, &own).0,
        );
        for (task, claim) in &both {
            let sum = shared[task].all + own[task].all;
            prop_assert!((claim.all - sum).abs() <= 1e-9 * claim.all.max(1.0));
            prop_assert!((claim.marginal - own[task].all).abs() <= 1e-9 * claim.all.max(1.0));
        }
    }

    /// The closed form is the Shapley value: the mean, over all orders of arrival, of what each adds to a step's cost.
    #[test]
    fn the_share_in_a_step_is_its_shapley_value(tokens in prop::collection::vec(1u32..500, 1..6)) {
        let start = Instant::now();
        let members: Vec<Member> =
            tokens.iter().zip(0u64..).map(|(tokens, task)| Member { task, tokens: *tokens, context: 0 }).collect();
        let to = start + Duration::from_millis(10);
        let step = Step { from: start, to, kind: StepKind::Prefill, weight_milli: WHOLE, members };
        let window = Window { from: start, to, microjoules: 1, foreign_microjoules: 0 };
        let costs = coefficients();
        let claims = claims(&window, std::slice::from_ref(&step), &costs).0;
        for (task, value) in shapley(&tokens, &costs).into_iter().enumerate() {
            prop_assert!((claims[&(task as u64)].all - value).abs() < 1e-9);
        }
    }
}

/// By the definition, over all subsets of players.
fn shapley(tokens: &[u32], costs: &Coefficients) -> Vec<f64> {
    let players = tokens.len();
    let cost = |subset: usize| {
        let there = (0..players).filter(|player| subset >> player & 1 == 1);
        let own: f64 = there.map(|player| costs.prefill * f64::from(tokens[player])).sum();
        if subset == 0 { 0.0 } else { costs.fixed + own }
    };
    let factorial = |number: usize| (1..=number).product::<usize>() as f64;
    (0..players)
        .map(|player| {
            let others = (0..1usize << players).filter(|subset| subset >> player & 1 == 0);
            others
                .map(|subset| {
                    let size = subset.count_ones() as usize;
                    let weight = factorial(size) * factorial(players - size - 1) / factorial(players);
                    weight * (cost(subset | 1 << player) - cost(subset))
                })
                .sum()
        })
        .collect()
}

#[test]
fn a_window_without_requests_is_idle_and_foreign_comes_first() {
    let start = Instant::now();
    let window = Window { from: start, to: start + Duration::from_secs(1), microjoules: 100, foreign_microjoules: 30 };
    let division = divide(&window, &[], &coefficients());
    assert_eq!((division.idle_microjoules, division.foreign_microjoules, division.parts.len()), (70, 30, 0));
    let more_foreign_than_there_is = Window { foreign_microjoules: 130, ..window };
    assert_eq!(divide(&more_foreign_than_there_is, &[], &coefficients()).foreign_microjoules, 100);
}

#[test]
fn a_thousand_requests_in_one_window_get_what_is_theirs() {
    let start = Instant::now();
    let to = start + Duration::from_millis(100);
    let members = (0..1_000).map(|task| Member { task, tokens: 1, context: 0 }).collect();
    let step = Step { from: start, to, kind: StepKind::Decode, weight_milli: WHOLE, members };
    let window = Window { from: start, to, microjoules: 12_345, foreign_microjoules: 0 };
    let division = divide(&window, &[step], &coefficients());
    assert_eq!(total(&division), 12_345);
    assert!(division.parts.values().all(|part| (12..=13).contains(&part.microjoules)));
}

#[test]
fn costs_are_learned_from_windows() {
    let truth = coefficients();
    let guess =
        Coefficients { fixed: 6.0, decode: 0.02, context: 0.0, prefill: 0.05, idle_watts: 60.0, ..truth.clone() };
    let mut calibration = Calibration::new(guess);
    let mut random = fastrand::Rng::with_seed(7);
    let start = Instant::now();
    for number in 0..2_000u64 {
        let from = start + Duration::from_millis(number * 100);
        let (heads, prompt) = (random.u64(1..40), random.u32(10..500));
        let mut at = from;
        let mut steps = Vec::new();
        let mut add = |kind, milliseconds, members| {
            let to = at + Duration::from_millis(milliseconds);
            steps.push(Step { from: at, to, kind, weight_milli: WHOLE, members });
            at = to;
        };
        for _ in 0..random.u32(0..6) {
            let members = (0..heads).map(|task| Member { task, tokens: 1, context: random.u32(0..2_000) }).collect();
            add(StepKind::Decode, 10, members);
        }
        if random.bool() {
            add(StepKind::Prefill, 20, vec![Member { task: 99, tokens: prompt, context: 0 }]);
        }
        let window = Window { from, to: from + Duration::from_millis(100), microjoules: 0, foreign_microjoules: 0 };
        let (claims, busy) = claims(&window, &steps, &truth);
        let idle = (Duration::from_millis(100).saturating_sub(busy)).as_secs_f64() * truth.idle_watts;
        let joules = claims.values().map(|claim| claim.all).sum::<f64>() + idle;
        let noise = 1.0 + (random.f64() - 0.5) * 0.02;
        let window = Window { microjoules: (joules * 1e6 * noise) as u64, ..window };
        calibration.learn(&window, &steps);
    }
    let found = calibration.coefficients();
    for (name, found, truth) in [
        ("fixed", found.fixed, truth.fixed),
        ("decode", found.decode, truth.decode),
        ("prefill", found.prefill, truth.prefill),
        ("idle", found.idle_watts, truth.idle_watts),
    ] {
        assert!((found / truth - 1.0).abs() < 0.15, "{name}: {found} instead of {truth}");
    }
}

#[test]
fn steps_of_two_models_at_the_same_time_share_the_window_by_what_they_cost() {
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let step = |(from, to), weight_milli, task| Step {
        from: at(from),
        to: at(to),
        kind: StepKind::Decode,
        weight_milli,
        members: vec![Member { task, tokens: 1, context: 0 }],
    };
    // The second model is three times as large. They overlap, and nobody computes in the last fifth.
    let steps = [step((0, 60), WHOLE, 1), step((20, 80), 3 * WHOLE, 2)];
    let window = Window { from: start, to: at(100), microjoules: 20_000_000, foreign_microjoules: 0 };
    let division = divide(&window, &steps, &coefficients());
    assert_eq!(total(&division), 20_000_000, "to the microjoule");
    assert_eq!(division.busy, Duration::from_millis(80), "no moment counts twice");
    let (one, two) = (division.parts[&1].microjoules, division.parts[&2].microjoules);
    assert!(two.abs_diff(3 * one) <= 3, "{one} and {two}");
}
