//! Requests that begin alike go to the same node, since its engine may still have that beginning computed.
//!
//! A [`Prefix`] is what a conversation's beginnings hash to, under its account: accounts never match each other, so
//! nobody learns from the speed of an answer what others have asked. A [`Memory`] knows which node had which beginning
//! last. Whoever matches nothing gets the ordinary choice, whatever is remembered, so that misses spread.
//!
//! A preference alone would send everybody to the node with a popular beginning. Loads are therefore bounded as in
//! Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016): a node that has more than its
//! share gives the request to the ordinary choice, and the beginning is remembered where that goes.

mod memory;

mod prefix;

#[cfg(test)]
mod tests;

pub use memory::{Match, Memory};
pub use prefix::Prefix;

/// All slots in use, as a load.
const FULL: u64 = 1_000;
/// Up to this load a node keeps nobody waiting, and a conversation does better to stay where it is. Without it, nodes
/// of few slots are over the bound by mere chance so often that every fifth turn moves.
const CALM: u64 = 750;

/// True when the node that has a request's beginning may get it: it is calm, or it is within the bound and has a free
/// slot unless nobody has. Loads are requests for every thousand slots; `loads` are those of all nodes that could
/// answer, and are looked at only when the node is not calm.
pub fn may_take(load_of_preferred: u64, loads: impl IntoIterator<Item = u64>) -> bool {
    if load_of_preferred <= CALM {
        return true;
    }
    let (mut nodes, mut sum, mut least) = (0_u64, 0_u64, u64::MAX);
    for load in loads {
        (nodes, sum, least) = (nodes + 1, sum.saturating_add(load), least.min(load));
    }
    within_bound(load_of_preferred, sum / nodes.max(1)) && (load_of_preferred < FULL || least >= FULL)
}

/// True when a node's load is at most 1.25 times the average. With the request that it then gets it is at most one
/// request above that.
pub fn within_bound(load_of_preferred: u64, average_load: u64) -> bool {
    u128::from(load_of_preferred) * 4 <= u128::from(average_load) * 5
}
