//! Nodes that join, leave and are reached in several ways.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use openapi::node::MOVE_PATH;
use tokio_util::sync::CancellationToken;

use super::connection::get;
use super::scripted::{MODEL, Scripted};
use super::*;
use crate::replicas::Credentials;
use crate::secrets::Secrets;

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_loss_of_one_way_changes_nothing() {
    let (nodes, node) = (Nodes::default(), Scripted::new());
    let (first, broken) = node.dial().await;
    nodes.add(node.id, Arc::clone(&first));
    let held = nodes.lease(MODEL, |_| true).unwrap();
    let credentials = Credentials::new(Arc::new(Secrets::derive(&[1; 32]).unwrap()), Uuid::now_v7()).unwrap();
    let (second, _open) = node.dial_elsewhere(credentials).await;
    nodes.add(node.id, Arc::clone(&second));
    assert_eq!(nodes.all().len(), 1);
    assert!(nodes.lease(MODEL, |other| other.id != node.id).is_err(), "one node, however it is reached");
    let live = held.node();
    assert_eq!(live.best().connection, first.connection, "its own tunnel is the better way");

    broken.cancel();
    let request = Request::post("/v1/x").body(Full::from("question")).unwrap();
    let asking = async { tokio::join!(live.call(request), node.called()) };
    let (answer, call) = tokio::time::timeout(LONG, asking).await.unwrap();
    call.answer.send("answer".into()).await.unwrap();
    assert_eq!((call.path.as_str(), &call.body[..]), ("/v1/x", &b"question"[..]));
    drop(call);
    assert_eq!(answer.unwrap().collect().await.unwrap().to_bytes(), "answer");

    nodes.remove(node.id, &first);
    assert_eq!(nodes.get(node.id).unwrap().in_flight(), 1, "it is still the same node");
    nodes.remove(node.id, &second);
    assert!(nodes.get(node.id).is_none());
    assert!(nodes.is_known(MODEL));
}

#[tokio::test]
async fn a_node_s_places_are_for_all_of_its_models_together() {
    let (nodes, node) = (Nodes::default(), Scripted::new());
    let mut offer = Scripted::offer();
    let mut other = offer.models[0].clone();
    other.manifest.name = "other".to_owned();
    offer.models.push(other);
    let (way, _open) = node.dial_with(offer).await;
    nodes.add(node.id, way);
    let now = Instant::now();
    let live = nodes.get(node.id).unwrap();
    // One slot, and one place to wait ahead of it.
    let one = nodes.lease(MODEL, |_| true).unwrap();
    assert!(room(&live, now).is_ok() && live.in_flight() == 1);
    let two = nodes.lease("other", |_| true).unwrap();
    assert_eq!((room(&live, now).is_err(), live.in_flight()), (true, 2), "whichever model is asked");
    drop(one);
    assert_eq!((room(&live, now).is_ok(), live.in_flight()), (true, 1), "each is counted once and given back once");
    drop(two);
    let listed: Vec<_> = nodes.models(|_| true, |_, _| None).into_iter().map(|model| (model.id, model.nodes)).collect();
    assert_eq!(listed, [("other".to_owned(), Some(1)), (MODEL.to_owned(), Some(1))]);
}

#[tokio::test]
async fn a_call_that_no_way_can_carry_says_so() {
    let (nodes, node) = (Nodes::default(), Scripted::new());
    let (way, broken) = node.dial().await;
    nodes.add(node.id, Arc::clone(&way));
    let live = nodes.get(node.id).unwrap();
    broken.cancel();
    nodes.remove(node.id, &way);
    assert!(live.call(get("/").unwrap()).await.is_err());
}

#[tokio::test]
async fn a_request_waits_for_a_node_that_is_on_its_way() {
    let (nodes, node) = (Nodes::default(), Scripted::new());
    let (way, _open) = node.dial().await;
    nodes.remember(&Scripted::offer());
    let (came, ()) = tokio::join!(nodes.await_within(MODEL, LONG), async {
        nodes.add(node.id, Arc::clone(&way));
    });
    assert!(came && nodes.lease(MODEL, |_| true).is_ok());

    let there = tokio::time::timeout(LONG / 2, nodes.await_within(MODEL, LONG)).await;
    assert!(!there.unwrap(), "a node that is there is not waited for");
    nodes.set_status(node.id, &way, NodeStatus { draining: true, ..NodeStatus::default() });
    assert!(nodes.lease(MODEL, |_| true).is_err());
    assert!(!nodes.await_within(MODEL, Duration::from_millis(20)).await, "nobody comes");
}

#[tokio::test]
async fn a_node_that_has_rested_is_seen_once() {
    let (nodes, node) = (Nodes::default(), Scripted::new());
    let (way, _open) = node.dial().await;
    nodes.add(node.id, Arc::clone(&way));
    let mut resting = HashSet::new();
    assert!(nodes.rested(&mut resting).is_empty(), "it never did");
    (0..3).for_each(|_| lock(&nodes.get(node.id).unwrap().health).failed(Instant::now()));
    assert!(nodes.rested(&mut resting).is_empty() && resting.contains(&node.id));
    nodes.add(node.id, way); // a new connection is a new chance
    assert_eq!((nodes.rested(&mut resting), nodes.rested(&mut resting)), (vec![node.id], vec![]));
}

#[tokio::test]
async fn tunnels_are_kept_while_another_replica_uses_them() {
    let (nodes, node) = (Arc::new(Nodes::default()), Scripted::new());
    let (way, _open) = node.dial().await;
    nodes.add(node.id, Arc::clone(&way));
    nodes.all_moved().await; // nobody listens
    let listener = nodes.changes();
    let mut waiting = tokio::spawn({
        let nodes = Arc::clone(&nodes);
        async move { nodes.all_moved().await }
    });
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
    nodes.remove(node.id, &way);
    tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
    drop(listener);
}

#[tokio::test]
async fn a_node_is_told_to_move_when_its_replica_stops() {
    let (node, stop) = (Scripted::new(), CancellationToken::new());
    let (way, _open) = node.dial().await;
    stop.cancel();
    node.answers_with(StatusCode::ACCEPTED);
    let told = tokio::select! {
        told = node.called() => told,
        () = tunnel::send_away(&stop, node.id, &way) => unreachable!("the tunnel stays"),
    };
    assert_eq!((told.method, told.path.as_str(), told.body.len()), (Method::POST, MOVE_PATH, 0));
    assert!(way.is_open());
}
