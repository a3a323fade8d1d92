//! `commonwatt serve`: connect, migrate, listen, and stop in good order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::OptionFuture;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounting::Accounting;
use crate::aliases::Aliases;
use crate::api::usage;
use crate::app::{App, Parts};
use crate::auth::guesses::Guesses;
use crate::auth::key::Keys;
use crate::auth::password::Passwords;
use crate::changes::{self, LastLook};
use crate::config::{Metering, ServeConfig};
use crate::energy::court::Court;
use crate::energy::sample::Samples;
use crate::energy::{self, Energies};
use crate::epochs::{self, Epochs};
use crate::idempotency::Idempotency;
use crate::inference::hedging::Hedging;
use crate::inference::running::Running;
use crate::inference::typical::Typicals;
use crate::ledger::{audit, split};
use crate::listener::{Connections, Door, Entrance};
use crate::log::{self, Log};
use crate::metrics::{self, Metrics, Watched};
use crate::nodes::blobs::Blobs;
use crate::nodes::direct::dial::Dialler;
use crate::nodes::{self, Nodes, enrol};
use crate::partners::{self, Partners};
use crate::places::{self, Places};
use crate::prices::{self, Prices};
use crate::receipts::{self, Receipts};
use crate::replicas::{self, Credentials, Internal};
use crate::responses;
use crate::retention;
use crate::secrets::Secrets;
use crate::tls::Tls;
#[cfg(feature = "acme")]
use crate::tls::acme::Acme;
use crate::traces::Traces;
use crate::{database, listener, socket};

/// After the drain: what remains has had its time.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves until `stop` is given, running answers have ended and every record is written.
///
/// # Errors
/// When the gateway can't start; the sentence says what to do.
pub async fn serve(config: ServeConfig, stop: CancellationToken) -> anyhow::Result<()> {
    let secrets = Arc::new(Secrets::open(&config.store.data)?);
    let listener = socket::listen(config.listen, "COMMONWATT_LISTEN").await?;
    let apart = config.admin_listen.map(|address| socket::listen(address, "COMMONWATT_ADMIN_LISTEN"));
    let apart = OptionFuture::from(apart).await.transpose()?;
    let internal = internal_listener(&config).await?;
    let tls = Certificate::open(&config)?;
    let database = database::open(&config.store.database_url, config.database_connections).await?;
    let address = internal.as_ref().map(|(_, address)| address.clone());
    let accounting = Accounting::open(&config, &database, address).await?;
    let app = build(&config, secrets, database, &accounting, stop).await?;
    let hearing = tokio::spawn(changes::follow(app.clone()));
    app.tasks.spawn(audit::run_nightly(app.database.clone(), app.closing.clone()));
    app.tasks.spawn(retention::run(app.clone(), config.keep_months));
    app.tasks.spawn(usage::gather::run(app.clone()));
    receipts::keys::announce(&app.database, &app.secrets).await?;
    split::announce(&app.database).await?;
    prices::table::announce(&app.database).await?;
    app.tasks.spawn(receipts::sign::run(app.clone()));
    app.tasks.spawn(energy::day::run(app.clone()));
    app.tasks.spawn(energy::stay_current(app.clone()));
    app.tasks.spawn(log::run(app.clone()));
    app.tasks.spawn(log::witnesses::run(app.clone()));
    app.tasks.spawn(epochs::run(app.clone()));
    app.tasks.spawn(partners::run(app.clone()));
    if let Some(file) = &config.sampling_key_file {
        let key =
            std::fs::read_to_string(file).with_context(|| format!("cannot read the key in {}", file.display()))?;
        app.tasks.spawn(energy::sample::send(app.clone(), key.trim().to_owned().into()));
    }
    if let Some(address) = config.metrics_listen {
        let listener = socket::listen(address, "COMMONWATT_METRICS_LISTEN").await?;
        app.tasks.spawn(metrics::serve(Arc::clone(&app.metrics), listener, app.closing.clone()));
    }
    let (metrics, traces) = (Arc::clone(&app.metrics), Arc::clone(&app.traces));
    let following = CancellationToken::new();
    app.tasks.spawn(nodes::dialled::keep_all(app.clone()));
    app.tasks.spawn(nodes::tend(Arc::clone(&app.nodes), app.closing.clone()));
    if let Some((listener, _)) = internal {
        join(&app, listener, &following)?;
    }
    tracing::info!(listen = %listener.local_addr()?, replica = %app.replica.id(), "the gateway is ready");
    let tls = tls.map(|certificate| certificate.keep_current(&app));
    let connections = accept(&app, &config, (listener, apart), tls).await;
    drain(&app, connections, &following, Duration::from_secs(config.drain_seconds)).await;
    hearing.await?;
    drop(app);
    let tell_the_rest = move || {
        metrics.close();
        traces.close();
    };
    tokio::task::spawn_blocking(tell_the_rest).await?;
    accounting.close().await?;
    tracing::info!("stopped; every record is written");
    Ok(())
}

