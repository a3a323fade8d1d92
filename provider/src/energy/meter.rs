//! The thread that looks at the sensors, divides what they moved, and tells everybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use openapi::energy::report::SettledAttempt;
use openapi::energy::{StepCosts, Tier};
use openapi::units::{Microjoules, Microseconds};

use super::attribute::{Coefficients, Part, TaskId};
use super::ledger::Event;
use super::live_grid::LiveGrid;
use super::log::{Draft, ReportLog};
use super::pool::PoolMeter;
use super::pools::Pools;
use super::steps::Steps;
use super::task::TaskMeter;
use super::wall::WallMeter;
use crate::metrics::Metrics;

/// How often sensors are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// And while somebody waits for the end of a figure.
const LOOK_SOON: Duration = Duration::from_millis(10);
/// Requests that end within this time share a report.
const GATHER: Duration = Duration::from_millis(200);
/// A report is made this often even when nothing happens.
const REPORT: Duration = Duration::from_secs(60);

/// Everything that is metered.
pub(super) struct Meter {
    events: Arc<Mutex<Vec<Event>>>,
    pools: Vec<PoolMeter>,
    wall: Option<WallMeter>,
    steps: Steps,
    tasks: BTreeMap<TaskId, TaskMeter>,
    settled: Vec<SettledAttempt>,
    busy: Duration,
    begun: Instant,
    last_look: Instant,
    last_report: Instant,
    outlets: Outlets,
}

/// Where figures go, and what goes with them.
pub struct Outlets {
    /// For a gateway, if the node has one.
    pub log: Option<Arc<ReportLog>>,
    pub metrics: Arc<Metrics>,
    /// What the grid emits now, where that is known.
    pub grid: Option<Arc<LiveGrid>>,
}

impl Meter {
    pub(super) fn new(Pools { parts: pools, wall }: Pools, events: Arc<Mutex<Vec<Event>>>, outlets: Outlets) -> Self {
        let now = Instant::now();
        Self {
            events,
            pools,
            wall,
            steps: Steps::default(),
            tasks: BTreeMap::new(),
            settled: Vec::new(),
            busy: Duration::ZERO,
            begun: now,
            last_look: now,
            last_report: now,
            outlets,
        }
    }

    /// How long nothing needs to be done unless somebody leaves.
    pub(super) fn until_next_look(&self) -> Duration {
        let someone_waits = self.tasks.values().any(|task| task.left.is_some()) || !self.settled.is_empty();
        let pause = if someone_waits { LOOK_SOON } else { LOOK };
        (self.last_look + pause).saturating_duration_since(Instant::now())
    }

