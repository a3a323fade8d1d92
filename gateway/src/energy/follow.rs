//! Reads a node's energy reports through its tunnel, for as long as that lasts.

use std::time::Duration;

use anyhow::bail;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::energy::EnergyOffer;
use openapi::energy::report::{ENERGY_PATH, EnergyReport};
use openapi::sse::Scanner;
use uuid::Uuid;

use super::table;
use crate::app::App;
use crate::inference::ship;
use crate::nodes::connection;
use crate::nodes::way::Way;

/// A report of a node with sixteen pools, and as many requests as end in a minute.
const LONGEST_REPORT: usize = 4 * 1024 * 1024;
/// A request's row may be on its way from a journal when its energy is settled already.
const ROWS_COME: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Reads a node's reports. Never ends: a node that reports nothing, or nonsense, can still serve. While the database is
/// away, the node keeps them.
pub(crate) async fn follow(app: &App, node: Uuid, tunnel: &Way, public_key: &[u8]) {
    match read_all(app, node, tunnel, public_key).await {
        Ok(()) => tracing::debug!(%node, "a node reports no energy any more"),
        Err(error) => tracing::warn!(%node, "a node's energy reports can't be read: {error:#}"),
    }
    std::future::pending().await
}

async fn read_all(app: &App, node: Uuid, tunnel: &Way, public_key: &[u8]) -> anyhow::Result<()> {
    let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(public_key))?;
    let after = patiently(app, || table::newest(&app.database, node)).await;
    let response = tunnel.send(node, connection::get(&format!("{ENERGY_PATH}?after={after}"))?).await?;
    if response.status() != StatusCode::OK {
        bail!("it answered {}", response.status());
    }
    let mut body = response.into_body();
    let mut scanner = Scanner::new(LONGEST_REPORT);
    let mut rest = false;
    loop {
        let frame = match tokio::time::timeout(if rest { ROWS_COME } else { Duration::MAX }, body.frame()).await {
            Ok(Some(frame)) => frame?,
            Ok(None) => return Ok(()),
            Err(_) => {
                rest = patiently(app, || table::settle_rest(&app.database, node)).await;
                continue;
            }
        };
        let Ok(bytes) = frame.into_data() else { continue };
        rest = true;
        for event in scanner.push(&bytes)? {
            if let Some(data) = event.data() {
                take(app, (node, &tunnel.offer().energy), &key, &serde_json::from_str::<String>(data)?).await?;
            }
        }
    }
}

async fn take(
    app: &App,
    (node, offer): (Uuid, &EnergyOffer),
    key: &DecodingKey,
    statement: &str,
) -> anyhow::Result<()> {
    let report = match read(statement, key) {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(%error, %node, "a node's energy report is not signed by it, and does not count");
            return Ok(());
        }
    };
    if !report.pools.iter().all(openapi::energy::report::PoolWindow::adds_up)
        || !report.settled.iter().all(|attempt| attempt.energy.is_sane())
    {
        tracing::warn!(%node, sequence = report.sequence, "a node's energy report does not add up, and does not count");
        return Ok(());
    }
    if patiently(app, || table::keep(&app.database, node, statement, &report)).await {
        app.metrics.report(node, &report);
        let digest = blake3::hash(statement.as_bytes()).to_hex();
        app.court.hear_report(app, node, offer, (&report, digest.as_str()));
    }
    Ok(())
}

/// The report, if the node has signed it.
fn read(statement: &str, key: &DecodingKey) -> anyhow::Result<EnergyReport> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // A report has no audience and no end.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    Ok(jsonwebtoken::decode::<EnergyReport>(statement, key, &validation)?.claims)
}

/// Asks the database until it answers. What it refuses for good is said, and left out.
async fn patiently<T: Default, Asked: Future<Output = Result<T, sqlx::Error>>>(
    app: &App,
    mut ask: impl FnMut() -> Asked,
) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if ship::is_about_the_data(&error) => {
                tracing::warn!(%error, "a node's energy report is refused by the database");
                return T::default();
            }
            Err(error) => tracing::debug!(%error, "energy reports wait for the database"),
        }
        tokio::select! {
            () = app.closing.cancelled() => return T::default(),
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
}
