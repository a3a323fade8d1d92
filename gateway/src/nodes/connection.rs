//! What carries requests to nodes, whatever lies between, and HTTP/2 as the gateway speaks it to them and to the other
//! replicas.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::gather::Gathered;

/// A dead connection is noticed after at most the sum of the two.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(5);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// What one answer may have under way before its reader takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The most that the protocol knows: an answer whose reader has paused must not hold up the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Answers broken off whose last frames may still arrive.
pub(crate) const MOST_RESETS: usize = 1024;

/// The body of a node's answer. Dropping it ends the answer.
pub type NodeBody = UnsyncBoxBody<Bytes, anyhow::Error>;

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection leads to the node at the moment: it has not seen the request.
    #[error("no connection leads to it")]
    Unreached,
    /// The connection ended when the node may have seen the request.
    #[error("the connection broke: {0}")]
    Broken(anyhow::Error),
    /// An attached server did not answer as it should.
    #[error("{0}")]
    Failed(String),
}

/// Carries requests to a node. Each way has one of its own.
pub(crate) trait Connection: Send + Sync {
    /// False when it carries nothing any more.
    fn is_open(&self) -> bool;

    /// True when it will end soon, and others are to be preferred.
    fn is_stopping(&self) -> bool {
        false
    }

    /// Sends a request to the node and waits for the head of its answer. A request for an attempt has the attempt's
    /// [`Call`](super::Call) among its extensions.
    fn send(&self, node: Uuid, request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<NodeBody>, CallError>>;
}

/// A node at the other end of the connection itself: it has dialled, or was dialled.
impl Connection for Sender {
    fn is_open(&self) -> bool {
        !self.is_closed()
    }

    fn send(&self, _: Uuid, request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<NodeBody>, CallError>> {
        let mut sender = self.clone();
        Box::pin(async move {
            sender.ready().await.map_err(|_| CallError::Unreached)?;
            match sender.try_send_request(request).await {
                Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
                // A request that comes back was never sent.
                Err(failed) if failed.message().is_some() => Err(CallError::Unreached),
                Err(failed) => Err(CallError::Broken(failed.into_error().into())),
            }
        })
    }
}

/// Sends requests over one connection.
pub(crate) type Sender = http2::SendRequest<Full<Bytes>>;

/// Begins to speak on a connection that stands. The task ends with the connection.
pub(crate) async fn open<T>(io: T, tasks: &TaskTracker) -> hyper::Result<(Sender, JoinHandle<hyper::Result<()>>)>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_reset_streams(MOST_RESETS);
    let (sender, connection) = http.handshake(TokioIo::new(Gathered::new(io))).await?;
    Ok((sender, tasks.spawn(connection)))
}

/// A request without a body.
pub(crate) fn get(path: &str) -> hyper::http::Result<hyper::Request<Full<Bytes>>> {
    hyper::Request::get(path).body(Full::default())
}
