//! The wire between a gateway and its Postgres, to be made slow, and cut so that neither end hears of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::Database;

/// What Postgres calls its socket on its usual port.
const SOCKET: &str = ".s.PGSQL.5432";

/// Passes connections on to a Postgres. Ends when dropped.
pub struct Wire {
    folder: PathBuf,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct State {
    connections: AtomicU64,
    /// The first so many connections are cut.
    cut: AtomicU64,
    delay_milliseconds: AtomicU64,
}

impl Wire {
    /// Lies before this database, which has to be on a Unix socket; it is reached over the wire by what is returned too,
    /// but for the tests' own questions.
    ///
    /// # Panics
    /// When there is no socket.
    pub async fn before(database: Database) -> (Self, Database) {
        let mut url = url::Url::parse(&database.url).expect("a Postgres address");
        let host = url.query_pairs().find(|(name, _)| name == "host").expect("a Unix socket").1.into_owned();
        let folder = std::env::temp_dir().join(format!("wire-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).expect("a folder");
        let others: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| name != "host")
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair("host", folder.to_str().expect("UTF-8"));
        let listener = UnixListener::bind(folder.join(SOCKET)).expect("a socket");
        let (state, mut accepting) = (Arc::<State>::default(), JoinSet::new());
        accepting.spawn(accept(listener, Path::new(&host).join(SOCKET), Arc::clone(&state)));
        (Self { folder, state, _accepting: accepting }, Database { url: url.to_string(), pool: database.pool })
    }

    /// From now on whatever is said, in either direction, arrives this much later.
    pub fn delay(&self, by: Duration) {
        self.state.delay_milliseconds.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// The connections that there are say nothing any more, and neither end is told. New ones work.
    pub fn cut(&self) {
        self.state.cut.store(self.state.connections.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn accept(listener: UnixListener, server: PathBuf, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = state.connections.fetch_add(1, Ordering::Relaxed);
        // A server that is away closes the client's connection.
        let Ok(server) = UnixStream::connect(&server).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        connections.spawn(pass(from_client, to_server, number, Arc::clone(&state)));
        connections.spawn(pass(from_server, to_client, number, Arc::clone(&state)));
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, number: u64, state: Arc<State>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        sleep(Duration::from_millis(state.delay_milliseconds.load(Ordering::Relaxed))).await;
        if number < state.cut.load(Ordering::Relaxed) {
            // Held open, as by a network that drops every packet.
            std::future::pending::<()>().await;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            // The end of one direction is told by dropping it.
            return;
        }
    }
}
