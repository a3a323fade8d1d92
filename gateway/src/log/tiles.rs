//! The tables `log_tiles` and `log_leaves`: the tree as it is served.

use std::collections::{HashMap, HashSet};

use openapi::log::bundle;
use openapi::log::entry::Entry;
use openapi::log::hash::Hash;
use openapi::log::tile::{self, Row, Tile};
use openapi::log::tree::Node;
use sqlx::PgConnection;

use super::Failed;

/// Tiles of hashes that were read, by level and index, each as it is now.
#[derive(Debug, Default)]
pub(super) struct Tiles(HashMap<(u8, u64), Vec<u8>>);

/// A leaf as it is to be appended.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) kind: &'static str,
    pub(super) entry: String,
    pub(super) hash: Hash,
}

impl Tiles {
    /// Those in which the nodes of a tree of a size are found, or from which they are made.
    pub(super) async fn holding(
        connection: &mut PgConnection,
        nodes: impl IntoIterator<Item = Node>,
        size: u64,
    ) -> Result<Self, sqlx::Error> {
        Self::read(connection, nodes.into_iter().filter_map(|node| Tile::holding(node, size))).await
    }

    pub(super) async fn read(
        connection: &mut PgConnection,
        tiles: impl IntoIterator<Item = Tile>,
    ) -> Result<Self, sqlx::Error> {
        let wanted: HashSet<(i16, i64)> = tiles.into_iter().filter_map(row_of).collect();
        let (levels, indices): (Vec<i16>, Vec<i64>) = wanted.into_iter().unzip();
        let rows = sqlx::query!(
            "select t.level, t.index, t.hashes from log_tiles t
             join unnest($1::smallint[], $2::bigint[]) as w (level, index) using (level, index)",
            &levels,
            &indices
        )
        .fetch_all(connection)
        .await?;
        let read = rows
            .into_iter()
            .filter_map(|row| Some(((u8::try_from(row.level).ok()?, u64::try_from(row.index).ok()?), row.hashes)));
        Ok(Self(read.collect()))
    }

    /// The bytes of a tile: of what it has become since, the beginning. None when it isn't there, or not as wide yet.
    pub(super) fn bytes(&self, tile: Tile) -> Option<&[u8]> {
        self.whole(tile)?.get(..usize::from(tile.width()) * Hash::BYTES)
    }

    /// What it has become since.
    pub(super) fn whole(&self, tile: Tile) -> Option<&[u8]> {
        let Row::Hashes { level } = tile.row() else { return None };
        self.0.get(&(level, tile.index())).map(Vec::as_slice)
    }

    /// The nodes of a tree of a size, as proofs ask for them.
    pub(super) fn nodes(&self, size: u64) -> impl Fn(Node) -> Option<Hash> {
        tile::nodes(size, |tile| self.bytes(tile).map(<[u8]>::to_vec))
    }
}

fn row_of(tile: Tile) -> Option<(i16, i64)> {
    let Row::Hashes { level } = tile.row() else { return None };
    Some((level.into(), i64::try_from(tile.index()).ok()?))
}

/// Writes tiles as they are now, those that were partial in their place.
pub(super) async fn write(connection: &mut PgConnection, tiles: &[(Tile, Vec<u8>)]) -> Result<(), sqlx::Error> {
    let rows = tiles.iter().filter_map(|(tile, bytes)| row_of(*tile).map(|(level, index)| (level, index, bytes)));
    let (mut levels, mut indices, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for (level, index, bytes) in rows {
        levels.push(level);
        indices.push(index);
        hashes.push(bytes.clone());
    }
    sqlx::query!(
        "insert into log_tiles (level, index, hashes)
         select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
         on conflict (level, index) do update set hashes = excluded.hashes",
        &levels,
        &indices,
        &hashes
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Which of these leaves the tree has already.
pub(super) async fn known(connection: &mut PgConnection, leaves: &[Hash]) -> Result<HashSet<Hash>, sqlx::Error> {
    let hashes: Vec<Vec<u8>> = leaves.iter().map(|hash| hash.0.to_vec()).collect();
    let known = sqlx::query_scalar!("select leaf_hash from log_leaves where leaf_hash = any($1)", &hashes);
    let known = known.fetch_all(connection).await?;
    Ok(known.into_iter().filter_map(|hash| hash.try_into().ok().map(Hash)).collect())
}

/// Adds leaves from an index on.
pub(super) async fn add(connection: &mut PgConnection, from: u64, leaves: &[Leaf]) -> Result<(), sqlx::Error> {
    let kinds: Vec<String> = leaves.iter().map(|leaf| leaf.kind.to_owned()).collect();
    let entries: Vec<Vec<u8>> = leaves.iter().map(|leaf| leaf.entry.clone().into_bytes()).collect();
    let hashes: Vec<Vec<u8>> = leaves.iter().map(|leaf| leaf.hash.0.to_vec()).collect();
    sqlx::query!(
        "insert into log_leaves (index, kind, entry, leaf_hash)
         select $1 + l.at - 1, l.kind, l.entry, l.leaf_hash
         from unnest($2::text[], $3::bytea[], $4::bytea[]) with ordinality as l (kind, entry, leaf_hash, at)",
        i64::try_from(from).unwrap_or(i64::MAX),
        &kinds,
        &entries,
        &hashes
    )
    .execute(connection)
    .await
    .map(drop)
}

/// How many leaves there are, by the index of the last one.
pub(super) async fn count(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let count = sqlx::query_scalar!(r#"select coalesce(max(index) + 1, 0) as "count!" from log_leaves"#);
    Ok(count.fetch_one(connection).await?.unsigned_abs())
}

/// A bundle of entries, as it is served. None when the log has no such leaves yet.
pub(super) async fn bundle(connection: &mut PgConnection, bundle: Tile) -> Result<Option<Vec<u8>>, Failed> {
    let Some(entries) = bytes_of(connection, bundle).await? else { return Ok(None) };
    let encoded = bundle::encode(entries.iter().map(Vec::as_slice));
    encoded.map(Some).map_err(|error| Failed::Damaged(format!("in {bundle}, {error}")))
}

/// What the entries of a bundle say.
pub(super) async fn entries_of(connection: &mut PgConnection, bundle: Tile) -> Result<Option<Vec<Entry>>, Failed> {
    let Some(entries) = bytes_of(connection, bundle).await? else { return Ok(None) };
    read_all(&entries)
        .map(Some)
        .ok_or_else(|| Failed::Damaged(format!("in {bundle}, there is something that is no entry")))
}

/// What these leaves say. None when one is no entry.
pub(super) fn read_all(leaves: &[Vec<u8>]) -> Option<Vec<Entry>> {
    leaves.iter().map(|entry| str::from_utf8(entry).ok()?.parse().ok()).collect()
}

async fn bytes_of(connection: &mut PgConnection, bundle: Tile) -> Result<Option<Vec<Vec<u8>>>, sqlx::Error> {
    let start = i64::try_from(bundle.start()).unwrap_or(i64::MAX);
    let entries = sqlx::query_scalar!(
        "select entry from log_leaves where index >= $1 and index < $1 + $2::bigint order by index",
        start,
        i64::from(bundle.width())
    )
    .fetch_all(connection)
    .await?;
    Ok((entries.len() >= usize::from(bundle.width())).then_some(entries))
}

/// The number of a leaf, or of leaves, as rows have it.
pub(super) fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
