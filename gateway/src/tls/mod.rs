//! TLS on the public listener, with a certificate from files that may be renewed while the gateway runs, by whoever has
//! written them or by the gateway itself.

#[cfg(feature = "acme")]
pub mod acme;

mod itself;

#[cfg(feature = "acme")]
mod proofs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

pub use itself::connect_to_itself;

/// How often the files are looked at: whoever renews certificates does so days before the old one ends.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A certificate, and what is needed to show it.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<Shown>,
    #[cfg(feature = "acme")]
    proofs: proofs::Proofs,
}

struct Shown {
    /// What the two files held.
    read: (Vec<u8>, Vec<u8>),
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads a chain of certificates, the server's first, and its private key, both as PEM text.
    ///
    /// # Errors
    /// When one can't be read, or they do not belong together; the sentence says which, and never what is in the key.
    pub(crate) fn open(certificate: &Path, key: &Path) -> anyhow::Result<Arc<Self>> {
        let shown = Shown::read(certificate, key)?;
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Arc::new(Self {
            certificate,
            key,
            current: ArcSwap::from_pointee(shown),
            #[cfg(feature = "acme")]
            proofs: proofs::Proofs::default(),
        }))
    }

    /// Shakes hands with a client.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        #[cfg(feature = "acme")]
        if let Some(proof) = self.proofs.wanted(&hello.client_hello()) {
            return hello.into_stream(proof).await;
        }
        let config = Arc::clone(&self.current.load().config);
        hello.into_stream(config).await
    }

    /// Takes a new certificate when there is one, until `stop`.
    pub(crate) async fn keep_current(self: Arc<Self>, stop: CancellationToken) {
        while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
            let tls = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || tls.look()).await {
                tracing::error!(%error, "the certificate could not be looked at");
            }
        }
    }

    /// The old certificate stays as long as the files make no sense: they may be half written.
    fn look(&self) {
        match Shown::read(&self.certificate, &self.key) {
            Ok(new) if new.read != self.current.load().read => {
                tracing::info!(certificate = %self.certificate.display(), "a new certificate is used");
                self.current.store(Arc::new(new));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("the certificate is not renewed: {error:#}"),
        }
    }
}

impl Shown {
    fn read(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let text = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let read = (text(certificate)?, text(key)?);
        let chain = CertificateDer::pem_slice_iter(&read.0).collect::<Result<Vec<_>, _>>().ok();
        let chain = chain.filter(|chain| !chain.is_empty());
        let chain =
            chain.with_context(|| format!("there is no certificate as PEM text in {}", certificate.display()))?;
        // Its reason might repeat a part of the key.
        let private = PrivateKeyDer::from_pem_slice(&read.1).ok();
        let private = private.with_context(|| format!("there is no private key as PEM text in {}", key.display()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = config.with_single_cert(chain, private).with_context(|| {
            format!("the certificate in {} does not go with the key in {}", certificate.display(), key.display())
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { read, config: Arc::new(config) })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn files(folder: &Path) -> (PathBuf, PathBuf) {
        std::fs::create_dir_all(folder).unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, cert.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    #[test]
    fn a_new_certificate_is_taken_and_half_of_one_is_not() {
        let folder = std::env::temp_dir().join(format!("tls-{}", uuid::Uuid::now_v7()));
        let (certificate, key) = files(&folder);
        let tls = Tls::open(&certificate, &key).unwrap();
        let first = tls.current.load_full();
        tls.look();
        assert!(Arc::ptr_eq(&first, &tls.current.load_full()), "nothing is new");
        let (old_key, new) = (std::fs::read(&key).unwrap(), files(&folder));
        let new_key = std::fs::read(&new.1).unwrap();
        std::fs::write(&key, &old_key).unwrap();
        tls.look();
        assert!(Arc::ptr_eq(&first, &tls.current.load_full()), "the key is not the certificate's");
        std::fs::write(&key, &new_key).unwrap();
        tls.look();
        assert!(!Arc::ptr_eq(&first, &tls.current.load_full()));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_named_and_not_repeated() {
        let folder = std::env::temp_dir().join(format!("tls-{}", uuid::Uuid::now_v7()));
        let (certificate, key) = files(&folder);
        let secret = folder.join("secret");
        std::fs::write(&secret, "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n").unwrap();
        let missing = folder.join("missing");
        for (certificate, key, sentence) in [
            (&missing, &key, "cannot read"),
            (&key, &key, "there is no certificate"),
            (&certificate, &certificate, "there is no private key"),
            (&certificate, &secret, "does not go with the key"),
        ] {
            let error = format!("{:#}", Tls::open(certificate, key).err().unwrap());
            assert!(error.contains(sentence) && !error.contains("BEGIN") && !error.contains("secret\n"), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
