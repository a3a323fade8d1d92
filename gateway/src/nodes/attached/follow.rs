//! Keeps the way to an attached server for as long as the server is there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Attached, mirror, table};
use crate::app::App;
use crate::nodes::dialled::Joined;
use crate::nodes::direct::url::{NodeUrl, PlainText, Purpose};
use crate::nodes::way::{Kind, Way};
use crate::secrets::Unsealed;

const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBE_WITHIN: Duration = Duration::from_secs(10);
/// A busy server may be late once.
const PROBES: u32 = 2;

/// Makes the server usable until it has failed to answer, or was removed.
///
/// # Errors
/// Why it can't be used, or can't be any more.
pub(in super::super) async fn follow(app: &App, id: Uuid) -> anyhow::Result<()> {
    let Some(row) = table::read(&app.database, id).await? else { return Ok(()) };
    let url = NodeUrl::parse(&row.url, Purpose::Attached, PlainText::Allowed)?;
    let unsealed = row.sealed_key.as_deref().map(|sealed| app.secrets.unseal(id, sealed)).transpose()?;
    if let (Some(Unsealed { key, by_retired: true }), Some(sealed)) = (&unsealed, &row.sealed_key) {
        table::seal_anew(app, id, (key, sealed)).await?;
    }
    let key = unsealed.map(|unsealed| unsealed.key);
    let server = Attached::new(Arc::clone(&app.dialler), url, key.as_deref(), &row.description, row.is_partner)?;
    probe(&server).await?;
    let dismissed = CancellationToken::new();
    let way = Arc::new(Way::dialled(Kind::Attached, row.description.offer(), server.clone(), dismissed.clone()));
    let _joined = Joined::new(&app.nodes, id, way);
    tokio::select! {
        () = dismissed.cancelled() => Ok(()),
        failed = failure(&server) => Err(failed),
        failed = mirror::follow(app, id, &server, &row.description), if row.is_partner => Err(failed),
    }
}

/// Asks the server once whether it is there.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn probe(server: &Attached) -> anyhow::Result<()> {
    tokio::time::timeout(PROBE_WITHIN, server.probe()).await.context("it is silent")?
}

/// Waits until the server is not there any more, and says why.
async fn failure(server: &Attached) -> anyhow::Error {
    let mut failed = 0;
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        match probe(server).await {
            Ok(()) => failed = 0,
            Err(error) if failed + 1 == PROBES => return error,
            Err(_) => failed += 1,
        }
    }
}
