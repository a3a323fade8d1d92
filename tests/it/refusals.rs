//! Who is not let in is told why and until when, and has used nothing by asking.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use tests::mock::{Mock, MockOffer, Order};
use tests::{Customer, Gateway, MODEL, conversation, early_in_a_minute, eventually};

struct Refused {
    status: u16,
    retry_after: Option<u64>,
    /// Of requests, then of tokens: limit, remaining.
    standing: [Option<String>; 4],
    error: Value,
}

async fn refused(response: Response) -> Refused {
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let retry_after = header("retry-after").map(|seconds| seconds.parse().unwrap());
    let standing = ["limit-requests", "remaining-requests", "limit-tokens", "remaining-tokens"]
        .map(|name| header(&format!("x-ratelimit-{name}")));
    let status = response.status().as_u16();
    Refused { status, retry_after, standing, error: response.json::<Value>().await.unwrap()["error"].clone() }
}

async fn ask(gateway: &Gateway, key: &str, order: Order, stream: bool) -> Response {
    let user = serde_json::to_string(&order).unwrap();
    let body = conversation(json!({"stream": stream, "max_tokens": order.tokens, "user": user}));
    gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(key).json(&body).send().await.unwrap()
}

async fn shop(credits: &str) -> (Vec<Gateway>, Mock, Customer) {
    let gateways = Gateway::replicas(1, &[]).await;
    let mock = Mock::join(&gateways, MockOffer::default()).await;
    let customer = gateways[0].customer(credits).await;
    (gateways, mock, customer)
}

#[tokio::test]
async fn without_credit_it_is_402_until_there_is_some() {
    let (gateways, mock, customer) = shop("0.00001").await;
    let gateway = &gateways[0];
    let answer = refused(ask(gateway, &customer.key, Order::default(), false).await).await;
    assert_eq!((answer.status, answer.retry_after), (402, None));
    let wanted = json!({"type": "insufficient_quota", "code": "insufficient_quota", "param": null});
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&answer.error[field], value, "{field}");
    }
    assert!(answer.error["message"].as_str().unwrap().contains("credit"));
    gateway.audit().await;
    assert!(mock.facts().is_empty(), "no node has worked for it");
    gateway.top_up(&customer.email, "1").await;
    eventually("an answer", Duration::from_secs(2), || async {
        (ask(gateway, &customer.key, Order::default(), false).await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let (gateways, _mock, customer) = shop("1").await;
    let gateway = &gateways[0];
    let key = gateway.limited_key(&customer, &json!({"requests_per_minute": 2, "tokens_per_minute": 5000})).await;
    early_in_a_minute(5).await;
    for remaining in ["1", "0"] {
        let response = ask(gateway, &key, Order::default(), false).await;
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!((header("x-ratelimit-limit-requests"), header("x-ratelimit-remaining-requests")), ("2", remaining));
        assert_eq!(header("x-ratelimit-limit-tokens"), "5000");
        assert!(header("x-ratelimit-reset-requests").ends_with('s'));
    }
    let answer = refused(ask(gateway, &key, Order::default(), true).await).await;
    assert_eq!((answer.status, answer.error["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert_eq!(answer.error["type"], "requests");
    assert_eq!(answer.standing[..2], [Some("2".to_owned()), Some("0".to_owned())]);
    assert!((1..=60).contains(&answer.retry_after.unwrap()));
    assert_eq!(ask(gateway, &customer.key, Order::default(), false).await.status(), 200, "another key has its own");
}

#[tokio::test]
async fn what_no_minute_allows_is_not_to_be_tried_again() {
    let (gateways, _mock, customer) = shop("1").await;
    let gateway = &gateways[0];
    let key = gateway.limited_key(&customer, &json!({"tokens_per_minute": 100})).await;
    let answer = refused(ask(gateway, &key, Order::default(), false).await).await;
    assert_eq!((answer.status, answer.retry_after), (429, None));
    assert_eq!(answer.error["type"], "tokens");
    assert!(answer.error["message"].as_str().unwrap().starts_with("Request too large"));
}

#[tokio::test]
async fn one_at_a_time_is_one_at_a_time() {
    let (gateways, _mock, customer) = shop("1").await;
    let gateway = &gateways[0];
    let key = gateway.limited_key(&customer, &json!({"concurrent_requests": 1})).await;
    let slow = Order { tokens: 100, every_us: 10_000, ..Order::default() };
    let first = ask(gateway, &key, slow, true).await;
    let answer = refused(ask(gateway, &key, Order::default(), false).await).await;
    assert_eq!((answer.status, answer.retry_after), (429, Some(1)));
    assert!(first.text().await.unwrap().ends_with("[DONE]\n\n"));
    eventually("the next one", Duration::from_secs(2), || async {
        (ask(gateway, &key, Order::default(), false).await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refusal_takes_nothing_of_anything_else() {
    let (gateways, _mock, customer) = shop("0").await;
    let gateway = &gateways[0];
    let limits = json!({"requests_per_minute": 1, "tokens_per_minute": 600, "concurrent_requests": 1});
    let key = gateway.limited_key(&customer, &limits).await;
    early_in_a_minute(10).await;
    for _ in 0..5 {
        assert_eq!(ask(gateway, &key, Order::default(), false).await.status(), 402);
    }
    gateway.top_up(&customer.email, "1").await;
    // Everything is still there: the only request of this minute, its tokens and its place.
    eventually("an answer", Duration::from_secs(2), || async {
        let status = ask(gateway, &key, Order::default(), false).await.status().as_u16();
        assert_ne!(status, 429);
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(ask(gateway, &key, Order::default(), false).await.status(), 429);
    gateway.audit().await;
}

#[tokio::test]
async fn a_key_asks_its_models_from_its_networks() {
    let (gateways, mock, customer) = shop("1").await;
    let gateway = &gateways[0];
    let key = async |limits: Value| gateway.limited_key(&customer, &limits).await;
    for limits in [json!({"models": ["another", MODEL]}), json!({"networks": ["10.0.0.0/8", "127.0.0.1"]})] {
        assert_eq!(ask(gateway, &key(limits).await, Order::default(), false).await.status(), 200);
    }
    let worked = mock.facts().len();
    for (limits, wanted) in [
        (json!({"models": ["another"]}), (404, "model_not_found")),
        (json!({"networks": ["192.0.2.0/24", "2001:db8::/32"]}), (403, "ip_not_authorized")),
    ] {
        let answer = refused(ask(gateway, &key(limits).await, Order::default(), false).await).await;
        assert_eq!((answer.status, answer.error["code"].as_str().unwrap()), wanted);
    }
    assert_eq!(mock.facts().len(), worked);
}
