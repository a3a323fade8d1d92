//! HTTP/2 as the gateway speaks it to nodes and to the other replicas.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// A dead connection is noticed after at most the sum of the two.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(5);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// What one answer may have under way before its reader takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The most that the protocol knows: an answer whose reader has paused must not hold up the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Answers broken off whose last frames may still arrive.
pub(crate) const MOST_RESETS: usize = 1024;

/// Sends requests over one connection.
pub(crate) type Sender = http2::SendRequest<Full<Bytes>>;

/// Begins to speak on a connection that stands. The task ends with the connection.
pub(crate) async fn open<T>(io: T, tasks: &TaskTracker) -> hyper::Result<(Sender, JoinHandle<hyper::Result<()>>)>
where
    T: Read + Write + Send + Unpin + 'static,
{
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_reset_streams(MOST_RESETS);
    let (sender, connection) = http.handshake(io).await?;
    Ok((sender, tasks.spawn(connection)))
}

/// A request without a body.
pub(crate) fn get(path: &str) -> hyper::http::Result<hyper::Request<Full<Bytes>>> {
    hyper::Request::get(path).body(Full::default())
}
