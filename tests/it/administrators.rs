//! Administrators, their own listener, accounts and users.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Database, Gateway, free_port};

struct Stage {
    gateway: Gateway,
    /// Where administrators act.
    apart: String,
}

impl Stage {
    async fn start() -> Self {
        let apart = format!("127.0.0.1:{}", free_port());
        let gateway = Gateway::start_with(Database::create().await, &[("COMMONWATT_ADMIN_LISTEN", &apart)]).await;
        Self { gateway, apart }
    }

    /// Calls the public listener, or the other one, as the first administrator.
    async fn call(&self, apart: bool, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.call_as(&self.gateway.management_key, apart, (method, path), body).await
    }

    async fn call_as(
        &self,
        token: &str,
        apart: bool,
        (method, path): (Method, &str),
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let url = if apart { format!("http://{}{path}", self.apart) } else { self.gateway.url(path) };
        let mut request = self.gateway.client.request(method, url).bearer_auth(token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap_or_default())
    }
}

#[tokio::test]
async fn administrators_act_on_their_own_listener_alone_when_there_is_one() {
    let stage = Stage::start().await;
    let user = json!({"email": "bob@example.com", "name": "Bob"});
    let (status, refused) = stage.call(false, Method::POST, "/api/users", Some(user.clone())).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(refused["detail"].as_str().unwrap().contains("COMMONWATT_ADMIN_LISTEN"), "{refused}");
    let (_, me) = stage.call(false, Method::GET, "/api/me", None).await;
    assert_eq!((&me["is_admin"], &me["administers_elsewhere"]), (&json!(false), &json!(true)));
    let (status, _) = stage.call(false, Method::GET, "/api/keys", None).await;
    assert_eq!(status, StatusCode::OK, "what everybody may do, they may do here");
    let (status, _) = stage.call(false, Method::GET, "/api/accounts?all=true", None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    let (_, me) = stage.call(true, Method::GET, "/api/me", None).await;
    assert_eq!((&me["is_admin"], &me["administers_elsewhere"]), (&json!(true), &json!(false)));
    let (status, _) = stage.call(true, Method::POST, "/api/users", Some(user)).await;
    assert_eq!(status, StatusCode::CREATED);
    let page = stage.gateway.client.get(format!("http://{}/console/", stage.apart)).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK, "the console is there too");
}

