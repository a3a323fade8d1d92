//! Certificates from an authority that speaks ACME, such as Let's Encrypt. Source: RFC 8555, and RFC 8737 for the challenge,
//! which the gateway's own listener answers: nothing else has to be open.
//!
//! What the authority gives lies in files, from where it is shown like any other certificate. Whoever watches over one name
//! with several gateways needs a certificate from elsewhere: the authority may reach another one than has asked.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use axum::body::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeHandle, ChallengeType,
    Error, HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use simple_asn1::ASN1Block;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::Tls;
use super::proofs::PROTOCOL;
use crate::files::{self, OWNER_ONLY};

/// After a failure; authorities count how often they are asked in vain.
const TRY_AGAIN: Duration = Duration::from_secs(15 * 60);
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// From the proof to the certificate.
const ISSUED_WITHIN: Duration = Duration::from_secs(120);

/// Which certificate, and from whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The names under which clients find the gateway.
    pub names: Vec<String>,
    /// The authority's directory.
    pub directory: String,
    /// An address to which the authority may write.
    pub contact: Option<String>,
}

/// Keeps a certificate current.
pub(crate) struct Acme {
    settings: Settings,
    http: reqwest::Client,
    account: PathBuf,
    /// For which names and from whom the certificate is; not there as long as that is a stand-in.
    given: PathBuf,
    /// The certificate and its key in one file, so that neither is ever there without the other.
    pair: PathBuf,
}

impl Acme {
    /// Keeps everything in `folder`. `roots` are certificates of authorities, as PEM, beside those that this machine trusts.
    ///
    /// # Errors
    /// When the folder can't be made or the roots are none.
    pub(crate) fn new(settings: Settings, folder: &Path, roots: Option<&[u8]>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut http = reqwest::Client::builder().timeout(ANSWERED_WITHIN);
        for root in reqwest::Certificate::from_pem_bundle(roots.unwrap_or_default())? {
            http = http.add_root_certificate(root);
        }
        let file = |name| folder.join(name);
        Ok(Self {
            settings,
            http: http.build()?,
            account: file("account.json"),
            given: file("given.json"),
            pair: file("certificate-and-key.pem"),
        })
    }

    /// Shows the certificate that is there, or, until there is one, one that nobody trusts.
    ///
    /// # Errors
    /// When the files can't be read or written.
    pub(crate) fn tls(&self) -> anyhow::Result<Arc<Tls>> {
        if !self.pair.exists() {
            // Else the stand-in would count as what was given.
            match std::fs::remove_file(&self.given) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", self.given.display()));
                }
                _ => {}
            }
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let certificate = self.parameters()?.self_signed(&key)?;
            self.keep(&certificate.pem(), &key.serialize_pem())?;
        }
        Tls::open(&self.pair, &self.pair)
    }

    /// Orders a certificate when there is none yet or a third of its time is left, until `stop`.
    pub(crate) async fn keep_current(self, tls: Arc<Tls>, stop: CancellationToken) {
        loop {
            let pause = match self.order_if_due(&tls).await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    let names = self.settings.names.join(", ");
                    tracing::error!(names, "there is no new certificate, and another try in 15 minutes: {error:#}");
                    TRY_AGAIN
                }
            };
            if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    async fn order_if_due(&self, tls: &Tls) -> anyhow::Result<()> {
        let given = serde_json::to_vec(&(&self.settings.names, &self.settings.directory))?;
        let is_given = std::fs::read(&self.given).is_ok_and(|known| known == given);
        if is_given && !is_due(&std::fs::read(&self.pair)?, SystemTime::now())? {
            return Ok(());
        }
        let account = self.account().await?;
        let names: Vec<_> = self.settings.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await.context("the authority takes no order")?;
        let proven = prove(&mut order, tls).await;
        tls.proofs.forget();
        proven?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        order.finalize_csr(self.parameters()?.serialize_request(&key)?.der()).await?;
        let certificate = order.poll_certificate(&patience()).await.context("the authority gives no certificate")?;
        self.keep(&certificate, &key.serialize_pem())?;
        files::write(&self.given, &given, OWNER_ONLY)?;
        tls.look();
        tracing::info!(names = self.settings.names.join(", "), "there is a new certificate");
        Ok(())
    }

    /// The account at the authority, which is made on first use.
    async fn account(&self) -> anyhow::Result<Account> {
        let builder = || Account::builder_with_http(Box::new(Http(self.http.clone())));
        if let Ok(kept) = std::fs::read(&self.account) {
            let kept: Kept = serde_json::from_slice(&kept)
                .with_context(|| format!("{} is damaged: delete it", self.account.display()))?;
            if kept.directory == self.settings.directory {
                return Ok(builder().from_credentials(kept.credentials).await?);
            }
        }
        let contact = self.settings.contact.iter().map(|address| format!("mailto:{address}")).collect::<Vec<_>>();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let directory = self.settings.directory.clone();
        let made = builder().create(&new, directory.clone(), None).await;
        let (account, credentials) = made.context("the authority makes no account")?;
        files::write(&self.account, &serde_json::to_vec(&Kept { directory, credentials })?, OWNER_ONLY)?;
        Ok(account)
    }

    fn parameters(&self) -> anyhow::Result<CertificateParams> {
        Ok(CertificateParams::new(self.settings.names.clone())?)
    }

    fn keep(&self, certificate: &str, key: &str) -> anyhow::Result<()> {
        files::write(&self.pair, format!("{certificate}\n{key}").as_bytes(), OWNER_ONLY)
    }
}

