//! Nodes that die, hang, lie or send garbage: a retry where the client has seen nothing, a clean error where it has, one
//! row either way.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Behaviour, Gateway, Node, ScriptedNode, conversation};

const ANSWERS: Behaviour = Behaviour::Answers { pieces: 3, every_ms: 1 };

async fn outcome_with(behaviour: Behaviour) -> (u16, String, Value) {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, behaviour).await;
    let response = gateway.chat(&conversation(json!({"stream": true}))).await;
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    let rows = gateway.requests(1).await;
    assert_eq!(rows.len(), 1, "one request, one row");
    (status, text, rows[0].clone())
}

fn code(text: &str) -> String {
    let json = text.trim().lines().last().unwrap().trim_start_matches("data: ");
    serde_json::from_str::<Value>(json).unwrap()["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_node_that_fails_before_its_first_byte_is_a_clean_502() {
    for behaviour in
        [Behaviour::Fails, Behaviour::Hangs, Behaviour::Garbage, Behaviour::GarbageFrame, Behaviour::AnotherModel]
    {
        let (status, text, row) = outcome_with(behaviour).await;
        assert_eq!((status, code(&text).as_str()), (502, "node_failed"), "{behaviour:?}");
        assert!(!text.contains("stranger") && !text.contains("gpt-9"), "{behaviour:?}: {text}");
        assert_eq!(row["outcome"], "node_failed", "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_node_without_room_is_no_failure_of_the_node() {
    let (status, text, row) = outcome_with(Behaviour::Busy).await;
    assert_eq!((status, code(&text).as_str(), &row["outcome"]), (503, "overloaded", &json!("no_node")));
}

#[tokio::test]
async fn a_node_that_dies_in_mid_stream_ends_in_an_error_and_counts_what_was_delivered() {
    for behaviour in [Behaviour::BreaksAfter(4), Behaviour::StallsAfter(4)] {
        let (status, text, row) = outcome_with(behaviour).await;
        assert_eq!((status, code(&text).as_str()), (200, "node_failed"), "{behaviour:?}");
        assert!(text.contains(" 3") && !text.contains("[DONE]"), "{behaviour:?}: {text}");
        assert_eq!(
            (&row["outcome"], &row["completion_tokens"], &row["microjoules"]),
            (&json!("node_failed"), &json!(4), &json!(4000))
        );
    }
}

#[tokio::test]
async fn what_one_node_fails_another_answers_and_the_client_sees_one_answer() {
    let gateway = Gateway::start().await;
    let bad =
        [ScriptedNode::join(&gateway, Behaviour::Garbage).await, ScriptedNode::join(&gateway, Behaviour::Busy).await];
    let good = ScriptedNode::join(&gateway, ANSWERS).await;
    for _ in 0..12 {
        let response = gateway.chat(&conversation(json!({"stream": true}))).await;
        assert_eq!(response.headers()["x-commonwatt-node"], good.id.to_string().as_str());
        assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    }
    let rows = gateway.requests(12).await;
    assert!(rows.iter().all(|row| row["outcome"] == "completed" && row["completion_tokens"] == 3));
    assert!(bad.iter().all(|node| node.asked() > 0), "the bad ones were tried");
    let mut tries = 0;
    for row in &rows {
        let detail = gateway.request(row["id"].as_str().unwrap()).await;
        let attempts = detail["attempts"].as_array().unwrap();
        assert_eq!(attempts.last().unwrap()["outcome"], "completed");
        tries += attempts.len();
    }
    assert_eq!(tries, 12 + bad.iter().map(ScriptedNode::asked).sum::<usize>(), "every try has its row");
    assert!(bad[0].asked() <= 3 + 1, "a node that keeps failing rests: {}", bad[0].asked());
}

#[tokio::test]
async fn a_killed_node_is_noticed_and_a_new_one_takes_over() {
    let gateway = Gateway::start().await;
    let mut node = Node::join(&gateway, &[]).await;
    let mut response =
        gateway.chat(&conversation(json!({"stream": true, "max_tokens": 300, "logit_bias": {"2": -100}}))).await;
    let mut text = String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    node.kill().await;
    gateway.nodes(0).await;
    let refused = gateway.chat(&conversation(json!({}))).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    let _other = Node::join(&gateway, &[]).await;
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.ends_with("data: [DONE]\n\n"), "the stream went on with the other one: {text}");
    let rows = gateway.requests(2).await;
    let outcomes: Vec<&str> = rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["no_node", "completed"]);
    assert_eq!(rows[1]["completion_tokens"], 300);
}

#[tokio::test]
async fn a_node_reconnects_to_a_gateway_that_was_away_and_a_removed_one_does_not() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let id = gateway.nodes(1).await[0]["id"].as_str().unwrap().to_owned();
    let path = gateway.url(&format!("/api/nodes/{id}"));
    let removed = gateway.client.delete(&path).bearer_auth(&gateway.management_key).send().await.unwrap();
    assert_eq!(removed.status(), 204);
    gateway.nodes(0).await;
    let twice = gateway.client.delete(&path).bearer_auth(&gateway.management_key).send().await.unwrap();
    assert_eq!(twice.status(), 204, "removing twice is no error");
}

#[tokio::test]
async fn an_enrolment_token_works_once_and_its_name_and_proof_are_checked() {
    let gateway = Gateway::start().await;
    let token = gateway.enrolment_token().await;
    let folder = std::env::temp_dir().join(format!("enrol-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let identity = provider::identity::Identity::open(&folder).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let send = |body: Value| gateway.client.post(gateway.url("/node/v1/enrol")).json(&body).send();
    let good = serde_json::to_value(identity.enrolment(&token, "n")).unwrap();
    let mut forged = good.clone();
    forged["token"] = json!("enrol-cw-other");
    assert_eq!(send(forged).await.unwrap().status(), 400, "the signature covers the token");
    let mut nameless = good.clone();
    nameless["name"] = json!("");
    assert_eq!(send(nameless).await.unwrap().status(), 400);
    let (one, two) = tokio::join!(send(good.clone()), send(good));
    let mut statuses = [one.unwrap().status().as_u16(), two.unwrap().status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "of two at once, one wins");
}

#[tokio::test]
async fn the_tunnel_is_for_enrolled_nodes_that_sign() {
    let gateway = Gateway::start().await;
    let dial = |bearer: &str| {
        let request = gateway.client.get(gateway.url("/node/v1/tunnel")).bearer_auth(bearer);
        request
            .header("connection", "upgrade")
            .header("upgrade", "commonwatt-tunnel/1")
            .timeout(Duration::from_secs(5))
            .send()
    };
    for bearer in ["", "x", &gateway.key, "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(dial(bearer).await.unwrap().status(), 401, "{bearer}");
    }
}
