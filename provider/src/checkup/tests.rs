use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use clap::Parser;
use time::Duration;
use uuid::Uuid;

use super::*;
use crate::config::{Command, Config};
use crate::key::NodeKey;

fn standing(node: Uuid) -> Standing {
    Standing {
        node,
        name: "cellar".to_owned(),
        connected: true,
        paused: false,
        copied_key_at: None,
        maintenance: Vec::new(),
        prices: Vec::new(),
        chosen: 3,
        skipped: BTreeMap::from([("full".to_owned(), 2)]),
        advice: vec!["Raise COMMONWATT_SLOTS.".to_owned()],
    }
}

/// A gateway that knows a node by this public key.
async fn gateway(public: String, standing: Standing) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let stand = move |headers: HeaderMap| async move {
        let greeting = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let key = jsonwebtoken::DecodingKey::from_ed_components(&public).unwrap();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
        validation.set_audience(&[openapi::node::TUNNEL_AUDIENCE]);
        let known = jsonwebtoken::decode::<openapi::node::Greeting>(&greeting, &key, &validation).is_ok();
        let status = if known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        (status, serde_json::to_string(&standing).unwrap())
    };
    let router = Router::new().route(STANDING_PATH, get(stand)).route(HEALTH_PATH, get(|| async { "ok" }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("checkup-{}", Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    folder
}

async fn checked(folder: &Path, gateway: &Url) -> Vec<Step> {
    let arguments = ["commonwatt-node", "doctor", "--gateway", gateway.as_str(), "--data"];
    let arguments = arguments.iter().map(ToString::to_string).chain([folder.display().to_string()]);
    let Command::Doctor(config) = Config::try_parse_from(arguments).unwrap().command else { panic!() };
    check(&config).await
}

fn step<'a>(steps: &'a [Step], what: &str) -> &'a Step {
    steps.iter().find(|step| step.what == what).unwrap_or_else(|| panic!("no step {what} in {steps:?}"))
}

fn enrol(identity: &Identity, at: &Url) -> Uuid {
    let enrolled = Enrolled { node: Uuid::now_v7(), ticket_key: "k".to_owned() };
    identity.remember(std::slice::from_ref(at), &enrolled).unwrap();
    enrolled.node
}

#[tokio::test]
async fn a_node_that_is_well_reads_what_its_gateway_says_of_it() {
    let folder = folder();
    let identity = Identity::open(&folder).unwrap();
    let address = gateway(identity.key().public(), standing(Uuid::now_v7())).await;
    enrol(&identity, &address);
    let steps = checked(&folder, &address).await;
    for what in ["key", "enrolled", "reachable", "clock", "greeting", "connected"] {
        assert_eq!(step(&steps, what).outcome, Outcome::Fine, "{what}: {steps:?}");
    }
    assert_eq!(step(&steps, "work").text, "3 requests, passed over: full 2");
    let advice = steps.last().unwrap();
    assert_eq!((advice.outcome, advice.text.as_str()), (Outcome::Advice, "Raise COMMONWATT_SLOTS."));
    let model = step(&steps, "model");
    assert!(model.outcome == Outcome::Failed && model.text.contains("commonwatt-node pull"), "{model}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_folder_without_a_node_says_how_to_begin_and_is_left_as_it_was() {
    let folder = folder();
    let address = gateway("-".to_owned(), standing(Uuid::now_v7())).await;
    let steps = checked(&folder, &address).await;
    assert!(step(&steps, "key").text.contains("--data") && step(&steps, "enrolled").text.contains("COMMONWATT_TOKEN"));
    assert_eq!(step(&steps, "reachable").outcome, Outcome::Fine, "even so");
    assert!(steps.iter().all(|step| step.what != "greeting"), "there is none");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_gateway_that_refuses_the_key_is_told_apart_from_one_that_knows_the_next_key() {
    let folder = folder();
    let identity = Identity::open(&folder).unwrap();
    let stranger = NodeKey::make(&folder.join("stranger")).unwrap().public();
    let removed = gateway(stranger, standing(Uuid::now_v7())).await;
    enrol(&identity, &removed);
    let greeting = step(&checked(&folder, &removed).await, "greeting").clone();
    assert!(greeting.outcome == Outcome::Failed && greeting.text.contains("enrol anew"), "{greeting}");
    let changed = gateway(identity.make_successor().unwrap().public(), standing(Uuid::now_v7())).await;
    enrol(&identity, &changed);
    let greeting = step(&checked(&folder, &changed).await, "greeting").clone();
    assert!(greeting.outcome == Outcome::Failed && greeting.text.contains("rotate-key"), "{greeting}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_gateway_that_is_away_and_a_tunnel_that_is_not_there_fail() {
    let folder = folder();
    let identity = Identity::open(&folder).unwrap();
    let away = Url::parse("http://127.0.0.1:9/").unwrap();
    enrol(&identity, &away);
    let steps = checked(&folder, &away).await;
    assert_eq!(step(&steps, "reachable").outcome, Outcome::Failed);
    let alone = Standing { connected: false, ..standing(Uuid::now_v7()) };
    let address = gateway(identity.key().public(), alone).await;
    enrol(&identity, &address);
    assert_eq!(step(&checked(&folder, &address).await, "connected").outcome, Outcome::Failed);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn clocks_may_differ_by_a_minute() {
    let now = OffsetDateTime::now_utc();
    let at = |date: Option<OffsetDateTime>| clock(&Reply { status: 200, date, body: axum::body::Bytes::new() }, now);
    assert!(at(Some(now)).is_ok() && at(Some(now - Duration::seconds(60))).is_ok() && at(None).is_ok());
    assert!(at(Some(now - Duration::seconds(61))).unwrap_err().contains("61 seconds ahead of"));
    assert!(at(Some(now + Duration::seconds(300))).unwrap_err().contains("300 seconds behind"));
}

#[test]
fn statuses_are_explained() {
    let told =
        |status| greeted(&Reply { status, date: None, body: axum::body::Bytes::from_static(b"{}") }).unwrap_err();
    assert!(told(404).contains("older version") && told(503).contains("not ready") && told(500).contains("500"));
    assert!(told(200).contains("no Commonwatt gateway"), "it answers with something else");
}
