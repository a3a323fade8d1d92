//! A leaf is in a tree. Sources: RFC 6962, section 2.1.1, for the proof; RFC 9162, section 2.1.3.2, for verifying it.

use std::ops::Range;

use super::hash::Hash;
use super::tree::{Disproved, MAX_SIZE, Node, TreeHead, Unprovable, cut, nodes_of, root_of_range};

/// Which nodes [`prove`] asks for, so that they can be fetched before.
///
/// # Errors
/// When the tree has no such leaf.
pub fn needs(index: u64, size: u64) -> Result<Vec<Node>, Unprovable> {
    Ok(siblings(index, size)?.into_iter().flat_map(nodes_of).collect())
}

/// The proof that a tree of a size has this leaf: the roots beside the way from it to the root, the leaf's neighbour
/// first.
///
/// # Errors
/// When the tree has no such leaf, or a node isn't at hand.
pub fn prove(index: u64, size: u64, nodes: impl Fn(Node) -> Option<Hash>) -> Result<Vec<Hash>, Unprovable> {
    siblings(index, size)?.into_iter().map(|range| root_of_range(range, &nodes)).collect()
}

/// Whether a proof shows that a leaf stands at this index of a tree.
///
/// # Errors
/// When it doesn't.
pub fn verify(leaf: Hash, index: u64, proof: &[Hash], tree: TreeHead) -> Result<(), Disproved> {
    let size = tree.size;
    let (mut node, mut last) = match size.checked_sub(1) {
        Some(last) if index <= last => (index, last),
        _ => return Err(Disproved::NoSuchLeaf { index, size }),
    };
    let mut root = leaf;
    for sibling in proof {
        if last == 0 {
            return Err(Disproved::Length(proof.len()));
        }
        if node % 2 == 1 || node == last {
            root = Hash::node(sibling, &root);
            // At the right edge a node rises until it has a left neighbour.
            let alone = if node == 0 { 0 } else { node.trailing_zeros() };
            (node, last) = (node >> alone, last >> alone);
        } else {
            root = Hash::node(&root, sibling);
        }
        (node, last) = (node / 2, last / 2);
    }
    match last {
        0 if root == tree.root => Ok(()),
        0 => Err(Disproved::Root),
        _ => Err(Disproved::Length(proof.len())),
    }
}

/// What lies beside the way from a leaf to the root, from below.
fn siblings(index: u64, size: u64) -> Result<Vec<Range<u64>>, Unprovable> {
    if size > MAX_SIZE {
        return Err(Unprovable::TooLarge(size));
    }
    if index >= size {
        return Err(Unprovable::NoSuchLeaf { index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut beside = Vec::new();
    while end - start > 1 {
        let middle = start + cut(end - start);
        if index < middle {
            beside.push(middle..end);
            end = middle;
        } else {
            beside.push(start..middle);
            start = middle;
        }
    }
    beside.reverse();
    Ok(beside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tree::root_of;
    use super::super::tree::testing::{Grown, known_leaves};
    use super::*;

    #[test]
    fn certificate_transparency_s_known_proofs_come_out() {
        let leaves = known_leaves();
        let prove_in = |index: u64, size: u64| {
            let nodes = |node: Node| {
                let (start, end) = ((node.index << node.level) as usize, ((node.index + 1) << node.level) as usize);
                Some(root_of(leaves[start..end].iter().copied()))
            };
            prove(index, size, nodes).unwrap().into_iter().map(Hash::to_hex).collect::<Vec<_>>()
        };
        let a = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
        let b = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
        let c = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
        let d = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
        let e = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
        let f = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
        assert_eq!(prove_in(0, 1), Vec::<String>::new());
        assert_eq!(prove_in(0, 8), [a, b, c]);
        assert_eq!(prove_in(5, 8), [d, e, f]);
        assert_eq!(prove_in(2, 3), ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]);
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_no_other() {
        let grown = Grown::to(70, 2);
        for size in 1..=70_u64 {
            let head = grown.heads[size as usize];
            for index in 0..size {
                let needed = needs(index, size).unwrap();
                let proof = prove(index, size, |node| grown.node()(node).filter(|_| needed.contains(&node))).unwrap();
                assert_eq!(verify(grown.leaf(index), index, &proof, head), Ok(()));
                for other in (0..70).filter(|other| *other != index) {
                    assert!(verify(grown.leaf(index), other, &proof, head).is_err(), "{index} as {other} of {size}");
                    assert!(verify(grown.leaf(other), index, &proof, head).is_err(), "{other} at {index} of {size}");
                }
                assert!(verify(grown.leaf(index), index, &[&proof[..], &[head.root]].concat(), head).is_err());
                assert!(proof.is_empty() || verify(grown.leaf(index), index, &proof[1..], head).is_err());
            }
        }
    }

    #[test]
    fn what_is_not_in_the_tree_has_no_proof() {
        let nodes = |_| Some(Hash::EMPTY_TREE);
        assert_eq!(prove(0, 0, nodes), Err(Unprovable::NoSuchLeaf { index: 0, size: 0 }));
        assert_eq!(prove(7, 7, nodes), Err(Unprovable::NoSuchLeaf { index: 7, size: 7 }));
        assert_eq!(prove(0, MAX_SIZE + 1, nodes), Err(Unprovable::TooLarge(MAX_SIZE + 1)));
        assert_eq!(prove(1, 4, |_| None), Err(Unprovable::Missing(Node { level: 0, index: 0 })));
        assert_eq!(prove(MAX_SIZE - 1, MAX_SIZE, nodes).unwrap().len(), 62);
        let none = Err(Disproved::NoSuchLeaf { index: 0, size: 0 });
        assert_eq!(verify(Hash::EMPTY_TREE, 0, &[], TreeHead::EMPTY), none);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_leaf_is_proven_and_no_bit_of_it_may_change(size in 1_u64..300, seed: u64, bit in 0_usize..256) {
            let grown = Grown::to(size, seed);
            let head = grown.heads[usize::try_from(size).unwrap()];
            let flipped = |mut hash: Hash| {
                hash.0[bit / 8] ^= 1 << (bit % 8);
                hash
            };
            let other = TreeHead { root: flipped(head.root), ..head };
            for index in 0..size {
                let (leaf, proof) = (grown.leaf(index), prove(index, size, grown.node()).unwrap());
                prop_assert_eq!(verify(leaf, index, &proof, head), Ok(()));
                prop_assert!(verify(flipped(leaf), index, &proof, head).is_err());
                prop_assert!(verify(leaf, index, &proof, other).is_err());
                for at in 0..proof.len() {
                    let mut proof = proof.clone();
                    proof[at] = flipped(proof[at]);
                    prop_assert!(verify(leaf, index, &proof, head).is_err());
                }
            }
        }

        #[test]
        fn nothing_is_more_than_an_error(index: u64, size: u64, length in 0_usize..80) {
            let tree = TreeHead { size, root: Hash::EMPTY_TREE };
            prop_assert!(verify(Hash::EMPTY_TREE, index, &vec![Hash::EMPTY_TREE; length], tree).is_err());
            let _ = needs(index, size);
        }
    }
}
