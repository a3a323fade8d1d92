//! Nodes, requests and time, and what each event does to them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::churn::{ABSENCE, OUTAGE_EVERY, SESSION};
use super::demand::{self, Kinds};
use super::events::{Event, Events, SECOND};
use super::figures::Figures;
use super::fleet::{Node, exponential};
use super::oracle::Policy;
use super::shelf::Shelf;
use super::size::Size;
use uuid::Uuid;

use crate::nodes::TRIED_AGAIN;
use crate::nodes::health::Passage;
use crate::nodes::queue::{Chance, Queue};

/// As `TRY_AGAIN_EVERY` of `nodes/mod.rs`.
const TRY_AGAIN_EVERY: u64 = SECOND / 4;

/// One request, from when it comes until it has its answer.
pub(super) struct Request {
    pub(super) account: usize,
    pub(super) denied: bool,
    pub(super) model: usize,
    pub(super) kind: usize,
    pub(super) prompt: u64,
    pub(super) completion: u64,
    pub(super) arrived: u64,
    /// Nanocredits for a token of the answer.
    pub(super) held: u64,
    /// In which it is, or waits for; it has no other of the same number.
    pub(super) attempt: u32,
    pub(super) node: usize,
    pub(super) passage: Passage,
    /// When the attempt began, and when it had a slot.
    pub(super) started: u64,
    pub(super) computes_since: Option<u64>,
    pub(super) stands_still: bool,
    /// Tokens of the answer that the client has; those before this attempt.
    pub(super) delivered: u64,
    pub(super) before: u64,
    pub(super) in_a_row: usize,
    pub(super) tries: usize,
    /// Nodes and connections that failed.
    pub(super) tried: Vec<(usize, u32)>,
    /// The build that must go on with it.
    pub(super) begun: Option<&'static str>,
    pub(super) goes_on_until: u64,
    pub(super) has_first_byte: bool,
}

/// Everything.
pub(super) struct World {
    pub(super) size: Size,
    pub(super) policy: Policy,
    pub(super) now: u64,
    start: Instant,
    pub(super) events: Events,
    pub(super) nodes: Vec<Node>,
    pub(super) by_id: HashMap<Uuid, usize>,
    pub(super) shelves: Vec<Shelf>,
    pub(super) kinds: Vec<Kinds>,
    pub(super) requests: Vec<Request>,
    /// Places in `requests` whose request is over.
    free: Vec<usize>,
    pub(super) attempts: u32,
    /// Requests in a second for each model, at full load.
    rates: Vec<f64>,
    demand: fastrand::Rng,
    pub(super) churn: fastrand::Rng,
    /// What nodes do.
    pub(super) fate: fastrand::Rng,
    /// What the gateway does.
    pub(super) chance: fastrand::Rng,
    pub(super) outages: usize,
    pub(super) figures: Figures,
    /// Those that have to go in line, and those in it that have got a node meanwhile.
    pub(super) entering: Vec<usize>,
    pub(super) served: Vec<usize>,
    /// Where there may be room.
    pub(super) chances: Vec<Chance>,
    /// Searches that found somebody, and the real time that they took.
    pub(super) decisions: (u32, Duration),
    pub(super) queue: Arc<Queue<usize>>,
    /// The oracle's own, by model.
    pub(super) lines: Vec<VecDeque<usize>>,
}

impl World {
    pub(super) fn new(size: Size, policy: Policy, queue: Arc<Queue<usize>>) -> Self {
        let mut random = fastrand::Rng::with_seed(size.seed);
        let nodes: Vec<Node> =
            (0..size.nodes).map(|number| Node::new(number, size.model(&mut random), &mut random)).collect();
        let of = |model| (0..nodes.len()).filter(|node| nodes[*node].model == model).collect();
        let shelves: Vec<Shelf> = (0..size.models).map(|model| Shelf::new(of(model), &nodes)).collect();
        let kinds = (0..size.models).map(|model| Kinds::new(&nodes, model, &mut random)).collect();
        let rates = shelves.iter().map(|shelf| rate(shelf, &nodes)).collect();
        let mut world = Self {
            policy,
            now: 0,
            start: Instant::now(),
            events: Events::default(),
            figures: Figures::new(&nodes, &shelves),
            by_id: nodes.iter().map(|node| node.id).zip(0..).collect(),
            nodes,
            shelves,
            kinds,
            requests: Vec::new(),
            free: Vec::new(),
            attempts: 0,
            rates,
            demand: random.fork(),
            churn: random.fork(),
            fate: random.fork(),
            chance: random.fork(),
            outages: 0,
            entering: Vec::new(),
            served: Vec::new(),
            chances: Vec::new(),
            decisions: (0, Duration::ZERO),
            queue,
            lines: vec![VecDeque::new(); size.models],
            size,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            let leaves = exponential(&mut self.churn, SESSION);
            self.events.at(leaves, Event::Leaves { node });
        }
        self.events.at(1, Event::Arrives);
        self.events.at(OUTAGE_EVERY / 2, Event::Darkens);
        self.events.at(TRY_AGAIN_EVERY, Event::Tends);
    }

