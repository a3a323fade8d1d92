//! The console in a real browser, against a real gateway, node and model.

use serde_json::json;
use tests::{Database, Gateway, MODEL, Node};

use crate::sdk::{TURN, judge};

const EMAIL: &str = "admin@localhost";

#[tokio::test]
async fn every_page_works_in_a_browser() {
    let _turn = TURN.lock().await;
    // A few answers earn little, and it is paid out all the same.
    let settings = [("COMMONWATT_MINIMUM_PAYOUT", "0.000000001"), ("COMMONWATT_ALLOWED_NETWORKS", "127.0.0.0/8")];
    let gateway = Gateway::start_with(Database::create().await, &settings).await;
    let partner = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 8});
    for _ in 0..3 {
        assert!(gateway.chat(&body).await.status().is_success());
    }
    gateway.requests(3).await;
    let runner = concat!(env!("CARGO_MANIFEST_DIR"), "/console/run");
    let ran = tokio::process::Command::new(runner)
        .env("CONSOLE_URL", gateway.url("/console/"))
        .env("EMAIL", EMAIL)
        .env("PASSWORD", gateway.first_password())
        .env("API_KEY", &gateway.key)
        .env("ADMIN_TOKEN", &gateway.management_key)
        .env("MODEL", MODEL)
        .env("PARTNER_URL", partner.url(""))
        .output()
        .await
        .unwrap();
    judge(&ran, &gateway);
}

#[tokio::test]
async fn a_browser_is_led_to_the_console_and_nobody_else_is() {
    let gateway = Gateway::start().await;
    let root = gateway.client.get(gateway.url("/"));
    let page = root.try_clone().unwrap().header("accept", "text/html,*/*;q=0.8").send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/console/"));
    assert_eq!(page.headers()["cross-origin-opener-policy"], "same-origin");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert!(page.headers().contains_key("x-request-id"));
    assert_eq!(root.send().await.unwrap().status(), 404);
}
