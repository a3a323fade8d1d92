//! The node's own attribution, window by window as the node does it: what was learned so far divides the next one.

use std::time::{Duration, Instant};

use provider::energy::attribute::{BUCKETS, Calibration, Coefficients, Member, Step, StepKind, TaskId, Window, divide};

use super::rules::{self, Given};
use super::scenario::{self, CONTEXT_COST, Scenario};
use provider::energy::interval::Profile;

/// The guess at how much dearer a token becomes with what is before it, as a part of the truth.
const GUESSED_CONTEXT: f64 = 0.7;

/// What it has given in all.
pub(crate) struct Attributed {
    pub(crate) given: Given,
    /// How each request's power went.
    pub(crate) profiles: Vec<Profile>,
    /// Microjoules that the counter has moved, and those that were given to requests and to nobody.
    pub(crate) moved: u64,
    pub(crate) booked: u64,
}

/// Plays a scenario to it. It begins with a guess at what steps cost.
pub(crate) fn attributed(scenario: &Scenario, guess: rules::Coefficients) -> Attributed {
    let began = Instant::now();
    let steps: Vec<Step> = scenario.steps.iter().map(|step| told(began, step)).collect();
    let mut calibration = Calibration::new(prior(guess));
    let mut shares = vec![0; scenario.requests.len()];
    let mut profiles = vec![Profile::default(); scenario.requests.len()];
    let (mut moved, mut idle) = (0, 0);
    for (window, seen) in windows(began, scenario) {
        let known = match seen.steps[..] {
            [] => &[],
            [(first, _), ..] => &steps[first..first + seen.steps.len()],
        };
        let division = divide(&window, known, &calibration.coefficients());
        calibration.learn(&window, known);
        moved += window.microjoules;
        idle += division.idle_microjoules;
        for (task, part) in division.parts {
            shares[task as usize] += part.microjoules;
            profiles[task as usize].add((seen.from, seen.to), joules(part.microjoules));
        }
    }
    let booked = shares.iter().sum::<u64>() + idle;
    let given = Given { requests: shares.into_iter().map(joules).collect(), idle: joules(idle) };
    Attributed { given, profiles, moved, booked }
}

fn prior(guess: rules::Coefficients) -> Coefficients {
    Coefficients {
        fixed: guess.step,
        decode: guess.sequence,
        context: CONTEXT_COST * GUESSED_CONTEXT,
        prefill: guess.prompt_token,
        idle_watts: guess.idle,
        buckets: [None; BUCKETS],
    }
}

fn told(began: Instant, step: &scenario::Step) -> Step {
    let member =
        |one: &scenario::Member| Member { task: one.request as TaskId, tokens: one.tokens, context: one.context };
    Step {
        from: at(began, step.from),
        to: at(began, step.to),
        kind: match step.kind {
            scenario::Kind::Prefill => StepKind::Prefill,
            scenario::Kind::Decode => StepKind::Decode,
        },
        weight_milli: 1_000,
        members: step.members.iter().map(member).collect(),
    }
}

/// The windows as the node sees them. The counter is rounded, not what it moves, so that nothing is lost.
fn windows(began: Instant, scenario: &Scenario) -> impl Iterator<Item = (Window, &super::counter::Window)> {
    let (mut total, mut shown) = (0.0, 0);
    scenario.windows.iter().map(move |seen| {
        total += seen.joules * 1e6;
        let microjoules = total.round() as u64 - shown;
        shown += microjoules;
        (Window { from: at(began, seen.from), to: at(began, seen.to), microjoules, foreign_microjoules: 0 }, seen)
    })
}

fn at(began: Instant, seconds: f64) -> Instant {
    began + Duration::from_secs_f64(seconds)
}

fn joules(microjoules: u64) -> f64 {
    microjoules as f64 / 1e6
}
