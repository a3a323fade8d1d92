//! Partners: other gateways. Each answers the other's users as it answers any customer, so a partner is an account here, with
//! keys; and where it answers us it is a node here, an attached server that earns for that account. What it bills are its own
//! signed receipts, and what both owe each other is offset by a document that both sign ([`openapi::netting`]).
//!
//! - [`agree`]: two gateways become partners, or stop being so
//! - [`collect`]: reads what a partner has signed for answers that we had from it, and [`judge`] holds it against our own books
//! - [`net`]: counts both sides, proposes and agrees
//! - [`routes`]: for administrators, and for partners
//! - [`table`]: at rest; [`client`]: how a partner is asked

mod agree;

mod client;

mod collect;

mod judge;

mod net;

pub mod routes;

pub mod table;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::app::App;
use client::Asked;
use table::Partner;

/// Receipts of a partner are in its log some seconds after its answers.
const EVERY: Duration = Duration::from_secs(5);
/// A partner that takes longer to answer waits for the next turn.
const WITHIN: Duration = Duration::from_secs(60);
/// In these turns nettings are looked for too.
const NETTING_TURNS: u32 = 6;

/// Who is a partner, in memory.
#[derive(Default)]
pub struct Partners {
    known: ArcSwap<Known>,
    /// One reading at a time, so that what was read first is not kept last.
    reading: Mutex<()>,
}

#[derive(Default)]
struct Known {
    accounts: HashSet<Uuid>,
    nodes: HashSet<Uuid>,
}

impl Partners {
    /// Reads who they are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(database: &PgPool) -> Result<Self, sqlx::Error> {
        let partners = Self::default();
        partners.reload(database).await?;
        Ok(partners)
    }

    /// Reads it again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reload(&self, database: &PgPool) -> Result<(), sqlx::Error> {
        let _turn = self.reading.lock().await;
        let all = table::list(database).await?;
        let accounts = all.iter().map(|partner| partner.account).collect();
        let nodes = all.iter().filter_map(|partner| partner.node).collect();
        self.known.store(Known { accounts, nodes }.into());
        Ok(())
    }

    /// Whether keys of this account are a partner's.
    pub fn asks_as(&self, account: Uuid) -> bool {
        self.known.load().accounts.contains(&account)
    }

    /// Whether this node is a partner.
    pub fn answers_as(&self, node: Uuid) -> bool {
        self.known.load().nodes.contains(&node)
    }
}

/// Reads what partners bill, and nets with them, until the gateway closes. Every replica does; what is written is written once.
pub async fn run(app: App) {
    for turn in 0_u32.. {
        if let Err(error) = tend(&app, turn.is_multiple_of(NETTING_TURNS)).await {
            tracing::warn!("partners can't be read: {error}");
        }
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn tend(app: &App, is_netting: bool) -> Result<(), sqlx::Error> {
    let partners = table::list(&app.database).await?;
    let each = partners.iter().map(|partner| async move {
        let done = tokio::time::timeout(WITHIN, visit(app, partner, is_netting)).await;
        let failure = done.unwrap_or_else(|_| Err(anyhow::anyhow!("it does not answer"))).err();
        let failure = failure.map(|error| format!("{error:#}"));
        if failure == partner.failure {
            return Ok(());
        }
        if let Some(failure) = &failure {
            tracing::warn!(partner = partner.name, "what a partner bills waits: {failure}");
        }
        table::fails(&app.database, partner.id, failure.as_deref()).await
    });
    futures_util::future::try_join_all(each).await.map(drop)
}

async fn visit(app: &App, partner: &Partner, is_netting: bool) -> anyhow::Result<()> {
    if let Some(asked) = Asked::open(app, partner).await? {
        collect::collect(app, partner, &asked).await?;
        // It was read further meanwhile.
        if is_netting && let Some(partner) = table::find(&app.database, partner.id).await? {
            net::propose_due(app, &partner, &asked).await?;
        }
    }
    Ok(())
}
