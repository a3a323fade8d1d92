//! What is paid for, one story for each way in which a request can end: what was delivered, and nothing for what failed
//! on our side.

use std::time::Duration;

use openapi::price::BilledTokens;
use openapi::sse::Scanner;
use reqwest::Response;
use serde_json::{Value, json};
use tests::load::{Ask, Clients};
use tests::mock::{Mock, MockOffer, Order, TOKEN};
use tests::{Customer, Gateway, books, conversation};
use tokio::time::Instant;

/// Long enough to see its beginning, and longer than anybody waits for its end.
const LONG: Order =
    Order { tokens: 3000, every_us: 5000, prompt_tokens: 20, overclaim: 0, die_after: None, trouble: None };

async fn shop() -> (Vec<Gateway>, Mock) {
    let gateways = Gateway::replicas(1, &[]).await;
    let mock = Mock::join(&gateways, MockOffer::default()).await;
    (gateways, mock)
}

fn asked(order: Order, more: Value) -> Value {
    let mut body = conversation(json!({"user": serde_json::to_string(&order).unwrap()}));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The same, with as long an answer as fits.
fn open_ended(order: Order, streamed: bool) -> Value {
    let mut body = asked(order, json!({"stream": streamed}));
    body.as_object_mut().unwrap().remove("max_tokens");
    if streamed {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

fn id(response: &Response) -> String {
    response.headers()["x-commonwatt-request-id"].to_str().unwrap().to_owned()
}

async fn ask_as(gateway: &Gateway, customer: &Customer, body: &Value) -> Response {
    let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(&customer.key).json(body);
    request.send().await.unwrap()
}

async fn row_of(gateway: &Gateway, customer: &Customer, id: &str) -> Value {
    let path = gateway.url(&format!("/api/requests/{id}"));
    tests::eventually("the row", Duration::from_secs(10), || async {
        let response = gateway.client.get(&path).bearer_auth(&customer.management_key).send().await.ok()?;
        response.error_for_status().ok()?.json().await.ok()
    })
    .await
}

/// The list price of so many tokens.
fn price(prompt: u64, completion: u64) -> u64 {
    books::LIST_PRICE.cost(&BilledTokens { prompt, cached: 0, completion }).get()
}

/// Checks what the row says, and that the ledger adds up.
async fn paid(gateway: &Gateway, row: &Value, outcome: &str, (prompt, completion, nanocredits): (u64, u64, u64)) {
    assert_eq!(row["outcome"], outcome, "{row}");
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(prompt), &json!(completion)), "{row}");
    assert_eq!(row["nanocredits"], nanocredits, "{row}");
    gateway.audit().await;
}

/// What a stream came to: its last choice, its usage, and the comment before `[DONE]`.
struct Ending {
    reason: Value,
    usage: Value,
    comment: Value,
    tokens: u64,
}

impl Ending {
    fn of(text: &str) -> Self {
        let events = Scanner::new(1 << 20).push(text.as_bytes()).unwrap();
        let data: Vec<&str> = events.iter().filter_map(|event| event.data()).collect();
        assert_eq!(data.last(), Some(&"[DONE]"), "{text}");
        let json = |at: usize| serde_json::from_str::<Value>(data[at]).unwrap();
        let comment = text.lines().find_map(|line| line.strip_prefix(": commonwatt ")).unwrap();
        Self {
            reason: json(data.len() - 3)["choices"][0]["finish_reason"].clone(),
            usage: json(data.len() - 2)["usage"].clone(),
            comment: serde_json::from_str(comment).unwrap(),
            tokens: text.matches(TOKEN).count() as u64,
        }
    }
}

#[tokio::test]
async fn a_complete_answer_is_paid() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let response = gateway.chat(&asked(Order::default(), json!({}))).await;
    assert!(!response.headers().contains_key("x-commonwatt-outcome"));
    let row = gateway.request(&id(&response)).await;
    assert_eq!(response.headers()["x-cost"].to_str().unwrap(), row["cost"]);
    paid(gateway, &row, "completed", (20, 8, price(20, 8))).await;
}

