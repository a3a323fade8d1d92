//! Recomputes rows from what was logged, up to the root that was signed: those that a checkpoint has just touched, and of
//! the older ones a few each time, in turn.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use openapi::log::entry::Entry;
use openapi::log::hash::Hash;
use openapi::log::tile::{FULL, Row, Tile};
use openapi::log::tree::{TreeHead, root_of};
use sqlx::{PgConnection, PgPool};

use super::alarm::Part;
use super::edge::Edge;
use super::tiles::{Tiles, number};
use super::{Failed, Log, checkpoints};
use crate::app::App;

/// Older tiles each time.
const IN_TURN: u64 = 4;
/// Tiles of which something was wrong, each time.
const AGAIN: usize = 8;

/// Where it has come to. Each replica begins where chance says, so that together they come round sooner.
#[derive(Debug)]
pub(super) struct Auditor {
    next: u64,
}

impl Default for Auditor {
    fn default() -> Self {
        Self { next: fastrand::u64(..) }
    }
}

impl Auditor {
    /// Recomputes what was touched and what is next in turn, and tells the alarm.
    pub(super) async fn check(&mut self, app: &App, touched: Option<RangeInclusive<u64>>) {
        if let Err(error) = self.look(&app.log, &app.database, touched).await {
            tracing::warn!(%error, "the log can't be recomputed; trying again");
        }
    }

    pub(super) async fn look(
        &mut self,
        log: &Log,
        database: &PgPool,
        touched: Option<RangeInclusive<u64>>,
    ) -> Result<(), sqlx::Error> {
        let mut moment = database.begin_with("begin isolation level repeatable read read only").await?;
        let newest = match checkpoints::newest(&mut moment, &log.keys).await {
            Ok(newest) => newest,
            Err(failed) => return of_edge(log, Err(failed)),
        };
        let head = match log.see(newest.as_ref()) {
            Ok(head) => head,
            Err(failed) => return of_edge(log, Err(failed)),
        };
        let tiles = self.chosen(head.size, touched, &log.alarm.tiles());
        of_edge(log, Edge::read(&mut moment, head).await.map(drop))?;
        for tile in tiles {
            let wrong = wrong_with(&mut moment, head, tile).await?;
            log.alarm.about(Part::Tile(tile), wrong.as_deref());
        }
        moment.commit().await
    }

    fn chosen(&mut self, size: u64, touched: Option<RangeInclusive<u64>>, found: &[u64]) -> BTreeSet<u64> {
        let count = size.div_ceil(u64::from(FULL));
        if count == 0 {
            return BTreeSet::new();
        }
        let in_turn: Vec<u64> = (0..IN_TURN.min(count)).map(|step| self.next.wrapping_add(step) % count).collect();
        self.next = in_turn.last().map_or(0, |last| last + 1);
        let again = found.iter().copied().take(AGAIN);
        // Without a checkpoint it is the last one, which grows next.
        let touched = touched.unwrap_or(count - 1..=count - 1);
        touched.chain(in_turn).chain(again).filter(|tile| *tile < count).collect()
    }
}

fn of_edge(log: &Log, read: Result<(), Failed>) -> Result<(), sqlx::Error> {
    match read {
        Ok(()) => log.alarm.about(Part::Edge, None),
        Err(Failed::Damaged(what)) => log.alarm.about(Part::Edge, Some(&what)),
        Err(Failed::Database(error)) => return Err(error),
        Err(Failed::Key(_)) => {}
    }
    Ok(())
}

/// What is wrong with a tile of leaves, from its entries up to where the tree's right edge begins.
async fn wrong_with(moment: &mut PgConnection, head: TreeHead, index: u64) -> Result<Option<String>, sqlx::Error> {
    let Some(tile) = Tile::within(Row::Hashes { level: 0 }, index, head.size) else { return Ok(None) };
    let hashes = match recomputed(moment, tile).await? {
        Ok(hashes) => hashes,
        Err(wrong) => return Ok(Some(wrong)),
    };
    let mut above = (tile, hashes);
    loop {
        let (tile, hashes) = &above;
        let read = Tiles::read(&mut *moment, [*tile]).await?;
        let Some(stored) = read.bytes(*tile).and_then(|bytes| tile.hashes(bytes).ok()) else {
            return Ok(Some(format!("{tile} is missing, or too short")));
        };
        if let Some(at) = stored.iter().zip(hashes).position(|(stored, hash)| stored != hash) {
            let at = tile.start() + at as u64;
            return Ok(Some(format!("the hash at index {at} of {tile} is not what the entries give")));
        }
        if !tile.is_full() {
            // It is the right edge's, which is held against the root.
            return Ok(None);
        }
        above = match parent(&mut *moment, *tile, root_of(hashes.iter().copied()), head.size).await? {
            Some(parent) => parent,
            None => return Ok(None),
        };
    }
}

/// The hashes of a tile of leaves, from their entries. Else a sentence that names the first that is wrong.
async fn recomputed(moment: &mut PgConnection, tile: Tile) -> Result<Result<Vec<Hash>, String>, sqlx::Error> {
    let rows = sqlx::query!(
        "select index, kind, entry, leaf_hash from log_leaves where index >= $1 and index < $1 + $2::bigint order by index",
        number(tile.start()),
        i64::from(tile.width())
    )
    .fetch_all(moment)
    .await?;
    let mut rows = rows.into_iter().peekable();
    let mut hashes = Vec::new();
    for index in tile.start()..tile.start() + u64::from(tile.width()) {
        let Some(row) = rows.next_if(|row| row.index == number(index)) else {
            return Ok(Err(format!("leaf {index} is missing")));
        };
        let hash = Hash::leaf(&row.entry);
        let entry = String::from_utf8(row.entry).ok().and_then(|text| text.parse::<Entry>().ok());
        if entry.is_none_or(|entry| entry.kind.word() != row.kind) || hash.0.as_slice() != row.leaf_hash {
            return Ok(Err(format!("leaf {index} is not what was logged")));
        }
        hashes.push(hash);
    }
    Ok(Ok(hashes))
}

/// The tile above a full one, as it is stored, with the hash that the tile below gives.
async fn parent(
    moment: &mut PgConnection,
    tile: Tile,
    hash: Hash,
    size: u64,
) -> Result<Option<(Tile, Vec<Hash>)>, sqlx::Error> {
    let Row::Hashes { level } = tile.row() else { return Ok(None) };
    let Some(parent) = Tile::within(Row::Hashes { level: level + 1 }, tile.index() / u64::from(FULL), size) else {
        return Ok(None);
    };
    let read = Tiles::read(moment, [parent]).await?;
    let mut hashes = read.bytes(parent).and_then(|bytes| parent.hashes(bytes).ok()).unwrap_or_default();
    let at = usize::try_from(tile.index() - parent.start()).unwrap_or(usize::MAX);
    if let Some(place) = hashes.get_mut(at) {
        *place = hash;
    }
    Ok(Some((parent, hashes)))
}
