//! A server for tests, which does what it is told.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use url::Url;

use super::config::UpstreamConfig;
use super::{Patience, Upstream};

/// A server in this process. Its list of models is what `models` says; all else waits for the test.
pub(crate) struct Server {
    pub(crate) url: Url,
    exchanges: mpsc::UnboundedReceiver<Exchange>,
    serving: JoinHandle<std::io::Result<()>>,
}

/// A request that waits for its answer.
pub(crate) struct Exchange {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    answer: oneshot::Sender<Response>,
}

/// The rest of an answer. The node has let go of it when this is closed.
pub(crate) type Pieces = mpsc::Sender<String>;

impl Server {
    pub(crate) async fn start(models: Value) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), models).await
    }

    pub(crate) async fn at(listener: TcpListener, models: Value) -> Self {
        let url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
        let (to, exchanges) = mpsc::unbounded_channel();
        let list = move || async move { ([(header::CONTENT_TYPE, "application/json")], models.to_string()) };
        let router = Router::new()
            .route("/v1/models", get(list))
            .route("/v1/chat/completions", post(exchange))
            .route("/v1/completions", post(exchange))
            .with_state(to);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, exchanges, serving }
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Exchange {
        self.exchanges.recv().await.unwrap()
    }

    /// Nobody listens any more when this returns.
    pub(crate) async fn stop(self) {
        self.serving.abort();
        assert!(self.serving.await.is_err());
    }
}

async fn exchange(State(to): State<mpsc::UnboundedSender<Exchange>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    let (answer, answered) = oneshot::channel();
    to.send(Exchange { path: head.uri.path().to_owned(), headers: head.headers, body, answer }).ok();
    answered.await.unwrap_or_else(|_| axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Exchange {
    pub(crate) fn answer(self, response: impl IntoResponse) {
        // The node may have gone.
        let _ = self.answer.send(response.into_response());
    }

    /// Begins an event stream.
    pub(crate) fn stream(self) -> Pieces {
        let (to, pieces) = mpsc::channel::<String>(1);
        let body = Body::from_stream(ReceiverStream::new(pieces).map(Ok::<_, std::convert::Infallible>));
        self.answer(([(header::CONTENT_TYPE, "text/event-stream")], body));
        to
    }

    /// Answers with a whole event stream.
    pub(crate) fn events(self, events: &str) {
        self.answer(([(header::CONTENT_TYPE, "text/event-stream")], events.to_owned()));
    }
}

/// A server that reads a request's head, says something, and then the other thing again and again, or nothing.
pub(crate) async fn raw(says: String, again: &'static str) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(say(stream, says.clone(), again));
        }
    });
    url
}

async fn say(mut stream: TcpStream, says: String, again: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // Who has heard enough hangs up.
    let mut heard = stream.write_all(says.as_bytes()).await;
    while heard.is_ok() && !again.is_empty() {
        heard = stream.write_all(again.as_bytes()).await;
    }
    // Silent until then.
    let _ = stream.read_to_end(&mut head).await;
}

pub(crate) fn config(url: &Url) -> UpstreamConfig {
    UpstreamConfig { upstream: Some(url.clone()), ..UpstreamConfig::default() }
}

/// A node's view of the server, with a context of a thousand tokens.
pub(crate) fn upstream(config: &UpstreamConfig, milliseconds: u64) -> Upstream {
    let [silence, look, look_again] = [milliseconds, 20, 5].map(Duration::from_millis);
    let mut upstream = Upstream::new(config, "org/m").unwrap();
    (upstream.context_length, upstream.patience) = (1_000, Patience { silence, look, look_again });
    upstream
}
