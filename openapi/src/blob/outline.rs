//! The hashes by which a file is verified group by group.

use std::io::{self, Read};

use blake3::Hash;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{BlobAddress, GROUP_BYTES};

/// A list that isn't the outline of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of hashes does not give the hash of the file")]
pub struct NotItsOutline;

/// A group that isn't the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of group {group} are not the file's")]
pub struct WrongGroup {
    pub group: u64,
}

/// The chaining values of a file's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    address: BlobAddress,
    /// At least one. A group that is the whole file has the file's hash.
    groups: Vec<ChainingValue>,
}

impl Outline {
    /// Reads a file to its end.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(mut content: impl Read) -> io::Result<Self> {
        let (mut group, mut next) = (Vec::new(), Vec::new());
        read_group(&mut content, &mut group)?;
        read_group(&mut content, &mut next)?;
        if next.is_empty() {
            let blake3 = blake3::hash(&group);
            let address = BlobAddress { blake3, bytes: group.len() as u64 };
            return Ok(Self { address, groups: vec![*blake3.as_bytes()] });
        }
        let (mut groups, mut bytes) = (vec![subtree(0, &group)], group.len() as u64);
        while !next.is_empty() {
            groups.push(subtree(bytes, &next));
            bytes += next.len() as u64;
            read_group(&mut content, &mut next)?;
        }
        Ok(Self { address: BlobAddress { blake3: root(&groups), bytes }, groups })
    }

    /// Takes what somebody lists as the outline of the file at `address`, if it is.
    ///
    /// # Errors
    /// When it isn't.
    pub fn proven(address: BlobAddress, listed: &[u8]) -> Result<Self, NotItsOutline> {
        if listed.len() as u64 != address.outline_bytes() {
            return Err(NotItsOutline);
        }
        let groups: Vec<ChainingValue> = listed.as_chunks().0.to_vec();
        if root(&groups) == address.blake3 { Ok(Self { address, groups }) } else { Err(NotItsOutline) }
    }

    /// The file's address.
    #[must_use]
    pub fn address(&self) -> BlobAddress {
        self.address
    }

    /// The list, as [`Outline::proven`] takes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.groups.concat()
    }

    /// Judges the bytes of a group.
    ///
    /// # Errors
    /// When they are not the file's, or there is no such group.
    pub fn check(&self, group: u64, content: &[u8]) -> Result<(), WrongGroup> {
        let wrong = WrongGroup { group };
        let range = self.address.range(group);
        let listed = usize::try_from(group).ok().and_then(|group| self.groups.get(group)).ok_or(wrong)?;
        if content.len() as u64 != range.end - range.start {
            return Err(wrong);
        }
        let found = match self.groups.len() {
            1 => *blake3::hash(content).as_bytes(),
            _ => subtree(range.start, content),
        };
        if found == *listed { Ok(()) } else { Err(wrong) }
    }
}

fn read_group(content: &mut impl Read, group: &mut Vec<u8>) -> io::Result<()> {
    group.clear();
    content.take(GROUP_BYTES).read_to_end(group).map(drop)
}

/// The chaining value of a group that isn't the whole file. A group has a power of two of chunks and begins at a multiple
/// of its length, or is the file's last: so it is a subtree.
fn subtree(start: u64, content: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start).update(content).finalize_non_root()
}

/// The hash of the file whose groups these are.
fn root(groups: &[ChainingValue]) -> Hash {
    if let [whole] = groups {
        return Hash::from_bytes(*whole);
    }
    let (left, right) = halves(groups);
    merge_subtrees_root(&merged(left), &merged(right), Mode::Hash)
}

fn merged(groups: &[ChainingValue]) -> ChainingValue {
    if let [one] = groups {
        return *one;
    }
    let (left, right) = halves(groups);
    merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
}

/// Left is the largest power of two that leaves something on the right.
fn halves(groups: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    groups.split_at(groups.len().div_ceil(2).next_power_of_two())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUP: usize = GROUP_BYTES as usize;

    /// Bytes that repeat nowhere near.
    fn content(bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        content
    }

    fn group_of(content: &[u8], group: usize) -> &[u8] {
        &content[group * GROUP..content.len().min((group + 1) * GROUP)]
    }

    #[test]
    fn the_groups_give_the_hash_of_the_file() {
        let all = content(9 * GROUP + 1);
        let around = |groups: usize| [groups * GROUP - 1, groups * GROUP, groups * GROUP + 1];
        for bytes in [0, 1, 1023, 1024, 1025].into_iter().chain((1..=9).flat_map(around)) {
            let outline = Outline::of(&all[..bytes]).unwrap();
            assert_eq!(outline.address, BlobAddress { blake3: blake3::hash(&all[..bytes]), bytes: bytes as u64 });
            assert_eq!(outline.groups.len() as u64, outline.address.groups());
            assert_eq!(Outline::proven(outline.address, &outline.to_bytes()), Ok(outline));
        }
    }

    #[test]
    fn larger_subtrees_are_no_outline() {
        let outline = Outline::of(content(4 * GROUP).as_slice()).unwrap();
        let (left, right) = halves(&outline.groups);
        let shorter = [merged(left), merged(right)];
        assert_eq!(root(&shorter), outline.address.blake3, "they do give the hash");
        assert_eq!(Outline::proven(outline.address, &shorter.concat()), Err(NotItsOutline));
    }

    #[test]
    fn a_group_has_its_length_and_its_place() {
        let file = content(2 * GROUP + 5);
        let outline = Outline::of(file.as_slice()).unwrap();
        assert_eq!(outline.check(1, group_of(&file, 0)), Err(WrongGroup { group: 1 }));
        assert_eq!(outline.check(0, &file[..GROUP + 1]), Err(WrongGroup { group: 0 }));
        assert_eq!(outline.check(2, &file[2 * GROUP..][..4]), Err(WrongGroup { group: 2 }));
        assert_eq!(outline.check(2, &[]), Err(WrongGroup { group: 2 }));
        assert_eq!(outline.check(3, &[]), Err(WrongGroup { group: 3 }));
        assert_eq!(outline.check(u64::MAX, &[]), Err(WrongGroup { group: u64::MAX }));
        let empty = Outline::of(&[][..]).unwrap();
        assert_eq!((empty.check(0, &[]), empty.check(0, &[0])), (Ok(()), Err(WrongGroup { group: 0 })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_flipped_bit_of_the_file_is_found_in_its_group(bytes in 1..5 * GROUP, place: prop::sample::Index, bit in 0..8) {
            let mut file = content(bytes);
            let outline = Outline::of(file.as_slice()).unwrap();
            let flipped = place.index(bytes);
            file[flipped] ^= 1_u8 << bit;
            for group in 0..file.len().div_ceil(GROUP) {
                let judged = outline.check(group as u64, group_of(&file, group));
                let expected = if group == flipped / GROUP { Err(WrongGroup { group: group as u64 }) } else { Ok(()) };
                prop_assert_eq!(judged, expected);
            }
        }

        #[test]
        fn any_flipped_bit_of_the_outline_is_found(bytes in 0..5 * GROUP, place: prop::sample::Index, bit in 0..8) {
            let outline = Outline::of(content(bytes).as_slice()).unwrap();
            let mut listed = outline.to_bytes();
            let flipped = place.index(listed.len());
            listed[flipped] ^= 1_u8 << bit;
            prop_assert_eq!(Outline::proven(outline.address, &listed), Err(NotItsOutline));
        }
    }
}
