//! What Prometheus sees of a gateway.

use std::time::Duration;

use serde_json::json;
use tests::{Database, Gateway, Node, conversation, eventually, free_port};

/// Records reach the database within some hundred milliseconds.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn prometheus_sees_how_the_gateway_does() {
    let address = format!("127.0.0.1:{}", free_port());
    let gateway = Gateway::start_with(Database::create().await, &[("COMMONWATT_METRICS_LISTEN", &address)]).await;
    let _node = Node::join(&gateway, &[]).await;
    assert_eq!(gateway.chat(&conversation(json!({}))).await.status(), 200);
    let expected = [
        r#"gateway_nodes{state="up"} 1"#,
        r#"gateway_nodes{state="resting"} 0"#,
        "gateway_node_ejections_total 0",
        "gateway_queue_length 0",
        "gateway_journal_open 0",
        "gateway_journal_waiting 0",
        "gateway_journal_set_aside 0",
        "gateway_journal_lag_seconds 0",
        "gateway_overhead_seconds_count 1",
        r#"gateway_credit{state="held"} 0"#,
        r#"gateway_requests_total{model="smollm2-135m-instruct",outcome="completed"} 1"#,
    ];
    let shown = || async {
        let text = gateway.client.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
        let missing = expected.iter().find(|line| !text.lines().any(|shown| shown == **line));
        missing.inspect(|line| println!("not yet: {line}")).is_none().then_some(text)
    };
    let text = eventually("all of it is shown", SHOWN_WITHIN, shown).await;
    let free = text.lines().find_map(|line| line.strip_prefix(r#"gateway_credit{state="free"} "#)).unwrap();
    assert!(free.parse::<u64>().unwrap() > 0, "what was leased and not spent");
}