    /// Looks at everything once.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        self.last_look = now;
        self.pools.iter_mut().for_each(|pool| pool.look(now));
        if let Some(wall) = &mut self.wall {
            wall.look(now, self.pools.iter().map(PoolMeter::raw).sum());
            let reconciled = wall.reconciled();
            self.pools.iter_mut().for_each(|pool| pool.reconcile(reconciled));
        }
        // After the sensors: whoever was there when they were read is known now.
        self.take_events();
        let known_until = self.steps.known_until(Instant::now());
        self.divide(known_until);
        self.show();
        self.settle();
        self.report(REPORT);
    }

    /// The last report.
    pub(super) fn finish(&mut self) {
        self.look();
        self.report(Duration::ZERO);
    }

    fn take_events(&mut self) {
        let events = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        for event in events {
            match event {
                Event::Joined { task, at, of, who, figure } => {
                    self.steps.join(task, at, of);
                    self.tasks.insert(task, TaskMeter::new(who, figure));
                }
                Event::Marked(mark) => self.steps.mark(mark),
                Event::Left { task, at } => {
                    self.steps.leave(task);
                    if let Some(task) = self.tasks.get_mut(&task) {
                        task.left = Some(at);
                    }
                }
            }
        }
    }

    fn divide(&mut self, known_until: Instant) {
        let mut busy = Duration::ZERO;
        let begun = self.begun;
        let seconds = |at: Instant| at.saturating_duration_since(begun).as_secs_f64();
        for pool in &mut self.pools {
            let mut of_pool = Duration::ZERO;
            while let Some(divided) = pool.divide_next(known_until, self.steps.closed()) {
                of_pool += divided.division.busy;
                let length = divided.to.saturating_duration_since(divided.from);
                self.outlets.metrics.observe(pool.name(), divided.tier, divided.microjoules, length);
                for (task, part) in &divided.division.parts {
                    let Some(task) = self.tasks.get_mut(task) else { continue };
                    task.add(part, divided.tier, (seconds(divided.from), seconds(divided.to)));
                    if task.who.is_none() {
                        pool.went_elsewhere(part.microjoules);
                    }
                }
            }
            busy = busy.max(of_pool);
        }
        self.busy += busy;
        let until = self.divided_until();
        self.steps.forget(until);
    }

    /// Up to where every pool's energy is divided. Where nothing is metered nobody waits for anything.
    fn divided_until(&self) -> Instant {
        self.pools.iter().map(PoolMeter::divided_until).min().unwrap_or_else(Instant::now)
    }

    /// Shows everybody who is still there what they have taken so far.
    fn show(&mut self) {
        let costs: Vec<_> =
            self.pools.iter().map(|pool| (pool.coefficients(), pool.tier(), pool.divided_until())).collect();
        let quality = super::ledger::quality(&self.pools);
        let skew = self.skew();
        let open = self.steps.open();
        let steps = self.steps.closed();
        for (id, task) in &self.tasks {
            let since = |until: Instant| &steps[steps.partition_point(|step| step.to <= until)..];
            let predict = |(costs, tier, until): &(Coefficients, Tier, Instant)| {
                [(costs.predict(since(*until), *id), *tier), (costs.predict(&open, *id), *tier)]
            };
            let predicted: Vec<(Part, Tier)> = costs.iter().flat_map(predict).collect();
            task.show(quality, &predicted, skew);
        }
    }

    /// The worst clock of all pools.
    fn skew(&self) -> Duration {
        self.pools.iter().map(PoolMeter::skew).max().unwrap_or_default()
    }

    fn settle(&mut self) {
        let quality = super::ledger::quality(&self.pools);
        let (until, skew) = (self.divided_until(), self.skew());
        let (settled, steps) = (&mut self.settled, &self.steps);
        self.tasks.retain(|id, task| {
            if task.left.is_none_or(|left| left > until) || steps.remembers(*id) {
                return true;
            }
            let energy = task.settle(quality, skew);
            settled.extend(task.who.map(|(request, attempt)| SettledAttempt { request, attempt, energy }));
            false
        });
    }

    /// What steps cost on all pools together, by what has been learned.
    fn costs(&self) -> StepCosts {
        let mut sum = StepCosts { windows: u32::MAX, ..StepCosts::default() };
        for pool in &self.pools {
            let costs = pool.coefficients();
            let microjoules = |joules: f64| Microjoules::new((joules * 1e6).max(0.0).round() as u64);
            sum.fixed_microjoules += microjoules(costs.fixed);
            sum.decode_microjoules += microjoules(costs.decode);
            sum.prefill_microjoules += microjoules(costs.prefill);
            sum.idle_milliwatts += (costs.idle_watts * 1e3).max(0.0).round() as u64;
            sum.windows = sum.windows.min(pool.windows());
        }
        sum
    }

    /// Makes a report when one is due: soon after requests were settled, else rarely.
    fn report(&mut self, rarely: Duration) {
        let since = self.last_report.elapsed();
        let due = since >= rarely || (!self.settled.is_empty() && since >= GATHER);
        let Some(log) = self.outlets.log.as_ref().filter(|_| due) else {
            // Nobody wants to know.
            self.settled.truncate(if self.outlets.log.is_some() { usize::MAX } else { 0 });
            return;
        };
        log.append(Draft {
            length: since,
            busy: Microseconds::from(std::mem::take(&mut self.busy)),
            pools: self.pools.iter_mut().map(PoolMeter::report).collect(),
            costs: self.costs(),
            grid: self.outlets.grid.as_ref().map(|grid| grid.grid(SystemTime::now())),
            settled: std::mem::take(&mut self.settled),
        });
        self.last_report += since;
    }
}

