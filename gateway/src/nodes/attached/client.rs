//! Calls an attached server: a small pool of connections, each dialled by the gateway's own dialler. No redirect is
//! followed and no proxy is asked, so that nothing but the URL that was given is ever reached.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{self, Builder};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use openapi::netting::CLIENT_REQUEST_HEADER;
use openapi::receipt::ReceiptId;
use tower_service::Service;

use crate::nodes::connection::{PING_EVERY, PING_TIMEOUT};
use crate::nodes::direct::dial::{DialError, Dialler, Io, Protocol};
use crate::nodes::direct::url::NodeUrl;

/// An idle connection is used again within this time: uvicorn, which most Python servers stand on, closes them after 5 s.
const IDLE: Duration = Duration::from_secs(4);

/// One server's client.
#[derive(Clone)]
pub(crate) struct Client {
    url: Arc<NodeUrl>,
    authorization: Option<HeaderValue>,
    pool: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// `key` goes with every request.
    ///
    /// # Errors
    /// When the key can't stand in a header.
    pub(crate) fn new(dialler: Arc<Dialler>, url: NodeUrl, key: Option<&str>) -> anyhow::Result<Self> {
        let url = Arc::new(url);
        let authorization = key.map(|key| HeaderValue::try_from(format!("Bearer {key}"))).transpose();
        let mut authorization =
            authorization.map_err(|_| anyhow::anyhow!("its key has characters that no header can have"))?;
        // Kept out of logs, and out of HTTP/2's tables.
        authorization.iter_mut().for_each(|value| value.set_sensitive(true));
        let pool = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(Connector { dialler, url: Arc::clone(&url) });
        Ok(Self { url, authorization, pool })
    }

    /// Sends a request to a path below the URL, under a name of ours if it has one, and waits for the head of the answer.
    /// Dropping the future, or the answer's body, takes the request back.
    ///
    /// # Errors
    /// What went wrong, for the log.
    pub(crate) async fn send(
        &self,
        (method, path): (Method, &str),
        name: Option<ReceiptId>,
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(name) = name {
            request = request.header(CLIENT_REQUEST_HEADER, name.to_string());
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.header(ACCEPT, "text/event-stream, application/json").header(ACCEPT_ENCODING, "identity");
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        self.pool.request(request).await.map_err(|error| innermost(&error))
    }
}

/// The cause of the causes: what the dialler or HTTP has to say, without what stands around it.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Dials the one server, whatever it is asked for.
#[derive(Clone)]
struct Connector {
    dialler: Arc<Dialler>,
    url: Arc<NodeUrl>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Stream, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (dialler, url) = (Arc::clone(&self.dialler), Arc::clone(&self.url));
        Box::pin(async move {
            let (io, protocol) = dialler.connect(&url).await?;
            Ok(Stream { io: TokioIo::new(io), protocol })
        })
    }
}

/// A connection to the server.
struct Stream {
    io: TokioIo<Box<dyn Io>>,
    protocol: Protocol,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self.protocol {
            Protocol::Http1 => Connected::new(),
            Protocol::Http2 => Connected::new().negotiated_h2(),
        }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, to)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
