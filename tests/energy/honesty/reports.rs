//! Lies in the reports of counter windows.

use fastrand::Rng;
use gateway::energy::honesty::bounds::{Instructions, Machine};
use gateway::energy::honesty::verdict::Kind;
use gateway::energy::honesty::{Judge, Reported};
use openapi::energy::report::{EnergyReport, PoolWindow, SettledAttempt};
use openapi::energy::{Boundary, StepCosts, Tier};
use openapi::hardware::device;
use openapi::units::{Microjoules, Microseconds};
use uuid::Uuid;

use super::federation::energy;

/// Windows of a run, and the one at which a lie begins.
const WINDOWS: u64 = 200;
const BEGINNING: u64 = 50;
/// Honest nodes.
const HONEST_RUNS: u64 = 1_000;
const SECOND: u64 = 1_000_000;

/// What a node does to its report of this number.
type Lie = fn(&mut EnergyReport, u64);

/// A node that runs and reports every second.
struct Node {
    random: Rng,
    /// The node's clock beside the gateway's, in microseconds.
    clock: u64,
    sequence: u64,
    counter: u64,
    /// Attempts: how many windows each still runs, what it has drawn, and when it began by the gateway's clock.
    running: Vec<(u64, u64, Microseconds)>,
    now: u64,
    ended: u64,
}

impl Node {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let clock = random.u64(0..100_000);
        Self { random, clock, sequence: 0, counter: 0, running: Vec::new(), now: 1_000 * SECOND, ended: 0 }
    }

    /// The report of the next second, and when the oldest attempt began that it has not settled.
    fn second(&mut self) -> (EnergyReport, Option<Microseconds>) {
        for _ in 0..self.random.u64(0..4) {
            if self.running.len() < 8 && self.random.bool() {
                self.running.push((self.random.u64(1..8), 0, Microseconds::new(self.now)));
            }
        }
        let from = self.now;
        self.now += SECOND;
        self.sequence += 1;
        let computes = !self.running.is_empty();
        let total =
            if computes { 300_000_000 + self.random.u64(0..300_000_000) } else { 90_000_000 + self.random.u64(0..999) };
        let foreign = self.random.u64(0..total / 20);
        let (attributed, idle) = if computes { (total - foreign, 0) } else { (0, total - foreign) };
        let heads = self.running.len() as u64;
        for (at, attempt) in self.running.iter_mut().enumerate() {
            attempt.1 += attributed / heads + u64::from((at as u64) < attributed % heads);
            attempt.0 -= 1;
        }
        let (done, running): (Vec<_>, Vec<_>) = self.running.drain(..).partition(|attempt| attempt.0 == 0);
        self.running = running;
        let settled = done.iter().map(|attempt| self.settle(attempt.1)).collect();
        let window = PoolWindow {
            pool: "gpu-0".to_owned(),
            tier: Tier::B,
            boundary: Boundary::Device,
            counter_from: Microjoules::new(self.counter),
            counter_to: Microjoules::new(self.counter + total),
            attributed: Microjoules::new(attributed),
            elsewhere: Microjoules::ZERO,
            idle: Microjoules::new(idle),
            foreign: Microjoules::new(foreign),
        };
        self.counter += total;
        let report = EnergyReport {
            sequence: self.sequence,
            previous: (self.sequence - 1).to_string(),
            from: Microseconds::new(from + self.clock),
            to: Microseconds::new(self.now + self.clock),
            busy_microseconds: Microseconds::new(if computes { SECOND } else { 0 }),
            pools: vec![window],
            costs: StepCosts::default(),
            grid: None,
            settled,
        };
        (report, self.running.iter().map(|attempt| attempt.2).min())
    }

    fn settle(&mut self, microjoules: u64) -> SettledAttempt {
        self.ended += 1;
        SettledAttempt { request: Uuid::from_u128(u128::from(self.ended)), attempt: 1, energy: energy(microjoules) }
    }
}

fn machine() -> Machine {
    let device = device("nvidia-h100-sxm");
    Machine { device, instructions: Instructions::Unknown, power_limit_milliwatts: 700_000, processors: 1 }
}

fn told(
    judge: &mut Judge,
    node: u128,
    report: &EnergyReport,
    running: Option<Microseconds>,
    now: u64,
) -> Vec<(Uuid, Kind)> {
    let verdicts = judge.observe_report(&Reported {
        node: Uuid::from_u128(node),
        report,
        digest: &report.sequence.to_string(),
        machine: &machine(),
        oldest_running: running,
        at: Microseconds::new(now),
    });
    verdicts.into_iter().map(|verdict| (verdict.node, verdict.kind)).collect()
}

