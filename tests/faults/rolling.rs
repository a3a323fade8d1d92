//! A new version everywhere: each replica behind a load balancer, and each node, is stopped and started in turn, and no
//! client notices.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::load::{Ask, Clients, Pace, Seen, begin};
use tests::mock::{Mock, MockOffer, Order};
use tests::{Balancer, Gateway, MODEL, Node, books, eventually};
use tokio::time::sleep;

use crate::stage::{say, sized};

/// The balancer notices within it that a replica stops.
const DELAY: (&str, &str) = ("COMMONWATT_STOP_DELAY_SECONDS", "2");
/// The mock node keeps its tunnels until they are closed, and its answers are short.
const DRAIN: (&str, &str) = ("COMMONWATT_DRAIN_SECONDS", "5");

async fn ready(gateway: &Gateway) {
    eventually("a ready gateway", Duration::from_secs(30), || async {
        let answer = gateway.client.get(gateway.url("/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}

/// Before each round.
const NOTHING: [&str; 5] = [""; 5];
/// A secret follows another.
const SECRET: [&str; 3] = ["add", "promote", "retire"];

/// Stops and starts each in turn, one round after each of these changes of the secret, and says what clients saw meanwhile.
async fn roll(gateways: &mut [Gateway], key: &str, (pace, order): (Pace, Order), changes: &[&str]) -> Vec<Seen> {
    const BETWEEN: Duration = Duration::from_secs(1);
    let balancer = Balancer::start(gateways).await;
    let clients = Arc::new(Clients::at([balancer.address], key));
    let load = begin(clients, pace, move |number| if number % 2 == 0 { Ask::stream(order) } else { Ask::whole(order) });
    for change in changes {
        if !change.is_empty() {
            gateways[0].secret(change).await;
        }
        for gateway in &mut *gateways {
            sleep(BETWEEN).await;
            gateway.terminate();
            assert_eq!(gateway.ended().await, Some(0), "{}", gateway.log());
            assert!(!gateway.log().contains("before every answer was complete"), "{}", gateway.log());
            gateway.restart().await;
            ready(gateway).await;
        }
    }
    sleep(BETWEEN).await;
    load.end().await
}

fn failed(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|seen| !seen.done).collect()
}

#[tokio::test]
async fn no_client_notices_a_rolling_restart_with_real_nodes() {
    if !sized(false, true) {
        // Two engines and three gateways on an ordinary machine need minutes, not seconds.
        return say("SKIPPED: rolling restart with real nodes, which is for `make faults`");
    }
    let mut gateways = Gateway::replicas(3, &[DELAY]).await;
    let customer = gateways[0].customer("1000").await;
    let addresses = gateways.iter().map(|gateway| gateway.url("")).collect::<Vec<_>>().join(",");
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Node::enrol(&addresses, &gateways[0].enrolment_token().await, &["--slots", "2"]).await);
    }
    for gateway in &gateways {
        eventually("both nodes everywhere", Duration::from_secs(30), || async {
            (gateway.nodes_now().await == 2).then_some(())
        })
        .await;
    }
    let order = Order { tokens: 12, ..Order::default() };
    let seen = roll(&mut gateways, &customer.key, (Pace::Closed { clients: 4 }, order), &NOTHING).await;
    let failed = failed(&seen);
    println!("faults: rolling restart of 3 replicas with real nodes: {} requests, {} failed", seen.len(), failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    for gateway in &gateways {
        books::shipped(gateway).await;
    }
    gateways[0].audit().await;
}

#[tokio::test]
async fn no_client_notices_that_every_node_restarts() {
    let gateway = Gateway::start().await;
    let mut nodes = Vec::new();
    for _ in 0..sized(2, 3) {
        nodes.push(Node::join(&gateway, &["--slots", "2"]).await);
    }
    let clients = Arc::new(Clients::new(std::slice::from_ref(&gateway), &gateway.key));
    let order = Order { tokens: 24, ..Order::default() };
    let load = begin(clients, Pace::Closed { clients: 3 }, move |number| {
        if number % 2 == 0 { Ask::stream(order) } else { Ask::whole(order) }
    });
    for _ in 0..sized(1, 5) {
        for node in &mut nodes {
            node.replace().await;
            gateway.nodes(sized(2, 3)).await;
        }
    }
    let seen = load.end().await;
    let failed = failed(&seen);
    println!("faults: restart of {} nodes, one by one: {} requests, {} failed", nodes.len(), seen.len(), failed.len());
    assert!(failed.is_empty() && seen.len() > nodes.len(), "{failed:?}");
    books::shipped(&gateway).await;
    gateway.audit().await;
}

#[tokio::test]
async fn no_client_notices_a_rolling_restart_under_load() {
    let mut gateways = Gateway::replicas(3, &[DELAY, DRAIN]).await;
    let mock = Mock::join(&gateways, MockOffer::default()).await;
    let customer = gateways[0].customer("1000").await;
    let order = Order { tokens: 20, every_us: 10_000, ..Order::default() };
    let pace = Pace::Open { per_second: sized(50, 200) };
    let seen = roll(&mut gateways, &customer.key, (pace, order), &NOTHING[..sized(1, 5)]).await;
    let failed = failed(&seen);
    println!("faults: rolling restart of 3 replicas under load: {} requests, {} failed", seen.len(), failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    for gateway in &gateways {
        books::shipped(gateway).await;
    }
    books::audit(&gateways[0].database, &seen, &mock.facts(), books::LIST_PRICE).await.must_be_right();
    gateways[0].audit().await;
}

/// What is asked again is another text, unless the first one was kept.
async fn answer_under_a_key(gateway: &Gateway) -> String {
    let body = json!({"model": MODEL, "prompt": "One, two,", "max_tokens": 12, "temperature": 1.5});
    let asked = gateway.ask("/v1/completions", &body).header("Idempotency-Key", "the same").send().await.unwrap();
    asked.text().await.unwrap()
}

#[tokio::test]
async fn no_client_and_no_node_notices_that_another_secret_follows() {
    let mut gateways = Gateway::replicas(2, &[DELAY]).await;
    let customer = gateways[0].customer("1000").await;
    let addresses = gateways.iter().map(|gateway| gateway.url("")).collect::<Vec<_>>().join(",");
    let node = Node::enrol(&addresses, &gateways[0].enrolment_token().await, &["--slots", "2"]).await;
    for gateway in &gateways {
        gateway.nodes(1).await;
    }
    let known = || std::fs::read_to_string(node.folder().join("gateways.json")).unwrap();
    let (before, token) = (known(), gateways[0].enrolment_token().await);
    let session = gateways[0].sign_in("admin@localhost", &gateways[0].first_password()).await;
    let kept = answer_under_a_key(&gateways[1]).await;
    let order = Order { tokens: 8, ..Order::default() };
    let seen = roll(&mut gateways, &customer.key, (Pace::Closed { clients: 2 }, order), &SECRET).await;
    let failed = failed(&seen);
    println!("faults: another secret for 2 replicas and a node: {} requests, {} failed", seen.len(), failed.len());
    assert!(failed.is_empty() && seen.len() > SECRET.len(), "{failed:?}");
    assert_ne!(known(), before, "the node knows the new key");
    assert!(!node.log().contains("refused a ticket"), "{}", node.log());

    let gateway = &gateways[1];
    let (access, refresh) = (session["access_token"].as_str().unwrap(), &session["refresh_token"]);
    let me = |access: &str| gateway.client.get(gateway.url("/api/me")).bearer_auth(access.to_owned()).send();
    assert_eq!(me(access).await.unwrap().status(), 401, "whoever has the retired secret signs in no more");
    let renewed = gateway.client.post(gateway.url("/api/sessions/refresh")).json(&json!({"refresh_token": refresh}));
    let renewed: Value = renewed.send().await.unwrap().json().await.unwrap();
    assert_eq!(me(renewed["access_token"].as_str().unwrap()).await.unwrap().status(), 200, "its user goes on");
    assert_eq!(answer_under_a_key(gateway).await, kept, "an answer that was kept before");
    let _another = Node::enrol(&addresses, &token, &["--slots", "2"]).await;
    gateway.nodes(2).await;
    gateways[0].audit().await;
}
