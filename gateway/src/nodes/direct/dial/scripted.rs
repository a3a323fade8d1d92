//! An authority of certificates and servers that bear them, for tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

pub(in crate::nodes::direct) const NAME: &str = "node.test";
pub(in crate::nodes::direct) const HERE: [u8; 4] = [127, 0, 0, 1];

/// An authority of a co-op's own.
pub(in crate::nodes::direct) struct Authority(Issuer<'static, KeyPair>, CertificateDer<'static>);

impl Authority {
    pub(in crate::nodes::direct) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self(Issuer::new(params, key), certificate)
    }

    pub(in crate::nodes::direct) fn pem(&self) -> String {
        let text = BASE64_STANDARD.encode(&self.1);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    /// Issues a certificate to a server that speaks these protocols.
    pub(in crate::nodes::direct) fn issue(&self, params: &CertificateParams, protocols: &[&[u8]]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = config.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Of a host that has this name and this address, now.
pub(in crate::nodes::direct) fn certificate() -> CertificateParams {
    CertificateParams::new([NAME.to_owned(), Ipv4Addr::from(HERE).to_string()]).unwrap()
}

/// A server that says back what it hears, as long as it is held.
pub(in crate::nodes::direct) struct Echo {
    pub(in crate::nodes::direct) port: u16,
    _task: AbortOnDropHandle<()>,
}

pub(in crate::nodes::direct) async fn echo(acceptor: TlsAcceptor) -> Echo {
    let listener = TcpListener::bind((IpAddr::from(HERE), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let (mut reader, mut writer) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    };
    Echo { port, _task: AbortOnDropHandle::new(tokio::spawn(serve)) }
}
