//! `commonwatt-node serve`: fetch, load, measure, listen, connect, and stop in good order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::serve::ListenerExt;
use openapi::manifest::{ManifestFile, ModelManifest};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::blobs::Blobs;
use crate::config::ServeConfig;
use crate::connect;
use crate::energy::pools::EnginePlace;
use crate::energy::setup::{self, Outside};
use crate::engine::{Embedder, Engine};
use crate::identity::Identity;
use crate::measure;
use crate::metrics;
use crate::node::{Backend, Node, Said};
use crate::pull::catalogue::{self, CatalogueEntry};
use crate::pull::{self, Peers, PullSettings, given};
use crate::router;
use crate::slots::Slots;
use crate::upstream::Upstream;
use crate::upstream::config::EngineChoice;

/// What servers take at once without their operator having thought about it.
const UPSTREAM_SLOTS: u32 = 8;

/// Serves until `stop` is given and running answers are complete.
///
/// # Errors
/// When the node can't start; the sentence says what to do.
pub async fn serve(config: ServeConfig, stop: CancellationToken) -> anyhow::Result<()> {
    // First of all, so that a port that is taken is told before the model is fetched.
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: choose another address with COMMONWATT_NODE_LISTEN", config.listen)
    })?;
    config.check_gateways()?;
    let (node, identity) = tokio::select! {
        started = start(&config, &stop) => started?,
        () = stop.cancelled() => {
            tracing::info!("stopped before the node was ready; what has arrived of the model is kept");
            return Ok(());
        }
    };
    tracing::info!(listen = %listener.local_addr()?, model = node.manifest.name, slots = node.slots.count(), "the node is ready");

    if let Some(address) = config.metrics_listen {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}: choose another address with COMMONWATT_NODE_METRICS_LISTEN")
        })?;
        tokio::spawn(metrics::serve(Arc::clone(&node.metrics), listener, stop.clone()));
    }
    let mut connected = JoinSet::new();
    if let Some(identity) = identity {
        for gateway in config.gateway.clone() {
            let (config, identity, node) = (config.clone(), Arc::clone(&identity), Arc::clone(&node));
            connected.spawn(connect::stay_connected(config, gateway, identity, node, stop.clone()));
        }
    }
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
        while let Some(ended) = connected.join_next().await {
            ended?;
        }
        serving.await?.context("the local listener failed")
    });
    let drained = drained.await;
    let metrics = Arc::clone(&node.metrics);
    tokio::task::spawn_blocking(move || metrics.close()).await?;
    match drained {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(seconds = config.drain_seconds, "stopped before every answer was complete");
            Ok(())
        }
    }
}

/// Gets what computes ready and puts the node together; with the identity that its gateways know, if there are any.
async fn start(config: &ServeConfig, stop: &CancellationToken) -> anyhow::Result<(Arc<Node>, Option<Arc<Identity>>)> {
    // What the operator says is checked before the model is fetched.
    let surveyed = setup::survey(&config.energy).await?;
    let ready = match config.engine {
        EngineChoice::Mistralrs => load(config).await?,
        EngineChoice::Openai => join(config).await?,
    };
    let folder = config.model.data.join("energy");
    let identity = (!config.gateway.is_empty()).then(|| Identity::open(&config.model.data)).transpose()?.map(Arc::new);
    let reports = identity.clone().map(|identity| (folder.as_path(), identity));
    let outside = Outside { reports, collector: config.metrics_collector.as_deref() };
    let metered = setup::start(&config.energy, surveyed, (&ready.manifest, ready.place), outside, stop)?;
    let slots = Slots::new(ready.slots, config.queue);
    if let Backend::Upstream(upstream) = &ready.backend {
        tokio::spawn(Arc::clone(upstream).watch(slots.clone(), stop.clone()));
    }
    let said = Said { price: config.price, place: config.place(), tokens_per_second: ready.tokens_per_second };
    Ok((Node::new(ready.backend, (ready.manifest, ready.blobs), slots, metered, said), identity))
}

/// What computes, and what there is to say of it.
struct Ready {
    backend: Backend,
    manifest: ModelManifest,
    blobs: Blobs,
    slots: u32,
    tokens_per_second: Option<u32>,
    place: EnginePlace,
}