#[cfg(test)]
mod tests {
    use openapi::energy::Boundary;
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::super::attribute::{BUCKETS, StepKind};
    use super::super::sensor::{Description, Kind, Pool, Reading, Sensor, SensorError, Value};
    use super::super::steps::{Mark, Pass};
    use super::super::task;
    use super::*;

    const QUALITY: (Tier, Boundary) = (Tier::B, Boundary::Device);

    /// Has counted a joule more at each of these moments.
    struct Counter {
        description: Description,
        moments: std::array::IntoIter<Instant, 3>,
        microjoules: u64,
    }

    impl Sensor for Counter {
        fn description(&self) -> &Description {
            &self.description
        }

        fn read(&mut self) -> Result<Reading, SensorError> {
            self.microjoules += 1_000_000;
            let value = Value::Counter { microjoules: self.microjoules, wraps_after: None };
            Ok(Reading { at: self.moments.next().unwrap(), value, foreign_microjoules: 0 })
        }
    }

    fn meter(moments: [Instant; 3]) -> Meter {
        let description = Description {
            name: "rapl:package-0".to_owned(),
            back_end: "rapl-powercap",
            pool: Pool::Package(0),
            kind: Kind::Counter,
            boundary: Boundary::Device,
            tier: Tier::B,
            resolution: Duration::from_millis(1),
            most_milliwatts: None,
        };
        let counter = Counter { description, moments: moments.into_iter(), microjoules: 0 };
        let prior = Coefficients {
            fixed: 1.0,
            decode: 1.0,
            context: 0.0,
            prefill: 1.0,
            idle_watts: 1.0,
            buckets: [None; BUCKETS],
        };
        let pools = Pools { parts: vec![PoolMeter::new(Box::new(counter), prior, QUALITY, moments[0])], wall: None };
        Meter::new(
            pools,
            Arc::default(),
            Outlets { log: None, metrics: Arc::new(Metrics::new(&["package-0"], None).unwrap()), grid: None },
        )
    }

    #[test]
    fn who_leaves_before_the_others_of_a_step_takes_the_rest_of_that_step_too() {
        let start = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
        let moments = [at(0), at(35), at(100)];
        let mut meter = meter(moments);
        let mut shown = Vec::new();
        let who = |task| Some((Uuid::from_u128(task), 0));
        let mark = |task, begun, ended| {
            let (begun, ended) = (at(begun), at(ended));
            Event::Marked(Mark { task, begun, ended, kind: StepKind::Decode, tokens: 1, context: 0 })
        };
        for task in [1, 2] {
            let (figure, watched) = watch::channel(task::nothing(QUALITY));
            let joined = Event::Joined { task, at: at(0), of: Pass::default(), who: who(task.into()), figure };
            meter.events.lock().unwrap().push(joined);
            shown.push(watched);
        }
        meter.events.lock().unwrap().extend([
            mark(1, 30, 30),
            Event::Left { task: 1, at: at(31) },
            mark(2, 31, 40),
            Event::Left { task: 2, at: at(41) },
        ]);
        meter.take_events();
        let known_until = meter.steps.known_until(at(200));
        let mut look = |moment: Instant| {
            meter.pools[0].look(moment);
            meter.divide(known_until);
            meter.settle();
            (meter.settled.len(), meter.pools[0].report().attributed)
        };
        assert_eq!(look(moments[0]), (0, Microjoules::ZERO), "it begins to count");
        let (settled, before) = look(moments[1]);
        assert_eq!(
            (settled, before),
            (0, Microjoules::new(1_000_000)),
            "the step is not over when the first one leaves"
        );
        let (settled, after) = look(moments[2]);
        assert_eq!(settled, 2);
        assert!(after > Microjoules::ZERO, "the rest of the step");
        let taken: Microjoules = shown.iter().map(|shown| shown.borrow().microjoules).sum();
        assert_eq!(taken, before + after, "all that was attributed is somebody's");
    }
}
