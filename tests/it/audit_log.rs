//! Whatever is to change something is noted, done or refused, without what was in it.

use serde_json::{Value, json};
use tests::Gateway;

async fn acts(gateway: &Gateway, key: &str, query: &str) -> Value {
    let url = gateway.url(&format!("/api/audit-log{query}"));
    gateway.client.get(url).bearer_auth(key).send().await.unwrap().json().await.unwrap()
}

fn told(acts: &Value) -> Vec<(String, i64)> {
    let act = |act: &Value| (act["act"].as_str().unwrap().to_owned(), act["status"].as_i64().unwrap());
    acts["data"].as_array().unwrap().iter().map(act).collect()
}

#[tokio::test]
async fn who_changes_something_is_noted_and_what_was_in_it_is_not() {
    let gateway = Gateway::start().await;
    let (one, other) = (gateway.customer("0").await, gateway.customer("0").await);
    let call = |method: reqwest::Method, path: &str, body: Value| {
        let asked = gateway.client.request(method, gateway.url(path)).bearer_auth(&one.management_key).json(&body);
        async move { asked.send().await.unwrap() }
    };
    let made = call(reqwest::Method::POST, "/api/keys", json!({"name": "a very private name"})).await;
    let id = made.headers()["x-request-id"].to_str().unwrap().to_owned();
    let made: Value = made.json().await.unwrap();
    let path = format!("/api/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(call(reqwest::Method::POST, "/api/keys", json!({"name": ""})).await.status(), 400);
    assert_eq!(call(reqwest::Method::DELETE, &path, json!({})).await.status(), 204);
    assert_eq!(call(reqwest::Method::PUT, "/api/aliases/gpt", json!({"model": "m"})).await.status(), 403);
    assert_eq!(call(reqwest::Method::GET, "/api/keys", json!({})).await.status(), 200);

    let own = acts(&gateway, &one.management_key, "").await;
    let expected = [
        ("PUT /api/aliases/gpt".to_owned(), 403),
        (format!("DELETE {path}"), 204),
        ("POST /api/keys".to_owned(), 400),
        ("POST /api/keys".to_owned(), 201),
    ];
    assert_eq!(told(&own), expected);
    let first = &own["data"][3];
    assert_eq!((&first["id"], &first["email"]), (&json!(id), &json!(one.email)));
    assert_eq!((&first["account"], &first["address"]), (&json!(one.account), &json!("127.0.0.1")));
    assert!(first["key"].is_string() && first["session"].is_null());
    assert!(!own.to_string().contains("private") && !own.to_string().contains(made["key"].as_str().unwrap()));
    let page = acts(&gateway, &one.management_key, "?limit=2").await;
    let next = acts(&gateway, &one.management_key, &format!("?before={}", page["next"].as_str().unwrap())).await;
    assert_eq!(told(&next), expected[2..]);

    assert_eq!(told(&acts(&gateway, &other.management_key, "").await), []);
    let forbidden = acts(&gateway, &other.management_key, "?all=true").await;
    assert_eq!(forbidden["status"], 403);
    let all = told(&acts(&gateway, &gateway.management_key, "?all=true&limit=200").await);
    assert!(all.contains(&(format!("admin create-user {}", other.email), 0)), "{all:?}");
    assert!(expected.iter().all(|act| all.contains(act)));
}

#[tokio::test]
async fn signing_in_is_noted_whether_it_succeeds_or_not() {
    let gateway = Gateway::start().await;
    gateway.create_user("ada@example.com", "a long password").await;
    let wrong = json!({"email": "ada@example.com", "password": "a wrong password"});
    let refused = gateway.client.post(gateway.url("/api/sessions")).json(&wrong).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let tokens = gateway.sign_in("ada@example.com", "a long password").await;
    let own = acts(&gateway, tokens["access_token"].as_str().unwrap(), "").await;
    let signed_in = |status| ("POST /api/sessions".to_owned(), status);
    assert_eq!(told(&own), [signed_in(201), signed_in(401)]);
    assert!(!own.to_string().contains("password"));
}
