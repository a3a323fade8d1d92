//! The public listener: whoever calls the gateway comes in here, or, as an administrator, by another one beside it.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use futures_util::FutureExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::App;
use crate::auth::address::{OverTls, Peer};
use crate::places::{Answering, Place, Places};
use crate::protocols::{HEADERS_WITHIN, PREFACE, Protocol, Protocols};
use crate::router::router;
use crate::socket;
use crate::tls::Tls;

/// A connection that gives up its place says so in this time, if the other side listens.
const GOODBYE: Duration = Duration::from_secs(1);
/// Connections that are closed when the system gives no more descriptors.
const ROOM: usize = 64;
/// To whoever comes when every place is taken by somebody who is being answered.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 146\r\n\r\n\
    {\"error\":{\"message\":\"The gateway has as many connections as it takes. Try again shortly.\",\
    \"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";
/// A kept connection that was not told to close stays for so long, so that it does not close under a next request.
const LINGER: Duration = Duration::from_secs(1);

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    ForEverybody,
    ForAdministrators,
}

/// Where connections come in.
pub(crate) struct Entrance {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) door: Door,
    pub(crate) places: Arc<Places>,
}

/// The connections that are open.
#[derive(Default)]
pub(crate) struct Connections {
    running: TaskTracker,
    ending: CancellationToken,
}

impl Connections {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.running.len()
    }

    /// Waits until each has given its answers and is closed.
    pub(crate) async fn shutdown(&self) {
        self.ending.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

/// Accepts connections until `delay` after the stop. What runs when the gateway closes is dropped, and settled as if its
/// client had left.
pub(crate) async fn accept(app: &App, entrance: Entrance, connections: &Connections, delay: Duration) {
    let Entrance { listener, tls, door, places } = entrance;
    let mut router = router(app.clone()).layer(Extension(door));
    if tls.is_some() {
        let for_a_year = HeaderValue::from_static("max-age=31536000");
        router = router
            .layer(Extension(OverTls))
            .layer(SetResponseHeaderLayer::overriding(STRICT_TRANSPORT_SECURITY, for_a_year));
    }
    let protocols = Protocols::default();
    let end = async {
        app.stop.cancelled().await;
        tokio::time::sleep(delay).await;
    };
    let mut end = pin!(end);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut end => return,
            accepted = socket::accept_or(&listener, || places.make_room(ROOM)) => accepted,
        };
        let Some(place) = places.take() else {
            // Whoever speaks TLS would not understand it.
            if tls.is_none() {
                app.tasks.spawn(turn_away(stream));
            }
            continue;
        };
        let (protocols, routes) = (protocols.clone(), TowerToHyperService::new(Router::clone(&router)));
        let (stop, ending, closing) = (app.stop.clone(), connections.ending.clone(), app.closing.clone());
        let (tls, who) = (tls.clone(), (Peer(peer), place));
        // In a box, so that what speaks plainly takes no room for what would speak TLS.
        let serving = match tls {
            None => async move {
                match hear(protocols, &stream, &who.1, &ending).await {
                    Some(http) => serve(http, stream, routes, who, (stop, ending)).await,
                    None => tracing::debug!("a connection ended before anything was said"),
                }
            }
            .boxed(),
            Some(tls) => async move {
                match shake_hands(&tls, stream, &who.1).await {
                    Some(stream) => {
                        let http = protocols.agreed(stream.get_ref().1.alpn_protocol());
                        serve(http, stream, routes, who, (stop, ending)).await;
                    }
                    None => tracing::debug!("a connection ended before it was one"),
                }
            }
            .boxed(),
        };
        let until_closing = async move {
            tokio::select! {
                () = serving => {}
                () = closing.cancelled() => {}
            }
        };
        // Among the tasks too: what is dropped in the end must be settled before the journal closes.
        app.tasks.spawn(connections.running.track_future(until_closing));
    }
}

/// Speaks TLS with a client, which gets as long for it as for a request's head.
async fn shake_hands(tls: &Tls, stream: TcpStream, place: &Place) -> Option<TlsStream<TcpStream>> {
    tokio::select! {
        shaken = tokio::time::timeout(HEADERS_WITHIN, tls.accept(stream)) => shaken.ok()?.ok(),
        () = place.given_up() => None,
    }
}

