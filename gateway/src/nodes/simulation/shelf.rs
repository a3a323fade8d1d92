//! The nodes of one model, as `nodes/shelf.rs` has them, by the simulated clock.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use openapi::price::Price;

use super::events::SECOND;
use super::fleet::Node;
use crate::nodes::choose::dearest;
use crate::nodes::preference::{Names, Sort};

/// As `HOLDS` there.
const HOLDS: u64 = SECOND / 2;

/// The nodes of a model that are connected, and how they come.
#[derive(Default)]
pub(super) struct Shelf {
    /// Each at its place.
    pub(super) nodes: Vec<usize>,
    orders: [Kept<Arc<[u32]>>; Sort::ALL.len()],
    usual_first_byte: Kept<Duration>,
    names: OnceCell<Names>,
    /// By the kind of a request, and whether its account denies data collection.
    dearest: RefCell<HashMap<(usize, bool), (u64, u64)>>,
    /// Those of them that get work of requests that ask for nothing.
    pub(super) works: Vec<usize>,
}

type Kept<T> = RefCell<Option<(u64, T)>>;

impl Shelf {
    pub(super) fn new(of_the_model: Vec<usize>, nodes: &[Node]) -> Self {
        let offers: Vec<Price> = of_the_model.iter().map(|node| nodes[*node].price).collect();
        let held = dearest(&offers, |price| price.completion, false).unwrap_or_default();
        let works = of_the_model.iter().copied().filter(|node| nodes[*node].price.completion <= held.completion);
        Self { works: works.collect(), nodes: of_the_model, ..Self::default() }
    }

    /// Places in the order of a figure, least first.
    pub(super) fn order(&self, sort: Sort, now: u64, figure: impl Fn(usize) -> u64) -> Arc<[u32]> {
        made(&self.orders[sort as usize], now, || {
            let mut figures: Vec<(u64, u32)> = self.nodes.iter().map(|node| figure(*node)).zip(0..).collect();
            figures.sort_unstable();
            figures.into_iter().map(|(_, place)| place).collect()
        })
    }

    pub(super) fn usual_first_byte(&self, now: u64, expected: impl Fn(usize) -> Option<Duration>) -> Duration {
        made(&self.usual_first_byte, now, || {
            let mut all: Vec<Duration> = self.nodes.iter().copied().filter_map(expected).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        })
    }

    /// Places by what nodes are called.
    pub(super) fn names(&self, nodes: &[Node]) -> &Names {
        let called = |node: &usize| (nodes[*node].id, nodes[*node].operator, nodes[*node].name.as_str());
        self.names.get_or_init(|| Names::new(self.nodes.iter().map(called)))
    }

    pub(super) fn dearest(&self, kind: (usize, bool), now: u64, find: impl FnOnce(&[usize]) -> u64) -> u64 {
        let known = self.dearest.borrow().get(&kind).copied();
        if let Some((_, held)) = known.filter(|(at, _)| now - at < HOLDS) {
            return held;
        }
        let held = find(&self.nodes);
        self.dearest.borrow_mut().insert(kind, (now, held));
        held
    }
}

fn made<T: Clone>(kept: &Kept<T>, now: u64, make: impl FnOnce() -> T) -> T {
    let mut kept = kept.borrow_mut();
    match &*kept {
        Some((at, it)) if now - at < HOLDS => it.clone(),
        _ => kept.insert((now, make())).1.clone(),
    }
}
