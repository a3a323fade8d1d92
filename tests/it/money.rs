//! Amounts: what an answer costs by its estimate, its usage, its row and the ledger; and how credits come in.

use openapi::price::{BilledTokens, Price};
use openapi::units::Nanocredits;
use reqwest::Response;
use serde_json::{Value, json};
use tests::mock::{Mock, MockOffer, Order};
use tests::{Gateway, Node, books, conversation};

fn cost(price: &Price, prompt: &Value, completion: &Value) -> Nanocredits {
    let count = |tokens: &Value| tokens.as_u64().unwrap();
    price.cost(&BilledTokens { prompt: count(prompt), cached: 0, completion: count(completion) })
}

fn price(prompt: u64, cached: u64, completion: u64) -> Price {
    Price {
        prompt: Nanocredits::new(prompt),
        cached: Nanocredits::new(cached),
        completion: Nanocredits::new(completion),
    }
}

#[tokio::test]
async fn estimate_usage_header_row_and_ledger_agree() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &["--price", "1700,300,5100"]).await;
    let price = price(1700, 300, 5100);
    let body = conversation(json!({"max_tokens": 12, "logit_bias": {"2": -100}}));
    let estimate: Value = gateway.ask("/v1/estimate", &body).send().await.unwrap().json().await.unwrap();
    let before = books::balance(&gateway.database, "admin@localhost").await;

    let response = gateway.chat(&body).await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let (id, charged) = (header("x-request-id"), header("x-cost"));
    let answer: Value = response.json().await.unwrap();
    let (usage, row) = (&answer["usage"], gateway.request(&id).await);
    assert_eq!(usage["prompt_tokens"], estimate["prompt_tokens"]);
    let cost = cost(&price, &usage["prompt_tokens"], &usage["completion_tokens"]);
    assert_eq!((usage["completion_tokens"].as_u64(), charged), (Some(12), cost.credits()));
    assert_eq!((&usage["cost"], &row["cost"]), (&json!(cost.credits()), &json!(cost.credits())));
    assert_eq!((&row["nanocredits"], &row["price_version"]), (&json!(cost.get()), &estimate["price_version"]));
    assert_eq!(estimate["worst_case"], json!({"nanocredits": cost.get(), "cost": cost.credits()}));
    let price = serde_json::to_value(price).unwrap();
    assert_eq!((&estimate["price"], &row["price"]), (&price, &price));
    gateway.audit().await;
    let after = books::balance(&gateway.database, "admin@localhost").await;
    assert_eq!(before - after, cost.get().cast_signed(), "an estimate is free");

    let mut streamed = body.clone();
    streamed
        .as_object_mut()
        .unwrap()
        .extend([("stream".to_owned(), json!(true)), ("stream_options".to_owned(), json!({"include_usage": true}))]);
    let text = gateway.chat(&streamed).await.text().await.unwrap();
    assert!(text.contains(&format!("\"cost\":\"{}\"", cost.credits())), "{text}");
    assert_eq!(text.matches(&cost.credits()).count(), 2, "in the usage chunk and in the comment: {text}");
}

#[tokio::test]
async fn a_price_that_changes_meanwhile_is_for_those_who_come_later() {
    let (old, new) = (price(100, 25, 400), price(7, 7, 9));
    let gateways = [Gateway::start().await];
    let _mock = Mock::join(&gateways, MockOffer { nodes: 1, ..MockOffer::default() }).await;
    let gateway = &gateways[0];
    let node = gateway.nodes(1).await[0]["id"].as_str().unwrap().to_owned();
    let order = |tokens| serde_json::to_string(&Order { tokens, every_us: 5000, ..Order::default() }).unwrap();
    let mut response = gateway.chat(&conversation(json!({"stream": true, "max_tokens": 60, "user": order(60)}))).await;
    response.chunk().await.unwrap().unwrap();
    let change = gateway.client.post(gateway.url(&format!("/api/nodes/{node}/prices")));
    let change = change.bearer_auth(&gateway.management_key).json(&new).send().await.unwrap();
    assert_eq!(change.status(), 201);
    while response.chunk().await.unwrap().is_some() {}
    let later = gateway.chat(&conversation(json!({"user": order(8)}))).await;
    assert_eq!(later.status(), 200);
    let rows = gateway.requests(2).await;
    for (row, price) in [(&rows[1], old), (&rows[0], new)] {
        assert_eq!(row["nanocredits"], cost(&price, &row["prompt_tokens"], &row["completion_tokens"]).get(), "{row}");
    }
    assert!(rows[0]["price_version"].as_i64() > rows[1]["price_version"].as_i64());
    gateway.audit().await;
}

