//! A tree only grew. Sources: RFC 6962, section 2.1.2, for the proof; RFC 9162, section 2.1.4.2, for verifying it.

use std::ops::Range;

use super::hash::Hash;
use super::tree::{Disproved, MAX_SIZE, Node, TreeHead, Unprovable, cut, nodes_of, root_of_range};

/// Which nodes [`prove`] asks for, so that they can be fetched before.
///
/// # Errors
/// When a tree of the new size was never one of the old.
pub fn needs(old: u64, new: u64) -> Result<Vec<Node>, Unprovable> {
    Ok(pieces(old, new)?.into_iter().flat_map(nodes_of).collect())
}

/// The proof that the first `old` leaves of the tree of `new` are the tree of `old`. Empty where nothing needs a proof:
/// when the old tree has no leaves, and when the sizes are the same.
///
/// # Errors
/// When a tree of the new size was never one of the old, or a node isn't at hand.
pub fn prove(old: u64, new: u64, nodes: impl Fn(Node) -> Option<Hash>) -> Result<Vec<Hash>, Unprovable> {
    pieces(old, new)?.into_iter().map(|range| root_of_range(range, &nodes)).collect()
}

/// Whether a proof shows that one tree has become another by growing only.
///
/// # Errors
/// When it doesn't.
pub fn verify(old: TreeHead, new: TreeHead, proof: &[Hash]) -> Result<(), Disproved> {
    if old.size > new.size {
        return Err(Disproved::NoSuchTree { old: old.size, new: new.size });
    }
    if old.size == 0 || old.size == new.size {
        let same = if old.size == 0 { TreeHead::EMPTY } else { new };
        let is_root = old == same && (new.size > 0 || new == TreeHead::EMPTY);
        return match proof {
            [] if is_root => Ok(()),
            [] => Err(Disproved::Root),
            _ => Err(Disproved::Length(proof.len())),
        };
    }
    verify_growth(old, new, proof)
}

/// [`verify`] where both trees have leaves, and the new one more.
fn verify_growth(old: TreeHead, new: TreeHead, proof: &[Hash]) -> Result<(), Disproved> {
    let wrong_length = Disproved::Length(proof.len());
    // A full tree is a node of the new one, and isn't said again.
    let known = old.size.is_power_of_two().then_some(&old.root);
    let mut hashes = known.into_iter().chain(proof);
    let mut old_root = *hashes.next().ok_or(wrong_length)?;
    let mut new_root = old_root;
    let (mut node, mut last) = (old.size - 1, new.size - 1);
    let full = node.trailing_ones();
    (node, last) = (node >> full, last >> full);
    for hash in hashes {
        if last == 0 {
            return Err(wrong_length);
        }
        if node % 2 == 1 || node == last {
            old_root = Hash::node(hash, &old_root);
            new_root = Hash::node(hash, &new_root);
            // At the right edge a node rises until it has a left neighbour.
            let alone = if node == 0 { 0 } else { node.trailing_zeros() };
            (node, last) = (node >> alone, last >> alone);
        } else {
            new_root = Hash::node(&new_root, hash);
        }
        (node, last) = (node / 2, last / 2);
    }
    match last {
        0 if old_root == old.root && new_root == new.root => Ok(()),
        0 => Err(Disproved::Root),
        _ => Err(wrong_length),
    }
}

