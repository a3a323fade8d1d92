//! Whether two nodes read one meter, and so sell the same joules twice or half of them each.

use std::collections::{HashMap, VecDeque};

use openapi::units::{Microjoules, Microseconds};
use uuid::Uuid;

use super::verdict::{Finding, Kind};

/// Movements that are remembered of each node.
const REMEMBERED: usize = 64;
/// Movements of two nodes that must be the same.
const SAME: usize = 20;
/// How far apart the movements may be, as a part of their sum: two looks at one counter.
const APART: f64 = 0.02;
/// How much the power must have moved meanwhile, as a part of its mean: estimates of machines at rest are alike.
const LIVELY: f64 = 0.1;

/// Where the counters of one node stood, by its own clock.
type Series = VecDeque<(Microseconds, f64)>;

/// The counters' movements of all nodes, by node; a node's go when it is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    series: HashMap<Uuid, Series>,
}

impl Meters {
    /// Takes what a node's counters have moved up to a moment, all together. Every 20 windows it is compared with the
    /// others, and those that move alike are told.
    pub fn observe(&mut self, node: Uuid, sequence: u64, to: Microseconds, moved: Microjoules) -> Vec<(Uuid, Finding)> {
        let series = self.series.entry(node).or_default();
        if series.len() == REMEMBERED {
            series.pop_front();
        }
        let stood = series.back().map_or(0.0, |(_, joules)| *joules);
        series.push_back((to, stood + moved.joules()));
        if !sequence.is_multiple_of(SAME as u64) {
            return Vec::new();
        }
        let own = self.series[&node].clone();
        let others = self.series.iter().filter(|(other, _)| **other != node);
        let alike = others.filter_map(|(other, series)| Some((*other, apart(&own, series)?)));
        let found = |(other, apart): (Uuid, f64)| {
            let reason = format!("Its counters move as those of node {other} do: both read one meter.");
            (other, Finding::new(Kind::SharedMeter, reason, &[("part of the movements that differs", apart)]))
        };
        alike.map(found).collect()
    }

    /// Begins anew after a start or a gap.
    pub fn restart(&mut self, node: Uuid) {
        self.series.remove(&node);
    }
}

/// The part of the last movements by which two series differ, if that is little and they have moved.
fn apart(own: &Series, other: &Series) -> Option<f64> {
    let ends: Vec<(Microseconds, f64, f64)> =
        own.iter().rev().filter_map(|(to, stood)| Some((*to, *stood, at(other, *to)?))).take(SAME + 1).collect();
    if ends.len() <= SAME {
        return None;
    }
    let moves: Vec<(f64, f64, f64)> = ends
        .windows(2)
        .map(|pair| ((pair[0].0 - pair[1].0).get() as f64 / 1e6, pair[0].1 - pair[1].1, pair[0].2 - pair[1].2))
        .collect();
    let (time, sum) = moves.iter().fold((0.0, 0.0), |(time, sum), step| (time + step.0, sum + step.1));
    let part = |of: &dyn Fn(&(f64, f64, f64)) -> f64| moves.iter().map(of).sum::<f64>() / sum;
    let lively = part(&|step| (step.1 - sum / time * step.0).abs());
    let apart = part(&|step| (step.1 - step.2).abs());
    (sum > 0.0 && lively > LIVELY && apart < APART).then_some(apart)
}

/// Where a series stood at a moment, between two of its ends in proportion.
fn at(series: &Series, moment: Microseconds) -> Option<f64> {
    let after = series.partition_point(|(to, _)| *to < moment);
    let (later, high) = *series.get(after)?;
    if later == moment {
        return Some(high);
    }
    let (earlier, low) = *series.get(after.checked_sub(1)?)?;
    let part = (moment - earlier).get() as f64 / (later - earlier).get().max(1) as f64;
    Some(low + (high - low) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Power of a second, in watts.
    fn watts(seed: u64, second: u64) -> f64 {
        100.0 + 500.0 * fastrand::Rng::with_seed(seed * 1_000_003 + second).f64()
    }

    /// Whether two nodes are told to read one meter, of which the second looks so much later.
    fn told(power: [&dyn Fn(u64) -> f64; 2], later: u64) -> bool {
        let mut meters = Meters::default();
        let mut told = false;
        for second in 1..=60 {
            for (node, power) in power.iter().enumerate() {
                let moved = Microjoules::new((power(second) * 1e6) as u64);
                let to = Microseconds::new(second * 1_000_000 + later * node as u64);
                told |= !meters.observe(Uuid::from_u128(node as u128), second, to, moved).is_empty();
            }
        }
        told
    }

    #[test]
    fn two_nodes_on_one_meter_are_found() {
        assert!(told([&|second| watts(1, second), &|second| watts(1, second)], 0));
        assert!(told([&|second| watts(1, second), &|second| watts(1, second) * 1.01], 10_000));
    }

    #[test]
    fn machines_of_their_own_are_not() {
        assert!(!told([&|second| watts(1, second), &|second| watts(2, second)], 0));
        assert!(!told([&|_| 5.0, &|_| 5.0], 0), "two estimates at rest");
        assert!(
            !told([&|second| watts(1, second), &|second| watts(1, second) * 1.1], 0),
            "the same load on two machines"
        );
    }

    #[test]
    fn memory_has_a_bound() {
        let mut meters = Meters::default();
        for second in 0..1_000 {
            meters.observe(Uuid::nil(), second, Microseconds::new(second), Microjoules::new(1));
        }
        assert_eq!(meters.series[&Uuid::nil()].len(), REMEMBERED);
        meters.restart(Uuid::nil());
        assert!(meters.series.is_empty());
    }
}
