//! What nodes report of their counters, by node and pool.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use openapi::energy::Tier;
use openapi::energy::report::{EnergyReport, PoolWindow};
use openapi::units::Microjoules;
use opentelemetry::metrics::AsyncInstrument;
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_semantic_conventions::attribute::{HW_ID, HW_PARENT, HW_TYPE};
use uuid::Uuid;

use super::OTHER;
use super::tally::{Bounded, Room, Tally};

/// Nodes with a name of their own; what comes after them is counted under another.
pub(super) const MOST_NODES: usize = 10_000;
/// Of one node: pools, each as often as it has changed its tier.
const MOST_PARTS: usize = 32;
/// Series of hardware energy that there can be at most.
pub(super) const MOST_SERIES: usize = (MOST_NODES + 1) * (MOST_PARTS + 1);
/// No pool of ours has a longer name.
const LONGEST_NAME: usize = 32;

/// All nodes.
pub(super) struct Machines {
    nodes: Bounded<Uuid, Machine>,
    other: Arc<Machine>,
}

/// One node, since this program runs.
struct Machine {
    name: StringValue,
    idle: Tally,
    /// What the node says that requests took.
    settled: Tally,
    /// What its counters say that our requests took.
    attributed: Tally,
    parts: Mutex<BTreeMap<Part, Microjoules>>,
}

/// A component of a machine, or all of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    pool: Box<str>,
    /// In the hardware conventions' words; none of a whole machine.
    kind: Option<&'static str>,
    tier: Tier,
}

impl Default for Machines {
    fn default() -> Self {
        Self { nodes: Bounded::new(&Room::new(MOST_NODES)), other: Arc::new(Machine::new(OTHER)) }
    }
}

impl Machines {
    /// Takes what a node reports.
    pub(super) fn take(&self, node: Uuid, report: &EnergyReport) {
        let machine = self.nodes.get_or_insert(&node, || Machine::new(&node.to_string()));
        let machine = machine.as_ref().unwrap_or(&self.other);
        let is_alone = report.pools.len() == 1;
        for window in &report.pools {
            machine.idle.add(window.idle.get());
            machine.attributed.add((window.attributed - window.elsewhere).get());
            machine.count(window, is_alone);
        }
        report.settled.iter().for_each(|attempt| machine.settled.add(attempt.energy.microjoules.get()));
    }

    /// Joules of components.
    pub(super) fn show_energy(&self, show: &dyn AsyncInstrument<f64>) {
        self.each_part(|machine, part, microjoules| {
            if let Some(kind) = part.kind {
                let [id, parent, tier] = machine.labels(part);
                show.observe(microjoules.joules(), &[id, parent, KeyValue::new(HW_TYPE, kind), tier]);
            }
        });
    }

    /// Joules of whole machines.
    pub(super) fn show_host_energy(&self, show: &dyn AsyncInstrument<f64>) {
        self.each_part(|machine, part, microjoules| {
            if part.kind.is_none() {
                show.observe(microjoules.joules(), &machine.labels(part));
            }
        });
    }

    /// Joules while nothing was computed.
    pub(super) fn show_idle(&self, show: &dyn AsyncInstrument<f64>) {
        self.each(|machine| show.observe(machine.idle.millionths(), &[machine.label()]));
    }

    /// What requests took by the node's word, over what they took by its counters.
    pub(super) fn show_ratio(&self, show: &dyn AsyncInstrument<f64>) {
        self.each(|machine| {
            let attributed = machine.attributed.get();
            if attributed > 0 {
                show.observe(machine.settled.get() as f64 / attributed as f64, &[machine.label()]);
            }
        });
    }

    fn each(&self, visit: impl FnMut(&Machine)) {
        let mut machines = self.nodes.all();
        if !self.other.parts().is_empty() {
            machines.push(Arc::clone(&self.other));
        }
        machines.iter().map(Arc::as_ref).for_each(visit);
    }

    fn each_part(&self, mut visit: impl FnMut(&Machine, &Part, Microjoules)) {
        self.each(|machine| machine.parts().iter().for_each(|(part, sum)| visit(machine, part, *sum)));
    }
}

impl Machine {
    fn new(name: &str) -> Self {
        Self {
            name: StringValue::from(Arc::<str>::from(name)),
            idle: Tally::default(),
            settled: Tally::default(),
            attributed: Tally::default(),
            parts: Mutex::default(),
        }
    }

    fn count(&self, window: &PoolWindow, is_alone: bool) {
        let part = Part { pool: window.pool.as_str().into(), kind: kind(&window.pool, is_alone), tier: window.tier };
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let has_name = window.pool.len() <= LONGEST_NAME && parts.len() < MOST_PARTS;
        // What is mixed is as good as the worst of it.
        let other = || Part { pool: OTHER.into(), kind: Some(OTHER), tier: Tier::X };
        let part = if parts.contains_key(&part) || has_name { part } else { other() };
        let sum = parts.entry(part).or_default();
        *sum = Microjoules::new(sum.get().saturating_add(window.total().get()));
    }

    fn parts(&self) -> BTreeMap<Part, Microjoules> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn label(&self) -> KeyValue {
        KeyValue::new("node", self.name.clone())
    }

    fn labels(&self, part: &Part) -> [KeyValue; 3] {
        [
            KeyValue::new(HW_ID, format!("{}/{}", self.name, part.pool)),
            KeyValue::new(HW_PARENT, self.name.clone()),
            KeyValue::new("tier", part.tier.letter()),
        ]
    }
}

/// What a pool is. The estimate of a machine stands for all of it only where nothing else is metered beside it.
fn kind(pool: &str, is_alone: bool) -> Option<&'static str> {
    match pool.split_once('-').map_or(pool, |(kind, _)| kind) {
        "gpu" => Some("gpu"),
        "package" => Some("cpu"),
        "dram" => Some("memory"),
        "wall" | "platform" => None,
        "machine" => (!is_alone).then_some("machine"),
        _ => Some(OTHER),
    }
}
