//! OpenAI's official SDKs, the frameworks that people build agents with, and tests that others wrote, unmodified, against the
//! real thing.

use std::process::Output;

use serde_json::json;
use tests::{Gateway, MODEL, Node};
use tokio::sync::Mutex;

/// A runner's word for "this machine lacks what I need".
const SKIPPED: i32 = 3;

/// Each suite keeps the machine busy: two at once would take nodes for dead that only wait for a processor.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

async fn run(suite: &str) {
    let _turn = TURN.lock().await;
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let customer = gateway.customer("1").await;
    let limited = gateway.limited_key(&customer, &json!({"requests_per_minute": 0})).await;
    let poor = gateway.customer("0").await;
    let runner = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/run");
    let ran = tokio::process::Command::new(runner)
        .arg(suite)
        .env("BASE_URL", gateway.url("/v1"))
        .env("API_KEY", &gateway.key)
        .env("MODEL", MODEL)
        .env("MANAGEMENT_KEY", &customer.management_key)
        .env("ADMIN_TOKEN", &gateway.management_key)
        .env("KEY_WITHOUT_CREDIT", poor.key)
        .env("KEY_WITHOUT_REQUESTS", limited)
        .output()
        .await
        .unwrap();
    judge(&ran, &gateway);
}

/// Fails with what a suite said, and the gateway's log, unless it has passed, or this machine lacks what it needs.
pub(crate) fn judge(Output { status, stdout, stderr }: &Output, gateway: &Gateway) {
    let said = format!("{}\n{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    if status.code() == Some(SKIPPED) {
        println!("{said}");
        return;
    }
    assert!(status.success(), "{said}\n{}", gateway.log());
}

#[tokio::test]
async fn the_python_sdk_works_unmodified() {
    run("python").await;
}

#[tokio::test]
async fn the_node_sdk_works_unmodified() {
    run("node").await;
}

#[tokio::test]
async fn openais_agents_sdk_works_unmodified() {
    run("agents").await;
}

#[tokio::test]
async fn vercels_ai_sdk_works_unmodified() {
    run("vercel").await;
}

#[tokio::test]
async fn llamaindex_works_unmodified() {
    run("llamaindex").await;
}

#[tokio::test]
async fn langchains_own_tests_pass() {
    run("langchain").await;
}

#[tokio::test]
async fn the_description_holds() {
    run("description").await;
}

#[tokio::test]
async fn the_examples_of_the_documentation_run() {
    run("examples").await;
}
