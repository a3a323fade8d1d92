//! Routing by carbon, replayed: two days, twenty nodes on ten grids, and the gateway's own choice against others'.
//!
//! Counted is what steps, prompts and waking take at the site. What machines draw while nothing runs is not: they are
//! there whoever gets the work.

mod bound;

mod fleet;

mod node;

mod policy;

mod trace;

use std::time::{Duration, Instant};

use fleet::Machine;
use gateway::nodes::choose::{Ask, Candidate, choose};
use gateway::nodes::marginal::{HONEST, State, Work};
use gateway::nodes::preference::{Preference, Sort};
use node::{Node, Request, Served};
use openapi::units::Nanocredits;
use policy::{OBJECTIVE, Policy, TYPICAL_COMPLETION};
use trace::{SECONDS_PER_STEP, STEPS};
use uuid::Uuid;

const SEED: u64 = 20_261_101;
/// Requests a second over the day: hardly any, some, and so many that the clean nodes do not suffice at noon.
const LOADS: [f64; 3] = [0.5, 2.0, 4.0];
/// The oracle is the best of these in hindsight.
const PATIENCE: [f64; 3] = [0.03, 0.1, 0.5];

/// Poisson arrivals with a daily shape, and lognormal lengths.
fn arrivals(per_second: f64, chance: &mut fastrand::Rng) -> Vec<Request> {
    let (mut at, mut requests) = (0.0, Vec::new());
    let busiest = per_second * 1.6;
    loop {
        at -= (1.0 - chance.f64()).ln() / busiest;
        if at >= STEPS as f64 * SECONDS_PER_STEP {
            return requests;
        }
        let rate = per_second * (1.0 - 0.6 * (at / 86_400.0 * std::f64::consts::TAU).cos());
        if chance.f64() * busiest < rate {
            let completion = lognormal(TYPICAL_COMPLETION as f64, 0.7, chance).min(2_000);
            requests.push(Request { at, prompt: lognormal(500.0, 0.8, chance).min(4_000), completion });
        }
    }
}

/// A length from the distribution with this mean and this deviation of the logarithm.
fn lognormal(mean: f64, deviation: f64, chance: &mut fastrand::Rng) -> u32 {
    let normal = (-2.0 * (1.0 - chance.f64()).ln()).sqrt() * (chance.f64() * std::f64::consts::TAU).cos();
    (mean * (deviation * normal - deviation * deviation / 2.0).exp()).max(1.0) as u32
}

/// What a policy made of the two days.
struct Outcome {
    grams: f64,
    megajoules: f64,
    /// Seconds, in ascending order.
    waits: Vec<f64>,
    first_bytes: Vec<f64>,
}

fn replay(machines: &[Machine], requests: &[Request], policy: Policy) -> Outcome {
    let (mut chance, mut served) = (fastrand::Rng::with_seed(SEED), Vec::with_capacity(requests.len()));
    let mut nodes: Vec<Node<'_>> = machines.iter().map(Node::new).collect();
    let mut rest = requests.iter().peekable();
    for step in 0..STEPS {
        nodes.iter_mut().for_each(|node| node.set_intensity(node.machine.trace[step]));
        let end = (step + 1) as f64 * SECONDS_PER_STEP;
        while let Some(request) = rest.next_if(|request| request.at < end) {
            for node in &mut nodes {
                node.advance(request.at, &mut served);
                node.observe();
            }
            let chosen = policy.pick(&nodes, request, &mut chance);
            nodes[chosen].accept(*request, &mut served);
        }
        nodes.iter_mut().for_each(|node| node.advance(end, &mut served));
    }
    // Whatever still runs ends on the grid of the last half hour.
    nodes.iter_mut().for_each(|node| node.advance(f64::INFINITY, &mut served));
    let total = |of: fn(&Node<'_>) -> f64| nodes.iter().map(of).sum::<f64>();
    let sorted = |of: fn(&Served) -> f64| {
        let mut seconds: Vec<f64> = served.iter().map(of).collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    };
    Outcome {
        grams: total(|node| node.grams),
        megajoules: total(|node| node.joules) / 1e6,
        waits: sorted(|served| served.wait),
        first_bytes: sorted(|served| served.first_byte),
    }
}

/// In milliseconds.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize] * 1e3
}