/// The account, with the authority that knows it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(ISSUED_WITHIN)
}

/// Proves that the names of an order lead to this gateway.
async fn prove(order: &mut Order, tls: &Tls) -> anyhow::Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => bail!("the authority's question is {status:?}"),
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.context("the authority does not ask by TLS-ALPN-01 (RFC 8737)")?;
        let (name, config) = proof(&challenge)?;
        tls.proofs.show(name, config);
        challenge.set_ready().await?;
    }
    const ADVICE: &str =
        "the authority could not convince itself that every name is this gateway: it asks port 443 of each name";
    match order.poll_ready(&patience()).await.context(ADVICE)? {
        OrderStatus::Ready => Ok(()),
        status => bail!("{ADVICE}, and the order is {status:?}"),
    }
}

/// The certificate that answers a question about a name. Source: RFC 8737, section 3.
fn proof(challenge: &ChallengeHandle<'_>) -> anyhow::Result<(String, Arc<ServerConfig>)> {
    let Identifier::Dns(name) = challenge.identifier().identifier else {
        bail!("the authority asks for something that is no name");
    };
    let mut parameters = CertificateParams::new([name.clone()])?;
    let digest = challenge.key_authorization().digest();
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = parameters.self_signed(&key)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| anyhow!(error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let private = provider.key_provider.load_private_key(private)?;
    // Not checked as others are: nobody but the authority knows its extension.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], private);
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok((name.clone(), Arc::new(config)))
}

/// True when a certificate has a third of its time left at most.
fn is_due(pem: &[u8], now: SystemTime) -> anyhow::Result<bool> {
    let certificate =
        CertificateDer::from_pem_slice(pem).map_err(|error| anyhow!("it is no certificate: {error:?}"))?;
    let (from, until) = validity(&certificate).context("a certificate does not say from when to when it is valid")?;
    Ok((until - OffsetDateTime::from(now)) * 3 <= until - from)
}

/// From when to when a certificate is valid: of what it says, the one pair of times. Source: RFC 5280, section 4.1.
fn validity(certificate: &[u8]) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let parts = |block: ASN1Block| match block {
        ASN1Block::Sequence(_, parts) => Some(parts),
        _ => None,
    };
    let time = |block: &ASN1Block| match block {
        ASN1Block::UTCTime(_, time) | ASN1Block::GeneralizedTime(_, time) => Some(time.assume_utc()),
        _ => None,
    };
    let whole = parts(simple_asn1::from_der(certificate).ok()?.into_iter().next()?)?;
    let said = parts(whole.into_iter().next()?)?;
    said.into_iter().filter_map(parts).find_map(|parts| match parts.as_slice() {
        [from, until] => time(from).zip(time(until)),
        _ => None,
    })
}

/// Calls the authority.
struct Http(reqwest::Client);

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.0.clone();
        Box::pin(async move {
            let other = |error: reqwest::Error| Error::Other(Box::new(error));
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let request = reqwest::Request::try_from(Request::from_parts(head, body)).map_err(other)?;
            let response = http.execute(request).await.map_err(other)?;
            let mut head = Response::builder().status(response.status());
            if let Some(headers) = head.headers_mut() {
                headers.extend(response.headers().clone());
            }
            let body = response.bytes().await.map_err(other)?;
            Ok(BytesResponse::from(head.body(Full::new(body))?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_never_there_without_its_key() {
        // Whichever test comes first installs it.
        let _ = aws_lc_rs::default_provider().install_default();
        let folder = std::env::temp_dir().join(format!("acme-{}", uuid::Uuid::now_v7()));
        let settings =
            Settings { names: vec!["a.example".to_owned()], directory: "https://a.example".to_owned(), contact: None };
        let start = || Acme::new(settings.clone(), &folder, None).unwrap();
        start().tls().unwrap();
        start().tls().expect("what was kept is shown once more");
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["certificate-and-key.pem"], "one file is there whole or not at all");
        // A kill may leave any of these alone.
        std::fs::write(folder.join("given.json"), r#"[["a.example"],"https://a.example"]"#).unwrap();
        std::fs::remove_file(folder.join("certificate-and-key.pem")).unwrap();
        start().tls().unwrap();
        assert!(!folder.join("given.json").exists(), "a stand-in is not what the authority gave");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_certificate_is_due_when_a_third_of_its_time_is_left() {
        // Before 2050 a certificate says its times in one way, after that in another.
        for year in [2027, 2060] {
            let from = time::Date::from_ordinal_date(year, 1).unwrap().midnight().assume_utc();
            let mut parameters = CertificateParams::new(["a.example".to_owned()]).unwrap();
            (parameters.not_before, parameters.not_after) = (from, from + time::Duration::days(90));
            let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
            let due = |days| is_due(certificate.as_bytes(), (from + time::Duration::days(days)).into()).unwrap();
            assert_eq!([0, 59, 60, 100].map(due), [false, false, true, true], "{year}");
        }
        let key = KeyPair::generate().unwrap().serialize_pem();
        assert!(is_due(key.as_bytes(), SystemTime::now()).is_err() && is_due(b"", SystemTime::now()).is_err());
    }
}
