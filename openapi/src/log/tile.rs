//! The tree as files that never change. Source: C2SP tlog-tiles, "Merkle Tree" and "Partial Tiles".

use std::fmt;
use std::str::FromStr;

use super::decimal;
use super::hash::Hash;
use super::tree::{MAX_SIZE, Node, root_of};

/// How many hashes or entries a full tile has.
pub const FULL: u16 = 256;
/// Each level of tiles covers so many levels of the tree: a full tile has `1 << HEIGHT` hashes.
const HEIGHT: u8 = 8;
/// Levels of tiles in the largest tree.
const LEVELS: u8 = 8;

/// What a tile is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Row {
    /// The log's entries themselves, as [`super::bundle`] writes them.
    Entries,
    /// Hashes: of entries at level 0, of full tiles of the level below elsewhere.
    Hashes { level: u8 },
}

/// One file of a log. Written as its path, such as `/tile/0/x001/x234/067.p/5`, to follow the log's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    row: Row,
    index: u64,
    width: u16,
}

/// A path that no log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no tile's path. One looks like /tile/0/x001/x234/067 or /tile/entries/067.p/5")]
pub struct NoTile;

/// The bytes of a tile are not as many as it has hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this tile has {expected} bytes, not {found}")]
pub struct WrongLength {
    pub expected: usize,
    pub found: usize,
}

impl Row {
    /// How many hashes or entries the row has in a tree of this size.
    fn length(self, size: u64) -> u64 {
        match self {
            Self::Entries => size,
            Self::Hashes { level } => size.checked_shr(u32::from(level) * u32::from(HEIGHT)).unwrap_or(0),
        }
    }
}

impl Tile {
    /// A tile of some row, from the left, from 0. None when no tree has it.
    pub fn new(row: Row, index: u64, width: u16) -> Option<Self> {
        let level = if let Row::Hashes { level } = row { level } else { 0 };
        let end = u128::from(index) * u128::from(FULL) + u128::from(width);
        let exists = level < LEVELS
            && (1..=FULL).contains(&width)
            && end.checked_mul(1 << (u32::from(level) * u32::from(HEIGHT)))? <= u128::from(MAX_SIZE);
        exists.then_some(Self { row, index, width })
    }

    /// The tile of a row as it is in a tree of some size. None where the tree has none.
    pub fn within(row: Row, index: u64, size: u64) -> Option<Self> {
        let rest = row.length(size).checked_sub(index.checked_mul(u64::from(FULL))?)?;
        Self::new(row, index, u16::try_from(rest.min(u64::from(FULL))).ok()?)
    }

    /// The tile in which, in a tree of some size, a node is found or can be made from what is found.
    pub fn holding(node: Node, size: u64) -> Option<Self> {
        let end = u128::from(node.index).checked_add(1)?.checked_shl(u32::from(node.level))?;
        if node.level >= 64 || end > u128::from(size) {
            return None;
        }
        let first = node.index << (node.level % HEIGHT);
        Self::within(Row::Hashes { level: node.level / HEIGHT }, first / u64::from(FULL), size)
    }

    pub fn row(self) -> Row {
        self.row
    }

    /// From the left, from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many hashes or entries it has, from 1 to [`FULL`].
    pub fn width(self) -> u16 {
        self.width
    }

    /// A tile that has all it can have; it stays when the tree grows.
    pub fn is_full(self) -> bool {
        self.width == FULL
    }

    /// The same tile when it is full, which is served in its stead once it is.
    #[must_use]
    pub fn filled(self) -> Self {
        Self { width: FULL, ..self }
    }

    /// The index of its first hash or entry in the row.
    pub fn start(self) -> u64 {
        self.index * u64::from(FULL)
    }

    /// A hash tile's hashes. More than it has, as when its full tile is served instead, are left out.
    ///
    /// # Errors
    /// When the bytes are neither this tile nor the full one.
    pub fn hashes(self, bytes: &[u8]) -> Result<Vec<Hash>, WrongLength> {
        let (chunks, rest) = bytes.as_chunks();
        let width = usize::from(self.width);
        if !rest.is_empty() || (chunks.len() != width && chunks.len() != usize::from(FULL)) {
            return Err(WrongLength { expected: width * Hash::BYTES, found: bytes.len() });
        }
        Ok(chunks[..width].iter().copied().map(Hash).collect())
    }

    /// A node out of the hashes of the tile that is [`Tile::holding`] it.
    fn node(self, node: Node, hashes: &[Hash]) -> Option<Hash> {
        let height = node.level % HEIGHT;
        let first = (node.index << height).checked_sub(self.start())?;
        let first = usize::try_from(first).ok()?;
        Some(root_of(hashes.get(first..first + (1 << height))?.iter().copied()))
    }
}

/// The nodes of a tree of some size, read from its tiles, as proofs ask for them. Whoever reads tiles of others has to
/// verify what is proven with them: nothing here does.
pub fn nodes(size: u64, read: impl Fn(Tile) -> Option<Vec<u8>>) -> impl Fn(Node) -> Option<Hash> {
    move |node| {
        let tile = Tile::holding(node, size)?;
        tile.node(node, &tile.hashes(&read(tile)?).ok()?)
    }
}

