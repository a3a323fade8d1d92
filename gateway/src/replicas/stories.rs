//! Two replicas on one machine: a node behind the one, called from the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use openapi::node::{NodeStatus, TICKET_HEADER};
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::credentials::{CREDENTIAL_HEADER, Credentials};
use super::news::NEWS_PATH;
use super::remote::NODE_HEADER;
use super::{Internal, Other, Replica, listener, mirror};
use crate::nodes::connection::{self, Sender};
use crate::nodes::scripted::{Call, MODEL, Scripted};
use crate::nodes::{CallError, Node};
use crate::secrets::Secrets;

const LONG: Duration = Duration::from_secs(30);

fn replica(secret: u8) -> Internal {
    let secrets = Arc::new(Secrets::derive(&[secret; 32]).unwrap());
    Internal {
        nodes: Arc::default(),
        credentials: Arc::new(Credentials::new(secrets, Uuid::now_v7()).unwrap()),
        tasks: TaskTracker::new(),
        relayed: TaskTracker::new(),
        stop: CancellationToken::new(),
        closing: CancellationToken::new(),
    }
}

/// Serves a replica and says where.
async fn open(internal: &Internal) -> Other {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(listener::serve(internal.clone(), listener));
    Other { id: internal.credentials.replica(), address }
}

/// Two replicas, of which the second follows the first.
async fn two() -> (Internal, Internal) {
    let (one, two) = (replica(1), replica(1));
    let (other, follower) = (open(&one).await, two.clone());
    tokio::spawn(async move { mirror::follow(&follower, &other).await });
    (one, two)
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap();
}

/// Calls a node and waits for what reaches it and for the beginning of the answer.
async fn ask(node: &Node, scripted: &Scripted) -> (hyper::Response<connection::NodeBody>, Call) {
    let request = Request::post("/v1/chat/completions?x=1")
        .header(CONTENT_TYPE, "application/json")
        .header(TICKET_HEADER, "a ticket")
        .body(Full::from("{}"))
        .unwrap();
    let asking = async { tokio::join!(node.call(request), scripted.called()) };
    let (answer, call) = tokio::time::timeout(LONG, asking).await.unwrap();
    (answer.unwrap(), call)
}

#[tokio::test]
async fn a_node_of_one_replica_answers_through_another() {
    let (one, two) = two().await;
    let scripted = Scripted::new();
    let (tunnel, _open) = scripted.dial().await;
    one.nodes.add(scripted.id, Arc::clone(&tunnel));
    until(|| two.nodes.get(scripted.id).is_some()).await;
    let node = two.nodes.lease(MODEL, |_| true).unwrap().node();

    let (answer, call) = ask(&node, &scripted).await;
    assert_eq!((call.path.as_str(), &call.body[..]), ("/v1/chat/completions", &b"{}"[..]));
    assert_eq!(call.headers[TICKET_HEADER], "a ticket");
    assert!(!call.headers.contains_key(CREDENTIAL_HEADER) && !call.headers.contains_key(NODE_HEADER));
    let mut body = answer.into_body();
    for piece in ["data: 1\n\n", "data: 2\n\n", ": still here\n\n"] {
        call.answer.send(piece.into()).await.unwrap();
        let frame = tokio::time::timeout(LONG, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece, "each piece as it comes");
    }
    drop(body);
    tokio::time::timeout(LONG, call.answer.closed()).await.expect("the node sees that the client has gone");

    scripted.answers_with(StatusCode::TOO_MANY_REQUESTS);
    let (answer, call) = ask(&node, &scripted).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "the node's own word");
    drop((answer, call));

    one.nodes.set_status(scripted.id, &tunnel, NodeStatus { running: 3, waiting: 1, draining: false });
    until(|| node.status().running == 3).await;
    one.nodes.remove(scripted.id, &tunnel);
    until(|| two.nodes.all().is_empty()).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_begins_frees_the_node() {
    let (one, two) = two().await;
    let scripted = Scripted::new();
    let (tunnel, _open) = scripted.dial().await;
    one.nodes.add(scripted.id, tunnel);
    until(|| two.nodes.get(scripted.id).is_some()).await;
    let node = two.nodes.get(scripted.id).unwrap();
    let asking = tokio::spawn(async move { node.call(connection::get("/slow").unwrap()).await });
    let call = scripted.called().await;
    asking.abort();
    tokio::time::timeout(LONG, call.answer.closed()).await.expect("the call is dropped all the way");
}

#[tokio::test]
async fn the_way_over_a_replica_ends_with_it_and_the_own_tunnel_stays() {
    let (one, two) = two().await;
    let scripted = Scripted::new();
    let (far, far_broken) = scripted.dial().await;
    one.nodes.add(scripted.id, Arc::clone(&far));
    until(|| two.nodes.get(scripted.id).is_some()).await;
    let node = two.nodes.get(scripted.id).unwrap();

    // The tunnel is gone, but the news are not there yet: the call has another way.
    let (near, _open) = scripted.dial().await;
    far_broken.cancel();
    until(|| !far.is_open()).await;
    assert!(matches!(node.call(connection::get("/").unwrap()).await, Err(CallError::Unreached)));
    two.nodes.add(scripted.id, Arc::clone(&near));
    let (_, call) = ask(&node, &scripted).await;
    drop(call);

    one.closing.cancel();
    tokio::time::timeout(LONG, one.nodes.all_moved()).await.expect("the other replica has hung up");
    assert!(two.nodes.tunnel(scripted.id).is_some(), "its own tunnel stays");
    two.nodes.remove(scripted.id, &near);
    until(|| two.nodes.all().is_empty()).await;
}

