//! Reads a node's receipts through a way to it, for as long as that lasts.

use std::time::Duration;

use futures_util::FutureExt as _;
use openapi::receipt::{NodeReceipt, RECEIPTS_PATH, jws};
use uuid::Uuid;

use super::table::{self, Received};
use crate::app::App;
use crate::give_way::give_way;
use crate::nodes::statements::{Statements, patiently};
use crate::nodes::way::Way;

/// More no node has signed: one in every microsecond for three centuries.
const HIGHEST_SEQUENCE: u64 = 10_000_000_000_000_000;

/// Few transactions cost less than many, and a node's window has room for what it signs meanwhile.
const GATHER: Duration = Duration::from_millis(100);

/// Reads a node's receipts. Never ends: a node that signs nothing, or nonsense, can still serve.
pub(crate) async fn follow(app: &App, node: Uuid, way: &Way) {
    match read_all(app, node, way).await {
        Ok(()) => tracing::debug!(%node, "a node sends no receipts any more"),
        Err(error) => tracing::warn!(%node, "a node's receipts can't be read: {error:#}"),
    }
    std::future::pending().await
}

async fn read_all(app: &App, node: Uuid, way: &Way) -> anyhow::Result<()> {
    let after = patiently(app, || table::newest(&app.database, node)).await;
    let mut statements = Statements::follow(app, (node, way), (RECEIPTS_PATH, after), 2 * jws::LONGEST).await?;
    while let Some(mut arrived) = statements.next().await? {
        tokio::time::sleep(GATHER).await;
        while let Some(Some(more)) = statements.next().now_or_never().transpose()? {
            arrived.extend(more);
        }
        let mut received = Vec::new();
        for (index, statement) in arrived.into_iter().enumerate() {
            give_way(index).await;
            match statements.read::<NodeReceipt>(app, &statement).await {
                Ok((receipt, public_key)) if is_sane(&receipt) => {
                    let voucher = app.secrets.newest.vouch(&public_key, &statement);
                    received.push(Received { receipt, public_key, statement, voucher });
                }
                Ok((receipt, _)) => {
                    tracing::warn!(%node, sequence = receipt.sequence, "a node's receipt is beyond reason, and does not count");
                }
                Err(error) => {
                    tracing::warn!(%error, %node, "a node's receipt is not signed by it, and does not count");
                }
            }
        }
        if !received.is_empty() {
            let breaks = patiently(app, || table::keep(&app.database, node, &received)).await;
            if breaks > 0 {
                tracing::warn!(%node, breaks, "a node's receipts do not go on from the ones before them");
            }
        }
    }
    Ok(())
}

fn is_sane(receipt: &NodeReceipt) -> bool {
    (1..=HIGHEST_SEQUENCE).contains(&receipt.sequence) && i32::try_from(receipt.attempt).is_ok()
}
