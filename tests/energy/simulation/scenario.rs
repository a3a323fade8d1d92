//! A made-up machine that serves made-up requests, and of which everything is known: what each request has truly cost,
//! and what a counter with a lag and noise has shown of it.
//!
//! Requests arrive by chance, with lengths whose logarithms are normally distributed. The scheduler computes prompts
//! before it decodes, as continuous batching does. What a request truly costs is its Shapley value in every step it was
//! in: an equal part of what is fixed, and its own part of the rest.

use std::collections::VecDeque;

use super::counter::{self, Window};
use super::random::Random;

/// Joules of a step, whoever is in it. This and the next three are the fit to Llama-3.1-8B on an H100 in ML.ENERGY's
/// benchmark (v3): 8 to 691 sequences, R² 0.999.
pub(crate) const STEP_JOULES: f64 = 3.27;
/// Joules of one sequence in a decode step.
pub(crate) const SEQUENCE_JOULES: f64 = 0.0656;
const STEP_SECONDS: f64 = 0.0062;
const SEQUENCE_SECONDS: f64 = 0.000_093;
/// Joules of one token of a prompt.
pub(crate) const PROMPT_TOKEN_JOULES: f64 = 0.0226;
const PROMPT_TOKEN_SECONDS: f64 = 32e-6;
/// Watts while nothing is computed.
pub(crate) const IDLE_WATTS: f64 = 110.0;
/// So much more a sequence costs for every thousand tokens that it attends to.
pub(crate) const CONTEXT_COST: f64 = 0.15;
/// Tokens of prompts that one step takes.
const PROMPT_BUDGET: u32 = 4096;
/// Nobody arrives in the last seconds.
const TAIL_SECONDS: f64 = 20.0;

/// What is different from one scenario to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    /// Arrivals per second.
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    /// Seconds between two updates of the counter.
    pub(crate) refresh: f64,
    /// The counter shows what was true up to so many seconds ago.
    pub(crate) lag: f64,
    /// Standard deviation of what the counter moves, relative to it.
    pub(crate) noise: f64,
    /// A batch of n costs as much as n to this power. Below 1 it is concave, as a mixture of experts is.
    pub(crate) exponent: f64,
}

impl Setting {
    /// Three minutes with a counter that is refreshed ten times a second.
    pub(crate) const fn of(seed: u64, rate: f64) -> Self {
        Self { seed, rate, seconds: 180.0, refresh: 0.1, lag: 0.03, noise: 0.0, exponent: 0.97 }
    }
}

/// One request, times in seconds since the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) arrival: f64,
    pub(crate) prompt: u32,
    pub(crate) output: u32,
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// What it has truly cost, in joules.
    pub(crate) truth: f64,
    left: u32,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Prefill,
    Decode,
}

/// A request in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Its index.
    pub(crate) request: usize,
    /// Computed in this step: the whole prompt, or one token of the answer.
    pub(crate) tokens: u32,
    /// Computed before this step.
    pub(crate) context: u32,
}

/// One pass of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) kind: Kind,
    pub(crate) members: Vec<Member>,
    pub(crate) joules: f64,
}

/// All that has happened.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) setting: Setting,
    pub(crate) requests: Vec<Request>,
    pub(crate) steps: Vec<Step>,
    /// When nothing was computed: from, to.
    pub(crate) idle: Vec<(f64, f64)>,
    /// What the counter has shown.
    pub(crate) windows: Vec<Window>,
}

impl Scenario {
    /// Plays it.
    pub(crate) fn play(setting: Setting) -> Self {
        let mut random = Random::seeded(setting.seed);
        let mut engine = Engine::new(&setting, &mut random);
        engine.run(&mut random);
        let Engine { requests, steps, idle, .. } = engine;
        let windows = counter::read(&setting, &steps, &idle, &mut random);
        Self { setting, requests, steps, idle, windows }
    }

    /// The same with so many windows of the counter put together into one each.
    pub(crate) fn coarser(self, count: usize) -> Self {
        let refresh = self.setting.refresh * count as f64;
        let windows = counter::together(&self.windows, count);
        Self { setting: Setting { refresh, ..self.setting }, windows, ..self }
    }

    /// Members of a step, on average.
    pub(crate) fn mean_batch(&self) -> f64 {
        self.steps.iter().map(|step| step.members.len()).sum::<usize>() as f64 / self.steps.len() as f64
    }

    /// What the counter has moved, in joules.
    pub(crate) fn measured(&self) -> f64 {
        self.windows.iter().map(|window| window.joules).sum()
    }
}

struct Engine {
    exponent: f64,
    requests: Vec<Request>,
    arrived: usize,
    waiting: VecDeque<usize>,
    running: Vec<usize>,
    now: f64,
    steps: Vec<Step>,
    idle: Vec<(f64, f64)>,
}

