//! What clients read of energy follows from what else they read: recomputed here, and by a script in another language that
//! shares nothing with the gateway.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use openapi::energy::EnergyUsage;
use serde_json::{Value, json};
use tests::{Behaviour, Gateway, ScriptedNode, conversation, eventually};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

const REQUESTS: usize = 1_000;
const AT_ONCE: usize = 32;
/// A gateway looks every few seconds at what is known of its nodes.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// Every figure that follows from others, in both of their names where there are two.
const DERIVED: [&str; 8] =
    ["facility_joules", "decode_joules", "g_co2e", "energy_joules", "energy_kwh", "kwh", "wh", "avg_power_watts"];

/// What the script says of these payloads: its last line. An error, and all that it says, when any is wrong.
pub(super) async fn recompute(payloads: &[Value]) -> Result<String, String> {
    let mut python = tokio::process::Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/energy/recompute.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let lines: String = payloads.iter().map(|payload| format!("{payload}\n")).collect();
    // At the same time, since both ends may have more to say than a pipe holds.
    let writing = async move { stdin.write_all(lines.as_bytes()).await };
    let (written, output) = tokio::join!(writing, python.wait_with_output());
    written.unwrap();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// The content of the comment on energy in a stream.
pub(super) fn energy_comment(text: &str) -> Value {
    let comment = text.lines().find_map(|line| line.strip_prefix(": energy ")).unwrap();
    serde_json::from_str(comment).unwrap()
}

async fn payload(gateway: &Gateway) -> Value {
    let response = gateway.chat(&conversation(json!({"stream": true}))).await;
    energy_comment(&response.text().await.unwrap())
}

/// Says in the node's place that some of its energy is idle, and waits until the gateway has heard it.
async fn share_idle_time(gateway: &Gateway, node: Uuid) {
    sqlx::query(
        "insert into node_energy (node_id, attributed_microjoules, idle_microjoules) values ($1, 1000000, 159610)",
    )
    .bind(node)
    .execute(&gateway.database.pool)
    .await
    .unwrap();
    eventually("an idle share", HEARD_WITHIN, || async {
        let share = payload(gateway).await["idle_share_joules"].as_f64()?;
        (share > 0.0).then_some(())
    })
    .await;
}

/// One payload for each way in which a figure can be wrong.
fn corrupted(payloads: &[Value]) -> Vec<Value> {
    let figures = |payload: &&Value| DERIVED.iter().all(|name| payload[*name].as_f64() > Some(1e-6));
    let right = payloads.iter().find(figures).unwrap();
    let changed = DERIVED.map(|name| {
        let mut payload = right.clone();
        payload[name] = json!(payload[name].as_f64().unwrap() * 1.03);
        payload
    });
    let mut made_up = payloads.iter().find(|payload| payload["tier"] == "X").unwrap().clone();
    made_up["facility_joules"] = json!(0.0);
    changed.into_iter().chain([made_up]).collect()
}

#[tokio::test]
async fn a_thousand_payloads_recompute_and_a_changed_one_is_found() {
    let gateway = Gateway::start().await;
    let node = ScriptedNode::join(&gateway, Behaviour::AnyEnergy).await;
    share_idle_time(&gateway, node.id).await;
    let payloads: Vec<Value> =
        stream::iter(0..REQUESTS).map(|_| payload(&gateway)).buffer_unordered(AT_ONCE).collect().await;
    let mut tiers: BTreeMap<&str, usize> = BTreeMap::new();
    for payload in &payloads {
        let usage: EnergyUsage = serde_json::from_value(payload.clone()).unwrap();
        assert_eq!(usage.recompute(), Ok(()), "{payload}");
        *tiers.entry(usage.tier.letter()).or_default() += 1;
    }
    assert!(tiers.len() == 6 && tiers.values().all(|count| *count > REQUESTS / 8), "of every tier: {tiers:?}");
    assert_eq!(recompute(&payloads).await, Ok(format!("{REQUESTS} payloads, 0 wrong")));

    let corrupted = corrupted(&payloads);
    let said = recompute(&corrupted).await.unwrap_err();
    assert_eq!(said.lines().last(), Some(format!("{0} payloads, {0} wrong", corrupted.len()).as_str()), "{said}");
    for name in DERIVED {
        assert!(said.contains(&format!(": {name} is ")), "{name}: {said}");
    }
    println!(
        "energy: {REQUESTS} payloads of every tier recompute in Python; {} changed ones are found",
        corrupted.len()
    );
}
