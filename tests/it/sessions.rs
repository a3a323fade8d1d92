//! Signing in and out.

use serde_json::{Value, json};
use tests::{Database, Gateway};

async fn post(gateway: &Gateway, path: &str, body: Value) -> (u16, Value) {
    let response = gateway.client.post(gateway.url(path)).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_refresh_token_gives_one_next_token_even_if_the_reply_was_lost() {
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
    let (status, again) =
        post(&gateway, "/api/sessions/refresh", json!({"refresh_token": first["refresh_token"]})).await;
    assert_eq!((status, &again["refresh_token"]), (200, &second["refresh_token"]), "the same one");
    let (status, _) = post(&gateway, "/api/sessions/refresh", json!({"refresh_token": again["refresh_token"]})).await;
    assert_eq!(status, 200);
    let (status, _) = post(&gateway, "/api/sessions/refresh", json!({"refresh_token": first["refresh_token"]})).await;
    assert_eq!(status, 401, "the next one was used since");
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

/// The cookie that a reply sets: its value, and everything that it says beside.
fn cookie(response: &reqwest::Response) -> Option<(String, String)> {
    let text = response.headers().get("set-cookie")?.to_str().unwrap().to_owned();
    let (pair, attributes) = text.split_once("; ").unwrap();
    Some((pair.to_owned(), attributes.to_owned()))
}

#[tokio::test]
async fn a_browsers_refresh_token_lives_in_a_cookie_that_works_once_and_is_cleared() {
    let gateway = Gateway::start_with(Database::create().await, &[("COMMONWATT_TRUSTED_PROXIES", "127.0.0.1")]).await;
    gateway.create_user("ada@example.com", "a long password").await;
    let credentials = json!({"email": "ada@example.com", "password": "a long password", "cookie": true});
    let sign_in = gateway.client.post(gateway.url("/api/sessions")).json(&credentials);
    let response = sign_in.try_clone().unwrap().send().await.unwrap();
    let (first, attributes) = cookie(&response).unwrap();
    assert_eq!(attributes, "Path=/api/sessions; Max-Age=2592000; HttpOnly; SameSite=Strict");
    assert!(response.json::<Value>().await.unwrap().get("refresh_token").is_none());
    let by_tls = sign_in.header("x-forwarded-proto", "https").send().await.unwrap();
    assert!(cookie(&by_tls).unwrap().1.ends_with("; Secure"));

    let refresh = async |cookie: &str| {
        let request = gateway.client.post(gateway.url("/api/sessions/refresh")).header("cookie", cookie);
        request.json(&json!({})).send().await.unwrap()
    };
    let response = refresh(&first).await;
    let (second, _) = cookie(&response).unwrap();
    assert_eq!((response.status().as_u16(), first == second), (200, false));
    let tokens: Value = response.json().await.unwrap();
    assert!(tokens.get("refresh_token").is_none());

    let out = gateway.client.delete(gateway.url("/api/sessions/current")).header("cookie", &second);
    let out = out.bearer_auth(tokens["access_token"].as_str().unwrap()).send().await.unwrap();
    let (cleared, attributes) = cookie(&out).unwrap();
    assert_eq!((out.status().as_u16(), cleared.as_str()), (204, "commonwatt_session="));
    assert!(attributes.starts_with("Path=/api/sessions; Max-Age=0;"), "{attributes}");
    assert_eq!(refresh(&second).await.status(), 401, "the session is over");
    assert_eq!(post(&gateway, "/api/sessions/refresh", json!({})).await.0, 401, "no token anywhere");
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let gateway = Gateway::start().await;
    let guess = json!({"email": "ada@example.com", "password": "a wrong guess"});
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(post(&gateway, "/api/sessions", guess.clone()).await.0);
    }
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
    let refused = gateway.client.post(gateway.url("/api/sessions")).json(&guess).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "300");
}
