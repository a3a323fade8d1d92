use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, IsCa};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::scripted::{Authority, HERE, NAME, certificate, echo};
use super::*;
use crate::nodes::connection;
use crate::nodes::direct::url::PlainText;

const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];
/// Nothing listens here.
const NOBODY: [u8; 4] = [127, 0, 0, 77];
/// Reachable for everybody as far as the tables know; nothing is ever sent there.
const PUBLIC: [u8; 4] = [198, 41, 0, 4];

/// Answers with the next of these lists each time, and counts how often it was asked.
fn answers(lists: &[&[[u8; 4]]]) -> (Resolver, Arc<AtomicUsize>) {
    let lists: Vec<Vec<IpAddr>> = lists.iter().map(|list| list.iter().map(|&ip| ip.into()).collect()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let resolver: Resolver = Arc::new(move |_, port| {
        let list = lists[counted.fetch_add(1, Ordering::SeqCst) % lists.len()].iter();
        std::future::ready(Ok(list.map(|&ip| SocketAddr::new(ip, port)).collect())).boxed()
    });
    (resolver, asked)
}

fn dialler(allowed: &str, authority: Option<&Authority>, lists: &[&[[u8; 4]]]) -> Dialler {
    let pem = authority.map(Authority::pem);
    let dialler = Dialler::new(allowed.parse().unwrap(), pem.as_deref().map(str::as_bytes)).unwrap();
    Dialler { resolver: answers(lists).0, ..dialler }
}

fn url(host: &str, port: u16, purpose: Purpose) -> NodeUrl {
    NodeUrl::parse(&format!("https://{host}:{port}"), purpose, PlainText::Refused).unwrap()
}

async fn refusal(dialler: &Dialler, url: &NodeUrl) -> DialError {
    dialler.connect(url).await.map(|(_, protocol)| protocol).expect_err("it was dialled")
}

/// A listener of which it can be said that nobody has come.
fn untouched(address: [u8; 4]) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind((IpAddr::from(address), 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

#[track_caller]
fn nobody_came(listener: &std::net::TcpListener) {
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn what_each_purpose_needs_is_agreed_on() {
    let authority = Authority::new();
    let dialler = dialler("127.0.0.0/8", Some(&authority), &[&[HERE]]);
    for (purpose, offered, agreed) in [
        (Purpose::Direct, &[tls::HTTP2, tls::HTTP1][..], Ok(Protocol::Http2)),
        (Purpose::Direct, &[tls::HTTP1], Err("HTTP/2")),
        (Purpose::Direct, &[], Err("HTTP/2")),
        (Purpose::Attached, &[tls::HTTP1, tls::HTTP2], Ok(Protocol::Http1)),
        (Purpose::Attached, &[tls::HTTP2], Ok(Protocol::Http2)),
        (Purpose::Attached, &[], Ok(Protocol::Http1)),
    ] {
        let server = echo(authority.issue(&certificate(), offered)).await;
        match (dialler.connect(&url(NAME, server.port, purpose)).await, agreed) {
            (Ok((mut stream, protocol)), Ok(agreed)) => {
                assert_eq!(protocol, agreed, "{purpose:?} {offered:?}");
                stream.write_all(b"hear").await.unwrap();
                let mut heard = [0; 4];
                stream.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"hear");
            }
            (Err(error), Err(fault)) => assert!(error.to_string().contains(fault), "{error}"),
            (found, _) => panic!("{purpose:?} {offered:?}: {:?}", found.map(|(_, protocol)| protocol)),
        }
    }
}

#[tokio::test]
async fn a_request_is_answered_over_a_dialled_connection() {
    let authority = Authority::new();
    let acceptor = authority.issue(&certificate(), &[tls::HTTP2]);
    let listener = TcpListener::bind((IpAddr::from(HERE), 0)).await.unwrap();
    let url = url(&Ipv4Addr::from(HERE).to_string(), listener.local_addr().unwrap().port(), Purpose::Direct);
    let serve = async move {
        let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let answer =
            service_fn(async |_| Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from_static(b"")))));
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
    };
    let _server = AbortOnDropHandle::new(tokio::spawn(serve));
    // An address needs no resolver, and its certificate must name the address.
    let (stream, _) = dialler("127.0.0.1", Some(&authority), &[&[NOBODY]]).connect(&url).await.unwrap();
    let (mut sender, _) = connection::open(stream, &TaskTracker::new()).await.unwrap();
    assert_eq!(sender.send_request(connection::get("/").unwrap()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_certificate_must_be_the_hosts_own_and_current_and_trusted() {
    let authority = Authority::new();
    let mut expired = certificate();
    (expired.not_before, expired.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    let mut early = certificate();
    early.not_before = rcgen::date_time_ymd(2999, 1, 1);
    let mut own_authority = certificate();
    own_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (params, host, trusted, fault) in [
        (certificate(), "other.test", true, "another name"),
        (expired, NAME, true, "has expired"),
        (early, NAME, true, "not valid yet"),
        (certificate(), NAME, false, "signed by nobody"),
        // What a quick 'openssl req -x509' makes.
        (own_authority, NAME, true, "an authority has signed"),
    ] {
        let server = echo(authority.issue(&params, &[tls::HTTP2])).await;
        let dialler = dialler("127.0.0.1", trusted.then_some(&authority), &[&[HERE]]);
        let error = refusal(&dialler, &url(host, server.port, Purpose::Direct)).await;
        assert!(matches!(error, DialError::Tls { .. }) && error.to_string().contains(fault), "{host}: {error}");
        // Which names the certificate does bear is none of the operator's business who named this host.
        assert_eq!(error.to_string().contains(NAME), host == NAME, "{error}");
    }
}

#[tokio::test]
async fn without_an_allowance_nothing_special_is_dialled() {
    let listener = untouched(HERE);
    let port = listener.local_addr().unwrap().port();
    let nobody = dialler("", None, &[&[HERE]]);
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "node.test", "localhost"] {
        let error = refusal(&nobody, &url(host, port, Purpose::Attached)).await;
        assert!(matches!(error, DialError::Forbidden { .. }), "{host}: {error}");
        assert!(error.to_string().contains("loopback") && error.to_string().contains("allow its network"), "{error}");
    }
    nobody_came(&listener);
}

#[tokio::test]
async fn one_forbidden_address_among_others_forbids_the_name() {
    let listener = untouched(HERE);
    let port = listener.local_addr().unwrap().port();
    let forbidden = [10, 0, 0, 1];
    for list in [[HERE, forbidden], [forbidden, HERE], [PUBLIC, forbidden]] {
        let error = refusal(&dialler("127.0.0.1", None, &[&list]), &url(NAME, port, Purpose::Direct)).await;
        let DialError::Forbidden { host, forbidden: found } = error else { panic!("{error}") };
        assert_eq!((host.as_str(), found.address), (NAME, IpAddr::from(forbidden)));
    }
    nobody_came(&listener);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_anew_and_never_asked_twice() {
    let authority = Authority::new();
    let server = echo(authority.issue(&certificate(), &[tls::HTTP2])).await;
    let inside = std::net::TcpListener::bind((IpAddr::from(ELSEWHERE), server.port)).unwrap();
    inside.set_nonblocking(true).unwrap();
    let url = url(NAME, server.port, Purpose::Direct);
    let (resolver, asked) = answers(&[&[HERE], &[ELSEWHERE]]);
    let dialler = Dialler { resolver, ..dialler("127.0.0.1", Some(&authority), &[]) };
    assert_eq!(dialler.connect(&url).await.unwrap().1, Protocol::Http2);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let error = refusal(&dialler, &url).await;
    assert!(matches!(error, DialError::Forbidden { .. }), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    nobody_came(&inside);
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses_or_is_silent() {
    let authority = Authority::new();
    let server = echo(authority.issue(&certificate(), &[tls::HTTP2])).await;
    let url = url(NAME, server.port, Purpose::Direct);
    let here = SocketAddr::new(HERE.into(), server.port);
    assert!(dialler("", None, &[]).reach(&url, &[here]).await.unwrap().nodelay().unwrap());
    let (_silent, _waiting) = silent(server.port).await;
    let limits = Limits { connect: Duration::from_millis(200), ..Limits::default() };
    for list in [[NOBODY, HERE], [ELSEWHERE, HERE]] {
        let dialler = Dialler { limits, ..dialler("127.0.0.0/8", Some(&authority), &[&list]) };
        assert_eq!(dialler.connect(&url).await.unwrap().1, Protocol::Http2, "{list:?}");
    }
    // The last reason is told.
    for (list, what) in
        [([ELSEWHERE, NOBODY], "127.0.0.77"), ([NOBODY, ELSEWHERE], "did not take a connection in time")]
    {
        let dialler = Dialler { limits, ..dialler("127.0.0.0/8", None, &[&list]) };
        let error = refusal(&dialler, &url).await.to_string();
        assert!(error.contains(what) && error.contains("firewall"), "{error}");
    }
}

/// An address whose queue is full: whoever calls gets no answer.
async fn silent(port: u16) -> (TcpListener, Vec<TcpStream>) {
    let address = SocketAddr::new(ELSEWHERE.into(), port);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn whoever_dawdles_is_cut_off() {
    // The system takes the connection, and nobody speaks.
    let listener = TcpListener::bind((IpAddr::from(HERE), 0)).await.unwrap();
    let url = url(NAME, listener.local_addr().unwrap().port(), Purpose::Direct);
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(60));
    let mute: Resolver = Arc::new(|_, _| std::future::pending().boxed());
    for (resolver, handshake, whole, step) in [
        (answers(&[&[HERE]]).0, short, long, "complete the TLS handshake"),
        (answers(&[&[HERE]]).0, long, short, "take a connection"),
        (mute, long, short, "take a connection"),
    ] {
        let limits = Limits { connect: long, handshake, whole };
        let dialler = Dialler { resolver, limits, ..dialler("127.0.0.1", None, &[]) };
        let error = timeout(long, refusal(&dialler, &url)).await.unwrap();
        assert!(matches!(error, DialError::Slow { .. }) && error.to_string().contains(step), "{error}");
    }
}

#[tokio::test]
async fn plain_text_stays_within_the_allowed_networks() {
    let listener = TcpListener::bind((IpAddr::from(HERE), 0)).await.unwrap();
    let text = format!("http://{NAME}:{}", listener.local_addr().unwrap().port());
    for (purpose, protocol) in [(Purpose::Direct, Protocol::Http2), (Purpose::Attached, Protocol::Http1)] {
        let url = NodeUrl::parse(&text, purpose, PlainText::Allowed).unwrap();
        assert_eq!(dialler("127.0.0.1", None, &[&[HERE]]).connect(&url).await.unwrap().1, protocol);
        let error = refusal(&dialler("127.0.0.1", None, &[&[HERE, PUBLIC]]), &url).await;
        let DialError::PlainText { address, .. } = error else { panic!("{error}") };
        assert_eq!(address.ip(), IpAddr::from(PUBLIC));
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_breaks_off() {
    for (answer, fault) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "doesn't speak TLS"), (b"", "broke off")] {
        let listener = TcpListener::bind((IpAddr::from(HERE), 0)).await.unwrap();
        let url = url(NAME, listener.local_addr().unwrap().port(), Purpose::Attached);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // The greeting must not be answered with a reset.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        let dialler = dialler("127.0.0.1", None, &[&[HERE]]);
        let error = tokio::select! {
            error = refusal(&dialler, &url) => error.to_string(),
            _ = async { let _ = serve.await; std::future::pending::<()>().await } => unreachable!(),
        };
        assert!(error.contains(fault) && !error.contains("Bad Request"), "{error}");
    }
}

#[tokio::test]
async fn the_system_resolves_names_and_what_leads_nowhere_is_said() {
    let dialler = Dialler::new(AllowedNetworks::default(), None).unwrap();
    // Of this machine's own file of names.
    let error = refusal(&dialler, &url("localhost", 443, Purpose::Direct)).await;
    assert!(matches!(error, DialError::Forbidden { .. }), "{error}");
    let lost: Resolver = Arc::new(|_, _| std::future::ready(Err(io::Error::other("no such name"))).boxed());
    for resolver in [lost, answers(&[&[]]).0] {
        let dialler = Dialler { resolver, ..Dialler::new(AllowedNetworks::default(), None).unwrap() };
        let error = refusal(&dialler, &url(NAME, 443, Purpose::Direct)).await.to_string();
        assert!(error.starts_with("node.test has no address") && error.contains("DNS"), "{error}");
    }
}

#[test]
fn extra_authorities_must_be_certificates() {
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (pem, advice) in [("", "at least one"), ("no PEM", "at least one"), (nonsense, "damaged")] {
        let error = Dialler::new(AllowedNetworks::default(), Some(pem.as_bytes())).err().unwrap().to_string();
        assert!(error.contains(advice), "{pem}: {error}");
    }
}