impl Engine {
    fn new(setting: &Setting, random: &mut Random) -> Self {
        let mut requests = Vec::new();
        let mut arrival = 0.0;
        while arrival < setting.seconds - TAIL_SECONDS {
            arrival += random.expovariate(setting.rate);
            let prompt = random.lognormvariate(200.0_f64.ln(), 1.0).clamp(8.0, 4000.0) as u32;
            let output = random.lognormvariate(200.0_f64.ln(), 0.9).clamp(4.0, 2000.0) as u32;
            requests.push(Request { arrival, prompt, output, start: 0.0, end: 0.0, truth: 0.0, left: output });
        }
        Self {
            exponent: setting.exponent,
            requests,
            arrived: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            now: 0.0,
            steps: Vec::new(),
            idle: Vec::new(),
        }
    }

    fn run(&mut self, random: &mut Random) {
        loop {
            while self.requests.get(self.arrived).is_some_and(|next| next.arrival <= self.now) {
                self.waiting.push_back(self.arrived);
                self.arrived += 1;
            }
            if !self.waiting.is_empty() {
                self.prefill(random);
            } else if !self.running.is_empty() {
                self.decode(random);
            } else if let Some(next) = self.requests.get(self.arrived) {
                self.idle.push((self.now, next.arrival));
                self.now = next.arrival;
            } else {
                return;
            }
        }
    }

    /// Computes the prompts of those who wait, as many as fit.
    fn prefill(&mut self, random: &mut Random) {
        let (mut members, mut tokens) = (Vec::new(), 0);
        while let Some(&request) = self.waiting.front() {
            let prompt = self.requests[request].prompt;
            if !members.is_empty() && tokens + prompt > PROMPT_BUDGET {
                break;
            }
            self.waiting.pop_front();
            members.push(Member { request, tokens: prompt, context: 0 });
            tokens += prompt;
        }
        let joules = STEP_JOULES + PROMPT_TOKEN_JOULES * f64::from(tokens) * random.uniform(0.95, 1.05);
        let fixed = STEP_JOULES / members.len() as f64;
        for member in &members {
            let request = &mut self.requests[member.request];
            request.truth += fixed + (joules - STEP_JOULES) * f64::from(member.tokens) / f64::from(tokens);
            request.start = self.now;
        }
        self.running.extend(members.iter().map(|member| member.request));
        self.record(Kind::Prefill, members, joules, STEP_SECONDS + PROMPT_TOKEN_SECONDS * f64::from(tokens));
    }

    /// Computes one token for everybody who runs.
    fn decode(&mut self, random: &mut Random) {
        let member = |&request: &usize| {
            let Request { prompt, output, left, .. } = &self.requests[request];
            Member { request, tokens: 1, context: prompt + output - left }
        };
        let members: Vec<Member> = self.running.iter().map(member).collect();
        let batch = members.len() as f64;
        let costs: Vec<f64> = members.iter().map(|one| 1.0 + CONTEXT_COST * f64::from(one.context) / 1000.0).collect();
        let cost: f64 = costs.iter().sum();
        let variable = SEQUENCE_JOULES * cost * batch.powf(self.exponent - 1.0);
        let joules = STEP_JOULES * random.uniform(0.97, 1.03) + variable;
        for (member, own) in members.iter().zip(costs) {
            let request = &mut self.requests[member.request];
            request.truth += (joules - variable) / batch + variable * own / cost;
            request.left -= 1;
        }
        self.record(Kind::Decode, members, joules, STEP_SECONDS + SEQUENCE_SECONDS * batch);
        let (requests, now) = (&mut self.requests, self.now);
        self.running.retain(|&request| {
            let request = &mut requests[request];
            request.end = now;
            request.left > 0
        });
    }

    fn record(&mut self, kind: Kind, members: Vec<Member>, joules: f64, seconds: f64) {
        let from = self.now;
        self.now += seconds;
        self.steps.push(Step { from, to: self.now, kind, members, joules });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_was_spent_was_somebodys_or_idle() {
        let scenario = Scenario::play(Setting::of(7, 3.0));
        let truth: f64 = scenario.requests.iter().map(|request| request.truth).sum();
        let steps: f64 = scenario.steps.iter().map(|step| step.joules).sum();
        let idle: f64 = scenario.idle.iter().map(|(from, to)| IDLE_WATTS * (to - from)).sum();
        assert!((truth / steps - 1.0).abs() < 1e-9, "{truth} J of {steps} J");
        assert!((scenario.measured() / (steps + idle) - 1.0).abs() < 1e-9, "a counter without noise shows all");
    }

    #[test]
    fn requests_come_wait_run_and_end() {
        let scenario = Scenario::play(Setting::of(7, 3.0));
        for (at, request) in scenario.requests.iter().enumerate() {
            assert!(request.arrival <= request.start && request.start < request.end && request.left == 0);
            let tokens = |kind| {
                let steps = scenario.steps.iter().filter(move |step| step.kind == kind);
                steps.flat_map(|step| &step.members).filter(|one| one.request == at).map(|one| one.tokens).sum::<u32>()
            };
            assert_eq!((tokens(Kind::Prefill), tokens(Kind::Decode)), (request.prompt, request.output));
        }
        assert!(scenario.steps.windows(2).all(|two| two[0].to <= two[1].from), "one step at a time");
    }
}
