//! One connection of a client, which can leave so that what was delivered to it is still known.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as Socket};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Ask, Seen};

/// Longer than any answer of a story.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The same socket, to close our half of it.
    socket: Socket,
    host: String,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?.into_std()?;
        stream.set_nodelay(true)?;
        let socket = stream.try_clone()?;
        let (sender, connection) =
            handshake(TokioIo::new(TcpStream::from_std(stream)?)).await.map_err(io::Error::other)?;
        // How it ends is seen by whoever reads the answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, socket, host: address.to_string() })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// None when the connection had ended before the request left: nobody has seen it, and another one may carry it.
    pub(super) async fn ask(
        &mut self,
        ask: &Ask,
        (key, headers): (&str, &[(String, String)]),
        since: Instant,
    ) -> Option<Seen> {
        let mut request = Request::post("/v1/chat/completions")
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {key}"));
        if let Some(key) = &ask.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(ask.body()))).expect("a request");
        let (mut seen, mut left) = (Seen::nothing(since), false);
        let Self { sender, socket, .. } = self;
        let complete = tokio::select! {
            complete = timeout(PATIENCE, exchange(sender, request, &mut seen, since)) => complete.unwrap_or(Some(false))?,
            never = leave(socket, ask.leave_after, &mut left) => match never {},
        };
        seen.left = left;
        seen.judge(complete, ask.streamed, since);
        Some(seen)
    }
}

/// Reads the reply to its end, or as far as there is one; says whether it was complete. None when the request never left.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    seen: &mut Seen,
    since: Instant,
) -> Option<bool> {
    sender.ready().await.ok()?;
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(mut error) => return if error.take_message().is_some() { None } else { Some(false) },
    };
    seen.head(response.status().as_u16(), response.headers(), since);
    let mut body = response.into_body();
    let mut before = None;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Some(false) };
        if let Ok(bytes) = frame.into_data() {
            let now = Instant::now();
            seen.gaps.extend(before.replace(now).map(|before| now - before));
            seen.body.extend_from_slice(&bytes);
        }
    }
    Some(true)
}

/// Closes our half when it is time: the gateway sees a client that has gone, and what it still sends can be read.
async fn leave(socket: &Socket, after: Option<Duration>, left: &mut bool) -> Infallible {
    if let Some(after) = after {
        sleep_until(Instant::now() + after).await;
        *left = true;
        // Fails when the gateway was the first to close.
        let _ = socket.shutdown(Shutdown::Write);
    }
    pending().await
}
