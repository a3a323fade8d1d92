//! Ten thousand nodes in simulated time: fast and slow, honest and not, coming and going, and now and then a region or
//! an operator goes dark. What searches and chooses among them, says how dear they may be, judges them and keeps the line is
//! the real code; what becomes of an attempt is told again here, as that needs a whole gateway. All randomness has seeds and
//! all time is simulated: two runs print the same.

mod churn;

mod demand;

mod events;

mod figures;

mod fleet;

mod memory;

mod oracle;

mod route;

mod serving;

mod shelf;

mod size;

mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::unconstrained;
use tokio::time::Instant;
use uuid::Uuid;

use super::lock;
use super::preference::Sort;
use super::queue::{Chance, Priority, Queue, Waiter, Waiting};
use events::{Event, MINUTE, SECOND};
use figures::{Figures, Outcome, STALLERS};
use oracle::{PATIENCE, Policy};
use size::Size;
use world::World;

/// The world, and the line in front of it.
struct House {
    world: Arc<Mutex<World>>,
    queue: Arc<Queue<usize>>,
    waiting: BTreeMap<usize, (u32, Waiting<usize>)>,
    /// The simulated time up to which tokio's clock has come.
    told: u64,
}

impl House {
    fn new(size: Size, policy: Policy) -> Self {
        let queue = Queue::new(super::BOUNDS);
        let world = Arc::new(Mutex::new(World::new(size, policy, Arc::clone(&queue))));
        Self { world, queue, waiting: BTreeMap::new(), told: 0 }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What came of it, and the real time of a decision.
    async fn run(mut self) -> (Figures, Duration) {
        while let Some(event) = self.next() {
            if let Event::Gives { request, attempt } = event {
                self.gives_up(request, attempt).await;
            }
            self.settle().await;
        }
        let mut world = self.world();
        world.figures.lost = world.lost(self.waiting.len());
        let (decisions, took) = world.decisions;
        (world.figures.clone(), took / decisions.max(1))
    }

    /// The next event, once it has happened. None at the end.
    fn next(&self) -> Option<Event> {
        let mut world = self.world();
        let (now, event) = world.events.next()?;
        if now >= world.size.lasts {
            world.events.at(now, event);
            return None;
        }
        world.now = now;
        world.handle(event);
        Some(event)
    }

    /// Lets in line who has to wait, and serves those for whom there is room.
    async fn settle(&mut self) {
        loop {
            let (now, entering, chances) = self.due();
            if entering.is_empty() && (chances.is_empty() || self.queue.is_empty()) {
                return;
            }
            self.tell(now).await;
            for request in entering {
                self.enter(request);
            }
            for chance in chances {
                self.queue.serve(chance);
                self.welcome();
            }
        }
    }

    fn due(&self) -> (u64, Vec<usize>, Vec<Chance>) {
        let mut world = self.world();
        (world.now, std::mem::take(&mut world.entering), std::mem::take(&mut world.chances))
    }

    /// Tokio's clock, by which the queue goes, comes up to the simulated one.
    async fn tell(&mut self, now: u64) {
        tokio::time::advance(Duration::from_micros(now - self.told)).await;
        self.told = now;
    }

    fn enter(&mut self, request: usize) {
        let mut world = self.world();
        let it = &world.requests[request];
        let (attempt, account) = (it.attempt, Uuid::from_u128(it.account as u128));
        let waiter = Waiter {
            account,
            priority: Priority::Normal,
            bytes: it.prompt as usize * 4,
            kind: world.kind(request),
            deadline: Instant::now() + Duration::from_micros(PATIENCE),
        };
        // Tokio's timers have milliseconds.
        let gives_up = world.now + PATIENCE + 2_000;
        world.events.at(gives_up, Event::Gives { request, attempt });
        drop(world);
        let takes = Arc::clone(&self.world);
        match self.queue.enter(waiter, move |chance| takes.lock().unwrap().take(request, chance)) {
            Ok(waiting) => drop(self.waiting.insert(request, (attempt, waiting))),
            Err(_) => self.world().refuse(request, Outcome::Refused),
        }
        self.welcome();
    }

    /// Those who were served wait no longer.
    fn welcome(&mut self) {
        let served = std::mem::take(&mut self.world().served);
        for request in served {
            let (_, waiting) = self.waiting.remove(&request).unwrap();
            // Tokio would have the task yield after many.
            assert!(unconstrained(waiting).now_or_never().unwrap().is_ok(), "it got its place");
        }
    }

    async fn gives_up(&mut self, request: usize, attempt: u32) {
        if self.waiting.get(&request).is_none_or(|(waits_for, _)| *waits_for != attempt) {
            return;
        }
        let now = self.world().now;
        self.tell(now).await;
        let (_, waiting) = self.waiting.remove(&request).unwrap();
        match unconstrained(waiting).now_or_never().unwrap() {
            // The last look has found something.
            Ok(_) => self.world().served.retain(|served| *served != request),
            Err(_) => self.world().refuse(request, Outcome::Refused),
        }
    }
}

fn simulate(size: Size, policy: Policy) -> (Figures, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { House::new(size, policy).run().await })
}