#[tokio::test]
async fn a_new_user_signs_in_with_the_first_password_and_chooses_another() {
    let stage = Stage::start().await;
    let new = json!({"email": "Bob@Example.com", "name": "Bob"});
    let (_, bob) = stage.call(true, Method::POST, "/api/users", Some(new.clone())).await;
    let (status, _) = stage.call(true, Method::POST, "/api/users", Some(new)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    for wrong in [
        json!({"email": "nobody", "name": "Bob"}),
        json!({"email": "a@b.c", "name": ""}),
        json!({"email": "a\u{0}@b.c", "name": "Bob"}),
        json!({"email": "a@b.c"}),
    ] {
        let (status, problem) = stage.call(true, Method::POST, "/api/users", Some(wrong.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
    }
    let (_, found) = stage.call(true, Method::GET, "/api/accounts?all=true&text=BOB@example", None).await;
    assert_eq!(found["data"][0]["id"], bob["account"]);
    assert_eq!(found["data"][0]["members"][0]["email"], "bob@example.com");
    let (_, all) = stage.call(true, Method::GET, "/api/accounts?all=true&limit=1", None).await;
    let next = format!("/api/accounts?all=true&limit=1&before={}", all["next"].as_str().unwrap());
    let (_, rest) = stage.call(true, Method::GET, &next, None).await;
    assert_ne!(rest["data"][0]["id"], all["data"][0]["id"]);

    let first = bob["password"].as_str().unwrap();
    let session = async |password: &str| {
        let tokens = stage.gateway.sign_in("bob@example.com", password).await;
        tokens["access_token"].as_str().unwrap().to_owned()
    };
    let other = stage.gateway.sign_in("bob@example.com", first).await;
    let token = session(first).await;
    let change = async |current: &str, new: &str| {
        let body = json!({"current": current, "new": new});
        stage.call_as(&token, false, (Method::PUT, "/api/me/password"), Some(body)).await.0
    };
    assert_eq!(change("not the one", "a longer password").await, StatusCode::FORBIDDEN);
    assert_eq!(change(first, "short").await, StatusCode::BAD_REQUEST);
    assert_eq!(change(first, "a longer password").await, StatusCode::NO_CONTENT);
    let refresh = json!({"refresh_token": other["refresh_token"]});
    let (status, _) = stage.call(false, Method::POST, "/api/sessions/refresh", Some(refresh)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "whoever else is signed in as Bob is out");
    let (status, me) = stage.call_as(&session("a longer password").await, false, (Method::GET, "/api/me"), None).await;
    assert_eq!((status, &me["is_admin"]), (StatusCode::OK, &json!(false)));
    let (status, own) = stage.call_as(&token, true, (Method::GET, "/api/accounts"), None).await;
    assert_eq!((status, own["data"].as_array().unwrap().len()), (StatusCode::OK, 1));
    let (status, _) = stage.call_as(&token, true, (Method::GET, "/api/accounts?all=true"), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a listener makes nobody an administrator");
}

#[tokio::test]
async fn whoever_has_forgotten_the_password_gets_another_one_from_an_administrator() {
    let stage = Stage::start().await;
    let new = json!({"email": "bob@example.com", "name": "Bob"});
    let (_, bob) = stage.call(true, Method::POST, "/api/users", Some(new)).await;
    let first = bob["password"].as_str().unwrap();
    let signed_in = stage.gateway.sign_in("bob@example.com", first).await;
    let token = signed_in["access_token"].as_str().unwrap();
    let path = format!("/api/users/{}/password", bob["id"].as_str().unwrap());
    let (status, _) = stage.call_as(token, true, (Method::POST, &path), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "Bob is no administrator");
    let (status, _) = stage.call(false, Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "nor is anybody here");
    let (_, me) = stage.call(true, Method::GET, "/api/me", None).await;
    let own = format!("/api/users/{}/password", me["id"].as_str().unwrap());
    let (status, refused) = stage.call(true, Method::POST, &own, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(refused["detail"].as_str().unwrap().contains("PUT /api/me/password"), "{refused}");
    let nobody = format!("/api/users/{}/password", uuid::Uuid::now_v7());
    assert_eq!(stage.call(true, Method::POST, &nobody, None).await.0, StatusCode::NOT_FOUND);

    let (status, reset) = stage.call(true, Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    let refresh = json!({"refresh_token": signed_in["refresh_token"]});
    let (status, _) = stage.call(false, Method::POST, "/api/sessions/refresh", Some(refresh)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "whoever is signed in as Bob is out");
    let again = json!({"email": "bob@example.com", "password": first});
    assert_eq!(stage.call(false, Method::POST, "/api/sessions", Some(again)).await.0, StatusCode::UNAUTHORIZED);
    stage.gateway.sign_in("bob@example.com", reset["password"].as_str().unwrap()).await;
}

#[tokio::test]
async fn an_account_is_found_by_its_id_by_whoever_may_see_it() {
    let stage = Stage::start().await;
    let new = json!({"email": "bob@example.com", "name": "Bob"});
    let (_, bob) = stage.call(true, Method::POST, "/api/users", Some(new)).await;
    let signed_in = stage.gateway.sign_in("bob@example.com", bob["password"].as_str().unwrap()).await;
    let token = signed_in["access_token"].as_str().unwrap();
    let (_, me) = stage.call(true, Method::GET, "/api/me", None).await;
    let path = |account: &Value| format!("/api/accounts/{}", account.as_str().unwrap());
    let (bobs, admins) = (path(&bob["account"]), path(&me["account"]));
    let (status, own) = stage.call_as(token, false, (Method::GET, &bobs), None).await;
    assert_eq!((status, &own["members"][0]["user"]), (StatusCode::OK, &bob["id"]));
    let (status, _) = stage.call_as(token, false, (Method::GET, &admins), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, found) = stage.call(true, Method::GET, &bobs, None).await;
    assert_eq!((status, &found["name"]), (StatusCode::OK, &json!("Bob")));
    let (status, _) = stage.call(true, Method::GET, &path(&json!(uuid::Uuid::now_v7())), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