/// Puts the parts together.
pub(crate) async fn build(
    config: &ServeConfig,
    secrets: Arc<Secrets>,
    database: PgPool,
    accounting: &Accounting,
    stop: CancellationToken,
) -> anyhow::Result<App> {
    let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
    let last_look = Arc::new(LastLook::default());
    let nodes = Arc::new(known_nodes(&database).await?);
    let (wanted, otherwise) = (config.log_origin.as_deref(), config.likely_log_origin());
    let log = Arc::new(Log::open(&database, &secrets, wanted, otherwise.as_deref()).await?);
    let epochs = Arc::new(Epochs::new(config.epoch_hours, config.minimum_payout));
    let watched = Watched {
        epochs: Arc::clone(&epochs),
        log: Arc::clone(&log),
        nodes: Arc::clone(&nodes),
        journal: accounting.journal.clone(),
        admissions: Arc::clone(&accounting.admissions),
    };
    let blamed = Arc::clone(&nodes);
    Ok(App::new(Parts {
        keys: Keys::new(database.clone(), Arc::clone(&secrets), Arc::clone(&last_look)),
        last_look,
        trusted_proxies: config.trusted_proxies.clone(),
        admin_apart: config.admin_listen.is_some(),
        passwords: Passwords::default(),
        guesses: Guesses::default(),
        nodes,
        blobs: Blobs::new(move |node| blamed.blame(node)),
        dialler: Arc::new(dialler(config)?),
        responses: responses::Settings { store: config.store_responses, keep_days: config.keep_responses_days },
        split_notice: time::Duration::hours(config.split_notice_hours.into()),
        idempotency: Idempotency::new(database.clone(), accounting.replica.id(), closing.clone()),
        prices: Prices::open(&database, config.default_price).await?,
        receipts: Receipts::new()?,
        aliases: Aliases::open(&database).await?,
        partners: Partners::open(&database).await?,
        admissions: Arc::clone(&accounting.admissions),
        journal: accounting.journal.clone(),
        replica: Arc::clone(&accounting.replica),
        running: Running::new(Arc::clone(&secrets), tasks.clone()),
        typicals: Typicals::default(),
        hedging: Hedging::default(),
        energies: Energies::default(),
        court: Court::new(secrets.newest.canaries, config.internal_listen.is_none()),
        samples: Samples::new(config.sampling_one_in),
        metrics: Arc::new(Metrics::watching(config.metrics_collector.as_deref(), &watched)?),
        traces: Arc::new(Traces::new(config.traces_collector.as_deref(), config.traces_one_in)?),
        log,
        epochs,
        live: Arc::default(),
        metering: config.accounting.metering == Metering::On,
        queue_patience: Duration::from_secs(config.queue_seconds),
        node_silence: Duration::from_secs(config.node_silence_seconds),
        tasks,
        relayed: TaskTracker::new(),
        stop,
        closing,
        secrets,
        database,
    }))
}

/// The listener for the other replicas and where they reach it, if this gateway is to have others.
async fn internal_listener(config: &ServeConfig) -> anyhow::Result<Option<(TcpListener, String)>> {
    let Some(address) = config.internal_listen else { return Ok(None) };
    if address.ip().is_unspecified() && config.internal_address.is_none() {
        bail!(
            "COMMONWATT_INTERNAL_LISTEN is {address}: say with COMMONWATT_INTERNAL_ADDRESS where the others reach it"
        );
    }
    let listener = socket::listen(address, "COMMONWATT_INTERNAL_LISTEN").await?;
    let reached = match &config.internal_address {
        Some(reached) => reached.clone(),
        None => listener.local_addr()?.to_string(),
    };
    Ok(Some((listener, reached)))
}

/// Lets everybody in, and administrators by a listener of their own if there is one, until the gateway has stopped; gives back
/// the connections that still run.
async fn accept(
    app: &App,
    config: &ServeConfig,
    (listener, apart): (TcpListener, Option<TcpListener>),
    tls: Option<Arc<Tls>>,
) -> Connections {
    let connections = Connections::default();
    let places = Places::new(places::within_limits(config.connections as usize));
    let delay = Duration::from_secs(config.stop_delay_seconds);
    let accept = async |listener, door| {
        let entrance = Entrance { listener, tls: tls.clone(), door, places: Arc::clone(&places) };
        listener::accept(app, entrance, &connections, delay).await;
    };
    let accept_apart = apart.map(|listener| accept(listener, Door::ForAdministrators));
    tokio::join!(accept(listener, Door::ForEverybody), OptionFuture::from(accept_apart));
    connections
}

