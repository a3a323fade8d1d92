//! OpenAI's official SDKs, unmodified, against the real thing.

use std::process::Output;

use tests::{Gateway, MODEL, Node};

/// The runner's word for "this machine lacks the language".
const SKIPPED: i32 = 3;

async fn run(language: &str) {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let runner = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/run");
    let Output { status, stdout, stderr } = tokio::process::Command::new(runner)
        .arg(language)
        .env("BASE_URL", gateway.url("/v1"))
        .env("API_KEY", &gateway.key)
        .env("MODEL", MODEL)
        .output()
        .await
        .unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
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
