//! What every TCP connection of the gateway needs from the system.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};

/// A peer that vanished without a word is noticed after this long, whether something is under way to it or not.
const SILENT_WITHIN: Duration = Duration::from_secs(30);
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// Out of file descriptors, most likely: others must close first.
const BREATH: Duration = Duration::from_millis(100);

/// Sends small pieces at once, and notices when the other side is gone.
pub(crate) fn tune(stream: &TcpStream) {
    // Small pieces of a stream must not wait for one another.
    let tuned = stream.set_nodelay(true).and_then(|()| Ok(notice_silence(stream)?));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection could not be tuned");
    }
}

fn notice_silence(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(SILENT_WITHIN.as_millis()).unwrap_or(u32::MAX))
}

/// The next connection, tuned, and where it comes from.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    accept_or(listener, || {}).await
}

/// The same; while none can be accepted, `make_room` is called again and again, to close what is not needed.
pub(crate) async fn accept_or(listener: &TcpListener, make_room: impl Fn()) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tune(&stream);
                return (stream, peer.ip());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Opens a listener; the sentence of a failure names the setting.
///
/// # Errors
/// When the address is taken or none of this machine's.
pub(crate) async fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}: choose another address with {setting}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_notices_silence() {
        let listener = listen(([127, 0, 0, 1], 0).into(), "X").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = accept(&listener).await;
        assert!(stream.nodelay().unwrap() && sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 30_000);
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), PROBE_AFTER);
        let taken = listen(listener.local_addr().unwrap(), "X").await.unwrap_err();
        assert!(taken.to_string().contains("choose another address with X"));
    }
}
