//! A door for gateways that dial this node, beside the tunnel that it opens itself: HTTP/2 at an address of the operator's,
//! over TLS or behind the operator's own proxy. It opens for nothing without a ticket of the gateway's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use clap::Args;
use http::HeaderValue;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use openapi::error::ErrorBody;
use openapi::node::{Advertisement, CHALLENGE_HEADER, DIRECT_PATH, OFFER_PATH, PROOF_AUDIENCE, PROOF_HEADER, Proof};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

use crate::error::Failure;
use crate::identity::Identity;
use crate::ticket::TicketVerifier;

/// A dead connection is noticed after at most the sum of the two.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The gateway dials before it answers.
const ADVERTISED_WITHIN: Duration = Duration::from_secs(45);
/// The listener may be out of file handles for a moment.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Where a gateway can dial this node.
#[derive(Clone, Debug, Default, Args)]
pub struct DirectConfig {
    /// Address on which gateways can dial this node, such as 0.0.0.0:8443, instead of waiting for its tunnel.
    #[arg(long, env = "COMMONWATT_DIRECT_LISTEN", requires = "direct_url")]
    pub direct_listen: Option<SocketAddr>,
    /// Where they reach that, such as `https://node.example:8443`.
    #[arg(long, env = "COMMONWATT_DIRECT_URL", requires = "direct_listen")]
    pub direct_url: Option<Url>,
    /// File with the certificate for that name and those of the authorities above it, as PEM. Without one the node speaks
    /// HTTP/2 in plain text, for a proxy of yours that does the rest.
    #[arg(long, env = "COMMONWATT_DIRECT_CERTIFICATE", requires = "direct_key")]
    pub direct_certificate: Option<PathBuf>,
    /// File with the certificate's private key, as PEM.
    #[arg(long, env = "COMMONWATT_DIRECT_KEY", requires = "direct_certificate")]
    pub direct_key: Option<PathBuf>,
}

/// What the door checks and proves.
pub struct Keeper {
    pub node: Uuid,
    pub identity: Arc<Identity>,
    pub tickets: Arc<TicketVerifier>,
}

