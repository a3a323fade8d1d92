//! Reads a node's energy reports through its tunnel, for as long as that lasts.

use std::time::Duration;

use openapi::energy::EnergyOffer;
use openapi::energy::report::{ENERGY_PATH, EnergyReport};
use uuid::Uuid;

use super::table;
use crate::app::App;
use crate::nodes::statements::{Statements, patiently};
use crate::nodes::way::Way;

/// A report of a node with sixteen pools, and as many requests as end in a minute.
const LONGEST_REPORT: usize = 4 * 1024 * 1024;
/// A request's row may be on its way from a journal when its energy is settled already.
const ROWS_COME: Duration = Duration::from_secs(1);

/// Reads a node's reports. Never ends: a node that reports nothing, or nonsense, can still serve.
pub(crate) async fn follow(app: &App, node: Uuid, tunnel: &Way) {
    match read_all(app, node, tunnel).await {
        Ok(()) => tracing::debug!(%node, "a node reports no energy any more"),
        Err(error) => tracing::warn!(%node, "a node's energy reports can't be read: {error:#}"),
    }
    std::future::pending().await
}

async fn read_all(app: &App, node: Uuid, tunnel: &Way) -> anyhow::Result<()> {
    let after = patiently(app, || table::newest(&app.database, node)).await;
    let mut reports = Statements::follow(app, (node, tunnel), (ENERGY_PATH, after), LONGEST_REPORT).await?;
    let mut rest = false;
    loop {
        let next = tokio::time::timeout(if rest { ROWS_COME } else { Duration::MAX }, reports.next());
        let statements = match next.await {
            Ok(Ok(Some(statements))) => statements,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                rest = patiently(app, || table::settle_rest(&app.database, node)).await;
                continue;
            }
        };
        rest = true;
        for statement in &statements {
            let report = reports.read(app, statement).await.map(|(report, _)| report);
            take(app, node, &tunnel.offer().energy, (statement, report)).await;
        }
    }
}

async fn take(app: &App, node: Uuid, offer: &EnergyOffer, (statement, read): (&str, anyhow::Result<EnergyReport>)) {
    let report = match read {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(%error, %node, "a node's energy report is not signed by it, and does not count");
            return;
        }
    };
    if !(1..=EnergyReport::HIGHEST_SEQUENCE).contains(&report.sequence)
        || !report.pools.iter().all(openapi::energy::report::PoolWindow::adds_up)
        || !report.settled.iter().all(|attempt| attempt.energy.is_sane())
    {
        tracing::warn!(%node, sequence = report.sequence, "a node's energy report does not add up, and does not count");
        return;
    }
    if patiently(app, || table::keep(&app.database, node, statement, &report)).await {
        app.metrics.report(node, &report);
        let digest = blake3::hash(statement.as_bytes()).to_hex();
        app.court.hear_report(app, node, offer, (&report, digest.as_str()));
    }
}