/// The hash tiles that a tree has when it has grown from one size to another, and did not have before.
pub fn new_hashes(from: u64, to: u64) -> impl Iterator<Item = Tile> {
    (0..LEVELS).flat_map(move |level| new_in(Row::Hashes { level }, from, to))
}

/// The bundles of entries that a log has when it has grown from one size to another, and did not have before.
pub fn new_entries(from: u64, to: u64) -> impl Iterator<Item = Tile> {
    new_in(Row::Entries, from, to)
}

fn new_in(row: Row, from: u64, to: u64) -> impl Iterator<Item = Tile> {
    let (from, to) = (row.length(from), row.length(to));
    let indices = if from < to { from / u64::from(FULL)..to.div_ceil(u64::from(FULL)) } else { 0..0 };
    indices.filter_map(move |index| {
        let width = (to - index * u64::from(FULL)).min(u64::from(FULL));
        Tile::new(row, index, u16::try_from(width).ok()?)
    })
}

impl fmt::Display for Tile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Row::Entries => formatter.write_str("/tile/entries")?,
            Row::Hashes { level } => write!(formatter, "/tile/{level}")?,
        }
        let digits = format!("{:0>3}", self.index);
        let digits = format!("{digits:0>width$}", width = digits.len().next_multiple_of(3));
        for at in (0..digits.len()).step_by(3) {
            let mark = if at + 3 < digits.len() { "x" } else { "" };
            write!(formatter, "/{mark}{}", &digits[at..at + 3])?;
        }
        if self.is_full() { Ok(()) } else { write!(formatter, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = NoTile;

    fn from_str(text: &str) -> Result<Self, NoTile> {
        read_path(text).filter(|tile| tile.to_string() == text).ok_or(NoTile)
    }
}

/// A tile whose path may be this one. Of several ways to write a number, only the one that is written is a path.
fn read_path(text: &str) -> Option<Tile> {
    let (row, rest) = text.strip_prefix("/tile/")?.split_once('/')?;
    let row = match row {
        "entries" => Row::Entries,
        level => Row::Hashes { level: u8::try_from(decimal(level)?).ok()? },
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, u16::try_from(decimal(width)?).ok().filter(|width| *width < FULL)?),
        None => (rest, FULL),
    };
    let mut groups = index.split('/').map(|group| group.trim_start_matches('x')).filter(|group| group.len() == 3);
    let index = groups.try_fold(0_u64, |index, group| index.checked_mul(1000)?.checked_add(group.parse().ok()?))?;
    Tile::new(row, index, width)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::super::tree::testing::Grown;
    use super::super::{consistency, inclusion};
    use super::*;

    fn hashes(level: u8, index: u64, width: u16) -> Tile {
        Tile::new(Row::Hashes { level }, index, width).unwrap()
    }

    /// Everything that a log has served that was published at each of these sizes.
    fn served(grown: &Grown, sizes: &[u64]) -> HashMap<String, Vec<u8>> {
        let steps = std::iter::once(0).chain(sizes.iter().copied()).zip(sizes);
        let tiles = steps.flat_map(|(from, to)| new_hashes(from, *to));
        let bytes = |tile: Tile| {
            let Row::Hashes { level } = tile.row() else { unreachable!() };
            let level = level * HEIGHT;
            let indices = tile.start()..tile.start() + u64::from(tile.width());
            indices.flat_map(|index| grown.nodes[&Node { level, index }].0).collect()
        };
        tiles.map(|tile| (tile.to_string(), bytes(tile))).collect()
    }

    #[test]
    fn the_specification_s_examples_are_written_and_read() {
        let entries = |index, width| Tile::new(Row::Entries, index, width).unwrap();
        for (path, tile) in [
            ("/tile/0/x001/x234/067", hashes(0, 1_234_067, 256)),
            ("/tile/0/x001/x234/067.p/5", hashes(0, 1_234_067, 5)),
            ("/tile/7/000.p/127", hashes(7, 0, 127)),
            ("/tile/1/999", hashes(1, 999, 256)),
            ("/tile/1/x001/000", hashes(1, 1000, 256)),
            ("/tile/entries/000", entries(0, 256)),
            ("/tile/entries/x123/x456/789.p/255", entries(123_456_789, 255)),
        ] {
            assert_eq!((tile.to_string().as_str(), path.parse()), (path, Ok(tile)));
        }
    }

    #[test]
    fn a_path_is_written_in_one_way() {
        for bad in [
            "",
            "/tile",
            "/tile/0",
            "/tile/0/",
            "tile/0/000",
            "/tile/00/000",
            "/tile/+0/000",
            "/tile/8/000",
            "/tile/63/000",
            "/tile/7/001",
            "/tile/7/000",
            "/tile/0/0",
            "/tile/0/00",
            "/tile/0/0000",
            "/tile/0/x000",
            "/tile/0/x000/000",
            "/tile/0/001/000",
            "/tile/0/xx001/000",
            "/tile/0/x001/x000",
            "/tile/0/x001//000",
            "/tile/0/x001/0000",
            "/tile/0/+01",
            "/tile/0/000.p/0",
            "/tile/0/000.p/256",
            "/tile/0/000.p/01",
            "/tile/0/000.p/",
            "/tile/0/000.p/5/",
            "/tile/0/000.p/5.p/5",
            "/tile/0/000/",
            "/tile/0/000?",
            "/tile/data/000",
            "/tile/Entries/000",
            "/tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "/tile/0/x036/x028/x797/x018/x963/968",
        ] {
            assert_eq!(bad.parse::<Tile>(), Err(NoTile), "{bad}");
        }
    }

    #[test]
    fn the_specification_s_tree_of_seventy_thousand_has_its_tiles() {
        let mut counted = BTreeMap::new();
        for tile in new_hashes(0, 70_000) {
            let Row::Hashes { level } = tile.row() else { unreachable!() };
            *counted.entry((level, tile.width())).or_insert(0) += 1;
        }
        let expected = [((0, 112), 1), ((0, 256), 273), ((1, 17), 1), ((1, 256), 1), ((2, 1), 1)];
        assert_eq!(counted, BTreeMap::from(expected));
        assert_eq!(new_hashes(0, 256).collect::<Vec<_>>(), [hashes(0, 0, 256), hashes(1, 0, 1)]);
        assert_eq!(new_hashes(255, 257).collect::<Vec<_>>(), [hashes(0, 0, 256), hashes(0, 1, 1), hashes(1, 0, 1)]);
        assert_eq!(new_hashes(7, 7).count() + new_hashes(8, 7).count() + new_entries(7, 7).count(), 0);
        assert_eq!(new_hashes(MAX_SIZE - 1, MAX_SIZE).count(), 1, "the others are as they were");
    }

    #[test]
    fn a_tile_of_another_length_is_refused() {
        let tile = hashes(0, 0, 3);
        assert_eq!(tile.hashes(&[1; 96]).unwrap(), [Hash([1; 32]); 3]);
        assert_eq!(tile.hashes(&[1; 8192]).unwrap(), [Hash([1; 32]); 3], "of the full tile that has replaced it");
        for length in [0, 64, 95, 97, 128, 8191, 8224] {
            assert_eq!(tile.hashes(&vec![1; length]), Err(WrongLength { expected: 96, found: length }));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn tiles_give_every_node_whatever_the_sizes_were(steps in prop::collection::vec(1_u64..900, 1..5), seed: u64) {
            let sizes: Vec<u64> = steps.iter().scan(0, |size, step| { *size += step; Some(*size) }).collect();
            let size = *sizes.last().unwrap();
            let grown = Grown::to(size, seed);
            let served = served(&grown, &sizes);
            let node = nodes(size, |tile| served.get(&tile.to_string()).cloned());
            for (place, hash) in &grown.nodes {
                prop_assert_eq!(node(*place), Some(*hash));
            }
            prop_assert_eq!(node(Node { level: 0, index: size }), None);
            let head = grown.heads[usize::try_from(size).unwrap()];
            for index in [0, size / 2, size - 1] {
                let proof = inclusion::prove(index, size, &node).unwrap();
                prop_assert_eq!(inclusion::verify(grown.leaf(index), index, &proof, head), Ok(()));
            }
            let old = grown.heads[usize::try_from(sizes[0]).unwrap()];
            prop_assert_eq!(consistency::verify(old, head, &consistency::prove(old.size, size, &node).unwrap()), Ok(()));
        }

        #[test]
        fn every_leaf_is_in_one_tile_of_each_growth(from in 0_u64..3000, more in 1_u64..3000) {
            let mut next = from - from % 256;
            for tile in new_entries(from, from + more) {
                prop_assert_eq!(tile.start(), next);
                next += u64::from(tile.width());
                prop_assert!(tile.is_full() || next == from + more);
            }
            prop_assert_eq!(next, from + more);
        }

        #[test]
        fn what_is_written_is_read(level in 0_u8..8, index: u64, shift in 0_u32..64, width in 1_u16..=256, entries: bool) {
            let row = if entries { Row::Entries } else { Row::Hashes { level } };
            if let Some(tile) = Tile::new(row, index >> shift, width) {
                prop_assert_eq!(tile.to_string().parse(), Ok(tile));
            }
        }

        #[test]
        fn nothing_is_more_than_an_error(text in "(/tile/[0-9e]{0,2}/)?[x0-9./p]{0,40}", level: u8, index: u64, size: u64) {
            if let Ok(tile) = text.parse::<Tile>() {
                prop_assert_eq!(tile.to_string(), text);
            }
            let _ = Tile::holding(Node { level, index }, size);
            let _ = Tile::within(Row::Hashes { level }, index, size);
        }
    }
}
