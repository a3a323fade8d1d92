//! Signing in and out.

use serde_json::{Value, json};
use tests::Gateway;

async fn post(gateway: &Gateway, path: &str, body: Value) -> (u16, Value) {
    let response = gateway.client.post(gateway.url(path)).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_refresh_token_works_once_and_a_stolen_one_ends_the_session() {
    let gateway = Gateway::start().await;
    gateway.create_user("Ada@Example.com", "a long password").await;
    let first = gateway.sign_in("ada@example.COM", "a long password").await;
    let me = gateway
        .client
        .get(gateway.url("/api/me"))
        .bearer_auth(first["access_token"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(me.json::<Value>().await.unwrap()["email"], "ada@example.com");

    let (status, second) =
        post(&gateway, "/api/sessions/refresh", json!({"refresh_token": first["refresh_token"]})).await;
    assert_eq!(status, 200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let (status, _) = post(&gateway, "/api/sessions/refresh", json!({"refresh_token": first["refresh_token"]})).await;
    assert_eq!(status, 401, "used before");
    let (status, _) = post(&gateway, "/api/sessions/refresh", json!({"refresh_token": second["refresh_token"]})).await;
    assert_eq!(status, 401, "two people had it: the session is over");
}

#[tokio::test]
async fn signing_out_ends_the_session_and_nonsense_never_begins_one() {
    let gateway = Gateway::start().await;
    gateway.create_user("ada@example.com", "a long password").await;
    let tokens = gateway.sign_in("ada@example.com", "a long password").await;
    let out = gateway
        .client
        .delete(gateway.url("/api/sessions/current"))
        .bearer_auth(tokens["access_token"].as_str().unwrap());
    assert_eq!(out.send().await.unwrap().status(), 204);
    let (status, _) = post(&gateway, "/api/sessions/refresh", json!({"refresh_token": tokens["refresh_token"]})).await;
    assert_eq!(status, 401);
    for email in ["ada@example.com", "nobody@example.com", "a\u{0}b"] {
        let (status, problem) =
            post(&gateway, "/api/sessions", json!({"email": email, "password": "wrong password"})).await;
        assert_eq!(
            (status, problem["detail"].as_str()),
            (401, Some("The address or the password is wrong.")),
            "{email}"
        );
    }
    let (status, _) =
        post(&gateway, "/api/sessions", json!({"email": "ada@example.com", "password": "x", "remember": true})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let gateway = Gateway::start().await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(
            post(&gateway, "/api/sessions", json!({"email": "ada@example.com", "password": "a wrong guess"})).await.0,
        );
    }
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
}
