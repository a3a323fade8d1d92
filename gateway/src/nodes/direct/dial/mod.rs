//! Dials the hosts that operators name, and never lands in the gateway's own network: the name is resolved once, all of
//! its addresses are judged, and what was judged is what is dialled. So a name that changes its mind changes nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{AllowedNetworks, Forbidden};
use super::tls;
use super::url::{NodeUrl, Purpose};
use crate::socket;

/// A connection, encrypted or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Turns a name and a port into addresses.
pub(crate) type Resolver = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How long the steps may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// To each of a name's addresses.
    pub(crate) connect: Duration,
    /// The TLS handshake.
    pub(crate) handshake: Duration,
    /// From the name to the connection.
    pub(crate) whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [connect, handshake, whole] = [5, 10, 15].map(Duration::from_secs);
        Self { connect, handshake, whole }
    }
}

/// Why there is no connection. Says no more of what was found than host and address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nothing was dialled.
    #[error(
        "{host} is not dialled: {forbidden}. Give it a public address, or have the gateway allow its network with COMMONWATT_ALLOWED_NETWORKS"
    )]
    Forbidden { host: String, forbidden: Forbidden },
    /// Nothing was dialled.
    #[error(
        "{host} is not dialled over plain HTTP: {address} is in no network that the gateway allows with COMMONWATT_ALLOWED_NETWORKS. Use https://"
    )]
    PlainText { host: String, address: SocketAddr },
    /// The name leads nowhere, or nobody could say where.
    #[error("{host} has no address: {reason}. Check its spelling and its DNS records")]
    Resolve { host: String, reason: io::Error },
    /// None of the addresses takes connections; this is the last one's reason.
    #[error(
        "{host} can't be reached at {address}: {reason}. Check that it runs and that its firewall lets the port in"
    )]
    Connect { host: String, address: SocketAddr, reason: io::Error },
    /// Whoever answered is not the host, or doesn't speak what is needed.
    #[error("{host} can't be trusted with a request: {fault}")]
    Tls { host: String, fault: &'static str },
    /// A step took longer than it may.
    #[error("{host} did not {step} in time. Check that it runs and that its firewall lets the port in")]
    Slow { host: String, step: &'static str },
}

/// Opens connections to hosts that somebody else has named. No proxy is asked: it would resolve the names itself.
pub(crate) struct Dialler {
    allowed: AllowedNetworks,
    tls: TlsConnector,
    resolver: Resolver,
    limits: Limits,
}

impl Dialler {
    /// `extra_roots` is a PEM text of authorities that count besides those that this machine trusts.
    ///
    /// # Errors
    /// When `extra_roots` can't be used.
    pub(crate) fn new(allowed: AllowedNetworks, extra_roots: Option<&[u8]>) -> anyhow::Result<Self> {
        let resolver: Resolver = Arc::new(|name, port| ask_system(name, port).boxed());
        Ok(Self { allowed, tls: tls::connector(extra_roots)?, resolver, limits: Limits::default() })
    }

    /// Opens a connection and says what to speak on it. Nothing that the other side answers leads to another address.
    ///
    /// # Errors
    /// When the host may not be dialled, can't be reached, is not who it says it is, or is too slow.
    pub(crate) async fn connect(&self, url: &NodeUrl) -> Result<(Box<dyn Io>, Protocol), DialError> {
        within(self.limits.whole, url, "take a connection", self.dial(url)).await?
    }

    async fn dial(&self, url: &NodeUrl) -> Result<(Box<dyn Io>, Protocol), DialError> {
        let addresses = self.addresses(url).await?;
        let stream = self.reach(url, &addresses).await?;
        if url.is_encrypted() {
            return self.encrypt(url, stream).await;
        }
        let protocol = match url.purpose() {
            Purpose::Direct => Protocol::Http2,
            Purpose::Attached => Protocol::Http1,
        };
        Ok((Box::new(stream), protocol))
    }

    /// The host's addresses, all of which may be dialled: one that may not is no mistake that the others make good.
    async fn addresses(&self, url: &NodeUrl) -> Result<Vec<SocketAddr>, DialError> {
        let addresses = match url.host() {
            ServerName::IpAddress(address) => vec![SocketAddr::new((*address).into(), url.port())],
            _ => {
                let resolved = (self.resolver)(host(url), url.port()).await;
                resolved.map_err(|reason| DialError::Resolve { host: host(url), reason })?
            }
        };
        for &address in &addresses {
            self.allowed
                .judge(address.ip())
                .map_err(|forbidden| DialError::Forbidden { host: host(url), forbidden })?;
            if !url.is_encrypted() && !self.allowed.contains(address.ip()) {
                return Err(DialError::PlainText { host: host(url), address });
            }
        }
        Ok(addresses)
    }

    /// The first of the addresses that takes a connection.
    async fn reach(&self, url: &NodeUrl, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let mut failed = DialError::Resolve { host: host(url), reason: io::ErrorKind::NotFound.into() };
        for &address in addresses {
            let connecting = TcpStream::connect(address);
            failed = match within(self.limits.connect, url, "take a connection", connecting).await {
                Ok(Ok(stream)) => {
                    socket::tune(&stream);
                    return Ok(stream);
                }
                Ok(Err(reason)) => DialError::Connect { host: host(url), address, reason },
                Err(slow) => slow,
            };
        }
        Err(failed)
    }

    /// Proves that the other side is the host, and agrees with it on a protocol.
    async fn encrypt(&self, url: &NodeUrl, stream: TcpStream) -> Result<(Box<dyn Io>, Protocol), DialError> {
        let refused = |fault| DialError::Tls { host: host(url), fault };
        let handshake = self.tls.with_alpn(tls::protocols(url.purpose())).connect(url.host().clone(), stream);
        let stream = within(self.limits.handshake, url, "complete the TLS handshake", handshake).await?;
        let stream = stream.map_err(|error| refused(tls::fault(&error)))?;
        let protocol = match (stream.get_ref().1.alpn_protocol(), url.purpose()) {
            (Some(tls::HTTP2), _) => Protocol::Http2,
            (_, Purpose::Attached) => Protocol::Http1,
            (_, Purpose::Direct) => return Err(refused(tls::NO_HTTP2)),
        };
        Ok((Box::new(stream), protocol))
    }
}

async fn ask_system(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

/// As errors name it.
fn host(url: &NodeUrl) -> String {
    url.host().to_str().into_owned()
}

async fn within<F: Future>(
    limit: Duration,
    url: &NodeUrl,
    step: &'static str,
    work: F,
) -> Result<F::Output, DialError> {
    timeout(limit, work).await.map_err(|_| DialError::Slow { host: host(url), step })
}

#[cfg(test)]
pub(super) mod scripted;

#[cfg(test)]
mod tests;
