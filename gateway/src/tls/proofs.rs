//! What the gateway shows to an authority that asks whether a name leads here. Source: RFC 8737, section 3.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::ClientHello;

/// The protocol in which an authority asks.
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// Certificates that prove something, by the names that they are for.
#[derive(Default)]
pub(super) struct Proofs(Mutex<HashMap<String, Arc<ServerConfig>>>);

impl Proofs {
    /// What a client wants that speaks this protocol and no other.
    pub(super) fn wanted(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut protocols = hello.alpn()?;
        if protocols.next() != Some(PROTOCOL) || protocols.next().is_some() {
            return None;
        }
        self.all().get(hello.server_name()?).cloned()
    }

    /// Shows this from now on to whoever asks for the name.
    pub(super) fn show(&self, name: String, config: Arc<ServerConfig>) {
        self.all().insert(name, config);
    }

    /// Nobody asks any more.
    pub(super) fn forget(&self) {
        self.all().clear();
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<ServerConfig>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