#[tokio::test]
async fn a_node_is_paid_for_what_it_streamed_whatever_it_claims() {
    let gateways = [Gateway::start().await];
    let _mock = Mock::join(&gateways, MockOffer::default()).await;
    let gateway = &gateways[0];
    let order = serde_json::to_string(&Order { overclaim: 5, ..Order::default() }).unwrap();
    for stream in [true, false] {
        let response = gateway.chat(&conversation(json!({"stream": stream, "user": order}))).await;
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        response.text().await.unwrap();
        let row = gateway.request(&id).await;
        assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("completed"), &json!(8)), "{row}");
        assert_eq!(row["nanocredits"], 20 * 100 + 8 * 400);
        assert_eq!(row["attempts"][0]["overclaimed_tokens"], 5, "{row}");
    }
    gateway.audit().await;
}

async fn post(gateway: &Gateway, key: &str, movement: &Value) -> Response {
    let post = gateway.client.post(gateway.url("/api/ledger/events")).bearer_auth(&gateway.management_key);
    post.header("idempotency-key", key).json(movement).send().await.unwrap()
}

#[tokio::test]
async fn amounts_that_are_none_are_refused() {
    let gateway = Gateway::start().await;
    let customer = gateway.customer("5").await;
    let movement = |kind: &str, credits: &str| json!({"kind": kind, "account": customer.account, "credits": credits, "reason": "a try"});
    for (at, (kind, credits, status)) in [
        ("top_up", "-1", 400),
        ("top_up", "1e3", 400),
        ("grant", "0.0000000001", 400),
        ("grant", "99999999999", 400),
        ("top_up", "9200000000.1", 400),
        ("adjustment", "-5.1", 422),
        ("top_up", "0", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let response = post(&gateway, &at.to_string(), &movement(kind, credits)).await;
        assert_eq!(response.status(), status, "{kind} {credits}: {}", response.text().await.unwrap());
    }
    assert_eq!(books::balance(&gateway.database, &customer.email).await, 5_000_000_000);
    let most = movement("top_up", "9200000000");
    assert_eq!(post(&gateway, "as much as there can be", &most).await.status(), 201);
    assert_eq!(post(&gateway, "and as much again", &most).await.status(), 422);
    assert_eq!(books::balance(&gateway.database, &customer.email).await, 9_200_000_005_000_000_000);
    gateway.audit().await;
}

#[tokio::test]
async fn a_top_up_that_is_sent_twice_is_posted_once() {
    let gateway = Gateway::start().await;
    let customer = gateway.customer("0").await;
    let movement = json!({"kind": "top_up", "account": customer.account, "credits": "2.5", "reason": "bought"});
    let (first, again) = tokio::join!(post(&gateway, "k", &movement), post(&gateway, "k", &movement));
    let mut statuses = [first.status().as_u16(), again.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 201]);
    assert_eq!(first.json::<Value>().await.unwrap(), again.json::<Value>().await.unwrap());
    let mut other = movement.clone();
    other["credits"] = json!("3");
    assert_eq!(post(&gateway, "k", &other).await.status(), 409);
    let by_command =
        ["top-up", "--email", &customer.email, "--credits", "1", "--reason", "r", "--idempotency-key", "c"];
    let (now, before) = (gateway.admin(&by_command).await, gateway.admin(&by_command).await);
    assert!(now.starts_with("posted ") && before.starts_with("posted before: "), "{now}; {before}");
    assert_eq!(books::balance(&gateway.database, &customer.email).await, 3_500_000_000);
    gateway.audit().await;
}

#[tokio::test]
async fn earnings_are_shared_to_the_last_nanocredit() {
    let gateways = [Gateway::start().await];
    let _mock = Mock::join(&gateways, MockOffer { price: Some(price(1, 1, 7)), ..MockOffer::default() }).await;
    let gateway = &gateways[0];
    let before = gateway.get("/api/ledger/balance").await;
    let order = serde_json::to_string(&Order { prompt_tokens: 3, ..Order::default() }).unwrap();
    assert_eq!(gateway.chat(&conversation(json!({"user": order}))).await.status(), 200);
    gateway.audit().await;
    let after = gateway.get("/api/ledger/balance").await;
    let moved = |part: &str| {
        let of = |balance: &Value| balance[part]["nanocredits"].as_i64().unwrap();
        of(&after) - of(&before)
    };
    assert_eq!(moved("balance"), -(3 + 8 * 7));
    assert!((1..=59).contains(&moved("earned")), "{after}");
}
