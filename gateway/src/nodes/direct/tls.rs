//! TLS to nodes: whose certificates count, and what is said of one that doesn't.

use std::io;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio_rustls::TlsConnector;

use super::url::Purpose;

pub(super) const HTTP1: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";
pub(super) const NO_HTTP2: &str = "it doesn't speak HTTP/2: turn that on there";

/// Believes the authorities that this machine trusts, and those of a PEM text besides.
///
/// # Errors
/// When the text holds no certificate, or one that is no authority's.
pub(super) fn connector(extra_roots: Option<&[u8]>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = extra_roots {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.context("the extra certificates can't be read: give them as PEM text")?;
        if certificates.is_empty() {
            bail!("there is no certificate among the extra ones: give at least one, as PEM text");
        }
        for certificate in certificates {
            roots.add(certificate).context("one of the extra certificates is damaged")?;
        }
    }
    if roots.is_empty() {
        tracing::warn!("this machine has no trusted certificates, so no node can be dialled: install ca-certificates");
    }
    // Named, since more than one provider may be linked in.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What is offered in the handshake, best first.
pub(super) fn protocols(purpose: Purpose) -> Vec<Vec<u8>> {
    let offered: &[&[u8]] = match purpose {
        Purpose::Direct => &[HTTP2],
        Purpose::Attached => &[HTTP2, HTTP1],
    };
    offered.iter().map(|protocol| protocol.to_vec()).collect()
}

/// Why a handshake failed, and what to do, as far as it can be said without repeating what the other side wrote.
pub(super) fn fault(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(fault)) => certificate_fault(fault),
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => NO_HTTP2,
        Some(Error::InvalidMessage(_)) => "it doesn't speak TLS: give the port of its HTTPS listener",
        _ => "the TLS handshake broke off: check that it accepts TLS 1.2 or 1.3",
    }
}

fn certificate_fault(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it there"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: check the clocks"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name: use the name that is in the certificate"
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody that this gateway trusts: use a public authority, and send the whole chain"
        }
        _ => "its certificate can't be used: get one that an authority has signed",
    }
}
