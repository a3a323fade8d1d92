//! A tree that only grows: its right edge, its head, and where its nodes are. Source: RFC 6962, section 2.1.

use std::ops::Range;

use super::hash::Hash;

/// The most leaves of a tree: what signed integers of 64 bits hold, in which databases and other logs keep sizes.
pub const MAX_SIZE: u64 = (1 << 63) - 1;

/// What a whole tree comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// How many leaves it has.
    pub size: u64,
    pub root: Hash,
}

impl TreeHead {
    /// That of a tree without leaves.
    pub const EMPTY: Self = Self { size: 0, root: Hash::EMPTY_TREE };
}

/// Where a node stands: it covers the leaves from `index << level`, `1 << level` of them, all of which exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// 0 for leaves.
    pub level: u8,
    /// From the left, from 0.
    pub index: u64,
}

/// Why there is no proof to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unprovable {
    #[error("a tree of {size} leaves has none at index {index}")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves was never one of {old}")]
    NoSuchTree { old: u64, new: u64 },
    #[error("{0} leaves are more than a tree can have")]
    TooLarge(u64),
    #[error("the node at level {}, index {} is not at hand", .0.level, .0.index)]
    Missing(Node),
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disproved {
    #[error("a tree of {size} leaves has none at index {index}")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves was never one of {old}")]
    NoSuchTree { old: u64, new: u64 },
    #[error("the proof has {0} hashes, which are too many or too few for its tree")]
    Length(usize),
    #[error("the proof leads to another root")]
    Root,
}

/// The right edge of a tree: all that is needed to let it grow. It holds one hash for each 1 in the binary size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the full subtrees, the largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of this size, of which [`nodes_of`] `(0..size)` are these. None when there are too many or too few.
    pub fn resume(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let fits = size <= MAX_SIZE && u32::try_from(peaks.len()) == Ok(size.count_ones());
        fits.then_some(Self { size, peaks })
    }

    /// Adds a leaf, and tells every node that is complete with it, the leaf first.
    pub fn push(&mut self, leaf: Hash, mut complete: impl FnMut(Node, Hash)) {
        let mut node = Node { level: 0, index: self.size };
        let mut hash = leaf;
        complete(node, hash);
        while node.index % 2 == 1
            && let Some(left) = self.peaks.pop()
        {
            hash = Hash::node(&left, &hash);
            node = Node { level: node.level + 1, index: node.index / 2 };
            complete(node, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the full subtrees, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The tree as it is now.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: fold(&self.peaks) }
    }
}

/// The root over these leaves, in this order.
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::new();
    leaves.into_iter().for_each(|leaf| frontier.push(leaf, |_, _| ()));
    frontier.head().root
}

/// The full subtrees that together cover the leaves of a range, from left to right. The range starts where a subtree of
/// its length can start, as it does for whole trees and for the subtrees that proofs are made of.
pub fn nodes_of(range: Range<u64>) -> impl Iterator<Item = Node> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let level = range.end.checked_sub(start)?.checked_ilog2()?;
        let node = Node { level: u8::try_from(level).ok()?, index: start >> level };
        start += 1 << level;
        Some(node)
    })
}

/// The root over the leaves of a range, which starts as [`nodes_of`] has it.
///
/// # Errors
/// When a node isn't at hand.
pub fn root_of_range(range: Range<u64>, nodes: &impl Fn(Node) -> Option<Hash>) -> Result<Hash, Unprovable> {
    let peaks: Result<Vec<Hash>, Unprovable> =
        nodes_of(range).map(|node| nodes(node).ok_or(Unprovable::Missing(node))).collect();
    peaks.map(|peaks| fold(&peaks))
}

