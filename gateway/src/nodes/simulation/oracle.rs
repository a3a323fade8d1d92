//! Somebody who knows every node's true speed and state, and has one line for all: first come, first served. Nodes do
//! not fail him, but for going dark. What he does with the same requests is what can be had at best.

use super::events::{Event, SECOND};
use super::figures::Outcome;
use super::world::World;
use crate::nodes::health::Passage;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Gateway,
    Oracle,
}

/// As `COMMONWATT_QUEUE_SECONDS`.
pub(super) const PATIENCE: u64 = 60 * SECOND;

impl World {
    /// True when the node could do this request, as far as anybody can know: told without the code that is on trial.
    pub(super) fn is_suitable(&self, request: usize, node: usize) -> bool {
        let (request, it) = (&self.requests[request], &self.nodes[node]);
        let wants = &self.kinds[request.model].get(request.kind).wants;
        it.connected && it.is_alive() && wants.allow(it, request.denied) && it.price.completion.get() <= request.held
    }

    pub(super) fn oracle_place(&mut self, request: usize) {
        let model = self.requests[request].model;
        let free = |node: &usize| self.nodes[*node].in_flight < self.nodes[*node].slots;
        let nodes = self.shelves[model].nodes.iter().copied();
        let best = nodes.filter(|node| free(node) && self.is_suitable(request, *node));
        if let Some(node) = best.max_by_key(|node| self.nodes[*node].speed) {
            return self.hold(request, node, Passage::Open);
        }
        self.lines[model].push_back(request);
        let attempt = self.requests[request].attempt;
        self.events.at(self.now + PATIENCE, Event::Gives { request, attempt });
    }

    /// The first in line whom the node suits gets its free slot.
    pub(super) fn oracle_has_room(&mut self, node: usize) {
        let it = &self.nodes[node];
        if self.policy == Policy::Gateway || it.in_flight >= it.slots {
            return;
        }
        let model = it.model;
        let first = self.lines[model].iter().position(|request| self.is_suitable(*request, node));
        if let Some(request) = first.and_then(|first| self.lines[model].remove(first)) {
            self.hold(request, node, Passage::Open);
        }
    }

    pub(super) fn oracle_gives_up(&mut self, request: usize) {
        let line = &mut self.lines[self.requests[request].model];
        let before = line.len();
        line.retain(|other| *other != request);
        if line.len() < before {
            self.figures_of_refusal(request, Outcome::Refused);
            self.is_over(request);
        }
    }
}