#[tokio::test]
async fn what_a_node_refuses_is_free() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let response = gateway.chat(&conversation(json!({"user": "no order"}))).await;
    assert_eq!(response.status(), 400);
    paid(gateway, &gateway.requests(1).await[0], "refused", (0, 0, 0)).await;
}

#[tokio::test]
async fn who_leaves_pays_for_what_was_received() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let ask = Ask { leave_after: Some(Duration::from_millis(300)), ..Ask::stream(LONG) };
    let seen = Clients::new(&gateways, &gateway.key).ask(&ask, Instant::now()).await;
    assert!(seen.left && seen.tokens > 0, "{seen:?}");
    let row = gateway.request(&seen.request.unwrap().to_string()).await;
    paid(gateway, &row, "client_left", (20, seen.tokens, price(20, seen.tokens))).await;
}

#[tokio::test]
async fn who_leaves_before_the_first_byte_pays_nothing() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let asking = gateway.ask("/v1/chat/completions", &asked(LONG, json!({"max_tokens": 3000})));
    assert!(asking.timeout(Duration::from_millis(300)).send().await.unwrap_err().is_timeout());
    paid(gateway, &gateway.requests(1).await[0], "client_left", (0, 0, 0)).await;
}

#[tokio::test]
async fn a_node_that_fails_before_the_first_byte_is_not_paid() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let response = gateway.chat(&asked(Order { die_after: Some(0), ..LONG }, json!({}))).await;
    assert_eq!(response.status(), 502);
    paid(gateway, &gateway.requests(1).await[0], "node_failed", (0, 0, 0)).await;
}

#[tokio::test]
async fn a_node_that_fails_later_is_not_paid_and_what_came_is_shown() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let body = asked(Order { die_after: Some(3), ..LONG }, json!({"stream": true}));
    let response = gateway.chat(&body).await;
    let id = id(&response);
    let text = response.text().await.unwrap();
    assert!(text.contains("node_failed") && !text.contains("[DONE]"), "{text}");
    paid(gateway, &gateway.request(&id).await, "node_failed", (20, 3, 0)).await;
}

#[tokio::test]
async fn without_a_node_nothing_is_paid() {
    let (gateways, mut mock) = shop().await;
    let gateway = &gateways[0];
    mock.kill().await;
    gateway.nodes(0).await;
    assert_eq!(gateway.chat(&asked(Order::default(), json!({}))).await.status(), 503);
    paid(gateway, &gateway.requests(1).await[0], "no_node", (0, 0, 0)).await;
}

#[tokio::test]
async fn a_revoked_key_pays_for_what_was_delivered() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let customer = gateway.customer("1").await;
    let mut response = ask_as(gateway, &customer, &asked(LONG, json!({"stream": true, "max_tokens": 3000}))).await;
    let id = id(&response);
    let mut text = response.chunk().await.unwrap().unwrap().to_vec();
    let keys = gateway.client.get(gateway.url("/api/keys")).bearer_auth(&customer.management_key).send().await.unwrap();
    let keys: Value = keys.json().await.unwrap();
    let key = keys["data"].as_array().unwrap().iter().find(|key| key["scope"] == "inference").unwrap();
    let revoke = gateway.client.delete(gateway.url(&format!("/api/keys/{}", key["id"].as_str().unwrap())));
    assert_eq!(revoke.bearer_auth(&customer.management_key).send().await.unwrap().status(), 204);
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    let tokens = String::from_utf8(text).unwrap().matches(TOKEN).count() as u64;
    let row = row_of(gateway, &customer, &id).await;
    paid(gateway, &row, "key_revoked", (20, tokens, price(20, tokens))).await;
}