/// Percent of the choices by each sort that have to be within the tolerance of the best. How soon a node answers has to be
/// learned from its answers.
const WELL_CHOSEN: [u64; Sort::ALL.len()] = [95, 80, 60, 95, 95];
/// Requests of a full run, at least.
const MANY: u64 = 100_000;
/// What nodes whose answers stand still may have of their part of the traffic, in percent; in a small fleet they are few, and
/// one that has just come counts for much.
const MOST_OF_STALLERS: u64 = 40;

#[test]
fn requests_find_good_nodes_among_very_many() {
    let size = Size::chosen();
    let [(gateway, decision), (oracle, _)] = [Policy::Gateway, Policy::Oracle].map(|policy| simulate(size, policy));
    println!("by the gateway\n{gateway}\nreal time of a decision                         {decision:?}\n");
    println!("by an oracle\n{}", oracle.times());
    assert!(gateway.arrived == oracle.arrived, "the same requests");
    assert_eq!((gateway.lost, oracle.lost), (0, 0), "each has an end, a place, or a node");
    assert!(size.nodes < Size::FULL.nodes || gateway.arrived > MANY, "{}", gateway.arrived);
    assert!(gateway.strict > gateway.arrived / 20 && gateway.violations == 0, "data goes nowhere else");
    assert_eq!(gateway.refused_in_vain, 0, "nobody although a node was there");
    assert_eq!(gateway.failed_in_vain, 0, "a node was there");
    assert!(gateway.queued(false, 990) < SECOND, "in calm times nobody waits");
    for ((all, well), least) in gateway.compared.iter().zip(WELL_CHOSEN) {
        assert!(*all > 0 && well * 100 >= all * least, "{well} of {all}");
    }
    let stallers = gateway.later_share(STALLERS);
    assert!(stallers < MOST_OF_STALLERS, "{stallers} %");
    let (big, others, _) = gateway.fairness();
    assert!(others < big, "who sends much waits for himself: {big} and {others} microseconds");
}

#[test]
fn two_runs_print_the_same() {
    let size = Size { lasts: 2 * MINUTE, ..Size::SMALL };
    let print = || simulate(size, Policy::Gateway).0.to_string();
    assert_eq!(print(), print());
}

#[test]
fn nobody_is_turned_away_because_all_nodes_rest() {
    let size = Size { nodes: 3, models: 1, ..Size::SMALL };
    let mut world = World::new(size, Policy::Gateway, Queue::new(super::BOUNDS));
    for second in 1..200 {
        world.now = second * SECOND;
        let now = world.instant();
        world.nodes.iter_mut().for_each(|node| (0..3).for_each(|_| node.health.failed(now)));
        let refused = world.figures.refused;
        world.handle(Event::Arrives);
        let asks_for_nothing = world.requests.last().is_some_and(|request| request.kind == 0 && !request.denied);
        assert!(!asks_for_nothing || (world.figures.refused == refused && world.entering.is_empty()), "{second}");
        world.entering.clear();
    }
    assert!(world.figures.last_resorts > 50, "{}", world.figures.last_resorts);
}
