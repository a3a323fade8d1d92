//! Appends what waits: one writer at a time, one transaction, nothing in memory. Whatever breaks it off, and whether or not
//! the answer to the commit arrives, the tables are as before or as after.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use openapi::log::entry::Entry;
use openapi::log::hash::Hash;
use openapi::log::tile::FULL;
use sqlx::{PgConnection, PgPool};

use super::edge::Edge;
use super::tiles::{self, Leaf};
use super::{Failed, Log, checkpoints, queue};

/// Entries in one transaction.
const BATCH: usize = 1000;

/// What was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grown {
    from: u64,
    pub(super) to: u64,
    /// There was more than goes into one transaction.
    pub(super) has_more: bool,
}

impl Grown {
    /// The tiles of leaves that are others now.
    pub(super) fn touched(&self) -> Option<RangeInclusive<u64>> {
        (self.to > self.from).then(|| self.from / u64::from(FULL)..=(self.to - 1) / u64::from(FULL))
    }
}

impl Log {
    /// Appends what waits and signs the head. None when another replica does it, or nothing waits.
    pub(super) async fn grow(&self, database: &PgPool) -> Result<Option<Grown>, Failed> {
        let mut transaction = database.begin().await?;
        let mine = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtext('commonwatt log')) as "mine!""#);
        if !mine.fetch_one(&mut *transaction).await? {
            return Ok(None);
        }
        let newest = checkpoints::newest(&mut transaction, &self.keys).await?;
        let head = self.see(newest.as_ref())?;
        let edge = Edge::read(&mut transaction, head).await?;
        let waiting = queue::take(&mut transaction, BATCH).await?;
        if waiting.is_empty() {
            return Ok(None);
        }
        let leaves = new_leaves(&mut transaction, &waiting).await?;
        let grown = Grown { from: head.size, to: head.size + leaves.len() as u64, has_more: waiting.len() == BATCH };
        if !leaves.is_empty() {
            self.write(&mut transaction, (grown.from, edge), &leaves).await.map_err(by_whom)?;
        }
        transaction.commit().await?;
        Ok(Some(grown))
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        (from, edge): (u64, Edge),
        leaves: &[Leaf],
    ) -> Result<(), Failed> {
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf.hash).collect();
        let (head, grown) = edge.grow(&hashes);
        tiles::add(connection, from, leaves).await?;
        tiles::write(connection, &grown).await?;
        checkpoints::add(connection, &self.keys.sign(head)?).await?;
        Ok(())
    }
}

/// The entries that are no leaves yet, each once.
async fn new_leaves(connection: &mut PgConnection, waiting: &[Entry]) -> Result<Vec<Leaf>, Failed> {
    let leaf = |entry: &Entry| Leaf { kind: entry.kind.word(), entry: entry.to_string(), hash: entry.leaf() };
    let mut leaves: Vec<Leaf> = waiting.iter().map(leaf).collect();
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf.hash).collect();
    let mut known: HashSet<Hash> = tiles::known(connection, &hashes).await?;
    leaves.retain(|leaf| known.insert(leaf.hash));
    Ok(leaves)
}

/// Where the tables refuse what follows from them, somebody else has put rows there.
fn by_whom(failed: Failed) -> Failed {
    // restrict_violation, unique_violation
    const NOT_OURS: [&str; 2] = ["23001", "23505"];
    match failed {
        Failed::Database(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| NOT_OURS.contains(&code.as_ref())) =>
        {
            Failed::Damaged(format!("there are rows beyond the newest checkpoint: {error}"))
        }
        failed => failed,
    }
}
