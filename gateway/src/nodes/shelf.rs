//! The nodes that serve one model, and in which order they come for each thing that a request may put first.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::marginal::Profile;
use super::preference::Sort;
use super::{Node, lock};

/// Orders change with load and with what nodes report; what is exact is decided among the first of an order.
const HOLDS: Duration = Duration::from_millis(500);

/// The nodes of a model.
#[derive(Default)]
pub struct Shelf {
    nodes: Vec<Arc<Node>>,
    orders: [Kept<Arc<[u32]>>; Sort::ALL.len()],
    stand_in: Kept<Profile>,
}

/// Something that is made anew from time to time.
type Kept<T> = Mutex<Option<Made<T>>>;

struct Made<T> {
    at: Instant,
    it: T,
}

impl Shelf {
    pub(super) fn new(nodes: Vec<Arc<Node>>) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// All of them, each at its place.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// True when some of them keep what they have computed of prompts.
    pub fn caches_prefixes(&self) -> bool {
        self.nodes.iter().any(|node| node.best().models().iter().any(|model| model.caches_prefixes))
    }

    /// All but one; none if that is not there.
    pub(super) fn without(&self, id: Uuid) -> Option<Vec<Arc<Node>>> {
        let rest: Vec<Arc<Node>> = self.nodes.iter().filter(|node| node.id != id).cloned().collect();
        (rest.len() < self.nodes.len()).then_some(rest)
    }

    /// Places in the order of a figure, least first.
    pub fn order(&self, sort: Sort, figure: impl Fn(&Node) -> u64) -> Arc<[u32]> {
        let Some(order) = self.orders.get(sort as usize) else { return Arc::default() };
        made(order, || {
            let mut figures: Vec<(u64, u32)> = self.nodes.iter().map(|node| figure(node)).zip(0..).collect();
            figures.sort_unstable();
            figures.into_iter().map(|(_, place)| place).collect()
        })
    }

    /// What a node is taken for of which nothing is known, among these.
    pub fn stand_in(&self, of: impl FnOnce(&[Arc<Node>]) -> Profile) -> Profile {
        made(&self.stand_in, || of(&self.nodes))
    }
}

/// What there is, made anew if it is old; whoever comes meanwhile waits for it.
fn made<T: Clone>(kept: &Kept<T>, make: impl FnOnce() -> T) -> T {
    let mut kept = lock(kept);
    match &*kept {
        Some(made) if made.at.elapsed() < HOLDS => made.it.clone(),
        _ => {
            let it = make();
            *kept = Some(Made { at: Instant::now(), it: it.clone() });
            it
        }
    }
}
