//! Nodes come and go, and now and then many are gone at once.

use super::events::{Ending, Event, MINUTE, SECOND};
use super::fleet::{NODES_OF_AN_OPERATOR, REGIONS, exponential};
use super::shelf::Shelf;
use super::world::World;
use crate::nodes::queue::Chance;

/// How long a node is there, and how long it is away, on average.
pub(super) const SESSION: u64 = 120 * MINUTE;
pub(super) const ABSENCE: u64 = 20 * MINUTE;
/// Every so often a region or an operator goes dark, for so long.
pub(super) const OUTAGE_EVERY: u64 = 3 * MINUTE;
const OUTAGE: u64 = 2 * MINUTE;

impl World {
    pub(super) fn leaves(&mut self, node: usize) {
        self.nodes[node].runs = false;
        if self.nodes[node].connected && !self.nodes[node].dark {
            self.disconnect(node);
        }
        let back = self.now + exponential(&mut self.churn, ABSENCE);
        self.events.at(back, Event::Returns { node });
    }

    pub(super) fn returns(&mut self, node: usize) {
        self.nodes[node].runs = true;
        if !self.nodes[node].dark {
            self.connect(node);
        }
        let leaves = self.now + exponential(&mut self.churn, SESSION);
        self.events.at(leaves, Event::Leaves { node });
    }

    /// Regions and operators in turns.
    fn is_hit(&self, outage: usize, node: usize) -> bool {
        let mut random = fastrand::Rng::with_seed(self.size.seed ^ outage as u64);
        let operator = random.usize(..self.nodes.len().div_ceil(NODES_OF_AN_OPERATOR));
        let region = REGIONS[random.usize(..REGIONS.len())].0;
        if outage.is_multiple_of(2) {
            self.nodes[node].region.is_some_and(|is| is.to_string() == region)
        } else {
            node / NODES_OF_AN_OPERATOR == operator
        }
    }

    pub(super) fn darkens(&mut self) {
        let outage = self.outages;
        self.outages += 1;
        self.events.at(self.now + OUTAGE_EVERY, Event::Darkens);
        self.events.at(self.now + OUTAGE, Event::Lights { outage });
        for node in (0..self.nodes.len()).filter(|node| self.is_hit(outage, *node)).collect::<Vec<_>>() {
            self.nodes[node].dark = true;
            if !self.nodes[node].connected {
                continue;
            }
            // Pings every five seconds find a dead connection within ten.
            let noticed = self.now + self.churn.u64(5 * SECOND..10 * SECOND);
            self.events.at(noticed, Event::Notices { node, connection: self.nodes[node].connection });
            for request in self.on(node) {
                self.stands_still(request);
                // The node's last comment came up to two seconds ago.
                let silent = self.now + 5 * SECOND - self.fate.u64(..2 * SECOND);
                self.ends_at(silent, request, Ending::IsGivenUp);
            }
        }
    }

    pub(super) fn lights(&mut self, outage: usize) {
        for node in (0..self.nodes.len()).filter(|node| self.is_hit(outage, *node)).collect::<Vec<_>>() {
            self.nodes[node].dark = false;
            if self.nodes[node].runs && !self.nodes[node].connected {
                self.connect(node);
            }
        }
    }

    pub(super) fn ends_at(&mut self, time: u64, request: usize, how: Ending) {
        self.events.at(time, Event::Ends { request, attempt: self.requests[request].attempt, how });
    }

    /// All requests on a node.
    fn on(&self, node: usize) -> Vec<usize> {
        self.nodes[node].computes.iter().chain(&self.nodes[node].waits).copied().collect()
    }

    fn connect(&mut self, node: usize) {
        if self.nodes[node].connected {
            self.disconnect(node);
        }
        let now = self.instant();
        let it = &mut self.nodes[node];
        (it.connected, it.connection) = (true, it.connection + 1);
        it.health.rejoined(now);
        let model = it.model;
        self.shelve(model, |nodes| nodes.push(node));
        self.chances.push(Chance::At(self.nodes[node].id));
        self.oracle_has_room(node);
    }

    pub(super) fn disconnect(&mut self, node: usize) {
        self.nodes[node].connected = false;
        let model = self.nodes[node].model;
        self.shelve(model, |nodes| nodes.retain(|other| *other != node));
        for request in self.on(node) {
            self.stands_still(request);
            self.fails(request);
        }
    }

    fn shelve(&mut self, model: usize, change: impl FnOnce(&mut Vec<usize>)) {
        let mut nodes = std::mem::take(&mut self.shelves[model].nodes);
        change(&mut nodes);
        self.shelves[model] = Shelf::new(nodes, &self.nodes);
    }
}
