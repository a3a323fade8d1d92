//! The public listener: whoever calls the gateway comes in here.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::{Service, service_fn};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::app::App;
use crate::auth::address::Peer;
use crate::router::router;
use crate::socket;

/// A client that dawdles over its headers gives its place to others.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// Accepts connections until `delay` after the stop; gives back those that still run. What runs when the gateway closes is
/// dropped, and settled as if its client had left.
pub(crate) async fn accept(app: &App, listener: TcpListener, delay: Duration) -> GracefulShutdown {
    let router = router(app.clone());
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    http.http2().timer(TokioTimer::new());
    let connections = GracefulShutdown::new();
    let end = async {
        app.stop.cancelled().await;
        tokio::time::sleep(delay).await;
    };
    let mut end = std::pin::pin!(end);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut end => return connections,
            accepted = socket::accept(&listener) => accepted,
        };
        let routes = TowerToHyperService::new(Router::clone(&router));
        let stop = app.stop.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let (is_http1, stop) = (request.version() <= Version::HTTP_11, stop.clone());
            let answer = routes.call(request);
            async move {
                let mut answer = answer.await?;
                if is_http1 && stop.is_cancelled() {
                    // Whoever keeps connections takes another one, before this one closes under its next request.
                    answer.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        let closing = app.closing.clone();
        app.tasks.spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                },
                () = closing.cancelled() => {}
            }
        });
    }
}