#[tokio::test]
async fn a_replica_that_stops_is_used_last() {
    let (one, two) = two().await;
    let three = replica(1);
    let (other, follower) = (open(&three).await, two.clone());
    tokio::spawn(async move { mirror::follow(&follower, &other).await });
    let scripted = Scripted::new();
    let ((moved, _a), (left, _b)) = (scripted.dial().await, scripted.dial().await);
    let (moved_to, left_from) = (moved.connection, left.connection);
    one.nodes.add(scripted.id, left);
    three.nodes.add(scripted.id, moved);
    let best = || two.nodes.get(scripted.id).map(|node| node.best().connection);
    until(|| best() == Some(left_from)).await;
    one.stop.cancel();
    until(|| best() == Some(moved_to)).await;
}

#[tokio::test]
async fn no_call_is_lost_while_a_node_moves() {
    const CALLERS: u32 = 8;
    let (one, two) = two().await;
    let scripted = Arc::new(Scripted::new());
    let (old, leaves) = scripted.dial_for_a_while().await;
    one.nodes.add(scripted.id, Arc::clone(&old));
    until(|| two.nodes.get(scripted.id).is_some()).await;
    tokio::spawn({
        let scripted = Arc::clone(&scripted);
        async move { scripted.answer_all().await }
    });
    let (moved, answered) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (nodes, moved, answered) = (Arc::clone(&two.nodes), moved.clone(), Arc::clone(&answered));
        callers.spawn(async move {
            while !moved.is_cancelled() {
                nodes.await_one(MODEL).await;
                let node = nodes.lease(MODEL, |_| true).unwrap().node();
                let answer = node.call(connection::get("/").unwrap()).await.unwrap();
                assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "answer");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    until(|| answered.load(Ordering::Relaxed) > 100).await;
    let (new, _open) = scripted.dial().await;
    two.nodes.add(scripted.id, new);
    leaves.cancel();
    until(|| !old.is_open()).await;
    one.nodes.remove(scripted.id, &old);
    let before = answered.load(Ordering::Relaxed);
    until(|| answered.load(Ordering::Relaxed) > before + 100).await;
    moved.cancel();
    callers.join_all().await;
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn replicas_find_each_other_and_come_back(database: PgPool) {
    let (one, two) = (replica(1), replica(1));
    let other = open(&one).await;
    let lease = Duration::from_secs(900);
    Replica::register(&database, other.id, Some(other.address.clone()), lease).await.unwrap();
    let this = Replica::register(&database, two.credentials.replica(), Some("x:1".to_owned()), lease).await.unwrap();
    let scripted = Scripted::new();
    let (tunnel, _open) = scripted.dial().await;
    one.nodes.add(scripted.id, tunnel);
    let stop = CancellationToken::new();
    let following = tokio::spawn({
        let (two, stop) = (two.clone(), stop.clone());
        async move { mirror::follow_all(&this, &database, &two, stop).await }
    });
    until(|| two.nodes.get(scripted.id).is_some()).await;

    // The same replica closes its door and opens it again at the same address.
    one.closing.cancel();
    until(|| two.nodes.all().is_empty()).await;
    let again = Internal { closing: CancellationToken::new(), ..one.clone() };
    let listener = TcpListener::bind(&other.address).await.unwrap();
    tokio::spawn(listener::serve(again.clone(), listener));
    until(|| two.nodes.get(scripted.id).is_some()).await;

    stop.cancel();
    tokio::time::timeout(LONG, following).await.unwrap().unwrap();
    until(|| two.nodes.all().is_empty()).await;
    again.closing.cancel();
    two.tasks.close();
    tokio::time::timeout(LONG, two.tasks.wait()).await.expect("nothing is left behind");
}

#[tokio::test]
async fn nothing_is_served_without_the_shared_secret() {
    let (ours, strange) = (replica(1), replica(2));
    let address = open(&ours).await;
    let scripted = Scripted::new();
    let (tunnel, _open) = scripted.dial().await;
    ours.nodes.add(scripted.id, tunnel);
    let stream = TcpStream::connect(&address.address).await.unwrap();
    let (sender, _) = connection::open(stream, &TaskTracker::new()).await.unwrap();

    let (good, wrong) = (ours.credentials.sign().unwrap(), strange.credentials.sign().unwrap());
    let known = scripted.id.to_string();
    for path in [NEWS_PATH, "/", "/v1/models", "/healthz", "/readyz", "/openapi.json"] {
        for credential in [None, Some(&wrong)] {
            for node in [None, Some(known.as_str())] {
                assert_eq!(status(&sender, path, credential, node).await, StatusCode::UNAUTHORIZED);
            }
        }
        let expected = if path == NEWS_PATH { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(status(&sender, path, Some(&good), None).await, expected);
    }
    let unknown = Uuid::now_v7().to_string();
    assert_eq!(status(&sender, "/", Some(&good), Some(&unknown)).await, StatusCode::MISDIRECTED_REQUEST);
    assert!(scripted.calls.lock().await.try_recv().is_err(), "the node has heard of none of this");

    let refused = mirror::follow(&strange, &address).await.unwrap_err();
    assert!(refused.to_string().contains("another secret"));
    let mistaken = Other { id: Uuid::now_v7(), ..address };
    assert!(mirror::follow(&replica(1), &mistaken).await.unwrap_err().to_string().contains("is the replica"));
}

async fn status(
    sender: &Sender,
    path: &str,
    credential: Option<&hyper::header::HeaderValue>,
    node: Option<&str>,
) -> StatusCode {
    let mut request = connection::get(path).unwrap();
    if let Some(credential) = credential {
        request.headers_mut().insert(CREDENTIAL_HEADER, credential.clone());
    }
    if let Some(node) = node {
        request.headers_mut().insert(NODE_HEADER, node.parse().unwrap());
    }
    let mut sender = sender.clone();
    tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap().status()
}
