//! Requests that the gateway asks of its own accord, to see what nodes claim for work that it knows.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Gateway, Node, conversation, eventually};

/// One follows each request within a minute, at a moment that tells the node nothing.
const WITHIN: Duration = Duration::from_secs(90);
/// As many as are asked for: all of them alike.
const TOKENS: u64 = 48;

#[tokio::test]
async fn a_node_gets_requests_of_the_gateway_s_own_that_another_account_pays() {
    let first = Gateway::start().await;
    let payer = first.customer("10").await;
    let file = std::env::temp_dir().join(format!("sampling-key-{}", payer.account));
    std::fs::write(&file, format!("{}\n", payer.key)).unwrap();
    let settings = [("COMMONWATT_SAMPLING_KEY_FILE", file.to_str().unwrap()), ("COMMONWATT_SAMPLING_ONE_IN", "1")];
    let gateway = first.replica_with(&settings).await;
    let _node = Node::join(&gateway, &[]).await;
    let asked = gateway.chat(&conversation(json!({}))).await;
    assert_eq!(asked.status(), 200);
    let of_payer = || async {
        let rows = gateway.client.get(gateway.url("/api/requests")).bearer_auth(&payer.management_key).send().await;
        let rows: Value = rows.ok()?.json().await.ok()?;
        rows["data"].as_array()?.first().cloned()
    };
    let own = eventually("a request of the gateway's own", WITHIN, of_payer).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(own["outcome"], "completed", "{own}");
    assert!((1..=TOKENS).contains(&own["completion_tokens"].as_u64().unwrap()), "{own}");
    assert!(own["joules"].as_f64().is_some_and(|joules| joules > 0.0), "{own}");
    gateway.audit().await;
}