/// The subtrees that both trees are put together from, from below.
fn pieces(old: u64, new: u64) -> Result<Vec<Range<u64>>, Unprovable> {
    if new > MAX_SIZE {
        return Err(Unprovable::TooLarge(new));
    }
    if old > new {
        return Err(Unprovable::NoSuchTree { old, new });
    }
    let (mut start, mut end) = (0, new);
    let mut pieces = Vec::new();
    while old > 0 && end != old {
        let middle = start + cut(end - start);
        if old <= middle {
            pieces.push(middle..end);
            end = middle;
        } else {
            pieces.push(start..middle);
            start = middle;
        }
    }
    // What is left is a subtree that ends where the old tree does. If it is all of the old tree, its root is known.
    if start > 0 {
        pieces.push(start..end);
    }
    pieces.reverse();
    Ok(pieces)
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
        let prove_from = |old: u64, new: u64| {
            let nodes = |node: Node| {
                let (start, end) = ((node.index << node.level) as usize, ((node.index + 1) << node.level) as usize);
                Some(root_of(leaves[start..end].iter().copied()))
            };
            prove(old, new, nodes).unwrap().into_iter().map(Hash::to_hex).collect::<Vec<_>>()
        };
        let a = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
        let b = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
        let c = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
        let d = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
        let e = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
        let f = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
        let g = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
        let h = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
        assert_eq!(prove_from(1, 1), Vec::<String>::new());
        assert_eq!(prove_from(1, 8), [a, b, c]);
        assert_eq!(prove_from(6, 8), [d, e, f]);
        assert_eq!(prove_from(2, 5), [b, h]);
        assert_eq!(prove_from(2, 2), Vec::<String>::new());
        assert_ne!(a, g);
    }

    #[test]
    fn every_growth_of_small_trees_is_proven_and_no_other() {
        let grown = Grown::to(130, 3);
        for new in 0..=130_usize {
            for old in 0..=new {
                let (from, to) = (grown.heads[old], grown.heads[new]);
                let needed = needs(from.size, to.size).unwrap();
                let given = |node| grown.node()(node).filter(|_| needed.contains(&node));
                let proof = prove(from.size, to.size, given).unwrap();
                assert_eq!(verify(from, to, &proof), Ok(()), "{old} to {new}");
                assert!(verify(from, to, &[&proof[..], &[to.root]].concat()).is_err());
                assert!(proof.is_empty() || verify(from, to, &proof[1..]).is_err());
                assert!(proof.is_empty() || verify(from, to, &proof[..proof.len() - 1]).is_err());
                assert!(old == new || verify(to, from, &proof).is_err());
                assert!(verify(TreeHead { root: Hash([7; 32]), ..from }, to, &proof).is_err());
                assert!(old == 0 || verify(from, TreeHead { root: Hash([7; 32]), ..to }, &proof).is_err());
            }
        }
    }

    #[test]
    fn no_proof_is_longer_than_a_witness_takes() {
        let nodes = |_| Some(Hash::EMPTY_TREE);
        assert_eq!(prove(3, 1 << 62, nodes).unwrap().len(), 63);
        assert_eq!(prove((1 << 62) - 1, 1 << 62, nodes).unwrap().len(), 63);
        assert_eq!(prove(2, 1, nodes), Err(Unprovable::NoSuchTree { old: 2, new: 1 }));
        assert_eq!(prove(0, u64::MAX, nodes), Err(Unprovable::TooLarge(u64::MAX)));
        assert_eq!(prove(1, 2, |_| None), Err(Unprovable::Missing(Node { level: 0, index: 1 })));
    }

    proptest! {
        #[test]
        fn no_bit_may_change(old in 1_u64..300, more in 1_u64..100, seed: u64, bit in 0_usize..256) {
            let grown = Grown::to(old + more, seed);
            let flipped = |mut hash: Hash| {
                hash.0[bit / 8] ^= 1 << (bit % 8);
                hash
            };
            let [from, to] = [old, old + more].map(|size| grown.heads[usize::try_from(size).unwrap()]);
            let proof = prove(from.size, to.size, grown.node()).unwrap();
            prop_assert_eq!(verify(from, to, &proof), Ok(()));
            let [other_from, other_to] = [from, to].map(|head| TreeHead { root: flipped(head.root), ..head });
            prop_assert!(verify(other_from, to, &proof).is_err());
            prop_assert!(verify(from, other_to, &proof).is_err());
            for at in 0..proof.len() {
                let mut proof = proof.clone();
                proof[at] = flipped(proof[at]);
                prop_assert!(verify(from, to, &proof).is_err());
            }
        }

        #[test]
        fn nothing_is_more_than_an_error(old: u64, new: u64, length in 0_usize..80) {
            let [old, new] = [old, new].map(|size| TreeHead { size, root: Hash([7; 32]) });
            let proof = vec![Hash::EMPTY_TREE; length];
            prop_assert!(old == new || verify(old, new, &proof).is_err());
            let _ = needs(old.size, new.size);
        }
    }
}
