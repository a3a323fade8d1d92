//! What becomes of a request: tries, as `inference/attempts.rs` makes them, and what nodes do with it.

use super::events::{Ending, Event, SECOND};
use super::figures::Outcome;
use super::fleet::Character;
use super::oracle::Policy;
use super::world::World;
use crate::nodes::choose::Nobody;
use crate::nodes::health::{Passage, SILENCE, StallWatch};
use crate::nodes::queue::{Chance, Tried};

/// As in `inference/attempts.rs`.
const MOST_IN_A_ROW: usize = 3;
const MOST: usize = 20;
const GOES_ON_WITHIN: u64 = 30 * SECOND;
/// As in `nodes/lease.rs`.
const LOOKS_AGAIN: u64 = SECOND / 4;
/// As in `inference/forward.rs`.
const HEADERS_WITHIN: u64 = 15 * SECOND;
/// Of ten answers of a staller, and of a flaky node.
const STALLS: u8 = 9;
const FAILS: u8 = 1;

impl World {
    /// Takes a place for a request, or sends it in line, or away.
    pub(super) fn place(&mut self, request: usize) {
        self.begin_attempt(request);
        if self.policy == Policy::Oracle {
            return self.oracle_place(request);
        }
        if self.queue.is_empty() {
            match self.find(request) {
                Ok(_) => {}
                Err(Nobody::Full) => self.entering.push(request),
                Err(Nobody::Unsuited(_)) => self.refuse(request, Outcome::Refused),
            }
        } else if self.check(request).is_err() {
            self.refuse(request, Outcome::Refused);
        } else {
            self.entering.push(request);
        }
    }

    /// For the queue: a place, if there is one now.
    pub(super) fn take(&mut self, request: usize, chance: Chance) -> Tried<usize> {
        let found = match chance {
            Chance::At(node) => self.find_at(request, node),
            Chance::Anywhere | Chance::Round(_) => self.find(request).map_err(|_| Nobody::Unsuited(None)),
        };
        match found {
            Ok(node) => {
                self.served.push(request);
                Tried::Got(node)
            }
            Err(Nobody::Full) => Tried::NoMore,
            Err(Nobody::Unsuited(_)) => Tried::Nothing,
        }
    }

    fn begin_attempt(&mut self, request: usize) {
        self.attempts += 1;
        self.requests[request].attempt = self.attempts;
    }

    /// Nobody can take it now. A stream that has begun waits for a node that comes.
    pub(super) fn refuse(&mut self, request: usize, how: Outcome) {
        let it = &self.requests[request];
        let (attempt, looks) = (it.attempt, self.now + LOOKS_AGAIN);
        if it.delivered > 0 && looks < it.goes_on_until && it.tries < MOST {
            self.events.at(looks, Event::Looks { request, attempt });
            return;
        }
        let how = if it.tries > 0 { Outcome::Failed } else { how };
        self.figures_of_refusal(request, how);
        self.is_over(request);
    }

    /// The request has its place on a node.
    pub(super) fn hold(&mut self, request: usize, node: usize, passage: Passage) {
        self.nodes[node].in_flight += 1;
        self.figures_of_choice(request, node);
        let now = self.now;
        let it = &mut self.requests[request];
        (it.node, it.passage, it.started, it.computes_since) = (node, passage, now, None);
        (it.stands_still, it.before, it.has_first_byte) = (false, it.delivered, false);
        it.tries += 1;
        it.in_a_row += 1;
        self.nodes[node].waits.push_back(request);
        if self.nodes[node].is_alive() {
            self.start_next(node);
        } else {
            self.ends_at(now + HEADERS_WITHIN, request, Ending::IsGivenUp);
        }
    }

    /// Fills the slots that are free.
    fn start_next(&mut self, node: usize) {
        while self.nodes[node].is_alive() && self.nodes[node].computes.len() < self.nodes[node].slots as usize {
            let Some(request) = self.nodes[node].waits.pop_front() else { return };
            self.nodes[node].computes.push(request);
            self.starts(request);
        }
    }

    fn starts(&mut self, request: usize) {
        let (it, now) = (&mut self.requests[request], self.now);
        it.computes_since = Some(now);
        let (attempt, left, node) = (it.attempt, it.completion - it.delivered, &self.nodes[it.node]);
        let first = node.time_to_read(it.prompt + it.delivered);
        let whole = first + node.time_to_write(left);
        let strikes = self.fate.u8(..10);
        let (after, how) = match node.character {
            _ if self.policy == Policy::Oracle => (whole, Ending::Completes),
            Character::Staller if strikes < STALLS => {
                (first + node.time_to_write(self.fate.u64(0..left.max(1))), Ending::Stalls)
            }
            Character::Flaky if strikes < FAILS => (self.fate.u64(0..whole), Ending::Fails),
            _ => (whole, Ending::Completes),
        };
        if first <= after {
            self.events.at(now + first, Event::Begins { request, attempt });
        }
        self.ends_at(now + after, request, how);
    }

