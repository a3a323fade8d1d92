//! `/v1/responses`, end to end: the same work as a chat completion, told in other events, and kept.

use openapi::sse::Scanner;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::mock::{Mock, MockOffer, Order, TOKEN};
use tests::{Database, Gateway, MODEL};

const SHORT: Order = Order { tokens: 3, every_us: 0, prompt_tokens: 20, overclaim: 0, die_after: None, trouble: None };

async fn shop(settings: &[(&str, &str)]) -> (Gateway, Mock) {
    let gateways = vec![Gateway::start_with(Database::create().await, settings).await];
    let mock = Mock::join(&gateways, MockOffer::default()).await;
    (gateways.into_iter().next().unwrap(), mock)
}

fn body(order: Order, more: Value) -> Value {
    let mut body =
        json!({"model": MODEL, "input": "Tell me about the sea.", "user": serde_json::to_string(&order).unwrap()});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn create(gateway: &Gateway, body: &Value) -> Value {
    let response = gateway.ask("/v1/responses", body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

async fn call(gateway: &Gateway, key: &str, method: Method, path: &str) -> (u16, Value) {
    let request = gateway.client.request(method, gateway.url(&format!("/v1/responses/{path}"))).bearer_auth(key);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn events(response: Response) -> (Vec<Value>, String) {
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = response.text().await.unwrap();
    let events = Scanner::new(1 << 20).push(text.as_bytes()).unwrap();
    (events.iter().filter_map(|event| Some(serde_json::from_str(event.data()?).unwrap())).collect(), text)
}

fn id(response: &Value) -> &str {
    response["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_response_is_computed_paid_and_kept_as_it_was_answered() {
    let (gateway, _mock) = shop(&[]).await;
    let response = create(&gateway, &body(SHORT, json!({"metadata": {"a": "b"}}))).await;
    assert_eq!((&response["status"], &response["store"]), (&json!("completed"), &json!(true)));
    assert_eq!(response["output"][0]["content"][0]["text"], TOKEN.repeat(3));
    assert_eq!((&response["usage"]["input_tokens"], &response["usage"]["output_tokens"]), (&json!(20), &json!(3)));
    let request = id(&response).trim_start_matches("resp_").parse::<uuid::Uuid>().unwrap().to_string();
    let row = gateway.request(&request).await;
    assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("completed"), &json!(3)));
    let endpoint =
        sqlx::query_scalar::<_, String>("select endpoint from requests").fetch_one(&gateway.database.pool).await;
    assert_eq!(endpoint.unwrap(), "responses");
    assert_eq!(call(&gateway, &gateway.key, Method::GET, id(&response)).await, (200, response.clone()));
    let (status, items) = call(&gateway, &gateway.key, Method::GET, &format!("{}/input_items", id(&response))).await;
    assert_eq!((status, &items["data"][0]["content"][0]["text"]), (200, &json!("Tell me about the sea.")));
    let cancel = call(&gateway, &gateway.key, Method::POST, &format!("{}/cancel", id(&response))).await;
    assert_eq!(cancel.0, 400, "it is not computed in the background");
    let stranger = gateway.customer("1").await.key;
    for (method, path) in
        [(Method::GET, ""), (Method::DELETE, ""), (Method::GET, "/input_items"), (Method::POST, "/cancel")]
    {
        let (status, error) = call(&gateway, &stranger, method, &format!("{}{path}", id(&response))).await;
        assert_eq!((status, &error["error"]["type"]), (404, &json!("invalid_request_error")));
    }
    let deleted = json!({"id": id(&response), "object": "response", "deleted": true});
    assert_eq!(call(&gateway, &gateway.key, Method::DELETE, id(&response)).await, (200, deleted));
    assert_eq!(call(&gateway, &gateway.key, Method::GET, id(&response)).await.0, 404);
    gateway.audit().await;
}

#[tokio::test]
async fn a_stream_tells_the_same_in_events_and_is_kept_before_the_last_one() {
    let (gateway, _mock) = shop(&[]).await;
    let streamed = gateway.ask("/v1/responses", &body(SHORT, json!({"stream": true}))).send().await.unwrap();
    let (events, text) = events(streamed).await;
    assert!(text.contains("\n: commonwatt {") && text.ends_with("\n: end\n\n") && !text.contains("[DONE]"), "{text}");
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, TOKEN.repeat(3));
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["status"], &last["usage"]["output_tokens"]), (&json!("completed"), &json!(3)));
    assert_eq!(call(&gateway, &gateway.key, Method::GET, id(last)).await, (200, last.clone()));
}

