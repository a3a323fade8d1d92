//! Prices beyond reason, and prices that are merely dear.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::{get, post};
use openapi::node::{FAREWELL_PATH, OFFER_PATH, Offer, STATUS_PATH};
use openapi::price::Price;
use openapi::units::Nanocredits;
use provider::tunnel;
use serde_json::{Value, json};
use tests::mock::{Mock, MockOffer};
use tests::{Behaviour, Gateway, ScriptedNode, conversation, eventually};
use tokio_util::sync::CancellationToken;

use super::floods::offer;
use super::imposter::Imposter;

const SOON: Duration = Duration::from_secs(20);

/// An offer with this text for a price.
fn priced(price: &str) -> String {
    let mut offer: Offer = serde_json::from_str(&offer()).unwrap();
    let each = Nanocredits::new(7);
    offer.models[0].price = Some(Price { prompt: each, cached: each, completion: each });
    serde_json::to_string(&offer).unwrap().replace("\"prompt\":7", &format!("\"prompt\":{price}"))
}

/// What a node is told that makes this offer.
async fn told(gateway: &Gateway, offer: String) -> String {
    let (node, told) = (Imposter::enrol(gateway).await, Arc::new(Mutex::new(None)));
    let farewell = Arc::clone(&told);
    let router = Router::new()
        .route(OFFER_PATH, get(|| async { offer }))
        .route(
            STATUS_PATH,
            get(|| async { Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>()) }),
        )
        .route(
            FAREWELL_PATH,
            post(|word: String| async move {
                let word: Value = serde_json::from_str(&word).unwrap();
                *farewell.lock().unwrap() = word["message"].as_str().map(str::to_owned);
                StatusCode::ACCEPTED
            }),
        );
    let greeting = node.sign(&node.greeting(0));
    let serving = async {
        let dialled = tunnel::dial(&node.url, &greeting).await.unwrap();
        tunnel::serve(dialled, router, &CancellationToken::new()).await
    };
    let _ = tokio::time::timeout(SOON, serving).await;
    let told = told.lock().unwrap().take();
    told.unwrap_or_default()
}

#[tokio::test]
async fn an_absurd_price_is_refused_with_the_bound_wherever_it_is_named() {
    let gateway = Gateway::start().await;
    for absurd in
        ["-1", "1000000001", "1000000000000000000", "18446744073709551615", "18446744073709551616", "0.5", "1e300"]
    {
        let told = told(&gateway, priced(absurd)).await;
        assert!(told.contains("1000000000"), "{absurd}: {told}");
    }
    assert_eq!(gateway.nodes_now().await, 0);

    let node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    let set = async |price: &str| {
        let body = format!(r#"{{"prompt":{price},"cached":0,"completion":{price}}}"#);
        let request = gateway.client.post(gateway.url(&format!("/api/nodes/{}/prices", node.id)));
        let request = request.bearer_auth(&gateway.management_key).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for absurd in ["-1", "1000000001", "1000000000000000000", "18446744073709551615", "0.5"] {
        let (status, text) = set(absurd).await;
        assert!(status == 400 && text.contains("from 0 to 1000000000"), "{absurd}: {status} {text}");
    }
    assert_eq!(set("400").await.0, 201);
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn a_dear_node_gets_no_work_and_makes_no_hold_dearer() {
    let gateways = Gateway::replicas(1, &[]).await;
    let gateway = &gateways[0];
    let highest = Price { prompt: Price::HIGHEST, cached: Price::HIGHEST, completion: Price::HIGHEST };
    let dear = Mock::join(&gateways, MockOffer { nodes: 1, price: Some(highest), context_length: u32::MAX }).await;
    let customer = gateway.customer("0.01").await;
    let ask = async |more: Value| {
        let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(&customer.key);
        request.json(&conversation(more)).send().await.unwrap()
    };
    // Nobody else is there: the largest request of all at the highest price of all is a matter of credit.
    for most in [1, 1_000_000, i32::MAX] {
        let refused = ask(json!({"max_tokens": most})).await;
        let (status, text) = (refused.status().as_u16(), refused.text().await.unwrap());
        assert_eq!(status, 402, "{most}: {text}");
    }
    let cheap = ScriptedNode::join(gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    for _ in 0..20 {
        // Held at the dear price, one such request would take a thousand times this customer's credit.
        let answer = ask(json!({"max_tokens": 8})).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        assert_eq!(answer.headers()["x-commonwatt-node"], cheap.id.to_string().as_str());
    }
    assert!(dear.facts().is_empty(), "the dear one got nothing");
    let nodes = eventually("why", SOON, || async {
        let nodes = gateway.get("/api/nodes").await["data"].as_array().cloned().unwrap();
        nodes.iter().any(|node| node["id"] != json!(cheap.id)).then_some(nodes)
    })
    .await;
    let dear = nodes.iter().find(|node| node["id"] != json!(cheap.id)).unwrap()["id"].as_str().unwrap().to_owned();
    let work = gateway.get(&format!("/api/nodes/{dear}")).await["work"].clone();
    assert!(work["advice"].to_string().contains("price"), "its operator reads why: {work}");
    assert!(!gateway.log().contains("panicked"));
    gateway.audit().await;
}
