//! Counts by node: calls under way, and what was found wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use super::super::{Node, lock};

/// A number for each node; most have none.
#[derive(Default)]
pub(super) struct Tally(Mutex<HashMap<Uuid, u32>>);

/// Counts for one until it is dropped.
pub(super) struct Place {
    tally: Arc<Tally>,
    node: Uuid,
}

impl Tally {
    pub(super) fn of(&self, node: Uuid) -> u32 {
        lock(&self.0).get(&node).copied().unwrap_or_default()
    }

    pub(super) fn add(&self, node: Uuid) {
        *lock(&self.0).entry(node).or_default() += 1;
    }

    /// A place for a node that has fewer than `most`.
    pub(super) fn enter(self: &Arc<Self>, node: Uuid, most: u32) -> Option<Place> {
        let mut counts = lock(&self.0);
        let count = counts.entry(node).or_default();
        (*count < most).then(|| {
            *count += 1;
            Place { tally: Arc::clone(self), node }
        })
    }

    /// The node that ranks lowest, with a place on it. `rank` gets the places that are taken there.
    pub(super) fn enter_least<Rank: Ord>(
        self: &Arc<Self>,
        nodes: Vec<Arc<Node>>,
        rank: impl Fn(&Node, u32) -> Rank,
    ) -> Option<(Arc<Node>, Place)> {
        let mut counts = lock(&self.0);
        let taken = |node: &Node| counts.get(&node.id).copied().unwrap_or_default();
        let least = nodes.into_iter().min_by_key(|node| rank(node, taken(node)))?;
        *counts.entry(least.id).or_default() += 1;
        let place = Place { tally: Arc::clone(self), node: least.id };
        Some((least, place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.tally.0);
        if let Some(count) = counts.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_given_back() {
        let (tally, node) = (Arc::<Tally>::default(), Uuid::now_v7());
        let places: Vec<Place> = std::iter::from_fn(|| tally.enter(node, 3)).take(9).collect();
        assert_eq!((places.len(), tally.of(node)), (3, 3));
        assert!(tally.enter(Uuid::now_v7(), 3).is_some(), "another node's are its own");
        drop(places);
        assert_eq!(lock(&tally.0).len(), 0, "nothing is kept of whoever has none");
        tally.add(node);
        assert_eq!(tally.of(node), 1);
    }
}
