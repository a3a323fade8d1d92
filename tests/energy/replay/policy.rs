//! Who gets the next request.

use std::time::Duration;

use gateway::nodes::choose::{Ask, Candidate, choose};
use gateway::nodes::marginal::Work;
use gateway::nodes::preference::{Preference, Sort};
use openapi::units::Nanocredits;
use uuid::Uuid;

use super::node::{Node, Request};

/// Answers are this long on average, which is all that a gateway knows of one to come.
pub(super) const TYPICAL_COMPLETION: u64 = 250;
/// The latency objective of the policies that gather work.
pub(super) const OBJECTIVE: Duration = Duration::from_secs(1);

/// A way to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Policy {
    /// Any node with a free slot.
    Random,
    /// The gateway's own choice, by load.
    LeastLoaded,
    /// The least average joules of a token so far.
    LowestAverage,
    /// The gateway's own choice, by energy.
    Energy,
    /// The gateway's own choice, by carbon, with the grid as it is over the year.
    CarbonByYear,
    /// The gateway's own choice, by carbon, with the grid as it is now.
    Carbon,
    /// Knows what is true, how long each answer is and how long every other one still runs; keeps to the same latency
    /// objective.
    Clairvoyant { patience: f64 },
}

impl Policy {
    /// The number of the node.
    pub(super) fn pick(self, nodes: &[Node<'_>], request: &Request, chance: &mut fastrand::Rng) -> usize {
        let by_mean = |node: &Node<'_>| node.machine.mean;
        match self {
            Self::Random => any_free(nodes, chance),
            Self::LeastLoaded => ours(nodes, request, None, (by_mean, chance.u64(..))),
            Self::LowestAverage => least(nodes, |node| node.average()),
            Self::Energy => ours(nodes, request, Some(Sort::Energy), (by_mean, chance.u64(..))),
            Self::CarbonByYear => ours(nodes, request, Some(Sort::Carbon), (by_mean, chance.u64(..))),
            Self::Carbon => ours(nodes, request, Some(Sort::Carbon), (|node| node.intensity(), chance.u64(..))),
            Self::Clairvoyant { patience } => least(nodes, |node| node.foreseen(request, patience)),
        }
    }
}

fn any_free(nodes: &[Node<'_>], chance: &mut fastrand::Rng) -> usize {
    let free: Vec<usize> = (0..nodes.len()).filter(|number| !nodes[*number].is_full()).collect();
    if free.is_empty() { chance.usize(..nodes.len()) } else { free[chance.usize(..free.len())] }
}

fn least(nodes: &[Node<'_>], cost: impl Fn(&Node<'_>) -> f64) -> usize {
    let key = |node: &Node<'_>| {
        let state = node.state();
        let is_late = state.typical_first_byte > OBJECTIVE;
        ((node.is_full(), is_late), if node.is_full() { state.load() as f64 } else { cost(node) })
    };
    let keys = nodes.iter().map(key).enumerate();
    let best = keys.min_by(|(_, one), (_, other)| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    best.map_or(0, |(number, _)| number)
}

fn ours(
    nodes: &[Node<'_>],
    request: &Request,
    sort: Option<Sort>,
    (grid, random): (fn(&Node<'_>) -> u64, u64),
) -> usize {
    let candidates = nodes.iter().enumerate().map(|(number, node)| Candidate {
        node: Uuid::from_u128(number as u128),
        profile: Some(node.machine.profile(grid(node))),
        state: node.state(),
        price: Nanocredits::ZERO,
        tokens_per_second: 0,
        first_byte: None,
    });
    let ask = Ask {
        preference: Preference { sort, ..Preference::default() },
        work: Work { prompt: request.prompt.into(), completion: TYPICAL_COMPLETION },
        latency_objective: OBJECTIVE,
        usual_first_byte: std::time::Duration::ZERO,
        // For nobody: every node has figures.
        stand_in: nodes[0].machine.profile(0),
        random,
    };
    choose(candidates, &ask).map_or(0, |choice| choice.node.as_u128() as usize)
}
