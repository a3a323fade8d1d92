//! What holds for every choice.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use openapi::energy::Tier;

use super::super::marginal::HONEST;
use super::super::marginal::tests::H100;
use super::*;

const WORK: Work = Work { prompt: 500, completion: 250 };

fn ask(sort: Option<Sort>) -> Ask {
    Ask {
        preference: Preference { sort, ..Preference::default() },
        work: WORK,
        latency_objective: Duration::from_secs(2),
        stand_in: Profile {
            fixed_microjoules_per_step: Microjoules::new(9_000_000),
            decode_microjoules_per_token: Microjoules::new(500_000),
            mg_per_kwh: Some(900_000),
            ..H100
        },
        usual_first_byte: Duration::from_millis(400),
        random: 7,
    }
}

fn node(number: u128, running: u32) -> Candidate {
    Candidate {
        node: Uuid::from_u128(number),
        profile: Some(H100),
        state: State { running, slots: 8, typical_first_byte: Duration::from_millis(300), handicap_ppm: HONEST },
        price: Nanocredits::new(1_000),
        tokens_per_second: 50,
        first_byte: Some(Duration::from_millis(300)),
    }
}

fn chosen(candidates: &[Candidate], ask: &Ask) -> u128 {
    choose(candidates.iter().copied(), ask).unwrap().node.as_u128()
}

#[test]
fn a_busy_node_goes_before_an_equal_idle_one_until_it_is_late_or_full() {
    for sort in [Sort::Energy, Sort::Carbon] {
        let ask = ask(Some(sort));
        let (idle, mut busy) = (node(1, 0), node(2, 1));
        assert_eq!(chosen(&[idle, busy], &ask), 2);
        busy.state.typical_first_byte = Duration::from_millis(2_001);
        assert_eq!(chosen(&[idle, busy], &ask), 1, "late");
        assert_eq!(chosen(&[idle, node(2, 8)], &ask), 1, "full");
    }
    // Nothing to gain by waking it, and it still sleeps on.
    let no_fixed = Profile { fixed_microjoules_per_step: Microjoules::ZERO, ..H100 };
    let even = [0, 1].map(|running| Candidate { profile: Some(no_fixed), ..node(running.into(), running) });
    assert_eq!(chosen(&even, &ask(Some(Sort::Energy))), 1);
}

#[test]
fn carbon_may_wake_a_node_on_a_clean_grid_for_which_energy_would_not() {
    let at = |mg_per_kwh| Some(Profile { mg_per_kwh: Some(mg_per_kwh), ..H100 });
    let candidates = [
        Candidate { profile: at(30_000), ..node(1, 0) },
        Candidate { profile: at(700_000), ..node(2, 3) },
        Candidate { profile: None, ..node(3, 3) },
    ];
    assert_eq!(chosen(&candidates, &ask(Some(Sort::Energy))), 2);
    assert_eq!(
        chosen(&candidates, &ask(Some(Sort::Carbon))),
        2,
        "27 times as many joules outweigh a grid 23 times cleaner"
    );
    let nuclear = Candidate { profile: at(5_000), ..node(4, 0) };
    let both = [candidates[1], nuclear];
    assert_eq!(chosen(&both, &ask(Some(Sort::Carbon))), 4);
}

#[test]
fn a_vague_figure_loses_and_silence_or_lies_do_not_pay() {
    let ask = ask(Some(Sort::Energy));
    let vague = Profile { tier: Tier::E, decode_microjoules_per_token: Microjoules::new(32_000), ..H100 };
    assert_eq!(chosen(&[node(1, 1), Candidate { profile: Some(vague), ..node(2, 1) }], &ask), 1);
    let lies = Profile { decode_microjoules_per_token: Microjoules::new(1), believed: false, ..H100 };
    for suspect in [Some(lies), None] {
        let suspect = Candidate { profile: suspect, ..node(2, 1) };
        assert_eq!(chosen(&[node(1, 1), suspect], &ask), 1);
        assert!(choose([suspect], &ask).unwrap().reason.assumed);
    }
}

