//! Twenty nodes of one class, their work and what it takes.

use fastrand::Rng;
use gateway::energy::honesty::bounds::{Instructions, Machine, Model, Work};
use gateway::energy::honesty::classes::{Class, batch_bucket};
use gateway::energy::honesty::verdict::Verdict;
use gateway::energy::honesty::{Judge, Settled};
use openapi::energy::{Boundary, Energy, Tier};
use openapi::hardware::steps::steps;
use openapi::hardware::{Precision, Step, device};
use openapi::units::{Microjoules, Microseconds};
use uuid::Uuid;

pub(super) const NODES: usize = 20;
/// Deviations of the logarithm: of nodes, and of claims around their node.
const NODE_SPREAD: f64 = 0.15;
const CLAIM_NOISE: f64 = 0.10;
/// How much the length of prompts differs from one node's customers to another's.
const CUSTOMERS: f64 = 0.3;
/// What a token of a prompt takes of what one of the answer does.
const PROMPT: f64 = 0.35;
const BATCH: f64 = 8.0;

/// What a node does to its claims: a factor for the number of the request, from 0.
pub(super) type Lie = fn(usize) -> f64;

/// An honest node.
pub(super) const HONEST: Lie = |_| 1.0;

struct Node {
    id: Uuid,
    /// What it takes of what its class does.
    thrift: f64,
    prompts: f64,
    lie: Lie,
}

/// A class of nodes, and who judges them.
pub(super) struct Federation {
    pub(super) judge: Judge,
    random: Rng,
    step: &'static Step,
    class: Class,
    pub(super) machine: Machine,
    pub(super) model: Model,
    nodes: Vec<Node>,
    energy: Energy,
}

impl Federation {
    /// Nodes of which the first ones lie.
    pub(super) fn new(seed: u64, liars: usize, lie: Lie) -> Self {
        let mut random = Rng::with_seed(seed);
        let dense: Vec<&Step> = steps().iter().filter(|step| step.parameters == step.active_parameters).collect();
        let step = dense[random.usize(..dense.len())];
        let class = Class {
            device: format!("{} x{}", step.class, step.devices),
            model: step.model.to_owned(),
            quantisation: format!("{:?}", step.precision),
            batch_bucket: batch_bucket(BATCH),
            boundary: Boundary::Device,
        };
        let device = device(step.class).unwrap();
        let machine = Machine {
            device: Some(device),
            instructions: Instructions::Unknown,
            power_limit_milliwatts: device.tdp_milliwatts,
            processors: u64::from(step.devices),
        };
        let bytes = if step.precision == Precision::Sixteen { 2 } else { 1 };
        let (parameters, precision) = (step.active_parameters, step.precision);
        let model = Model { parameters, weight_bytes: parameters * bytes, precision };
        let mut node = |at: usize| Node {
            id: Uuid::from_u128(at as u128),
            thrift: (NODE_SPREAD * normal(&mut random)).exp(),
            prompts: (CUSTOMERS * normal(&mut random)).exp(),
            lie: if at < liars { lie } else { HONEST },
        };
        let nodes = (0..NODES).map(&mut node).collect();
        Self { judge: Judge::default(), random, step, class, machine, model, nodes, energy: energy(0) }
    }

    /// A request of one node: what the judge says of its claim.
    pub(super) fn request(&mut self, node: usize, number: usize) -> Vec<Verdict> {
        let (work, batch) = self.work(node);
        let truth = self.takes(&work, batch) * self.nodes[node].thrift * (CLAIM_NOISE * normal(&mut self.random)).exp();
        self.claim(node, &work, batch, truth * (self.nodes[node].lie)(number))
    }

    /// What the judge says of a claim.
    pub(super) fn claim(&mut self, node: usize, work: &Work, batch: f64, microjoules: f64) -> Vec<Verdict> {
        let microjoules = Microjoules::new(microjoules as u64);
        self.energy.microjoules = microjoules;
        (self.energy.low_microjoules, self.energy.high_microjoules) = (microjoules, microjoules);
        self.judge.observe_settled(&Settled {
            node: self.nodes[node].id,
            class: &self.class,
            machine: &self.machine,
            model: &self.model,
            work: *work,
            batch,
            claim: Some(&self.energy),
            is_canary: false,
            at: Microseconds::ZERO,
        })
    }

    /// Some work with how many ran at once meanwhile.
    pub(super) fn work(&mut self, node: usize) -> (Work, f64) {
        let random = &mut self.random;
        let mut length =
            |median: f64, spread: f64, most: f64| (median * (spread * normal(random)).exp()).clamp(8.0, most) as u64;
        let prompt_tokens = length(200.0 * self.nodes[node].prompts, 1.0, 4_000.0);
        let completion_tokens = length(200.0, 0.9, 2_000.0);
        let busy = Microseconds::new(500_000 + completion_tokens * 80_000);
        let work = Work { prompt_tokens, cached_tokens: 0, completion_tokens, busy, tokens_per_step: 64 };
        (work, BATCH * (0.8 + 0.4 * self.random.f64()))
    }

    /// Microjoules that the class takes for work.
    fn takes(&self, work: &Work, batch: f64) -> f64 {
        let each = self.step.microjoules_per_sequence as f64;
        let tokens = work.completion_tokens as f64 + PROMPT * work.prompt_tokens as f64;
        self.step.fixed_microjoules as f64 * work.completion_tokens as f64 / batch + each * tokens
    }

    /// True while the node is believed.
    pub(super) fn believed(&self, node: usize) -> bool {
        self.judge.standing(self.nodes[node].id).believed
    }
}

/// A measured claim.
pub(super) fn energy(microjoules: u64) -> Energy {
    let claim = serde_json::json!({
        "microjoules": microjoules, "low_microjoules": microjoules, "high_microjoules": microjoules,
        "marginal_microjoules": 0, "prefill_microjoules": 0, "tier": Tier::B, "boundary": Boundary::Device,
        "method": "test/1", "settled": true,
    });
    serde_json::from_value(claim).unwrap()
}

/// A standard normal variable, after Box and Muller.
pub(super) fn normal(random: &mut Rng) -> f64 {
    (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}
