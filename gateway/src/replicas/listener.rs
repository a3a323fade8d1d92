//! The door for the other replicas: HTTP/2, closed to whoever does not hold the shared secret. They listen to the news
//! here, and call the nodes that have their tunnels here.

use std::convert::Infallible;
use std::pin::pin;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::Internal;
use super::credentials::CREDENTIAL_HEADER;
use super::news::{self, NEWS_PATH};
use super::remote::NODE_HEADER;
use crate::body::LIMIT_BYTES;
use crate::nodes::CallError;
use crate::nodes::connection::{MOST_RESETS, PING_EVERY, PING_TIMEOUT};
use crate::socket;

/// Serves the other replicas until this one closes.
pub(crate) async fn serve(internal: Internal, listener: TcpListener) {
    loop {
        let (stream, _) = tokio::select! {
            () = internal.closing.cancelled() => return,
            accepted = socket::accept(&listener) => accepted,
        };
        internal.tasks.spawn(connection(internal.clone(), stream));
    }
}

async fn connection(internal: Internal, stream: TcpStream) {
    let closing = internal.closing.clone();
    let service = service_fn(move |request| {
        let internal = internal.clone();
        async move { Ok::<_, Infallible>(answer(&internal, request).await) }
    });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        // Every request of the other replica comes this way, and so does every client that leaves it.
        .max_concurrent_streams(None)
        .max_pending_accept_reset_streams(MOST_RESETS);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of another replica ended");
    }
}

async fn answer(internal: &Internal, request: Request<Incoming>) -> Response {
    if internal.credentials.check(request.headers()).is_none() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match node_named(request.headers()) {
        Some(node) => forward(internal, node, request).await,
        None if request.method() == Method::GET && request.uri().path() == NEWS_PATH => news::tell(internal),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn node_named(headers: &HeaderMap) -> Option<Uuid> {
    headers.get(NODE_HEADER)?.to_str().ok()?.parse().ok()
}

/// Hands a call on to the node's tunnel, and its answer back frame by frame. When the other replica drops its call, this
/// one is dropped with it.
async fn forward(internal: &Internal, node: Uuid, request: Request<Incoming>) -> Response {
    let Some(tunnel) = internal.nodes.tunnel(node) else {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    };
    let (mut head, body) = request.into_parts();
    // The public listener has read it within the same limit.
    let Ok(body) = Limited::new(body, LIMIT_BYTES).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    // A node must not get to see what opens this door.
    head.headers.remove(CREDENTIAL_HEADER);
    head.headers.remove(NODE_HEADER);
    let mut call = hyper::Request::new(Full::new(body.to_bytes()));
    *call.method_mut() = head.method;
    *call.uri_mut() = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    *call.headers_mut() = head.headers;
    match tunnel.send(node, call).await {
        Ok(answer) => {
            let relayed = internal.relayed.token();
            // The token lives as long as the body.
            answer.map(|body| Body::new(body.map_frame(move |frame| (frame, &relayed).0)))
        }
        Err(CallError::Unreached) => StatusCode::MISDIRECTED_REQUEST.into_response(),
        Err(error) => {
            tracing::debug!(%node, %error, "a call of another replica failed");
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}