/// Covers an open-ended answer's beginning of 256 tokens, and some of what follows.
const LITTLE: (&str, u64) = ("0.0002", 200_000);

/// True when the answer went on as long as there was credit for it and for the longest prompt that the body can be; what
/// is there is held in steps of 16 tokens at least.
fn used_up(body: &Value, completion: u64) -> bool {
    const TEMPLATE: u64 = 256;
    let bound = |completion| price(body.to_string().len() as u64 + TEMPLATE, completion);
    completion > 256 && bound(completion) <= LITTLE.1 && LITTLE.1 < bound(completion + 16)
}

#[tokio::test]
async fn a_stream_whose_credit_runs_out_ends_in_good_order() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let customer = gateway.customer(LITTLE.0).await;
    let body = open_ended(Order { every_us: 500, ..LONG }, true);
    let response = ask_as(gateway, &customer, &body).await;
    let id = id(&response);
    let ending = Ending::of(&response.text().await.unwrap());
    let tokens = ending.tokens;
    assert!(used_up(&body, tokens), "{tokens}");
    assert_eq!((&ending.reason, &ending.usage["completion_tokens"]), (&json!("length"), &json!(tokens)));
    assert_eq!(&ending.comment["outcome"], &json!("cut_short"));
    paid(gateway, &row_of(gateway, &customer, &id).await, "cut_short", (20, tokens, price(20, tokens))).await;
    assert!(books::balance(&gateway.database, &customer.email).await >= 0);
}

#[tokio::test]
async fn an_answer_in_one_piece_says_that_its_credit_ran_out() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    let customer = gateway.customer(LITTLE.0).await;
    let body = open_ended(LONG, false);
    let response = ask_as(gateway, &customer, &body).await;
    assert_eq!(response.headers()["x-commonwatt-outcome"], "cut_short");
    let id = id(&response);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert!(used_up(&body, tokens), "{tokens}");
    paid(gateway, &row_of(gateway, &customer, &id).await, "cut_short", (20, tokens, price(20, tokens))).await;
}

#[tokio::test]
async fn an_open_ended_answer_goes_on_as_long_as_there_is_credit() {
    let (gateways, _mock) = shop().await;
    let gateway = &gateways[0];
    for streamed in [true, false] {
        let response = gateway.chat(&open_ended(Order { every_us: 500, ..LONG }, streamed)).await;
        let id = id(&response);
        let text = response.text().await.unwrap();
        assert_eq!(text.matches(TOKEN).count(), 3000, "streamed: {streamed}");
        paid(gateway, &gateway.request(&id).await, "completed", (20, 3000, price(20, 3000))).await;
    }
}

async fn cancel(gateway: &Gateway, id: &str) -> u16 {
    let path = gateway.url(&format!("/api/requests/{id}/cancel"));
    gateway.client.post(path).bearer_auth(&gateway.management_key).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_cancelled_answer_ends_in_good_order_on_whichever_replica_it_runs() {
    let gateways = Gateway::replicas(2, &[]).await;
    let _mock = Mock::join(&gateways, MockOffer::default()).await;
    let gateway = &gateways[0];
    for at in &gateways {
        let mut response = gateway.chat(&open_ended(LONG, true)).await;
        let id = id(&response);
        let mut text = response.chunk().await.unwrap().unwrap().to_vec();
        assert_eq!(cancel(at, &id).await, 202);
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.extend_from_slice(&chunk);
        }
        let ending = Ending::of(std::str::from_utf8(&text).unwrap());
        assert_eq!((&ending.reason, &ending.comment["outcome"]), (&json!("length"), &json!("cancelled")));
        assert_eq!(ending.usage["completion_tokens"], ending.tokens);
        let row = gateway.request(&id).await;
        paid(gateway, &row, "cancelled", (20, ending.tokens, price(20, ending.tokens))).await;
        assert_eq!(cancel(at, &id).await, 409, "it has ended");
    }
}
