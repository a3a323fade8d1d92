//! Keys: made, used, renamed, revoked, and nobody else's business.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Behaviour, Gateway, ScriptedNode, conversation};

async fn new_key(gateway: &Gateway, name: &str) -> Value {
    let request =
        gateway.client.post(gateway.url("/api/keys")).bearer_auth(&gateway.management_key).json(&json!({"name": name}));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

async fn status_with(gateway: &Gateway, key: &str) -> u16 {
    gateway.client.get(gateway.url("/v1/models")).bearer_auth(key).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second_live_streams_included() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 100_000, every_ms: 5 }).await;
    let made = new_key(&gateway, "short-lived").await;
    let key = made["key"].as_str().unwrap();
    let stream = gateway
        .client
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth(key)
        .json(&conversation(json!({"stream": true})));
    let mut stream = stream.send().await.unwrap();
    stream.chunk().await.unwrap().unwrap();

    let revoked = gateway.client.delete(gateway.url(&format!("/api/keys/{}", made["id"].as_str().unwrap())));
    assert_eq!(revoked.bearer_auth(&gateway.management_key).send().await.unwrap().status(), 204);
    let since = Instant::now();
    let mut last = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        last = String::from_utf8(chunk.to_vec()).unwrap();
    }
    assert!(since.elapsed() < Duration::from_secs(1), "the stream went on for {:?}", since.elapsed());
    assert!(last.contains("invalid_api_key") && !last.contains("[DONE]"), "{last}");
    assert_eq!(status_with(&gateway, key).await, 401);
    let row = &gateway.requests(1).await[0];
    assert_eq!((&row["outcome"], &row["status"]), (&json!("key_revoked"), &json!(401)));
    assert!(row["completion_tokens"].as_u64() > Some(0));
    assert_eq!(status_with(&gateway, &gateway.key).await, 200, "other keys go on");
}

#[tokio::test]
async fn a_revocation_on_one_replica_reaches_the_other() {
    let one = Gateway::start().await;
    let made = new_key(&one, "everywhere").await;
    // The same database and, since keys are hashed with it, the same secret.
    let two = one.replica().await;
    let key = made["key"].as_str().unwrap();
    assert_eq!(status_with(&two, key).await, 200);
    let revoke = one
        .client
        .delete(one.url(&format!("/api/keys/{}", made["id"].as_str().unwrap())))
        .bearer_auth(&one.management_key);
    assert_eq!(revoke.send().await.unwrap().status(), 204);
    tests::eventually("the other replica refuses", Duration::from_secs(1), || async {
        (status_with(&two, key).await == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_are_shown_once_renamed_and_kept_apart_by_purpose() {
    let gateway = Gateway::start().await;
    let made = new_key(&gateway, "first").await;
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with(made["prefix"].as_str().unwrap()));
    let rename = gateway.client.patch(gateway.url(&format!("/api/keys/{id}"))).bearer_auth(&gateway.management_key);
    assert_eq!(rename.json(&json!({"name": "second"})).send().await.unwrap().status(), 204);
    let list = gateway.get("/api/keys").await;
    assert_eq!(list["data"][0]["name"], "second");
    assert!(!list.to_string().contains(key), "a list never shows a key");
    assert_eq!(status_with(&gateway, &gateway.management_key).await, 401, "a management key asks no model");
    let me = gateway.client.get(gateway.url("/api/me")).bearer_auth(key).send().await.unwrap();
    assert_eq!(me.status(), 403, "an inference key manages nothing");
    let mut altered = key.to_owned();
    altered.replace_range(altered.len() - 1.., if key.ends_with('a') { "b" } else { "a" });
    assert_eq!(status_with(&gateway, &altered).await, 401);
    assert!(!gateway.log().contains(key.rsplit('-').next().unwrap()), "no secret in the log");
}

#[tokio::test]
async fn another_account_sees_and_touches_nothing() {
    let gateway = Gateway::start().await;
    let made = new_key(&gateway, "mine").await;
    gateway.create_user("eve@example.com", "a long password").await;
    let eve = gateway.sign_in("eve@example.com", "a long password").await;
    let path = gateway.url(&format!("/api/keys/{}", made["id"].as_str().unwrap()));
    let token = eve["access_token"].as_str().unwrap();
    assert_eq!(gateway.client.delete(&path).bearer_auth(token).send().await.unwrap().status(), 404);
    let list: Value =
        gateway.client.get(gateway.url("/api/keys")).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["data"], json!([]));
    assert_eq!(status_with(&gateway, made["key"].as_str().unwrap()).await, 200);
}

#[tokio::test]
async fn bad_names_and_unknown_fields_are_refused() {
    let gateway = Gateway::start().await;
    for body in [
        json!({"name": ""}),
        json!({"name": "x".repeat(101)}),
        json!({"name": "a\u{0}b"}),
        json!({"name": "a", "budget": 5}),
        json!({}),
    ] {
        let response = gateway
            .client
            .post(gateway.url("/api/keys"))
            .bearer_auth(&gateway.management_key)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
}

#[tokio::test]
async fn a_key_is_used_from_its_networks_whatever_the_client_says_of_itself() {
    let gateway = Gateway::start().await;
    let made = new_key(&gateway, "bound").await;
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let path = gateway.url(&format!("/api/keys/{id}"));
    for (network, status) in [("127.0.0.0/8", 200), ("203.0.113.7", 403)] {
        let limit = gateway.client.patch(&path).bearer_auth(&gateway.management_key);
        let limit = limit.json(&json!({"limits": {"networks": [network]}})).send().await.unwrap();
        assert_eq!(limit.status(), 204);
        tests::eventually("the list of networks holds", Duration::from_secs(1), || async {
            let forged = gateway.client.get(gateway.url("/v1/models")).bearer_auth(key);
            let forged = forged.header("x-forwarded-for", "203.0.113.7").send().await.unwrap();
            (forged.status() == status).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_rotated_key_ends_and_its_successor_goes_on() {
    let gateway = Gateway::start().await;
    let made = new_key(&gateway, "worn").await;
    let old = made["key"].as_str().unwrap();
    assert_eq!(status_with(&gateway, old).await, 200);
    let path = gateway.url(&format!("/api/keys/{}/rotate", made["id"].as_str().unwrap()));
    let rotate = gateway.client.post(&path).bearer_auth(&gateway.management_key).json(&json!({"overlap_seconds": 0}));
    let successor: Value = rotate.send().await.unwrap().json().await.unwrap();
    assert_eq!(successor["name"], "worn");
    assert_eq!(status_with(&gateway, successor["key"].as_str().unwrap()).await, 200);
    let refusal = tests::eventually("the old key has expired", Duration::from_secs(1), || async {
        let response = gateway.client.get(gateway.url("/v1/models")).bearer_auth(old).send().await.unwrap();
        (response.status() == 401).then_some(response)
    })
    .await;
    let refusal: Value = refusal.json().await.unwrap();
    assert_eq!(refusal["error"]["code"], "invalid_api_key");
    assert!(refusal["error"]["message"].as_str().unwrap().contains("expired"), "{refusal}");
}
