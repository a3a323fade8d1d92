//! Proofs: that something is in the log, and that the log only grew. Nothing is given out that does not hold.

use std::collections::HashMap;

use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::hash::Hash;
use openapi::log::proof::LogProof;
use openapi::log::tree::Unprovable;
use openapi::log::{consistency, inclusion};
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::tiles::{Tiles, number};
use super::{Failed, Log, checkpoints, policy};

impl From<Unprovable> for Failed {
    fn from(unprovable: Unprovable) -> Self {
        Self::Damaged(unprovable.to_string())
    }
}

/// Where a leaf is in the log. None when it is not there yet.
///
/// # Errors
/// When the database fails.
pub async fn index_of(database: &PgPool, leaf: Hash) -> Result<Option<u64>, sqlx::Error> {
    let index = sqlx::query_scalar!("select index from log_leaves where leaf_hash = $1", leaf.0.as_slice());
    Ok(index.fetch_optional(database).await?.map(i64::unsigned_abs))
}

/// The same for many leaves at once: those that are there.
///
/// # Errors
/// When the database fails.
pub async fn indices_of(database: impl PgExecutor<'_>, leaves: &[Hash]) -> Result<HashMap<Hash, u64>, sqlx::Error> {
    let hashes: Vec<Vec<u8>> = leaves.iter().map(|leaf| leaf.0.to_vec()).collect();
    let rows = sqlx::query!("select index, leaf_hash from log_leaves where leaf_hash = any($1)", &hashes);
    let rows = rows.fetch_all(database).await?.into_iter();
    Ok(rows.filter_map(|row| Some((Hash(row.leaf_hash.try_into().ok()?), row.index.unsigned_abs()))).collect())
}

impl Log {
    /// A tlog-proof file (C2SP) for a leaf: by the newest checkpoint that enough witnesses have cosigned, or by the newest
    /// of all. None when the leaf is not in the log yet.
    ///
    /// # Errors
    /// When the database fails, or its rows prove nothing.
    pub async fn proof(&self, database: &PgPool, leaf: Hash) -> Result<Option<String>, Failed> {
        match index_of(database, leaf).await? {
            Some(index) => self.proof_at(database, index).await,
            None => Ok(None),
        }
    }

    /// The same for the leaf at an index.
    ///
    /// # Errors
    /// As [`Log::proof`].
    pub async fn proof_at(&self, database: &PgPool, index: u64) -> Result<Option<String>, Failed> {
        let mut connection = database.acquire().await?;
        let leaf = sqlx::query_scalar!("select leaf_hash from log_leaves where index = $1", number(index));
        let leaf = leaf.fetch_optional(&mut *connection).await?;
        let Some(leaf) = leaf.and_then(|leaf| leaf.try_into().ok().map(Hash)) else { return Ok(None) };
        let Some(signed) = self.checkpoint_with(&mut connection, index).await? else { return Ok(None) };
        let tree = signed.checkpoint().tree();
        let nodes = Tiles::holding(&mut connection, inclusion::needs(index, tree.size)?, tree.size).await?;
        let proof = inclusion::prove(index, tree.size, nodes.nodes(tree.size))?;
        inclusion::verify(leaf, index, &proof, tree)
            .map_err(|wrong| Failed::Damaged(format!("the proof of leaf {index} does not hold: {wrong}")))?;
        Ok(Some(LogProof { extra: Vec::new(), index, inclusion: proof, checkpoint: signed }.to_string()))
    }

    async fn checkpoint_with(
        &self,
        connection: &mut PgConnection,
        index: u64,
    ) -> Result<Option<SignedCheckpoint>, sqlx::Error> {
        let cosigned = match policy::cosigned(connection, index).await? {
            Some(size) => checkpoints::of_size(connection, &self.keys, size).await?,
            None => None,
        };
        let signed = match cosigned {
            Some(signed) => Some(signed),
            None => checkpoints::last_good(connection, &self.keys).await?,
        };
        match signed.filter(|signed| signed.checkpoint().tree().size > index) {
            Some(signed) => checkpoints::with_cosignatures(connection, signed).await.map(Some),
            None => Ok(None),
        }
    }
}

/// That the tree of the new size grew out of the one of the old.
pub(super) async fn growth(connection: &mut PgConnection, old: u64, new: u64) -> Result<Vec<Hash>, Failed> {
    let nodes = Tiles::holding(connection, consistency::needs(old, new)?, new).await?;
    Ok(consistency::prove(old, new, nodes.nodes(new))?)
}
