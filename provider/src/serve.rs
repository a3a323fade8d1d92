//! `commonwatt-node serve`: fetch, load, measure, listen, connect, and stop in good order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ServeConfig;
use crate::connect;
use crate::energy::setup::{self, Outside};
use crate::identity::Identity;
use crate::metrics;
use crate::node::Node;
use crate::ready::{self, Ready};
use crate::router;
use crate::slots::Slots;
use crate::traces::Traces;

/// How often it is asked which models nobody asks for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    let models: Vec<&str> = node.models().map(|served| served.manifest.name.as_str()).collect();
    tracing::info!(listen = %listener.local_addr()?, models = models.join(", "), slots = node.slots.count(), "the node is ready");

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
    let (metrics, traces) = (Arc::clone(&node.metrics), Arc::clone(&node.traces));
    let tell_the_rest = move || {
        metrics.close();
        traces.close();
    };
    tokio::task::spawn_blocking(tell_the_rest).await?;
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
    let traces = Arc::new(Traces::new(config.traces_collector.as_deref())?);
    // What the operator says is checked before the models are fetched.
    let surveyed = setup::survey(&config.energy).await?;
    let Ready { models, slots, place, upstream } = ready::all(config).await?;
    let mut models = models.into_iter();
    let first = models.next().context("there is no model to serve: name one with --model")?;
    let folder = config.model.data.join("energy");
    let identity = (!config.gateway.is_empty()).then(|| Identity::open(&config.model.data)).transpose()?.map(Arc::new);
    let reports = identity.clone().map(|identity| (folder.as_path(), identity));
    let outside = Outside { reports, collector: config.metrics_collector.as_deref() };
    let metered = setup::start(&config.energy, surveyed, (&first.manifest, place), outside, stop)?;
    let slots = Slots::new(slots, config.queue);
    if let Some(upstream) = upstream {
        tokio::spawn(upstream.watch(slots.clone(), stop.clone()));
    }
    let node = Node::new((first, models.collect()), slots, metered, config.place(), traces);
    if let Some(seconds) = config.unload_after {
        tokio::spawn(unload(Arc::clone(&node), Duration::from_secs(seconds), stop.clone()));
    }
    Ok((node, identity))
}

/// Unloads models that nobody asks for.
async fn unload(node: Arc<Node>, idle: Duration, stop: CancellationToken) {
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        for served in node.models() {
            if let Some(backend) = served.keeper.give_up(idle, Instant::now()) {
                tracing::info!(model = served.manifest.name, "unloaded, as nobody asks for it");
                // Giving so much memory back takes time.
                tokio::task::spawn_blocking(move || drop(backend));
            }
        }
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
