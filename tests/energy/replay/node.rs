//! A node that batches, in continuous time: between two events the batch is constant, so its steps follow each other
//! at a constant rate and every request in it gains a token with each.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use gateway::nodes::marginal::{HONEST, State};

use super::fleet::{Machine, Truth};

/// One request, as it will turn out.
#[derive(Clone, Copy)]
pub(super) struct Request {
    /// Seconds from the start.
    pub(super) at: f64,
    pub(super) prompt: u32,
    pub(super) completion: u32,
}

/// Seconds in which what is known of a node's latency loses half its weight, unless it is seen again.
const HALF_LIFE: f64 = 10.0;

/// A node at work.
pub(super) struct Node<'a> {
    pub(super) machine: &'a Machine,
    truth: Truth,
    now: f64,
    /// Steps so far, in thousandths, and at which of them each request in the batch is done.
    steps: u64,
    batch: BinaryHeap<Reverse<u64>>,
    waiting: VecDeque<Request>,
    /// Prompts are computed first, and nothing is decoded meanwhile.
    prefilling_until: f64,
    first_bytes: VecDeque<(f64, f64)>,
    typical: (f64, f64),
    mg_per_kwh: f64,
    pub(super) grams: f64,
    pub(super) joules: f64,
    pub(super) tokens: f64,
}

/// Seconds that a request waited for a slot, and until its first byte.
#[derive(Clone, Copy)]
pub(super) struct Served {
    pub(super) wait: f64,
    pub(super) first_byte: f64,
}

impl<'a> Node<'a> {
    pub(super) fn new(machine: &'a Machine) -> Self {
        Self {
            machine,
            truth: machine.truth(),
            now: 0.0,
            steps: 0,
            batch: BinaryHeap::new(),
            waiting: VecDeque::new(),
            prefilling_until: 0.0,
            first_bytes: VecDeque::new(),
            typical: (0.0, machine.alone(600.0).as_secs_f64()),
            mg_per_kwh: machine.trace[0] as f64,
            grams: 0.0,
            joules: 0.0,
            tokens: 0.0,
        }
    }

    /// Lives until `to`; requests that got their slot on the way go to `served`.
    pub(super) fn advance(&mut self, to: f64, served: &mut Vec<Served>) {
        while self.now < to {
            let Some(Reverse(done)) = self.batch.peek().copied() else { break };
            if self.prefilling_until > self.now {
                self.now = self.prefilling_until.min(to);
                continue;
            }
            let batch = self.batch.len();
            let per_step = self.machine.step_seconds(batch);
            let left = (to - self.now) / per_step * 1e3;
            let steps = done.saturating_sub(self.steps).min((left.ceil() as u64).max(1));
            self.steps += steps;
            self.now += steps as f64 / 1e3 * per_step;
            self.spend((self.truth.step + self.truth.decode * batch as f64) * steps as f64 / 1e3);
            if self.steps >= done {
                self.batch.pop();
                if let Some(next) = self.waiting.pop_front() {
                    served.push(self.start(next));
                }
            }
        }
        self.now = self.now.max(to);
    }

    /// Takes a request in, now.
    pub(super) fn accept(&mut self, request: Request, served: &mut Vec<Served>) {
        self.tokens += f64::from(request.completion);
        if self.is_full() {
            self.waiting.push_back(request);
        } else {
            served.push(self.start(request));
        }
    }

    fn start(&mut self, request: Request) -> Served {
        if self.batch.is_empty() {
            self.spend(self.truth.wake);
        }
        let prompt = f64::from(request.prompt);
        self.spend(self.truth.prefill * prompt);
        self.prefilling_until = self.prefilling_until.max(self.now) + prompt * self.machine.class.prefill_ms / 1e3;
        self.batch.push(Reverse(self.steps + u64::from(request.completion) * 1_000));
        let first_byte = self.prefilling_until + self.machine.step_seconds(self.batch.len()) - request.at;
        self.first_bytes.push_back((request.at + first_byte, first_byte));
        Served { wait: self.now - request.at, first_byte }
    }

    fn spend(&mut self, joules: f64) {
        self.joules += joules;
        self.grams += joules * self.mg_per_kwh / 3.6e9;
    }

    /// Milligrams per kilowatt-hour, now.
    pub(super) fn intensity(&self) -> u64 {
        self.mg_per_kwh as u64
    }

    /// The grid changes.
    pub(super) fn set_intensity(&mut self, mg_per_kwh: u64) {
        self.mg_per_kwh = mg_per_kwh as f64;
    }

    /// Learns the latencies that have been seen by now: the last one weighs a fifth, and all fade.
    pub(super) fn observe(&mut self) {
        while let Some((at, first_byte)) = self.first_bytes.front().copied().filter(|(at, _)| *at <= self.now) {
            self.typical = (at, self.faded(at) * 0.8 + first_byte * 0.2);
            self.first_bytes.pop_front();
        }
    }

    fn faded(&self, now: f64) -> f64 {
        let (at, typical) = self.typical;
        typical * ((at - now) / HALF_LIFE).exp2()
    }

    /// True when another request would have to wait.
    pub(super) fn is_full(&self) -> bool {
        self.batch.len() >= self.machine.class.slots as usize
    }

    /// What a gateway knows.
    pub(super) fn state(&self) -> State {
        State {
            running: (self.batch.len() + self.waiting.len()) as u32,
            slots: self.machine.class.slots,
            typical_first_byte: Duration::from_secs_f64(self.faded(self.now).max(0.0)),
            handicap_ppm: HONEST,
        }
    }

    /// Joules of a token of an answer so far, with all that it took.
    pub(super) fn average(&self) -> f64 {
        (self.joules + self.truth.step + self.truth.decode) / (self.tokens + 1.0)
    }

    /// Carbon that a request adds if no other comes after it, from the true figures and the true lengths. Steps that
    /// only it is in, and waking, are weighed by `patience`: company may come and share them.
    pub(super) fn foreseen(&self, request: &Request, patience: f64) -> f64 {
        let mine = f64::from(request.completion);
        let last = self.batch.iter().map(|Reverse(done)| done.saturating_sub(self.steps)).max().unwrap_or_default();
        let alone = (mine - last as f64 / 1e3).max(0.0);
        let wake = if self.batch.is_empty() { self.truth.wake } else { 0.0 };
        let joules = (self.truth.step * alone + wake) * patience
            + self.truth.decode * mine
            + self.truth.prefill * f64::from(request.prompt);
        joules * self.mg_per_kwh
    }
}
