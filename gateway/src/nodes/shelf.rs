//! The nodes that serve one model, and what is worked out of all of them and kept for a moment: in which order they come
//! for each thing that a request may put first, who bears which name, and how dear one may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use openapi::price::Price;
use uuid::Uuid;

use super::marginal::Profile;
use super::preference::{Name, Names, Sort};
use super::{Node, lock};

/// Orders change with load and with what nodes report; what is exact is decided among the first of an order.
const HOLDS: Duration = Duration::from_millis(500);

/// The nodes of a model.
#[derive(Default)]
pub struct Shelf {
    nodes: Vec<Arc<Node>>,
    orders: [Kept<Arc<[u32]>>; Sort::ALL.len()],
    stand_in: Kept<Profile>,
    usual_first_byte: Kept<Duration>,
    names: Kept<Arc<Names>>,
    /// By what narrows the choice.
    dearest: Kept<HashMap<u64, Option<Price>>>,
    /// What the nodes offer does not change while they are here.
    caches_prefixes: OnceLock<bool>,
    context_length: OnceLock<Option<u64>>,
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
        let caches = |node: &Arc<Node>| node.best().models().iter().any(|model| model.caches_prefixes);
        *self.caches_prefixes.get_or_init(|| self.nodes.iter().any(caches))
    }

    /// The longest context that the model of this shelf is offered with, if it is.
    pub(super) fn context_length(&self, model: &str) -> Option<u64> {
        let of = |node: &Arc<Node>| node.model_named(model).map(|model| u64::from(model.context_length));
        *self.context_length.get_or_init(|| self.nodes.iter().filter_map(of).max())
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

    /// Places of the nodes that a name may mean: whoever has it asks them once more, as they may have got another since.
    pub fn named(&self, name: &Name) -> Vec<u32> {
        let names = made(&self.names, || {
            let registered: Vec<_> = self.nodes.iter().map(|node| (node.id, node.registered())).collect();
            Arc::new(Names::new(registered.iter().map(|(id, node)| (*id, node.operator, node.name.as_str()))))
        });
        names.of(name)
    }

    /// How soon answers usually begin, to a prompt of at most so many tokens: the median of the nodes that have given some.
    pub fn usual_first_byte(&self, prompt: u64) -> Duration {
        made(&self.usual_first_byte, || {
            let mut all: Vec<Duration> = self.nodes.iter().filter_map(|node| node.first_byte(prompt)).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        })
    }

    /// The dearest offer that may get a request, as `find` finds it. `narrowed` stands for whatever of the request decides.
    pub fn dearest(&self, narrowed: u64, find: impl FnOnce(&[Arc<Node>]) -> Option<Price>) -> Option<Price> {
        let fresh = |made: &&mut Made<HashMap<_, _>>| made.at.elapsed() < HOLDS;
        let known = lock(&self.dearest).as_mut().filter(fresh).and_then(|made| made.it.get(&narrowed).copied());
        if let Some(known) = known {
            return known;
        }
        // Whoever asks for something else need not wait for this.
        let found = find(&self.nodes);
        let mut kept = lock(&self.dearest);
        match kept.as_mut().filter(fresh) {
            Some(made) => drop(made.it.insert(narrowed, found)),
            None => *kept = Some(Made { at: Instant::now(), it: HashMap::from([(narrowed, found)]) }),
        }
        found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_worked_out_is_kept_for_a_moment_for_each_thing_that_is_asked() {
        let (shelf, mut times) = (Shelf::default(), 0);
        for narrowed in [1, 2, 1, 1, 2] {
            shelf.dearest(narrowed, |_| {
                times += 1;
                None
            });
        }
        assert_eq!(times, 2);
        lock(&shelf.dearest).as_mut().unwrap().at -= HOLDS;
        shelf.dearest(1, |_| {
            times += 1;
            None
        });
        assert_eq!(times, 3);
    }
}