    /// The first byte has come.
    pub(super) fn begins(&mut self, request: usize) {
        let (now, instant) = (self.now, self.instant());
        let it = &mut self.requests[request];
        if it.stands_still || it.has_first_byte {
            return;
        }
        it.has_first_byte = true;
        let (first_byte, prompt) = (std::time::Duration::from_micros(now - it.started), it.prompt + it.before);
        self.nodes[it.node].health.answered(first_byte, prompt, instant);
        if it.before == 0 {
            self.figures_of_beginning(request);
        }
    }

    pub(super) fn ends(&mut self, request: usize, how: Ending) {
        if self.requests[request].stands_still && how != Ending::IsGivenUp {
            return;
        }
        match how {
            Ending::Completes => self.completes(request),
            Ending::Fails => {
                self.stands_still(request);
                self.fails(request);
            }
            Ending::IsGivenUp => self.fails(request),
            Ending::Stalls => {
                self.stands_still(request);
                let patience = self.patience(request);
                self.ends_at(self.now + patience, request, Ending::IsGivenUp);
            }
        }
    }

    /// Microseconds until the gateway gives up a stream in which comments go on and tokens do not.
    fn patience(&self, request: usize) -> u64 {
        let now = self.instant();
        let mut watch = StallWatch::new(self.nodes[self.requests[request].node].health.typical_gap(), SILENCE, now);
        watch.token(now);
        loop {
            let deadline = watch.deadline();
            watch.heard(deadline);
            if watch.deadline() == deadline {
                return deadline.saturating_duration_since(now).as_micros() as u64;
            }
        }
    }

    /// From now on nothing comes from there; the client has what came before.
    pub(super) fn stands_still(&mut self, request: usize) {
        let (it, now) = (&mut self.requests[request], self.now);
        if std::mem::replace(&mut it.stands_still, true) || !it.has_first_byte {
            return;
        }
        let Some(since) = it.computes_since else { return };
        let node = &self.nodes[it.node];
        let writes = (now - since).saturating_sub(node.time_to_read(it.prompt + it.before));
        it.delivered = (it.before + writes * node.speed / SECOND).clamp(it.before, it.completion - 1);
    }

    fn completes(&mut self, request: usize) {
        let (now, it) = (self.instant(), &self.requests[request]);
        let (written, took) = (it.completion - it.before, self.now - it.started);
        let node = &mut self.nodes[it.node];
        let claimed = match node.character {
            Character::Liar(percent) => it.completion * percent / 100,
            _ => it.completion,
        };
        node.health.succeeded();
        node.health.spoke(written, std::time::Duration::from_micros(took));
        node.health.paused(std::time::Duration::from_micros(SECOND / node.speed));
        node.health.judged(claimed, it.completion, now);
        self.figures.overclaimed += claimed - it.completion;
        self.figures.completed += 1;
        self.leaves_node(request);
        self.is_over(request);
    }

    /// The node failed: another one is tried, or goes on.
    pub(super) fn fails(&mut self, request: usize) {
        let (now, it) = (self.instant(), &self.requests[request]);
        let (node, written, took) = (it.node, it.delivered - it.before, self.now - it.started);
        self.nodes[node].health.failed(now);
        self.nodes[node].health.spoke(written, std::time::Duration::from_micros(took));
        self.leaves_node(request);
        let may_fall_back = self.preference(&self.requests[request]).may_fall_back();
        let (now, connection) = (self.now, self.nodes[node].connection);
        let build = self.nodes[node].quantisation;
        let it = &mut self.requests[request];
        if written > 0 {
            (it.in_a_row, it.goes_on_until, it.begun) = (0, now + GOES_ON_WITHIN, Some(build));
            it.tried.clear();
        }
        it.tried.push((node, connection));
        let most = if may_fall_back { MOST_IN_A_ROW } else { 1 };
        if self.policy == Policy::Gateway && it.in_a_row >= most {
            self.begin_attempt(request);
            self.refuse(request, Outcome::Failed);
        } else {
            self.place(request);
        }
    }

    fn leaves_node(&mut self, request: usize) {
        let (node, passage) = (self.requests[request].node, self.requests[request].passage);
        self.nodes[node].health.abandoned(passage);
        self.nodes[node].in_flight -= 1;
        self.nodes[node].computes.retain(|other| *other != request);
        self.nodes[node].waits.retain(|other| *other != request);
        // Whatever was to come of this attempt does not matter any more.
        self.begin_attempt(request);
        self.start_next(node);
        self.chances.push(Chance::At(self.nodes[node].id));
        self.oracle_has_room(node);
    }
}
