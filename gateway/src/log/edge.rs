//! The right edge of the tree, as the tables have it: all that growing needs. It is held against the newest checkpoint first,
//! so that nothing is ever signed that does not continue what was.

use std::collections::HashMap;

use openapi::log::hash::Hash;
use openapi::log::tile::{self, FULL, Row, Tile};
use openapi::log::tree::{Frontier, Node, TreeHead, nodes_of};
use sqlx::PgConnection;

use super::Failed;
use super::tiles::{self, Tiles};

/// How many levels of the tree a level of tiles covers.
const HEIGHT: u8 = 8;

/// The tree, ready to grow.
pub(super) struct Edge {
    frontier: Frontier,
    /// The partial tiles, one a level at most.
    partial: Vec<(Tile, Vec<u8>)>,
}

impl Edge {
    /// Reads it, if it is the edge of the tree that was signed last.
    pub(super) async fn read(connection: &mut PgConnection, head: TreeHead) -> Result<Self, Failed> {
        let size = head.size;
        let leaves = tiles::count(connection).await?;
        if leaves != size {
            return Err(damaged(format!("there are {leaves} leaves, and the newest checkpoint is of {size}")));
        }
        let read = Tiles::holding(connection, nodes_of(0..size), size).await?;
        let mut partial: Vec<(Tile, Vec<u8>)> = Vec::new();
        for tile in nodes_of(0..size).filter_map(|node| Tile::holding(node, size)) {
            let bytes = read.whole(tile).ok_or_else(|| damaged(format!("{tile} is missing")))?;
            if bytes.len() != usize::from(tile.width()) * Hash::BYTES {
                let found = bytes.len() / Hash::BYTES;
                return Err(damaged(format!("{tile} has {found} hashes, and {size} leaves give it {}", tile.width())));
            }
            if partial.last().is_none_or(|(last, _)| *last != tile) {
                partial.push((tile, bytes.to_vec()));
            }
        }
        let peaks: Option<Vec<Hash>> = nodes_of(0..size).map(read.nodes(size)).collect();
        let frontier = peaks.and_then(|peaks| Frontier::resume(size, peaks));
        let frontier = frontier.ok_or_else(|| damaged("the right edge can't be read".to_owned()))?;
        if frontier.head() != head {
            let tiles: Vec<String> = partial.iter().map(|(tile, _)| tile.to_string()).collect();
            return Err(damaged(format!(
                "{} do not have the root that was signed for {size} leaves",
                tiles.join(" and ")
            )));
        }
        Ok(Self { frontier, partial })
    }

    /// Lets it grow. Gives the head, and each tile that is another then.
    pub(super) fn grow(self, leaves: &[Hash]) -> (TreeHead, Vec<(Tile, Vec<u8>)>) {
        let Self { mut frontier, partial } = self;
        let from = frontier.size();
        let mut rows: HashMap<u8, Vec<u8>> = HashMap::new();
        for (tile, bytes) in partial {
            if let Row::Hashes { level } = tile.row() {
                rows.insert(level, bytes);
            }
        }
        let mut keep = |node: Node, hash: Hash| {
            if node.level.is_multiple_of(HEIGHT) {
                rows.entry(node.level / HEIGHT).or_default().extend(hash.0);
            }
        };
        leaves.iter().for_each(|leaf| frontier.push(*leaf, &mut keep));
        let grown = tile::new_hashes(from, frontier.size()).filter_map(|tile| {
            let Row::Hashes { level } = tile.row() else { return None };
            // A row begins with the tile that was partial, or with the first one that is new.
            let first = (from >> (level * HEIGHT)) / u64::from(FULL);
            let start = usize::try_from(tile.index() - first).ok()? * usize::from(FULL) * Hash::BYTES;
            let bytes = rows.get(&level)?.get(start..start + usize::from(tile.width()) * Hash::BYTES)?;
            Some((tile, bytes.to_vec()))
        });
        let grown = grown.collect();
        (frontier.head(), grown)
    }
}

fn damaged(what: String) -> Failed {
    Failed::Damaged(what)
}