#[test]
fn each_sort_has_its_figure() {
    let cheap = Candidate { price: Nanocredits::new(999), ..node(1, 1) };
    let fast = Candidate { tokens_per_second: 80, ..node(2, 1) };
    let soon = Candidate { first_byte: Some(Duration::from_millis(100)), ..node(3, 1) };
    let candidates = [cheap, fast, soon, node(4, 1)];
    for (sort, expected) in [(Sort::Price, 1), (Sort::Throughput, 2), (Sort::Latency, 3)] {
        assert_eq!(chosen(&candidates, &ask(Some(sort))), expected, "{sort:?}");
    }
    let stopped = Candidate { tokens_per_second: 0, ..node(5, 1) };
    assert_eq!(chosen(&[stopped, fast], &ask(Some(Sort::Throughput))), 2);
}

#[test]
fn a_node_that_was_never_asked_is_taken_for_as_soon_as_is_usual() {
    let unknown = Candidate { first_byte: None, ..node(2, 1) };
    let late = Candidate { first_byte: Some(Duration::from_millis(500)), ..node(3, 1) };
    assert_eq!(chosen(&[node(1, 1), unknown, late], &ask(Some(Sort::Latency))), 1);
    assert_eq!(chosen(&[unknown, late], &ask(Some(Sort::Latency))), 2);
}

#[test]
fn an_idle_liar_does_not_go_before_a_calm_honest_node() {
    for running in [1, 16, 31] {
        let honest = Candidate { state: State { running, slots: 32, ..node(1, 1).state }, ..node(1, 1) };
        let state = State { running: 0, slots: 1, handicap_ppm: 10_000_000, ..node(2, 0).state };
        assert_eq!(chosen(&[honest, Candidate { state, ..node(2, 0) }], &ask(None)), 1);
    }
}

#[test]
fn a_refusal_says_which_filter_left_nobody() {
    let mut ask = ask(Some(Sort::Carbon));
    assert_eq!(choose([], &ask), Err(NoChoice::NoCandidate));
    ask.preference.min_tier = Some(Tier::B);
    let estimated = Candidate { profile: Some(Profile { tier: Tier::E, ..H100 }), ..node(1, 1) };
    assert_eq!(choose([estimated], &ask), Err(NoChoice::TierTooLow));
    ask.preference.max_micrograms_per_million_tokens = Some(1);
    assert_eq!(choose([node(2, 1), estimated], &ask), Err(NoChoice::TooMuchCarbon));
}

#[test]
fn equal_nodes_share_the_work_and_the_busier_ones_get_less() {
    let candidates: Vec<Candidate> =
        (0_u8..10).map(|number| node(number.into(), if number < 5 { 1 } else { 4 })).collect();
    let mut counts = [0_u32; 10];
    for random in 0..10_000 {
        counts[chosen(&candidates, &Ask { random, ..ask(Some(Sort::Energy)) }) as usize] += 1;
    }
    let (less, more): (u32, u32) = (counts[..5].iter().sum(), counts[5..].iter().sum());
    // Two of ten: one of the busier five only if both are, with 5/10 · 4/9.
    assert!((2_000..2_450).contains(&more), "{less} and {more}");
    assert!(counts.iter().all(|count| (300..2_000).contains(count)), "{counts:?}");
}

prop_compose! {
    fn any_profile()(fixed in 0_u64..5_000_000, each in 1_u64..1_000_000, tier in 0_usize..6, grid in 0_u64..900_000,
        believed in 0..4) -> Profile {
        Profile {
            fixed_microjoules_per_step: Microjoules::new(fixed),
            decode_microjoules_per_token: Microjoules::new(each),
            prefill_microjoules_per_token: Microjoules::new(each / 4),
            wake_microjoules: Microjoules::new(fixed),
            tier: Tier::ALL[tier],
            pue_milli: 1_200,
            mg_per_kwh: (grid > 20_000).then_some(grid),
            believed: believed > 0,
        }
    }
}