/// One load, all policies.
struct Comparison {
    bound: f64,
    outcomes: Vec<(&'static str, Outcome)>,
    oracle: f64,
}

fn compare(per_second: f64) -> Comparison {
    let mut chance = fastrand::Rng::with_seed(SEED);
    let machines = fleet::fleet(&mut chance);
    let requests = arrivals(per_second, &mut chance);
    let named = [
        ("random", Policy::Random),
        ("least loaded", Policy::LeastLoaded),
        ("lowest average energy", Policy::LowestAverage),
        ("ours, energy", Policy::Energy),
        ("ours, carbon by yearly mean", Policy::CarbonByYear),
        ("ours, carbon", Policy::Carbon),
    ];
    let foreseeing = PATIENCE.map(|patience| ("oracle", Policy::Clairvoyant { patience }));
    let (machines, requests) = (&machines, &requests);
    let mut outcomes: Vec<(&str, Outcome)> = std::thread::scope(|scope| {
        let run = |(name, policy)| scope.spawn(move || (name, replay(machines, requests, policy)));
        let running: Vec<_> = named.into_iter().chain(foreseeing).map(run).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut oracles = outcomes.split_off(named.len());
    oracles.sort_by(|(_, one), (_, other)| one.grams.total_cmp(&other.grams));
    oracles.truncate(1);
    outcomes.append(&mut oracles);
    let oracle = outcomes[named.len()].1.grams;
    Comparison { bound: bound::fluid(machines, requests), outcomes, oracle }
}

impl Comparison {
    fn of(&self, name: &str) -> &Outcome {
        let found = self.outcomes.iter().find(|(other, _)| *other == name);
        &found.unwrap_or(&self.outcomes[0]).1
    }

    /// The part of the saving from this policy to so many grams that ours makes, in per cent.
    fn share(&self, from: &str, to: f64) -> f64 {
        let from = self.of(from).grams;
        (from - self.of("ours, carbon").grams) / (from - to) * 100.0
    }

    fn table(&self) -> String {
        let mut table = "| policy | gCO₂e | MJ | wait ms, median | p95 | first byte ms, median | p95 |\n".to_owned();
        table += "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
        for (name, outcome) in &self.outcomes {
            let (waits, first) = (&outcome.waits, &outcome.first_bytes);
            let [wait, slow_wait] = [0.5, 0.95].map(|part| quantile(waits, part));
            let [median, slow] = [0.5, 0.95].map(|part| quantile(first, part));
            let (grams, megajoules) = (outcome.grams, outcome.megajoules);
            table += &format!(
                "| {name} | {grams:.1} | {megajoules:.1} | {wait:.0} | {slow_wait:.0} | {median:.0} | {slow:.0} |\n"
            );
        }
        table + &format!("| fluid bound | {:.1} | | | | | |\n", self.bound)
    }
}

/// Microseconds for a choice among ten thousand nodes.
fn microseconds_among_ten_thousand() -> u128 {
    const ROUNDS: u32 = 200;
    let mut chance = fastrand::Rng::with_seed(SEED);
    let machines = fleet::fleet(&mut chance);
    let candidate = |number: u128| Candidate {
        node: Uuid::from_u128(number << 64 | u128::from(chance.u64(..))),
        profile: Some(machines[number as usize % machines.len()].profile(chance.u64(20_000..900_000))),
        state: State {
            running: chance.u32(0..16),
            slots: 16,
            typical_first_byte: Duration::from_millis(chance.u64(0..1_500)),
            handicap_ppm: HONEST,
        },
        price: Nanocredits::ZERO,
        tokens_per_second: 0,
        first_byte: None,
    };
    let candidates: Vec<Candidate> = (0..10_000).map(candidate).collect();
    let mut ask = Ask {
        preference: Preference { sort: Some(Sort::Carbon), ..Preference::default() },
        work: Work { prompt: 500, completion: TYPICAL_COMPLETION },
        latency_objective: OBJECTIVE,
        usual_first_byte: std::time::Duration::ZERO,
        stand_in: machines[0].profile(900_000),
        random: 0,
    };
    let start = Instant::now();
    for random in 0..ROUNDS {
        ask.random = random.into();
        std::hint::black_box(choose(candidates.iter().copied(), &ask).is_ok());
    }
    (start.elapsed() / ROUNDS).as_micros()
}

#[test]
fn routing_by_carbon_saves_nine_tenths_of_what_foresight_would() {
    for per_second in LOADS {
        let comparison = compare(per_second);
        let ours = comparison.of("ours, carbon");
        let (oracle, bound) = (comparison.oracle, comparison.bound);
        let shares = ["least loaded", "lowest average energy"].map(|from| comparison.share(from, oracle));
        let of_bound = comparison.share("least loaded", bound);
        println!("\n{per_second} requests/s, {} in two days, synthetic grids:\n", ours.waits.len());
        println!("{}", comparison.table());
        println!(
            "Saved, of what the oracle saves: {:.1} % from least loaded, {:.1} % from lowest average energy.",
            shares[0], shares[1]
        );
        println!(
            "Of what the fluid bound would save from least loaded: {of_bound:.1} %. Grams over the oracle's: {:.3}.",
            ours.grams / oracle
        );

        assert!(shares.iter().all(|share| *share >= 90.0), "{shares:?}");
        assert!(of_bound >= 90.0, "{of_bound}");
        assert!(ours.grams <= oracle * 1.1, "{} and {oracle}", ours.grams);
        let least_loaded = comparison.of("least loaded");
        let [median, usual] = [ours, least_loaded].map(|outcome| quantile(&outcome.first_bytes, 0.5));
        assert!(
            median <= usual + 100.0,
            "half of all first bytes come {median} ms after the request, instead of {usual}"
        );
        let slow = quantile(&ours.first_bytes, 0.95);
        assert!(slow <= OBJECTIVE.as_secs_f64() * 1e3, "{slow}");
        let slow_wait = quantile(&ours.waits, 0.95);
        assert!(slow_wait < 1.0, "slots are free, and yet one waits {slow_wait} ms");
    }
    println!("\nA choice among 10 000 nodes takes {} µs.", microseconds_among_ten_thousand());
}