/// Looks at a client's first bytes, which stay to be read. It gets as long for them as for a request's head.
async fn hear(protocols: Protocols, stream: &TcpStream, place: &Place, ending: &CancellationToken) -> Option<Protocol> {
    let mut first = [0; PREFACE.len()];
    let quiet = async {
        ending.cancelled().await;
        tokio::time::sleep(LINGER).await;
    };
    let heard = tokio::select! {
        heard = tokio::time::timeout(HEADERS_WITHIN, stream.peek(&mut first)) => heard.ok()?.ok()?,
        () = place.given_up() => return None,
        () = quiet => return None,
    };
    Some(protocols.begun_with(&first[..heard]))
}

/// Says that there is no place, to whoever reads it at once.
async fn turn_away(mut stream: TcpStream) {
    if !matches!(tokio::time::timeout(GOODBYE, stream.write_all(FULL)).await, Ok(Ok(()))) {
        tracing::debug!("a connection found no place, and did not read why");
    }
}

type Routes = TowerToHyperService<Router>;

/// Serves one connection to its end. It comes by itself once the gateway stops: an answer that begins after that tells an
/// HTTP/1 client to take another connection for the next request. A connection on which no such answer was given may be in
/// use at any instant, so it closes only when it has been quiet for a while.
async fn serve(
    http: Protocol,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    routes: Routes,
    (peer, place): (Peer, Place),
    (stop, ending): (CancellationToken, CancellationToken),
) {
    let uses = Uses(watch::Sender::new(0));
    let (in_service, in_place) = (uses.clone(), place.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (is_http1, stop) = (request.version() <= Version::HTTP_11, stop.clone());
        // Nothing closes under an HTTP/2 client: it is told which of its requests were not taken.
        let in_use = is_http1.then(|| in_service.begin());
        let answering = in_place.begin();
        let answer = routes.call(request);
        async move {
            let mut answer = answer.await?;
            if is_http1 && stop.is_cancelled() {
                answer.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
            }
            Ok::<Response<Held>, Infallible>(answer.map(|body| Held { body, _in_use: in_use, _answering: answering }))
        }
    });
    let (io, closing) = (TokioIo::new(stream), (&uses, &place, &ending));
    match http {
        Protocol::Http1(http) => {
            let connection = pin!(http.serve_connection(io, service).with_upgrades());
            see_through(connection, |connection| connection.graceful_shutdown(), closing).await;
        }
        Protocol::Any(http) => {
            // In a box, so that HTTP/1 takes no room for what would speak HTTP/2.
            let connection = Box::pin(http.serve_connection_with_upgrades(io, service));
            see_through(pin!(connection), |connection| connection.get_mut().as_mut().graceful_shutdown(), closing)
                .await;
        }
    }
}

/// Waits for a connection's end, and tells it to end where it has to.
async fn see_through<E: Display, C: Future<Output = Result<(), E>>>(
    mut connection: Pin<&mut C>,
    end: impl Fn(Pin<&mut C>),
    (uses, place, ending): (&Uses, &Place, &CancellationToken),
) {
    let quiet = async {
        ending.cancelled().await;
        uses.rest().await;
    };
    // Whoever says too little at first is none of hyper's concern until it knows which protocol is spoken.
    let dawdles = async {
        tokio::time::sleep(HEADERS_WITHIN).await;
        if place.has_spoken() {
            std::future::pending().await
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = quiet => {
            end(connection.as_mut());
            connection.await
        }
        () = async { tokio::select! { () = place.given_up() => {} () = dawdles => {} } } => {
            end(connection.as_mut());
            if place.is_answering() {
                connection.await
            } else {
                tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// How many answers are being given on a connection.
#[derive(Clone)]
struct Uses(watch::Sender<usize>);

impl Uses {
    fn begin(&self) -> InUse {
        self.0.send_modify(|uses| *uses += 1);
        InUse(self.clone())
    }

    /// Waits until there has been none for a while.
    async fn rest(&self) {
        let mut uses = self.0.subscribe();
        loop {
            // Cannot fail: the sender is here.
            drop(uses.wait_for(|uses| *uses == 0).await);
            if tokio::time::timeout(LINGER, uses.changed()).await.is_err() {
                return;
            }
        }
    }
}

struct InUse(Uses);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.0.send_modify(|uses| *uses -= 1);
    }
}

/// An answer's body, which uses its connection until its end.
struct Held {
    body: Body,
    _in_use: Option<InUse>,
    _answering: Answering,
}

impl HttpBody for Held {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_is_told_in_the_shape_of_the_api() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        let body: openapi::error::ErrorBody = serde_json::from_str(body).unwrap();
        assert_eq!(body.error.code.as_deref(), Some("overloaded"));
    }
}