#[tokio::test]
async fn a_limit_is_told_and_a_lost_node_is_a_failure() {
    let (gateway, _mock) = shop(&[]).await;
    let cut = create(&gateway, &body(Order { tokens: 9, ..SHORT }, json!({"max_output_tokens": 2}))).await;
    assert_eq!(
        (&cut["status"], &cut["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    let dies = Order { tokens: 100, every_us: 1000, die_after: Some(2), ..SHORT };
    let streamed = gateway.ask("/v1/responses", &body(dies, json!({"stream": true}))).send().await.unwrap();
    let (events, _) = events(streamed).await;
    let [.., error, failed] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("node_failed")));
    assert_eq!(
        (&failed["type"], &failed["response"]["error"]["code"]),
        (&json!("response.failed"), &json!("server_error"))
    );
    assert_eq!(
        call(&gateway, &gateway.key, Method::GET, id(&failed["response"])).await.0,
        404,
        "failures are not kept"
    );
}

#[tokio::test]
async fn a_conversation_goes_on_from_what_is_kept() {
    let (gateway, _mock) = shop(&[]).await;
    let first = create(&gateway, &body(SHORT, json!({"instructions": "Be brief."}))).await;
    let second =
        create(&gateway, &body(SHORT, json!({"input": "And then?", "previous_response_id": id(&first)}))).await;
    let path = format!("{}/input_items?order=asc", id(&second));
    let (_, items) = call(&gateway, &gateway.key, Method::GET, &path).await;
    let texts: Vec<&str> =
        items["data"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Tell me about the sea.", &TOKEN.repeat(3), "And then?"]);
    let reference = json!({"type": "item_reference", "id": first["output"][0]["id"]});
    let referring =
        create(&gateway, &body(SHORT, json!({"input": [reference, {"role": "user", "content": "Why?"}]}))).await;
    assert_eq!(referring["status"], "completed");
    let stranger = gateway.customer("1").await.key;
    for (more, status, code) in [
        (json!({"previous_response_id": id(&first)}), 400, json!("previous_response_not_found")),
        (json!({"input": [reference]}), 404, Value::Null),
    ] {
        let ask = gateway.client.post(gateway.url("/v1/responses")).bearer_auth(&stranger).json(&body(SHORT, more));
        let refused = ask.send().await.unwrap();
        assert_eq!(refused.status(), status);
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], code);
    }
}

#[tokio::test]
async fn nothing_is_kept_of_what_shall_not_be() {
    let (gateway, _mock) = shop(&[]).await;
    let (never, _other) = shop(&[("COMMONWATT_STORE_RESPONSES", "false")]).await;
    for (gateway, more) in [(&gateway, json!({"store": false})), (&never, json!({}))] {
        let response = create(gateway, &body(SHORT, more)).await;
        assert_eq!(response["store"], false);
        assert_eq!(call(gateway, &gateway.key, Method::GET, id(&response)).await.0, 404);
        let kept =
            sqlx::query_scalar::<_, i64>("select count(*) from responses").fetch_one(&gateway.database.pool).await;
        assert_eq!(kept.unwrap(), 0);
    }
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_response_and_pays_once() {
    let (gateway, _mock) = shop(&[]).await;
    for streamed in [false, true] {
        let body = body(SHORT, json!({"stream": streamed}));
        let ask = || gateway.ask("/v1/responses", &body).header("idempotency-key", format!("key-{streamed}")).send();
        let first = ask().await.unwrap();
        assert!(!first.headers().contains_key("idempotent-replayed"));
        let text = first.text().await.unwrap();
        let again = ask().await.unwrap();
        assert_eq!(again.headers()["idempotent-replayed"], "true", "streamed: {streamed}");
        assert_eq!(again.text().await.unwrap(), text);
    }
    assert_eq!(gateway.requests(2).await.len(), 2);
}

#[tokio::test]
async fn what_is_wrong_is_named_in_the_words_of_this_api() {
    let (gateway, _mock) = shop(&[]).await;
    for (more, param) in [
        (json!({"background": true}), "background"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tempratur": 1}), "tempratur"),
        (json!({"model": "gpt-9"}), "model"),
    ] {
        let refused = gateway.ask("/v1/responses", &body(SHORT, more)).send().await.unwrap();
        let error: Value = refused.json().await.unwrap();
        assert_eq!(error["error"]["param"], param);
    }
}
