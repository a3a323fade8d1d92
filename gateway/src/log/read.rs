//! Reading a part of the log for the gateway's own use, held against the heads that were signed: whoever changes rows is not
//! believed.

use openapi::log::entry::{Entry, Kind};
use openapi::log::hash::Hash;
use openapi::log::tree::{Frontier, TreeHead, nodes_of};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::tiles::{self, Tiles, number};
use super::{Failed, Log, checkpoints};

/// Leaves that are read at once.
const PAGE: u64 = 4096;

/// Leaves between two sizes of the log, in their order.
pub struct Reader {
    tree: Frontier,
    end: TreeHead,
}

impl Log {
    /// The newest head that was signed at a time or before. None when there was none yet.
    ///
    /// # Errors
    /// When the database fails, or the log has not signed that checkpoint.
    pub async fn head_at(&self, connection: &mut PgConnection, at: OffsetDateTime) -> Result<Option<TreeHead>, Failed> {
        let size = sqlx::query_scalar!(
            "select size from log_checkpoints where signed_at <= $1 order by size desc limit 1",
            at
        );
        match size.fetch_optional(&mut *connection).await? {
            Some(size) => self.head_of(connection, size.unsigned_abs()).await.map(Some),
            None => Ok(None),
        }
    }

    /// The head of a size, as it was signed.
    ///
    /// # Errors
    /// When the database fails, or the log has signed none of this size.
    pub async fn head_of(&self, connection: &mut PgConnection, size: u64) -> Result<TreeHead, Failed> {
        let signed = checkpoints::of_size(connection, &self.keys, size).await?;
        let head = signed.map(|signed| signed.checkpoint().tree());
        head.ok_or_else(|| Failed::Damaged(format!("the checkpoint of {size} leaves is not the log's own")))
    }

    /// When the log began. None before it has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn began_at(connection: &mut PgConnection) -> Result<Option<OffsetDateTime>, sqlx::Error> {
        let first = sqlx::query_scalar!("select signed_at from log_checkpoints order by size limit 1");
        first.fetch_optional(connection).await
    }
}

/// The leaves between two indices that are receipts, as rows have them, and how far that was looked: never beyond a checkpoint.
///
/// # Errors
/// When the database fails.
pub async fn receipts_between(
    connection: &mut PgConnection,
    (from, to): (u64, u64),
) -> Result<(Vec<(u64, Entry)>, u64), sqlx::Error> {
    let rows = sqlx::query!(
        "select index, entry from log_leaves where index >= $1 and index < $2 order by index",
        number(from),
        number(to)
    );
    let rows = rows.fetch_all(connection).await?;
    let until = rows.last().map_or(from, |last| last.index.unsigned_abs() + 1);
    let read = rows.into_iter().filter_map(|row| {
        let entry: Entry = std::str::from_utf8(&row.entry).ok()?.parse().ok()?;
        (entry.kind == Kind::Receipt).then_some((row.index.unsigned_abs(), entry))
    });
    Ok((read.collect(), until))
}

impl Reader {
    /// Begins at a leaf. The tree until there is taken from its tiles; with the leaves up to `end` it must have that root.
    ///
    /// # Errors
    /// When the database fails, or tiles are missing.
    pub async fn open(connection: &mut PgConnection, first: u64, end: TreeHead) -> Result<Self, Failed> {
        let tiles = Tiles::holding(connection, nodes_of(0..first), first).await?;
        let peaks: Option<Vec<Hash>> = nodes_of(0..first).map(tiles.nodes(first)).collect();
        let tree = peaks.and_then(|peaks| Frontier::resume(first, peaks));
        let tree = tree.ok_or_else(|| Failed::Damaged(format!("the tree of {first} leaves can't be read")))?;
        Ok(Self { tree, end })
    }

    /// The next leaves; none at the end, if the tree is the one that was signed.
    ///
    /// # Errors
    /// When the database fails, or leaves are missing or are not those that were signed.
    pub async fn next(&mut self, connection: &mut PgConnection) -> Result<Vec<Entry>, Failed> {
        let from = self.tree.size();
        let to = self.end.size.min(from + PAGE);
        let rows = sqlx::query_scalar!(
            "select entry from log_leaves where index >= $1 and index < $2 order by index",
            number(from),
            number(to)
        );
        let rows = rows.fetch_all(connection).await?;
        if rows.len() as u64 != to - from {
            return Err(Failed::Damaged(format!("of the leaves {from} to {to} there are {}", rows.len())));
        }
        rows.iter().for_each(|entry| self.tree.push(Hash::leaf(entry), |_, _| ()));
        if to == self.end.size && self.tree.head() != self.end {
            return Err(Failed::Damaged(format!(
                "the leaves before {to} do not have the root that was signed for them"
            )));
        }
        tiles::read_all(&rows)
            .ok_or_else(|| Failed::Damaged(format!("among the leaves {from} to {to} is one that is no entry")))
    }
}