/// Makes this replica's nodes usable from the others and theirs from here, until `following` ends.
fn join(app: &App, listener: TcpListener, following: &CancellationToken) -> anyhow::Result<()> {
    let internal = Internal {
        nodes: Arc::clone(&app.nodes),
        credentials: Arc::new(Credentials::new(Arc::clone(&app.secrets), app.replica.id())?),
        tasks: app.tasks.clone(),
        relayed: app.relayed.clone(),
        stop: app.stop.clone(),
        closing: app.closing.clone(),
    };
    app.tasks.spawn(replicas::serve(internal.clone(), listener));
    let (replica, database, following) = (Arc::clone(&app.replica), app.database.clone(), following.clone());
    app.tasks.spawn(async move { replicas::follow_all(&replica, &database, &internal, following).await });
    Ok(())
}

/// Ends everything in good order. `stop` has told the load balancer (by `/readyz`), the other replicas (by the news) and
/// each node (by its tunnel); the listener is closed. What remains: running answers end, nodes move to other replicas, and
/// what those have under way over the tunnels here ends too.
async fn drain(app: &App, connections: Connections, following: &CancellationToken, within: Duration) {
    let deadline = Instant::now() + within;
    tracing::info!(running = connections.count(), "stopping: no new requests, running answers are completed");
    let answered = async {
        connections.shutdown().await;
        // Answers whose client left and will come back for them.
        app.idempotency.ended().await;
    };
    if timeout_at(deadline, answered).await.is_err() {
        tracing::warn!(seconds = within.as_secs(), "stopped before every answer was complete");
    }
    let moved = async {
        app.nodes.all_moved().await;
        // What the others have under way over this replica's tunnels.
        app.relayed.close();
        app.relayed.wait().await;
    };
    if timeout_at(deadline, moved).await.is_err() {
        tracing::warn!(seconds = within.as_secs(), "stopped before every node had moved to another replica");
    }
    following.cancel();
    app.closing.cancel();
    app.tasks.close();
    let ended = async { tokio::join!(app.tasks.wait(), app.idempotency.ended()) };
    if timeout(GOODBYE, ended).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
}

/// The certificate that clients see.
struct Certificate {
    tls: Arc<Tls>,
    #[cfg(feature = "acme")]
    acme: Option<Acme>,
}

impl Certificate {
    /// The one in files, or one that the gateway gets itself; none where the listener speaks no TLS.
    fn open(config: &ServeConfig) -> anyhow::Result<Option<Self>> {
        #[cfg(feature = "acme")]
        if let Some(settings) = config.acme.settings() {
            let roots = extra_roots(config)?;
            let acme = Acme::new(settings, &config.store.data.join("acme"), roots.as_deref())?;
            return Ok(Some(Self { tls: acme.tls()?, acme: Some(acme) }));
        }
        let files = config.tls_certificate.as_deref().zip(config.tls_key.as_deref());
        let tls = files.map(|(certificate, key)| Tls::open(certificate, key)).transpose()?;
        Ok(tls.map(|tls| Self {
            tls,
            #[cfg(feature = "acme")]
            acme: None,
        }))
    }

    /// Keeps it current until the gateway closes.
    fn keep_current(self, app: &App) -> Arc<Tls> {
        app.tasks.spawn(Arc::clone(&self.tls).keep_current(app.closing.clone()));
        #[cfg(feature = "acme")]
        if let Some(acme) = self.acme {
            app.tasks.spawn(acme.keep_current(Arc::clone(&self.tls), app.closing.clone()));
        }
        self.tls
    }
}

fn extra_roots(config: &ServeConfig) -> anyhow::Result<Option<Vec<u8>>> {
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("cannot read {}; correct COMMONWATT_EXTRA_ROOTS", path.display()))
    };
    config.extra_roots.as_ref().map(read).transpose()
}

/// Dials what others have named, within what this gateway's operator allows.
fn dialler(config: &ServeConfig) -> anyhow::Result<Dialler> {
    Dialler::new(config.allowed_networks.clone(), extra_roots(config)?.as_deref())
}

async fn known_nodes(database: &PgPool) -> anyhow::Result<Nodes> {
    let nodes = Nodes::default();
    for offer in enrol::offers(database).await? {
        nodes.remember(&offer);
    }
    nodes.register(database, None).await?;
    Ok(nodes)
}
