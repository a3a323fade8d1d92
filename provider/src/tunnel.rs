//! The node's own connection to a gateway: dialled outwards, then the roles swap and the gateway calls the node.
//!
//! Works behind any router: no open port, no certificate. The connection begins as HTTP/1.1 `Upgrade`, passes proxies on
//! its way, and carries HTTP/2 afterwards; a cancelled request is a stream reset.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::Router;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use openapi::error::ErrorBody;
use openapi::node::{SUCCESSION_HEADER, TUNNEL_PATH, TUNNEL_PROTOCOL};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use url::Url;

/// From the first packet to the upgraded connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// A dead connection is noticed after at most the sum of the two.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_REFUSAL: usize = 64 * 1024;

/// The gateway does not know this node: it was removed there, or the gateway is another one now.
#[derive(Debug, thiserror::Error)]
#[error("the gateway does not know this node")]
pub struct NotEnrolled;

/// A connection to a gateway.
pub struct Dialled {
    upgraded: Upgraded,
    /// A [`Succession`](openapi::node::Succession), if the gateway signs with another key than the greeting names.
    pub succession: Option<String>,
}

/// Dials a gateway.
///
/// # Errors
/// When it can't be reached or refuses.
pub async fn dial(gateway: &Url, greeting: &str) -> anyhow::Result<Dialled> {
    let dialling = tokio::time::timeout(DIAL_TIMEOUT, reach(gateway, greeting));
    let dialled = dialling.await.context("the gateway is silent")??;
    tracing::info!(%gateway, "connected to the gateway");
    Ok(dialled)
}

/// Serves a gateway until the connection ends or `stop` is given; then running answers are completed.
///
/// # Errors
/// When the connection breaks.
pub async fn serve(Dialled { upgraded, .. }: Dialled, router: Router, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
    let mut connection = std::pin::pin!(http.serve_connection(upgraded, TowerToHyperService::new(router)));
    tokio::select! {
        ended = &mut connection => return ended.context("the connection broke"),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.context("the connection broke")
}

async fn reach(gateway: &Url, greeting: &str) -> anyhow::Result<Dialled> {
    let host = gateway.host_str().context("the gateway's URL names no host")?;
    let port = gateway.port_or_known_default().context("the gateway's URL names no port")?;
    // Brackets around an IPv6 address belong to the URL alone.
    let stream =
        TcpStream::connect((host.trim_matches(['[', ']']), port)).await.context("the gateway can't be reached")?;
    stream.set_nodelay(true)?;
    match gateway.scheme() {
        "http" => upgrade(stream, gateway, greeting).await,
        "https" => {
            let stream = encrypt(host.trim_matches(['[', ']']), stream)
                .await
                .context("the gateway's certificate or TLS was refused")?;
            upgrade(stream, gateway, greeting).await
        }
        other => bail!("a gateway's URL begins with http:// or https://, not {other}://"),
    }
}

/// Speaks TLS with a gateway of this name.
pub(crate) async fn encrypt(host: &str, stream: TcpStream) -> anyhow::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())?;
    Ok(tls()?.connect(name, stream).await?)
}

fn tls() -> anyhow::Result<tokio_rustls::TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        bail!("this machine has no trusted certificates. Install its ca-certificates package");
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

async fn upgrade(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    gateway: &Url,
    greeting: &str,
) -> anyhow::Result<Dialled> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the upgrade, or with the connection.
    tokio::spawn(connection.with_upgrades());
    let path = gateway.join(TUNNEL_PATH)?.path().to_owned();
    let request = Request::get(path)
        .header(HOST, gateway.authority())
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, TUNNEL_PROTOCOL)
        .header(AUTHORIZATION, format!("Bearer {greeting}"))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    match response.status().as_u16() {
        101 => {
            let succession = response.headers().get(SUCCESSION_HEADER).and_then(|text| text.to_str().ok());
            let succession = succession.map(str::to_owned);
            Ok(Dialled { upgraded: hyper::upgrade::on(response).await?, succession })
        }
        401 => Err(NotEnrolled.into()),
        status => {
            let body = Limited::new(response.into_body(), LONGEST_REFUSAL).collect().await.ok();
            let reason = body.and_then(|body| serde_json::from_slice::<ErrorBody>(&body.to_bytes()).ok());
            let reason = reason.map_or_else(|| "no reason given".to_owned(), |body| body.error.message);
            Err(anyhow!("the gateway answered {status}: {reason}"))
        }
    }
}