    /// For what counts by the system's clock.
    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Arrives => self.arrives(),
            Event::Begins { request, attempt } if self.is_current(request, attempt) => self.begins(request),
            Event::Ends { request, attempt, how } if self.is_current(request, attempt) => self.ends(request, how),
            Event::Gives { request, attempt } if self.is_current(request, attempt) => self.oracle_gives_up(request),
            Event::Looks { request, attempt } if self.is_current(request, attempt) => {
                self.requests[request].tried.clear();
                self.requests[request].in_a_row = 0;
                self.place(request);
            }
            Event::Begins { .. } | Event::Ends { .. } | Event::Gives { .. } | Event::Looks { .. } => {}
            Event::Leaves { node } => self.leaves(node),
            Event::Returns { node } => self.returns(node),
            Event::Notices { node, connection } => {
                if self.nodes[node].connected && self.nodes[node].connection == connection {
                    self.disconnect(node);
                }
            }
            Event::Darkens => self.darkens(),
            Event::Lights { outage } => self.lights(outage),
            Event::Tends => {
                self.events.at(self.now + TRY_AGAIN_EVERY, Event::Tends);
                self.rested();
                self.chances.push(Chance::Round(TRIED_AGAIN));
            }
        }
    }

    pub(super) fn is_current(&self, request: usize, attempt: u32) -> bool {
        self.requests[request].attempt == attempt
    }

    fn arrives(&mut self) {
        let rate: f64 = self.rates.iter().sum::<f64>() * self.size.load(self.now);
        self.events.at(self.now + exponential(&mut self.demand, (SECOND as f64 / rate) as u64), Event::Arrives);
        let model = self.drawn_model();
        let (prompt, completion) = demand::lengths(&mut self.demand);
        let account = demand::account(&mut self.demand);
        let request = Request {
            account,
            denied: demand::denies(account),
            model,
            kind: self.kinds[model].draw(&mut self.demand),
            prompt,
            completion,
            arrived: self.now,
            held: 0,
            attempt: 0,
            node: 0,
            passage: Passage::Open,
            started: self.now,
            computes_since: None,
            stands_still: false,
            delivered: 0,
            before: 0,
            in_a_row: 0,
            tries: 0,
            tried: Vec::new(),
            begun: None,
            goes_on_until: 0,
            has_first_byte: false,
        };
        let place = self.free.pop().unwrap_or(self.requests.len());
        if place == self.requests.len() {
            self.requests.push(request)
        } else {
            self.requests[place] = request
        }
        self.figures.arrived += 1;
        self.requests[place].held = self.held(place);
        self.place(place);
    }

    /// The request is over, one way or another.
    pub(super) fn is_over(&mut self, request: usize) {
        // Whatever is still to come for it means nothing.
        self.requests[request].attempt = 0;
        self.free.push(request);
    }

    /// Nodes that rested at the last look and may be tried again are a chance.
    fn rested(&mut self) {
        let now = self.instant();
        for node in self.nodes.iter_mut().filter(|node| node.connected) {
            let rested = std::mem::replace(&mut node.rests, !node.health.may_try(now));
            self.chances.extend((rested && !node.rests).then_some(Chance::At(node.id)));
        }
    }

    /// Requests that are neither over, nor on a node, nor on their way to one. So many wait in line.
    pub(super) fn lost(&self, in_line: usize) -> u64 {
        let on_nodes: usize = self.nodes.iter().map(|node| node.computes.len() + node.waits.len()).sum();
        let looks =
            |event: &Event| matches!(event, Event::Looks { request, attempt } if self.is_current(*request, *attempt));
        let on_the_way =
            in_line + self.lines.iter().map(VecDeque::len).sum::<usize>() + self.events.all().filter(looks).count();
        let figures = &self.figures;
        let known = figures.completed + figures.refused + figures.failed + (on_nodes + on_the_way) as u64;
        figures.arrived.abs_diff(known)
    }

    fn drawn_model(&mut self) -> usize {
        let mut left = self.demand.f64() * self.rates.iter().sum::<f64>();
        let passed = |rate: &f64| {
            left -= rate;
            left < 0.0
        };
        self.rates.iter().position(passed).unwrap_or_default()
    }
}

/// Requests in a second that the nodes of a shelf can do, those that get work, as far as they are there.
fn rate(shelf: &Shelf, nodes: &[Node]) -> f64 {
    let each = |node: &usize| {
        let node = &nodes[*node];
        let takes = node.time_to_read(demand::USUAL_PROMPT) + node.time_to_write(demand::USUAL_ANSWER);
        f64::from(node.slots) * SECOND as f64 / takes as f64
    };
    let present = SESSION as f64 / (SESSION + ABSENCE) as f64;
    shelf.works.iter().map(each).sum::<f64>() * present
}
