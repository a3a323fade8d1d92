//! What node and gateway sign of an answer, and what its customer can prove with it.

use std::time::Duration;

use openapi::log::bundle;
use openapi::log::entry::{Entry, Kind};
use openapi::log::policy::Policy;
use openapi::log::proof::LogProof;
use openapi::receipt::commitment::{Commitment, Salt};
use openapi::receipt::jws::{self, Jws, NotSigned};
use openapi::receipt::{Alone, NodeReceipt, Receipt};
use openapi::sse::Scanner;
use reqwest::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tests::{Behaviour, Gateway, Node, ScriptedNode, conversation};

/// What the gateway hands to its customer.
#[derive(Debug, Deserialize)]
struct Full {
    id: String,
    receipt: String,
    kid: String,
    salt: Salt,
    proof: Option<String>,
    others: Vec<String>,
}

/// A receipt with all that its customer has of it, checked as a stranger would.
async fn receipt(gateway: &Gateway, id: &str) -> (Full, Receipt, Option<NodeReceipt>) {
    let url = gateway.url(&format!("/v1/receipts/{id}"));
    let full: Full = tests::eventually("the receipt", Duration::from_secs(20), || async {
        let response = gateway.client.get(&url).bearer_auth(&gateway.key).send().await.unwrap();
        response.error_for_status().ok()?.json().await.ok()
    })
    .await;
    let keys = gateway.client.get(gateway.url("/.well-known/jwks.json")).send().await.unwrap();
    let keys: Value = keys.json().await.unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == full.kid).unwrap();
    let key = jws::public_key(key["x"].as_str().unwrap()).unwrap();
    assert_eq!(jws::key_id(&key), full.kid);
    let jws = Jws::read(&full.receipt).unwrap();
    assert_eq!(jws.kid(), Some(full.kid.as_str()));
    let receipt: Receipt = jws.verify(&key).unwrap();
    assert_eq!(receipt.id.to_string(), full.id);
    let said = receipt.check().unwrap();
    let mut other = key;
    other.0[0] ^= 1;
    assert_eq!(jws.verify::<Receipt>(&other), Err(NotSigned::Signature));
    (full, receipt, said)
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

/// The commitment to what a client has read of a stream, without its comments.
fn commitment(salt: Salt, text: &str) -> Commitment {
    let mut answer = salt.answer();
    for event in Scanner::new(1 << 20).push(text.as_bytes()).unwrap() {
        answer.event(&event);
    }
    answer.end()
}

#[tokio::test]
async fn an_answer_in_one_piece_has_a_receipt_that_both_have_signed() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = conversation(json!({}));
    let response = gateway.chat(&body).await;
    let (id, node) = (header(&response, "x-commonwatt-receipt"), header(&response, "x-commonwatt-node"));
    let cost = header(&response, "x-cost");
    let answer = response.text().await.unwrap();
    let usage = serde_json::from_str::<Value>(&answer).unwrap()["usage"].clone();

    let (full, receipt, said) = receipt(&gateway, &id).await;
    let said = said.unwrap();
    assert_eq!((receipt.node.to_string(), receipt.nanocredits.credits(), full.id), (node, cost, id));
    assert_eq!(usage["prompt_tokens"], receipt.prompt_tokens);
    assert_eq!((&usage["completion_tokens"], said.completion_tokens), (&json!(8), 8));
    assert_eq!(receipt.request_commitment, full.salt.request(body.to_string().as_bytes()));
    assert_eq!(receipt.answer_commitment, Some(full.salt.whole_answer(answer.as_bytes())));
    assert_eq!(receipt.answer_commitment, Some(said.answer_commitment), "the node says the same of it");
    let energy = receipt.energy.unwrap();
    assert_eq!(energy.microjoules, said.energy.microjoules, "settled on both sides");
    assert!(said.energy.settled && energy.microjoules.get() > 0);
    let row = gateway.request(&receipt.id.request.to_string()).await;
    assert_eq!(row["microjoules"], openapi::energy::rounded(energy.microjoules.get()));

    let unknown =
        gateway.client.get(gateway.url(&format!("/v1/receipts/{}", full.others.len()))).bearer_auth(&gateway.key);
    let unknown = unknown.send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.json::<Value>().await.unwrap()["error"]["code"], "receipt_not_found");
}

#[tokio::test]
async fn a_stream_s_receipt_covers_every_event_of_it_and_is_nobody_else_s() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = conversation(json!({"stream": true}));
    let response = gateway.chat(&body).await;
    let (id, request) = (header(&response, "x-commonwatt-receipt"), header(&response, "x-commonwatt-request-id"));
    let text = response.text().await.unwrap();
    let comment = text.lines().find_map(|line| line.strip_prefix(": commonwatt ")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(comment).unwrap()["receipt"], id);

    let (full, receipt, _) = receipt(&gateway, &request).await;
    assert_eq!(full.id, id, "by its request too");
    assert_eq!(receipt.answer_commitment, Some(commitment(full.salt, &text)));
    let other = text.replacen("\"content\":\"", "\"content\":\"x", 1);
    assert_ne!(receipt.answer_commitment, Some(commitment(full.salt, &other)));

    let stranger = gateway.customer("1").await;
    let asked = gateway.client.get(gateway.url(&format!("/v1/receipts/{id}"))).bearer_auth(&stranger.key).send().await;
    assert_eq!(asked.unwrap().status(), 404);
}

