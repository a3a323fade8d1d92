//! One question to a gateway, with every step on the way to it told apart.

use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::header::{AUTHORIZATION, DATE, HOST};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Url;

use crate::tunnel;

/// Each step takes no longer.
const WITHIN: Duration = Duration::from_secs(10);
const LONGEST_REPLY: usize = 1024 * 1024;

/// What a gateway has answered.
pub(super) struct Reply {
    pub(super) status: u16,
    /// What its clock says.
    pub(super) date: Option<OffsetDateTime>,
    pub(super) body: Bytes,
}

/// Asks a gateway for a path, with a greeting if there is one.
///
/// # Errors
/// Names the step that failed, and what to do.
pub(super) async fn reply(gateway: &Url, path: &str, greeting: Option<&str>) -> anyhow::Result<Reply> {
    let host = gateway.host_str().context("the address names no host: it begins with http:// or https://")?;
    // Brackets around an IPv6 address belong to the URL alone.
    let host = host.trim_matches(['[', ']']);
    let port = gateway.port_or_known_default().context("the address names no port")?;
    let found = within("DNS", tokio::net::lookup_host((host, port)))
        .await
        .with_context(|| format!("no address is known for {host}: check how it is spelt, and this machine's DNS"))?;
    let addresses: Vec<_> = found.collect();
    let stream = within("TCP", TcpStream::connect(addresses.as_slice())).await.with_context(|| {
        format!("nothing listens at {host}:{port}, or a firewall is between: outgoing connections must be allowed")
    })?;
    let request = request(gateway, path, greeting)?;
    match gateway.scheme() {
        "http" => ask(stream, request).await,
        "https" => {
            let stream = within("TLS", tunnel::encrypt(host, stream)).await.context(
                "no encrypted connection comes about: the certificate must be valid for this name and known to this machine",
            )?;
            ask(stream, request).await
        }
        other => bail!("a gateway's address begins with http:// or https://, not {other}://"),
    }
}

/// A step, which has a name and an end.
async fn within<T, E: Into<anyhow::Error>>(step: &str, work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T> {
    match tokio::time::timeout(WITHIN, work).await {
        Ok(done) => done.map_err(Into::<anyhow::Error>::into).with_context(|| format!("{step} failed")),
        Err(_) => bail!("{step} took longer than {} seconds", WITHIN.as_secs()),
    }
}

fn request(gateway: &Url, path: &str, greeting: Option<&str>) -> anyhow::Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(gateway.join(path)?.path().to_owned()).header(HOST, gateway.authority());
    if let Some(greeting) = greeting {
        request = request.header(AUTHORIZATION, format!("Bearer {greeting}"));
    }
    Ok(request.body(Empty::new())?)
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> anyhow::Result<Reply> {
    let answer = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST_REPLY).collect().await.map_err(|error| anyhow::anyhow!(error))?;
        connection.abort();
        let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        anyhow::Ok(Reply { status: head.status.as_u16(), date, body: body.to_bytes() })
    };
    within("HTTP", answer).await.context("something else than a gateway answers there")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn failure(url: &str) -> String {
        let url = Url::parse(url).unwrap();
        reply(&url, "/healthz", None).await.err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    async fn listener() -> (tokio::net::TcpListener, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    #[tokio::test]
    async fn each_step_that_fails_is_named() {
        // Whichever test comes first installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (gone, closed) = listener().await;
        drop(gone);
        assert!(failure(&format!("http://{closed}")).await.contains("TCP failed"));
        assert!(failure("http://no-such-host.invalid").await.contains("DNS"));
        assert!(failure("ftp://127.0.0.1:1").await.contains("TCP failed"));
        let (listener, plain) = listener().await;
        let router = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        // Trusted certificates may be missing here, which is found in the same step.
        assert!(failure(&format!("https://{plain}")).await.contains("TLS failed"));
    }

    #[tokio::test]
    async fn a_reply_has_a_status_a_date_and_a_body() {
        let (listener, address) = listener().await;
        let router = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = Url::parse(&format!("http://{address}")).unwrap();
        let good = reply(&url, "/healthz", Some("greeting")).await.unwrap();
        assert_eq!((good.status, &good.body[..]), (200, &b"ok"[..]));
        let away = OffsetDateTime::now_utc() - good.date.unwrap();
        assert!(away.abs() < time::Duration::seconds(60));
        assert_eq!(reply(&url, "/other", None).await.unwrap().status, 404);
    }

    #[tokio::test]
    async fn what_speaks_no_http_is_no_gateway() {
        use tokio::io::AsyncWriteExt;
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 mail ready\r\n").await.unwrap();
        });
        assert!(failure(&format!("http://{address}")).await.contains("HTTP failed"));
    }
}