/// Opens the door: `router` is what stands behind it. It closes when `stop` is given and running answers are complete;
/// `tasks` waits for that.
///
/// # Errors
/// When the address is taken or the certificate can't be used.
pub async fn open(
    config: &DirectConfig,
    keeper: Keeper,
    router: Router,
    (stop, tasks): (CancellationToken, TaskTracker),
) -> anyhow::Result<()> {
    let Some(address) = config.direct_listen else { return Ok(()) };
    let acceptor = match (&config.direct_certificate, &config.direct_key) {
        (Some(certificate), Some(key)) => Some(acceptor(certificate, key)?),
        _ => None,
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another address with COMMONWATT_DIRECT_LISTEN"))?;
    tracing::info!(listen = %address, encrypted = acceptor.is_some(), "gateways can dial this node");
    let router = router.layer(middleware::from_fn_with_state(Arc::new(keeper), guard));
    let serving = tasks.clone();
    tasks.spawn(async move {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match stream {
                Ok((stream, _)) => {
                    serving.spawn(take(stream, acceptor.clone(), router.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a gateway could not be let in");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    });
    Ok(())
}

async fn take(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let ended = match acceptor {
        None => serve(stream, router, &stop).await,
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, router, &stop).await,
            Ok(Err(error)) => Err(error.into()),
            Err(slow) => Err(slow.into()),
        },
    };
    if let Err(error) = ended {
        tracing::debug!("a gateway's connection ended: {error:#}");
    }
}

async fn serve<T>(stream: T, router: Router, stop: &CancellationToken) -> anyhow::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    Ok(serving.await?)
}

/// Turns away whoever is not the gateway, and proves to the gateway who this is.
async fn guard(State(keeper): State<Arc<Keeper>>, request: Request, next: Next) -> Response {
    if let Err(refused) = keeper.tickets.verify(request.headers()) {
        return Failure(refused).into_response();
    }
    let challenge = request.headers().get(CHALLENGE_HEADER).and_then(|text| text.to_str().ok()).map(str::to_owned);
    let challenge = challenge.filter(|_| request.uri().path() == OFFER_PATH);
    let mut response = next.run(request).await;
    if let Some(nonce) = challenge {
        keeper.identity.refresh();
        let proof = Proof { sub: keeper.node, aud: PROOF_AUDIENCE.to_owned(), nonce };
        let proof = keeper.identity.statement(&proof).ok().and_then(|proof| HeaderValue::try_from(proof).ok());
        response.headers_mut().extend(proof.map(|proof| (http::HeaderName::from_static(PROOF_HEADER), proof)));
    }
    response
}

fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}, which the direct listener needs", path.display()))
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("{} holds no certificates as PEM", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .with_context(|| format!("{} holds no private key as PEM", key.display()))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config =
        config.context("COMMONWATT_DIRECT_CERTIFICATE and COMMONWATT_DIRECT_KEY do not belong together")?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Tells a gateway where it can dial this node; none: not any more.
///
/// # Errors
/// When it can't be told, or can't use the URL; its own sentence is passed on.
pub async fn advertise(gateway: &Url, greeting: &str, url: Option<&Url>) -> anyhow::Result<()> {
    let said = Advertisement { url: url.map(|url| url.as_str().trim_end_matches('/').to_owned()) };
    let client = reqwest::Client::builder().timeout(ADVERTISED_WITHIN).build()?;
    let asked = client.post(gateway.join(DIRECT_PATH)?).bearer_auth(greeting).json(&said).send().await;
    let response = asked.context("the gateway can't be reached")?;
    if response.status().is_success() {
        return Ok(());
    }
    let status = response.status();
    let reason = response.bytes().await.ok().and_then(|body| serde_json::from_slice::<ErrorBody>(&body).ok());
    bail!(
        "the gateway answered {status}: {}",
        reason.map_or_else(|| "no reason given".to_owned(), |body| body.error.message)
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use http_body_util::BodyExt as _;
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
    use openapi::node::{Enrolled, TICKET_HEADER, Ticket};

    use super::*;
    use crate::node::unix_seconds;

    /// A door, its node, and who may pass.
    async fn door() -> (SocketAddr, Uuid, Arc<Identity>, EncodingKey, CancellationToken) {
        let folder = std::env::temp_dir().join(format!("direct-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let identity = Arc::new(Identity::open(&folder).unwrap());
        let gateway =
            aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let public = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(gateway.as_ref()).unwrap();
        let ticket_key = BASE64_URL_SAFE_NO_PAD.encode(aws_lc_rs::signature::KeyPair::public_key(&public));
        let enrolled = Enrolled { node: Uuid::now_v7(), ticket_key };
        let tickets = Arc::new(TicketVerifier::new(enrolled.node, &enrolled.ticket_key).unwrap());
        let keeper = Keeper { node: enrolled.node, identity: Arc::clone(&identity), tickets };
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = DirectConfig { direct_listen: Some(free), ..DirectConfig::default() };
        let router = Router::new().route(OFFER_PATH, get(|| async { "the offer" }));
        let stop = CancellationToken::new();
        open(&config, keeper, router, (stop.clone(), TaskTracker::new())).await.unwrap();
        (free, enrolled.node, identity, EncodingKey::from_ed_der(gateway.as_ref()), stop)
    }

    fn ticket(node: Uuid, key: &EncodingKey) -> String {
        let ticket = serde_json::from_value::<Ticket>(serde_json::json!({
            "aud": node, "request": Uuid::nil(), "attempt": 0, "model": "", "max_tokens": 0, "seed": 0,
            "price": {"prompt": 0, "cached": 0, "completion": 0}, "exp": unix_seconds() + 60,
        }));
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &ticket.unwrap(), key).unwrap()
    }

    async fn knock(address: SocketAddr, ticket: Option<&str>) -> hyper::Response<hyper::body::Incoming> {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = hyper::Request::get(OFFER_PATH).header(CHALLENGE_HEADER, "a challenge");
        if let Some(ticket) = ticket {
            request = request.header(TICKET_HEADER, ticket);
        }
        sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn it_opens_for_the_gateway_alone_and_proves_who_it_is() {
        let (address, node, identity, key, stop) = door().await;
        assert_eq!(knock(address, None).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(knock(address, Some(&ticket(Uuid::now_v7(), &key))).await.status(), StatusCode::UNAUTHORIZED);
        let refused = knock(address, None).await;
        assert!(!refused.headers().contains_key(PROOF_HEADER), "nothing is signed for a stranger");

        let answer = knock(address, Some(&ticket(node, &key))).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let proof = answer.headers()[PROOF_HEADER].to_str().unwrap().to_owned();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "the offer");
        let public = identity.enrolment("t", "n").public_key;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[PROOF_AUDIENCE]);
        validation.set_required_spec_claims(&["aud"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_ed_components(&public).unwrap();
        let proof = jsonwebtoken::decode::<Proof>(&proof, &key, &validation).unwrap().claims;
        assert_eq!((proof.sub, proof.nonce.as_str()), (node, "a challenge"));
        stop.cancel();
    }
}
