//! `commonwatt-node serve`: fetch, load, measure, listen, connect, and stop in good order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use openapi::manifest::{ManifestFile, ModelManifest};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::ServeConfig;
use crate::energy::{Ledger, ProcessorTime};
use crate::engine::Engine;
use crate::enrol;
use crate::identity::Identity;
use crate::measure;
use crate::node::Node;
use crate::pull;
use crate::pull::catalogue::{self, CatalogueEntry};
use crate::router;
use crate::slots::Slots;
use crate::ticket::TicketVerifier;
use crate::tunnel::{self, NotEnrolled};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Serves until `stop` is given and running answers are complete.
///
/// # Errors
/// When the node can't start; the sentence says what to do.
pub async fn serve(config: ServeConfig, stop: CancellationToken) -> anyhow::Result<()> {
    // First of all, so that a port that is taken is told before the model is fetched.
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: choose another address with COMMONWATT_NODE_LISTEN", config.listen)
    })?;
    let node = start(&config).await?;
    tracing::info!(listen = %listener.local_addr()?, model = node.manifest.name, slots = node.slots.count(), "the node is ready");

    let connected = config
        .gateway
        .clone()
        .map(|gateway| tokio::spawn(stay_connected(config.clone(), gateway, Arc::clone(&node), stop.clone())));
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let serving =
        axum::serve(listener, router::local(Arc::clone(&node))).with_graceful_shutdown(stop.clone().cancelled_owned());
    let serving = tokio::spawn(async move { serving.await });

    stop.cancelled().await;
    tracing::info!("stopping: no new requests, running answers are completed");
    node.slots.drain();
    node.answers.close();
    let drained = tokio::time::timeout(Duration::from_secs(config.drain_seconds), async {
        node.answers.wait().await;
        if let Some(connected) = connected {
            connected.await??;
        }
        serving.await?.context("the local listener failed")
    });
    match drained.await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(seconds = config.drain_seconds, "stopped before every answer was complete");
            Ok(())
        }
    }
}

/// Fetches and loads the model and puts the node together.
async fn start(config: &ServeConfig) -> anyhow::Result<Arc<Node>> {
    let entry = catalogue::find(&config.model.model)?;
    let folder = pull::pull(entry, &config.model.source, &config.model.data).await?;
    let manifest = manifest(entry);
    let file = manifest.files.first().context("the catalogue names no file for this model")?.path.clone();
    tracing::info!(model = manifest.name, id = manifest.id(), "loading");
    let engine = Engine::load(&folder, &file, config.context).await?;
    let slots = match config.slots {
        Some(slots) => slots,
        None => measure::slots(&engine, &manifest.id(), &config.model.data).await?,
    };
    let energy = Ledger::new(ProcessorTime::new(config.milliwatts_per_processor));
    Ok(Node::new(engine, manifest, Slots::new(slots, config.queue), energy))
}

fn manifest(entry: &CatalogueEntry) -> ModelManifest {
    let file = |file: &catalogue::CatalogueFile| ManifestFile {
        path: file.path.to_owned(),
        bytes: file.bytes,
        sha256: file.sha256.to_owned(),
    };
    ModelManifest {
        name: entry.name.to_owned(),
        files: entry.files.iter().map(file).collect(),
        quantisation: entry.quantisation.to_owned(),
        licence: entry.licence.to_owned(),
        authors: entry.authors.iter().map(ToString::to_string).collect(),
    }
}

/// Keeps a tunnel open to one gateway; pauses grow while it can't be reached, and differ from node to node so that all
/// do not come back in the same instant.
async fn stay_connected(
    config: ServeConfig,
    gateway: Url,
    node: Arc<Node>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let identity = Identity::open(&config.model.data)?;
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let begin = tokio::time::Instant::now();
        match connect(&config, &gateway, &identity, &node, &stop).await {
            Ok(()) => tracing::info!(%gateway, "the gateway closed the connection"),
            Err(error) => tracing::warn!(%gateway, "not connected: {error:#}"),
        }
        pause = if begin.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(jittered(pause)) => {}
        }
    }
    Ok(())
}

/// Enrols if need be, then serves the gateway for as long as the connection lasts.
async fn connect(
    config: &ServeConfig,
    gateway: &Url,
    identity: &Identity,
    node: &Arc<Node>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let known = identity.enrolled_with(gateway.as_str())?;
    let enrolled = match known {
        Some(enrolled) => enrolled,
        None => enrol_anew(config, gateway, identity).await?,
    };
    let router = router::tunnelled(Arc::clone(node), TicketVerifier::new(enrolled.node, &enrolled.ticket_key)?);
    match tunnel::serve(gateway, &identity.greeting(enrolled.node)?, router, stop).await {
        Err(error) if error.is::<NotEnrolled>() => {
            tracing::warn!(%gateway, "the gateway does not know this node any more: enrolling anew");
            enrol_anew(config, gateway, identity).await.map(drop)
        }
        ended => ended,
    }
}

async fn enrol_anew(
    config: &ServeConfig,
    gateway: &Url,
    identity: &Identity,
) -> anyhow::Result<openapi::node::Enrolled> {
    let token = config.token()?.context(
        "this node is not enrolled with the gateway. Create an enrolment token there and give it with COMMONWATT_TOKEN",
    )?;
    let enrolled = enrol::enrol(identity, gateway, &token, &config.node_name()).await?;
    tracing::info!(%gateway, node = %enrolled.node, "enrolled");
    Ok(enrolled)
}

/// Between half and all of a pause.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0u8];
    // Without randomness the pause is merely regular.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    pause / 2 + pause / 2 * u32::from(byte[0]) / 255
}
