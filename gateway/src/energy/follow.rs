//! Reads a node's energy reports through its tunnel, for as long as that lasts.

use std::time::Duration;

use anyhow::{anyhow, bail};
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
use crate::nodes::operate::signing_keys;
use crate::nodes::way::Way;

/// A report of a node with sixteen pools, and as many requests as end in a minute.
const LONGEST_REPORT: usize = 4 * 1024 * 1024;
/// A request's row may be on its way from a journal when its energy is settled already.
const ROWS_COME: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Reads a node's reports. Never ends: a node that reports nothing, or nonsense, can still serve. While the database is
/// away, the node keeps them.
pub(crate) async fn follow(app: &App, node: Uuid, tunnel: &Way) {
    match read_all(app, node, tunnel).await {
        Ok(()) => tracing::debug!(%node, "a node reports no energy any more"),
        Err(error) => tracing::warn!(%node, "a node's energy reports can't be read: {error:#}"),
    }
    std::future::pending().await
}

async fn read_all(app: &App, node: Uuid, tunnel: &Way) -> anyhow::Result<()> {
    let mut signer = Signer { node, keys: patiently(app, || signing_keys(&app.database, node)).await };
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
                take(app, &tunnel.offer().energy, &mut signer, &serde_json::from_str::<String>(data)?).await?;
            }
        }
    }
}

/// A node, and the keys with which it may have signed a report.
struct Signer {
    node: Uuid,
    keys: Vec<Vec<u8>>,
}

impl Signer {
    /// The report, if the node has signed it. It may have changed its key under way, so keys are asked for again before a
    /// report is refused.
    async fn read(&mut self, app: &App, statement: &str) -> anyhow::Result<EnergyReport> {
        if let Ok(report) = read(statement, &self.keys) {
            return Ok(report);
        }
        self.keys = patiently(app, || signing_keys(&app.database, self.node)).await;
        read(statement, &self.keys)
    }
}

async fn take(app: &App, offer: &EnergyOffer, signer: &mut Signer, statement: &str) -> anyhow::Result<()> {
    let node = signer.node;
    let report = match signer.read(app, statement).await {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(%error, %node, "a node's energy report is not signed by it, and does not count");
            return Ok(());
        }
    };
    if !(1..=EnergyReport::HIGHEST_SEQUENCE).contains(&report.sequence)
        || !report.pools.iter().all(openapi::energy::report::PoolWindow::adds_up)
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

/// The report, if it is signed by one of these keys: the one that counts, or the one before it. Whoever has but the older
/// one can't open a tunnel to bring reports through.
///
/// # Errors
/// When it is signed by none of them, or is no report.
pub fn read(statement: &str, keys: &[Vec<u8>]) -> anyhow::Result<EnergyReport> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // A report has no audience and no end.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let mut refused = anyhow!("the node has no key");
    for key in keys {
        let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(key))?;
        match jsonwebtoken::decode::<EnergyReport>(statement, &key, &validation) {
            Ok(report) => return Ok(report.claims),
            Err(error) => refused = error.into(),
        }
    }
    Err(refused)
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use jsonwebtoken::{EncodingKey, Header};
    use openapi::energy::StepCosts;
    use openapi::units::Microseconds;

    use super::*;

    /// A report, and the public key that verifies it.
    fn signed(sequence: u64) -> (String, Vec<u8>) {
        let report = EnergyReport {
            sequence,
            previous: String::new(),
            from: Microseconds::ZERO,
            to: Microseconds::new(1),
            busy_microseconds: Microseconds::ZERO,
            pools: Vec::new(),
            costs: StepCosts::default(),
            grid: None,
            settled: Vec::new(),
        };
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap().public_key().as_ref().to_vec();
        let key = EncodingKey::from_ed_der(pkcs8.as_ref());
        (jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &report, &key).unwrap(), public)
    }

    #[test]
    fn a_report_is_read_with_the_key_that_counts_and_with_the_one_before_it() {
        let ((report, previous), (_, current), (_, stranger)) = (signed(7), signed(8), signed(9));
        for keys in [vec![previous.clone()], vec![current.clone(), previous]] {
            assert_eq!(read(&report, &keys).unwrap().sequence, 7);
        }
        assert!(read(&report, &[current, stranger]).is_err() && read(&report, &[]).is_err());
    }
}
