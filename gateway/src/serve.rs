//! `commonwatt serve`: connect, migrate, listen, and stop in good order.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::MIGRATOR;
use crate::app::{App, Parts};
use crate::auth::key::Keys;
use crate::auth::password::Passwords;
use crate::config::ServeConfig;
use crate::inference::record::recorder;
use crate::nodes::{Nodes, enrol};
use crate::router::router;
use crate::secrets::Secrets;

/// A request that waits longer than this for a connection to the database is told so.
const DATABASE_WITHIN: Duration = Duration::from_secs(2);
/// How long a start waits for the database.
const DATABASE_AT_START: Duration = Duration::from_secs(30);
/// A client that dawdles over its headers gives its place to others.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// After the drain: what remains has had its time.
const GOODBYE: Duration = Duration::from_secs(5);
/// Records that wait for the database at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// Serves until `stop` is given, running answers have ended and every record is written.
///
/// # Errors
/// When the gateway can't start; the sentence says what to do.
pub async fn serve(config: ServeConfig, stop: CancellationToken) -> anyhow::Result<()> {
    let secrets = Arc::new(Secrets::open(&config.store.data)?);
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: choose another address with COMMONWATT_LISTEN", config.listen)
    })?;
    let database = open_database(&config.store.database_url, config.database_connections).await?;
    let (recorder, writer) = recorder(database.clone());
    let writing = tokio::spawn(writer.run());
    let app = App::new(Parts {
        keys: Keys::new(database.clone(), Arc::clone(&secrets)),
        passwords: Passwords::new()?,
        nodes: known_nodes(&database).await?,
        tasks: TaskTracker::new(),
        closing: CancellationToken::new(),
        node_silence: Duration::from_secs(config.node_silence_seconds),
        stop,
        recorder,
        secrets,
        database,
    });
    let hearing = tokio::spawn({
        let app = app.clone();
        async move { app.keys.hear_revocations(app.closing.clone()).await }
    });
    tracing::info!(listen = %listener.local_addr()?, "the gateway is ready");
    accept(&app, listener, Duration::from_secs(config.drain_seconds)).await;
    app.closing.cancel();
    app.tasks.close();
    if tokio::time::timeout(GOODBYE, app.tasks.wait()).await.is_err() {
        tracing::warn!("some tunnels did not close in time");
    }
    hearing.await?;
    drop(app);
    // The last recorder is gone with the last request: the writer ends when everything is written.
    tokio::time::timeout(FLUSH_WITHIN, writing)
        .await
        .map_err(|_| anyhow!("the database stayed away: the last records stand in the log alone"))??;
    tracing::info!("stopped; every record is written");
    Ok(())
}

/// Connects and brings the tables up to date.
///
/// # Errors
/// When the database can't be reached or its tables are of a newer version.
pub async fn open_database(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| anyhow!("DATABASE_URL is no Postgres address such as postgres://user:password@host/database"))?;
    let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(DATABASE_WITHIN);
    let connect = async {
        loop {
            match pool.clone().connect_with(options.clone()).await {
                Ok(database) => return database,
                Err(error) => tracing::warn!(%error, "the database does not answer yet"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let database = tokio::time::timeout(DATABASE_AT_START, connect).await.map_err(|_| {
        anyhow!("the database in DATABASE_URL can't be reached. Is it running, and are user and password right?")
    })?;
    MIGRATOR.run(&database).await.context("the database's tables can't be brought up to date")?;
    Ok(database)
}

async fn known_nodes(database: &PgPool) -> anyhow::Result<Nodes> {
    let nodes = Nodes::default();
    for offer in enrol::offers(database).await? {
        nodes.remember(&offer);
    }
    Ok(nodes)
}

/// Accepts connections until told to stop, then waits for the running ones.
async fn accept(app: &App, listener: TcpListener, drain: Duration) {
    let router = router(app.clone());
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    http.http2().timer(TokioTimer::new());
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = app.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small pieces of a stream must not wait for one another.
                let _ = stream.set_nodelay(true);
                let service = TowerToHyperService::new(Router::clone(&router));
                let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
                let connection = connections.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must close first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tracing::info!(running = connections.count(), "stopping: no new requests, running answers are completed");
    if tokio::time::timeout(drain, connections.shutdown()).await.is_err() {
        tracing::warn!(seconds = drain.as_secs(), "stopped before every answer was complete");
    }
}
