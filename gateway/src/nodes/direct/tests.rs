//! Nodes that are dialled, over real connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openapi::node::{CHALLENGE_HEADER, OFFER_PATH, PROOF_AUDIENCE, PROOF_HEADER, Proof, TICKET_HEADER};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

use super::dial::Dialler;
use super::dial::scripted::{Authority, HERE, certificate};
use super::follow::{Caller, Reached, reach};
use super::url::{NodeUrl, PlainText, Purpose};
use crate::nodes::Nodes;
use crate::nodes::dialled::Joined;
use crate::nodes::greeting::Guest;
use crate::nodes::scripted::{MODEL, Scripted};
use crate::nodes::way::{Kind, Way};
use crate::secrets::Secrets;

/// A node's key, and what it signs when it is challenged.
#[derive(Clone)]
struct Identity {
    id: Uuid,
    key: Arc<Vec<u8>>,
    public_key: Vec<u8>,
}

impl Identity {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let public_key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap().public_key().as_ref().to_vec();
        Self { id: Uuid::now_v7(), key: Arc::new(key.as_ref().to_vec()), public_key }
    }

    fn guest(&self) -> Guest {
        Guest { id: self.id, public_key: self.public_key.clone() }
    }

    fn prove(&self, nonce: &str) -> String {
        let proof = Proof { sub: self.id, aud: PROOF_AUDIENCE.to_owned(), nonce: nonce.to_owned() };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &proof, &EncodingKey::from_ed_der(&self.key)).unwrap()
    }
}

/// How a node answers a challenge.
type Proves = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A node that serves its gateway at a port of this machine, over TLS.
struct Served {
    url: String,
    authority: Authority,
    _task: AbortOnDropHandle<()>,
}

impl Served {
    async fn new(proves: Proves) -> Self {
        let authority = Authority::new();
        let acceptor = authority.issue(&certificate(), &[b"h2"]);
        let listener = TcpListener::bind((std::net::IpAddr::from(HERE), 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let serve = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let proves = Arc::clone(&proves);
                let service = service_fn(move |request| answer(Arc::clone(&proves), request));
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
            }
        };
        Self { url, authority, _task: AbortOnDropHandle::new(tokio::spawn(serve)) }
    }

    async fn reach(&self, allowed: &str, guest: &Guest) -> Result<Reached, String> {
        let secrets = Arc::new(Secrets::derive(&[1; 32]).unwrap());
        let dialler = Dialler::new(allowed.parse().unwrap(), Some(self.authority.pem().as_bytes())).unwrap();
        let url = NodeUrl::parse(&self.url, Purpose::Direct, PlainText::Allowed).unwrap();
        reach(&Caller { dialler: &dialler, tasks: &TaskTracker::new(), secrets: &secrets }, &url, guest)
            .await
            .map_err(|error| format!("{error:#}"))
    }
}

async fn answer(proves: Proves, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    // Whatever is asked, the gateway shows that it is the gateway.
    assert!(request.headers().contains_key(TICKET_HEADER));
    if request.uri().path() != OFFER_PATH {
        return Ok(Response::new(Body::from(request.uri().path().to_owned())));
    }
    let challenge = request.headers()[CHALLENGE_HEADER].to_str().unwrap().to_owned();
    let mut response = Response::new(Body::from(serde_json::to_vec(&Scripted::offer()).unwrap()));
    if let Some(proof) = proves(&challenge) {
        response.headers_mut().insert(PROOF_HEADER, proof.parse().unwrap());
    }
    Ok(response)
}

fn honest(identity: &Identity) -> Proves {
    let identity = identity.clone();
    Arc::new(move |nonce| Some(identity.prove(nonce)))
}

#[tokio::test]
async fn a_node_that_proves_who_it_is_is_called_as_through_a_tunnel() {
    let identity = Identity::new();
    let served = Served::new(honest(&identity)).await;
    let reached = served.reach("127.0.0.1", &identity.guest()).await.unwrap();
    let nodes = Arc::new(Nodes::default());
    let way = Arc::new(Way::dialled(Kind::Direct, reached.offer, reached.door, CancellationToken::new()));
    let joined = Joined::new(&nodes, identity.id, Arc::clone(&way));
    let node = nodes.lease(MODEL, |_| true).unwrap().node();
    let request = Request::post("/v1/x").body(Full::<Bytes>::default()).unwrap();
    let body = node.call(request).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "/v1/x");

    // Its own tunnel is the better way, and the loss of one changes nothing.
    let scripted = Scripted::new();
    let (tunnel, _open) = scripted.dial().await;
    nodes.add(identity.id, Arc::clone(&tunnel));
    assert_eq!((nodes.all().len(), node.best().kind()), (1, Kind::Tunnel));
    nodes.remove(identity.id, &tunnel);
    assert_eq!(node.best().kind(), Kind::Direct);
    drop(joined);
    assert!(nodes.all().is_empty());
}

#[tokio::test]
async fn nobody_has_another_s_url_dialled_in_its_own_name() {
    let (victim, thief) = (Identity::new(), Identity::new());
    let served = Served::new(honest(&victim)).await;
    let stolen = served.reach("127.0.0.1", &thief.guest()).await.err().unwrap();
    assert!(stolen.contains("another node is there"), "{stolen}");
    let renamed = Guest { id: Uuid::now_v7(), ..victim.guest() };
    assert!(served.reach("127.0.0.1", &renamed).await.err().unwrap().contains("another node is there"));

    let old = victim.prove("an old challenge");
    let replayed = Served::new(Arc::new(move |_| Some(old.clone()))).await;
    assert!(replayed.reach("127.0.0.1", &victim.guest()).await.err().unwrap().contains("another node is there"));
    let silent = Served::new(Arc::new(|_| None)).await;
    assert!(silent.reach("127.0.0.1", &victim.guest()).await.err().unwrap().contains("no proof"));
}

#[tokio::test]
async fn a_url_in_the_gateway_s_own_network_is_refused_and_says_which_setting_allows_it() {
    let identity = Identity::new();
    let served = Served::new(honest(&identity)).await;
    let refused = served.reach("", &identity.guest()).await.err().unwrap();
    assert!(refused.contains("loopback") && refused.contains("COMMONWATT_ALLOWED_NETWORKS"), "{refused}");
    let metadata = Served { url: "https://169.254.169.254".to_owned(), ..served };
    let refused = tokio::time::timeout(Duration::from_secs(5), metadata.reach("", &identity.guest())).await.unwrap();
    assert!(refused.err().unwrap().contains("COMMONWATT_ALLOWED_NETWORKS"));
}