#[tokio::test]
async fn a_receipt_is_in_the_log_and_its_node_has_witnessed_that() {
    let gateway = Gateway::start().await;
    let node = Node::join(&gateway, &[]).await;
    let response = gateway.chat(&conversation(json!({}))).await;
    let id = header(&response, "x-commonwatt-receipt");
    response.text().await.unwrap();
    let (full, proof, policy) = tests::eventually("a proof that is witnessed", Duration::from_secs(30), || async {
        let (full, ..) = receipt(&gateway, &id).await;
        let proof = full.proof.clone()?;
        let policy = gateway.client.get(gateway.url("/log/policy")).send().await.unwrap().bytes().await.unwrap();
        (policy.as_ref().windows(8).any(|word| word == b"witness ") && proof.matches("\n\u{2014} ").count() > 1)
            .then_some((full, proof, policy))
    })
    .await;
    let (proof, policy) = (LogProof::read(proof.as_bytes()).unwrap(), Policy::read(&policy).unwrap());
    let entry = Entry::of(Kind::Receipt, full.receipt.as_bytes());
    let believed = proof.verify(entry.leaf(), &policy).unwrap();
    assert_eq!(believed.witnesses.len(), 1, "{}", node.log());
    let other = Entry::of(Kind::Receipt, b"another");
    assert!(proof.verify(other.leaf(), &policy).is_err());

    let get = async |path: &str| gateway.client.get(gateway.url(path)).send().await.unwrap().text().await.unwrap();
    let digest = jws::digest(&full.receipt);
    assert_eq!(get(&format!("/log/document/{digest}")).await, full.receipt, "whoever audits can read it");
    let width = u16::try_from(proof.index + 1).unwrap();
    let entries = gateway.client.get(gateway.url(&format!("/log/tile/entries/000.p/{width}")));
    let entries = entries.send().await.unwrap().bytes().await.unwrap();
    let entries = bundle::decode(&entries, width).unwrap();
    let entries: Vec<Entry> =
        entries.into_iter().map(|entry| std::str::from_utf8(entry).unwrap().parse().unwrap()).collect();
    for kind in [Kind::Key, Kind::Split, Kind::PriceList, Kind::Manifest, Kind::Receipt] {
        let logged = entries.iter().find(|entry| entry.kind == kind).unwrap();
        let name = logged.to_string();
        let document = get(&format!("/log/document/{}", name.rsplit(':').next().unwrap())).await;
        assert_eq!(Entry::of(kind, document.as_bytes()), *logged, "{document}");
    }
}

#[tokio::test]
async fn an_answer_that_its_client_left_is_receipted_as_far_as_it_went() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = conversation(json!({"stream": true, "max_tokens": 400, "logit_bias": {"2": -100}}));
    let mut response = gateway.chat(&body).await;
    let id = header(&response, "x-commonwatt-receipt");
    while !String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()).contains("content") {}
    drop(response);
    let (_, receipt, said) = receipt(&gateway, &id).await;
    let said = said.unwrap();
    assert_eq!((receipt.outcome.as_str(), said.finish_reason), ("client_left", None));
    assert!(receipt.is_paid && receipt.completion_tokens > 0);
    assert!((receipt.completion_tokens..400).contains(&said.completion_tokens), "{said:?}");
}

#[tokio::test]
async fn receipts_outlive_the_node_that_signed_them_and_go_on_from_each_other() {
    let gateway = Gateway::start().await;
    let mut node = Node::join(&gateway, &[]).await;
    let mut before: Option<NodeReceipt> = None;
    for _ in 0..2 {
        let response = gateway.chat(&conversation(json!({}))).await;
        let id = header(&response, "x-commonwatt-receipt");
        response.text().await.unwrap();
        let (_, receipt, said) = receipt(&gateway, &id).await;
        let said = said.unwrap();
        if let Some(before) = before {
            assert_eq!(said.sequence, before.sequence + 1);
            assert_ne!(said.previous, before.previous);
        }
        assert_eq!(receipt.alone, None);
        before = Some(said);
        node.restart().await;
        gateway.nodes(1).await;
    }
}

#[tokio::test]
async fn a_node_that_signs_nothing_leaves_the_gateway_to_sign_alone() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 2, every_ms: 1 }).await;
    let response = gateway.chat(&conversation(json!({}))).await;
    let id = header(&response, "x-commonwatt-receipt");
    response.text().await.unwrap();
    let url = gateway.url(&format!("/v1/receipts/{id}"));
    let early = tests::eventually("the row", Duration::from_secs(10), || async {
        let response = gateway.client.get(&url).bearer_auth(&gateway.key).send().await.unwrap();
        response.headers().contains_key("retry-after").then_some(response)
    });
    let early: Value = early.await.json().await.unwrap();
    assert_eq!(early["error"]["code"], "receipt_not_ready");
    let hasten = "update receipts set due_at = now() - interval '1 second' where receipt is null";
    sqlx::query(hasten).execute(&gateway.database.pool).await.unwrap();
    let (_, receipt, said) = receipt(&gateway, &id).await;
    assert_eq!((receipt.alone, said), (Some(Alone::NotReceived), None));
    assert!(receipt.nanocredits.get() > 0, "what was delivered is paid");
}