/// Fetches a model and loads it.
async fn load(config: &ServeConfig) -> anyhow::Result<Ready> {
    if config.upstream.upstream.is_some() {
        bail!("--upstream is for a server of yours: say --engine openai with it");
    }
    if let Some(folder) = given::folder(&config.model.source) {
        return load_embedder(config, folder).await;
    }
    let entry = catalogue::find(config.model.catalogued())?;
    let folder = fetch(config, entry).await?;
    let manifest = manifest(entry);
    let blobs = Blobs::new(&manifest, &folder);
    let file = manifest.files.first().context("the catalogue names no file for this model")?.path.clone();
    tracing::info!(model = manifest.name, id = manifest.id(), "loading");
    let engine = Engine::load(&folder, &file, config.context).await?;
    let measured = match config.slots {
        Some(_) => None,
        None => Some(measure::measured(&engine, &manifest.id(), &config.model.data).await?),
    };
    let slots = config.slots.or(measured.map(|measured| measured.slots)).unwrap_or(1);
    let tokens_per_second = measured.map(|measured| measured.tokens_per_second);
    let backend = Backend::Engine(Arc::new(engine));
    Ok(Ready { backend, manifest, blobs, slots, tokens_per_second, place: EnginePlace::Here })
}

/// The folder with the model, which is fetched if it is not here. Other nodes give it to the gateway's own nodes alone, so a
/// newcomer enrols first.
async fn fetch(config: &ServeConfig, entry: &CatalogueEntry) -> anyhow::Result<PathBuf> {
    if let Ok(Some(folder)) = pull::verify_present(entry, &config.model.data).await {
        return Ok(folder);
    }
    connect::enrol_ahead(config).await?;
    let peers = Peers::among(&config.gateway, &config.model.data)?;
    let settings = PullSettings { peers, ..PullSettings::default() };
    Ok(pull::pull_with(entry, &config.model.source, &config.model.data, &settings).await?)
}

/// Loads the embedding model in a folder of the operator's own.
async fn load_embedder(config: &ServeConfig, folder: &Path) -> anyhow::Result<Ready> {
    let (name, licence) = (config.model.model.as_deref(), &config.upstream_model.licence);
    let manifest = given::manifest(folder, name, licence).await?;
    let blobs = Blobs::new(&manifest, folder);
    tracing::info!(model = manifest.name, id = manifest.id(), "loading");
    let backend = Backend::Embedder(Arc::new(Embedder::load(folder, config.context).await?));
    // One text keeps all processors busy.
    let slots = config.slots.unwrap_or(1);
    Ok(Ready { backend, manifest, blobs, slots, tokens_per_second: None, place: EnginePlace::Here })
}

/// Asks the operator's own server for its model.
async fn join(config: &ServeConfig) -> anyhow::Result<Ready> {
    let (public, own) = (config.model.model.as_deref(), config.upstream_model.upstream_model.as_deref());
    let (Some(name), Some(own)) = (public.or(own), own.or(public)) else {
        bail!("say which of the server's models is meant, with --model or --upstream-model");
    };
    let upstream = Upstream::connect(&config.upstream, own, config.context).await?;
    let context = upstream.context_length();
    tracing::info!(upstream = upstream.address(), model = own, context, "the server has the model");
    let manifest = ModelManifest {
        name: name.to_owned(),
        // Nobody has seen them: such a model is known by its name alone.
        files: Vec::new(),
        quantisation: config.upstream_model.quantisation.clone(),
        licence: config.upstream_model.licence.clone(),
        authors: Vec::new(),
    };
    let blobs = Blobs::new(&manifest, &config.model.data);
    let is_here = upstream.is_here() || config.upstream_model.upstream_here;
    let place = if is_here { EnginePlace::Beside } else { EnginePlace::Elsewhere };
    let slots = config.slots.unwrap_or(UPSTREAM_SLOTS);
    let backend = Backend::Upstream(Arc::new(upstream));
    Ok(Ready { backend, manifest, blobs, slots, tokens_per_second: None, place })
}

fn manifest(entry: &CatalogueEntry) -> ModelManifest {
    let file = |file: &catalogue::CatalogueFile| ManifestFile {
        path: file.path.to_owned(),
        bytes: file.bytes,
        sha256: file.sha256.to_owned(),
        blake3: Some(file.blake3.to_owned()),
    };
    ModelManifest {
        name: entry.name.to_owned(),
        files: entry.files.iter().map(file).collect(),
        quantisation: entry.quantisation.to_owned(),
        licence: entry.licence.to_owned(),
        authors: entry.authors.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Command, Config};

    #[tokio::test]
    async fn a_node_that_is_told_to_stop_before_it_is_ready_stops_at_once() {
        // Whichever test comes first installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", gateway.local_addr().unwrap());
        let folder = std::env::temp_dir().join(format!("serve-{}", uuid::Uuid::now_v7()));
        let node =
            ["node", "serve", "--data", folder.to_str().unwrap(), "--listen", "127.0.0.1:0", "--source", "peers"];
        let arguments = [&node[..], &["--gateway", &url, "--token", "t"]].concat();
        let Command::Serve(config) = Config::try_parse_from(arguments).unwrap().command else { panic!() };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(*config, stop.clone()));
        // It is asked, and says nothing.
        let _asked = gateway.accept().await.unwrap();
        stop.cancel();
        serving.await.unwrap().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
