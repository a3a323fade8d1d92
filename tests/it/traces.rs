//! A trace leads from a client's call to the node that computed, and to what took time there.

use serde_json::json;
use tests::{Collector, Database, Gateway, Node, Told, conversation};

const CALLER: &str = "00f067aa0ba902b7";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn named<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span '{name}' among {spans:?}"));
    assert!(found.next().is_none(), "'{name}' is there once");
    span
}

/// The trace as a picture in text: each span under its parent, with its part of the whole time.
fn picture(spans: &[Told]) -> String {
    const WIDTH: u64 = 60;
    let (from, to) = (spans[0].from, spans.iter().map(|span| span.to).max().unwrap());
    let at = |time: u64| ((time - from) * WIDTH / (to - from).max(1)) as usize;
    let depth = |span: &Told| {
        std::iter::successors(Some(span), |span| spans.iter().find(|other| other.id == span.parent)).count() - 1
    };
    let line = |span: &Told| {
        let bar = "█".repeat((at(span.to) - at(span.from)).max(1));
        let name = format!("{}{}", "  ".repeat(depth(span)), span.name);
        format!("{name:<34} {:>7.1} ms  {}{bar}", (span.to - span.from) as f64 / 1e6, " ".repeat(at(span.from)))
    };
    spans.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_trace_leads_from_the_client_to_the_engine() {
    let collector = Collector::start().await;
    let settings = [("COMMONWATT_TRACES_COLLECTOR", collector.url.as_str()), ("COMMONWATT_TRACES_ONE_IN", "0")];
    let gateway = Gateway::start_with(Database::create().await, &settings).await;
    let _node = Node::join(&gateway, &["--traces-collector", &collector.url]).await;

    let secret = "Tell me about the secret sea.";
    let body = conversation(json!({"stream": true, "messages": [{"role": "user", "content": secret}]}));
    let asked = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key).json(&body);
    let answer = asked.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));

    let spans = collector.trace(TRACE, &["POST /v1/chat/completions", "answer"]).await;
    println!("{}", picture(&spans));
    let (whole, answer) = (named(&spans, "POST /v1/chat/completions"), named(&spans, "answer"));
    let attempt = named(&spans, &format!("chat {}", tests::MODEL));
    assert_eq!((whole.parent.as_str(), attempt.parent.as_str()), (CALLER, whole.id.as_str()));
    assert_eq!(answer.parent, attempt.id, "the node goes on from the try");
    for (parent, names) in [
        (whole, &["admit", "route", "settle"][..]),
        (attempt, &["first byte", "stream"]),
        (answer, &["wait", "prefill", "decode", "meter"]),
    ] {
        for name in names {
            let span = named(&spans, name);
            assert_eq!(span.parent, parent.id, "{name}");
            assert!(parent.from <= span.from && span.from <= span.to && span.to <= parent.to, "{name} lies within");
        }
    }
    assert_eq!((whole.service.as_str(), answer.service.as_str()), ("commonwatt-gateway", "commonwatt-node"));
    assert_eq!(whole.attributes["commonwatt.request.id"], request);
    assert_eq!(whole.attributes["http.response.status_code"], "200");
    assert_eq!(attempt.attributes["commonwatt.node.id"], gateway.nodes(1).await[0]["id"].as_str().unwrap());
    assert_eq!(attempt.attributes["gen_ai.usage.output_tokens"], "8");
    assert_eq!(answer.attributes["gen_ai.usage.output_tokens"], "8");
    assert_ne!(attempt.attributes["commonwatt.energy.microjoules"], "0");
    assert!(!format!("{spans:?}").contains("secret"), "nothing of what was asked");
}

#[tokio::test]
async fn who_is_refused_and_who_finds_nobody_is_traced_too() {
    let collector = Collector::start().await;
    let settings = [
        ("COMMONWATT_TRACES_COLLECTOR", collector.url.as_str()),
        ("COMMONWATT_TRACES_ONE_IN", "1"),
        ("COMMONWATT_QUEUE_SECONDS", "1"),
    ];
    let gateway = Gateway::start_with(Database::create().await, &settings).await;
    let node = Node::join(&gateway, &[]).await;
    let poor = gateway.customer("0").await;
    let asked = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(&poor.key);
    let refused = asked.json(&conversation(json!({}))).send().await.unwrap();
    let trace = refused.headers()["x-request-id"].to_str().unwrap().replace('-', "");
    let spans = collector.trace(&trace, &["POST /v1/chat/completions"]).await;
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].attributes["http.response.status_code"], refused.status().as_u16().to_string());

    drop(node);
    gateway.nodes(0).await;
    let nobody = gateway.chat(&conversation(json!({}))).await;
    assert_eq!(nobody.status(), 503);
    let trace = nobody.headers()["x-request-id"].to_str().unwrap().replace('-', "");
    let spans = collector.trace(&trace, &["POST /v1/chat/completions"]).await;
    let whole = named(&spans, "POST /v1/chat/completions");
    assert_eq!((whole.attributes["commonwatt.outcome"].as_str(), whole.status), ("no_node", 2));
    named(&spans, "route");
}