prop_compose! {
    fn any_candidate()(number in any::<u128>(), profile in option::of(any_profile()), running in 0_u32..10,
        slots in 0_u32..9, first_byte in 0_u64..4_000, price in 0_u64..4, tokens_per_second in 0_u32..4) -> Candidate {
        let typical_first_byte = Duration::from_millis(first_byte);
        let state = State { running, slots, typical_first_byte, handicap_ppm: HONEST };
        let (node, price) = (Uuid::from_u128(number), Nanocredits::new(price));
        Candidate { node, profile, state, price, tokens_per_second, first_byte: Some(typical_first_byte) }
    }
}

prop_compose! {
    fn any_ask()(sort in 0_usize..6, most in option::of(0_u64..300_000_000), tier in option::of(0_usize..5),
        random in any::<u64>()) -> Ask {
        let preference = Preference {
            sort: Sort::ALL.get(sort).copied(),
            max_micrograms_per_million_tokens: most,
            min_tier: tier.map(|tier| Tier::ALL[tier]),
            ..Preference::default()
        };
        Ask { preference, random, ..ask(None) }
    }
}

proptest! {
    #[test]
    fn order_makes_no_difference(straight in vec(any_candidate(), 0..12), turn in 0_usize..12, ask in any_ask()) {
        let mut shuffled: Vec<Candidate> = straight.iter().rev().copied().collect();
        shuffled.rotate_left(turn.min(straight.len()));
        prop_assert_eq!(choose(shuffled, &ask), choose(straight, &ask));
    }

    #[test]
    fn filters_hold_and_nobody_is_refused_in_vain(candidates in vec(any_candidate(), 0..12), ask in any_ask()) {
        let (preference, most) = (&ask.preference, ask.preference.max_micrograms_per_million_tokens);
        let passes = |candidate: &Candidate| {
            let known = candidate.profile.filter(|profile| profile.believed);
            let carbon = known.and_then(|profile| {
                let energy = profile.attributed(WORK, &candidate.state);
                Some(micrograms_per_million_tokens(energy, profile.mg_per_kwh?, 750))
            });
            preference.min_tier.is_none_or(|tier| known.is_some_and(|profile| profile.tier <= tier))
                && most.is_none_or(|most| carbon.is_some_and(|carbon| carbon <= most))
        };
        match choose(candidates.iter().copied(), &ask) {
            Err(_) => prop_assert!(!candidates.iter().any(passes)),
            Ok(choice) => {
                let chosen = candidates.iter().find(|candidate| candidate.node == choice.node).unwrap();
                prop_assert!(passes(chosen));
                let has_room = |candidate: &Candidate| passes(candidate) && !candidate.state.is_full();
                prop_assert!(!chosen.state.is_full() || !candidates.iter().any(has_room), "another has a slot");
            }
        }
    }

    #[test]
    fn nobody_fit_costs_clearly_less(candidates in vec(any_candidate(), 1..12), random in any::<u64>()) {
        let ask = Ask { random, ..ask(Some(Sort::Energy)) };
        let choice = choose(candidates.iter().copied(), &ask).unwrap();
        let fit = candidates.iter().filter(|candidate| ask.standing(&candidate.state) == Standing::Fit);
        let least = fit.map(|candidate| ask.figure(candidate)).min();
        let most = least.map_or(u64::MAX, |least| least + least / 31);
        prop_assert!(choice.reason.figure <= most, "{} and {most}", choice.reason.figure);
    }

    #[test]
    fn a_worse_tier_loses_at_the_same_figure(tier in 0_usize..6, random in any::<u64>()) {
        let worse = Candidate { profile: Some(Profile { tier: Tier::ALL[tier], ..H100 }), ..node(2, 1) };
        let ask = Ask { random, ..ask(Some(Sort::Energy)) };
        let wins = chosen(&[node(1, 1), worse], &ask) == 2;
        prop_assert!(!wins || tier == 0, "tier {tier} at the same figure as tier A");
    }
}