/// The windows of lying after which each of 100 nodes was found at this.
fn found(kind: Kind, lie: Lie) -> Vec<u64> {
    let run = |seed| {
        let (mut judge, mut node) = (Judge::default(), Node::new(seed));
        for number in 0..WINDOWS {
            let (mut report, running) = node.second();
            if number >= BEGINNING {
                lie(&mut report, number);
            }
            let kinds = told(&mut judge, 1, &report, running, node.now);
            assert!(number >= BEGINNING || kinds.is_empty(), "{kinds:?}");
            if kinds.iter().any(|(_, found)| *found == kind) {
                return number + 1 - BEGINNING;
            }
        }
        panic!("{kind:?} is not found");
    };
    let mut found: Vec<u64> = (0..100).map(run).collect();
    found.sort_unstable();
    found
}

/// Moves a part of what was attributed to attempts elsewhere, and tells them less accordingly.
fn hide(report: &mut EnergyReport, part: u64, place: fn(&mut PoolWindow) -> &mut Microjoules) {
    let pool = &mut report.pools[0];
    let hidden = Microjoules::new(pool.attributed.get() / 100 * part);
    pool.attributed = pool.attributed - hidden;
    *place(pool) += hidden;
}

fn row(what: &str, kind: Kind, windows: &[u64]) {
    let (half, last) = (windows[windows.len() / 2], windows[windows.len() - 1]);
    println!("| {what} | {kind:?}, {:?} | {} of 100 | {half} | {last} |", kind.severity(), windows.len());
    assert!(last <= 100, "{what}");
}

#[test]
fn lies_in_reports_are_found() {
    println!("| lie | verdict | found | half by window | all by window |\n|---|---|---|---|---|");
    let lies: [(&str, Kind, Lie); 9] = [
        ("half of the joules are foreign", Kind::MuchForeign, |report, _| hide(report, 50, |pool| &mut pool.foreign)),
        ("a tenth of the joules is idle", Kind::Unbalanced, |report, _| hide(report, 10, |pool| &mut pool.idle)),
        ("attempts are told half", Kind::Unbalanced, |report, _| {
            for attempt in &mut report.settled {
                attempt.energy.microjoules = Microjoules::new(attempt.energy.microjoules.get() / 2);
            }
        }),
        ("the counter is frozen", Kind::TooLittlePower, |report, _| {
            let pool = &mut report.pools[0];
            (pool.counter_to, pool.attributed) = (pool.counter_from, Microjoules::ZERO);
            (pool.idle, pool.foreign) = (Microjoules::ZERO, Microjoules::ZERO);
        }),
        ("one report is sent again", Kind::Replayed, |report, number| {
            report.sequence -= u64::from(number == BEGINNING)
        }),
        ("one report is left out", Kind::MissingReport, |report, _| report.sequence += 1),
        ("half a second is left out", Kind::Gap, |report, _| {
            report.from += Microseconds::new(SECOND / 2);
            report.busy_microseconds = report.busy_microseconds - Microseconds::new(SECOND / 2);
        }),
        ("the clock jumps ahead", Kind::ClockAhead, |report, _| report.to += Microseconds::new(SECOND)),
        ("the counter is set back", Kind::BrokenCounter, |report, _| {
            let pool = &mut report.pools[0];
            pool.counter_from = pool.counter_from - Microjoules::new(1);
            pool.idle += Microjoules::new(1);
        }),
    ];
    for (what, kind, lie) in lies {
        row(what, kind, &found(kind, lie));
    }
    let windows: Vec<u64> = (0..100).map(one_meter).collect();
    row("two nodes on one meter", Kind::SharedMeter, &windows);
}

/// The window by which two nodes that read one meter are found, each with attempts of its own.
fn one_meter(seed: u64) -> u64 {
    let (mut judge, mut node) = (Judge::default(), Node::new(seed));
    for number in 1..=WINDOWS {
        let (report, running) = node.second();
        let mut copy = EnergyReport { settled: Vec::new(), ..report.clone() };
        let pool = &mut copy.pools[0];
        pool.foreign += std::mem::take(&mut pool.attributed);
        copy.busy_microseconds = Microseconds::ZERO;
        let mut kinds = told(&mut judge, 1, &report, running, node.now);
        kinds.extend(told(&mut judge, 2, &copy, None, node.now));
        let shared: Vec<Uuid> =
            kinds.iter().filter(|(_, kind)| *kind == Kind::SharedMeter).map(|(node, _)| *node).collect();
        if !shared.is_empty() {
            assert!([1, 2].iter().all(|node| shared.contains(&Uuid::from_u128(*node))), "both are told");
            return number;
        }
    }
    panic!("not found");
}

#[test]
fn honest_reports_are_believed() {
    let mut judge = Judge::default();
    for seed in 0..HONEST_RUNS {
        let mut node = Node::new(10_000 + seed);
        for _ in 0..WINDOWS {
            let (report, running) = node.second();
            let kinds = told(&mut judge, u128::from(seed), &report, running, node.now);
            assert!(kinds.is_empty(), "{seed}: {kinds:?}");
        }
        judge.forget(Uuid::from_u128(u128::from(seed.wrapping_sub(20))));
    }
    println!("{HONEST_RUNS} honest nodes of {WINDOWS} reports: 0 verdicts");
}