/// Where a tree of more than one leaf is cut in two: the largest power of two below its size.
pub(super) fn cut(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Full subtrees, the largest first, under one root.
fn fold(peaks: &[Hash]) -> Hash {
    let root = peaks.iter().rev().copied().reduce(|right, left| Hash::node(&left, &right));
    root.unwrap_or(Hash::EMPTY_TREE)
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::HashMap;

    use super::*;

    /// A whole tree, with the head that it had at every size.
    pub(in super::super) struct Grown {
        pub(in super::super) heads: Vec<TreeHead>,
        pub(in super::super) nodes: HashMap<Node, Hash>,
    }

    impl Grown {
        /// Leaf `index` is the hash of its index and of the seed.
        pub(in super::super) fn to(size: u64, seed: u64) -> Self {
            let mut frontier = Frontier::new();
            let mut grown = Self { heads: vec![frontier.head()], nodes: HashMap::new() };
            for index in 0..size {
                let entry = [index.to_be_bytes(), seed.to_be_bytes()].concat();
                frontier.push(Hash::leaf(&entry), |node, hash| assert_eq!(grown.nodes.insert(node, hash), None));
                grown.heads.push(frontier.head());
            }
            grown
        }

        pub(in super::super) fn node(&self) -> impl Fn(Node) -> Option<Hash> {
            |node| self.nodes.get(&node).copied()
        }

        pub(in super::super) fn leaf(&self, index: u64) -> Hash {
            self.nodes[&Node { level: 0, index }]
        }
    }

    /// The entries of certificate-transparency's merkletree tests.
    pub(in super::super) fn known_leaves() -> Vec<Hash> {
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
            .map(|hex| Hash::leaf(&data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()))
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{Grown, known_leaves};
    use super::*;

    /// RFC 6962's own definition, word by word.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::EMPTY_TREE,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                Hash::node(&defined(left), &defined(right))
            }
        }
    }

    #[test]
    fn certificate_transparency_s_known_roots_come_out() {
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves = known_leaves();
        for (size, root) in (1..).zip(roots) {
            assert_eq!(root_of(leaves[..size].iter().copied()).to_hex(), root, "of {size} leaves");
        }
    }

    #[test]
    fn every_size_has_the_root_that_is_defined() {
        let grown = Grown::to(300, 0);
        let leaves: Vec<Hash> = (0..300).map(|index| grown.leaf(index)).collect();
        for size in 0..=300 {
            let head = grown.heads[size];
            assert_eq!((head.size, head.root), (size as u64, defined(&leaves[..size])));
            assert_eq!(root_of_range(0..size as u64, &grown.node()), Ok(head.root));
        }
        assert_eq!(root_of_range(256..300, &grown.node()), Ok(defined(&leaves[256..])));
        let missing = Node { level: 2, index: 75 };
        assert_eq!(root_of_range(256..304, &grown.node()), Err(Unprovable::Missing(Node { level: 4, index: 18 })));
        assert_eq!(root_of_range(300..304, &grown.node()), Err(Unprovable::Missing(missing)));
    }

    #[test]
    fn the_largest_tree_there_can_be_has_sixty_three_peaks() {
        assert_eq!(nodes_of(0..MAX_SIZE).count(), 63);
        assert!(Frontier::resume(MAX_SIZE, vec![Hash::EMPTY_TREE; 63]).is_some());
        assert!(Frontier::resume(MAX_SIZE + 1, vec![Hash::EMPTY_TREE]).is_none());
        assert!(Frontier::resume(3, vec![Hash::EMPTY_TREE]).is_none());
    }

    proptest! {
        #[test]
        fn a_tree_goes_on_from_its_edge(size in 0_u64..300, more in 0_u64..50) {
            let grown = Grown::to(size + more, 1);
            let peaks: Vec<Hash> = nodes_of(0..size).map(|node| grown.nodes[&node]).collect();
            let mut frontier = Frontier::resume(size, peaks).unwrap();
            prop_assert_eq!(frontier.head(), grown.heads[usize::try_from(size).unwrap()]);
            for index in size..size + more {
                frontier.push(grown.leaf(index), |_, _| ());
            }
            prop_assert_eq!(Some(&frontier.head()), grown.heads.last());
        }
    }
}
