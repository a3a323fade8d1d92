//! The main road: a question through the gateway to the real model and back.

use openapi::sse::Scanner;
use serde_json::{Value, json};
use tests::{Gateway, MODEL, Node, conversation};

#[tokio::test]
async fn an_answer_is_the_node_s_own_and_its_row_has_the_same_figures() {
    let gateway = Gateway::start().await;
    let node = Node::join(&gateway, &[]).await;
    let straight = node.chat(&conversation(json!({}))).await;

    let response = gateway.chat(&conversation(json!({}))).await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let (id, joules, tier) = (header("x-commonwatt-request-id"), header("x-energy-joules"), header("x-energy-tier"));
    assert_eq!(id, header("x-request-id"));
    let answer: Value = response.json().await.unwrap();

    assert_eq!(answer["choices"], straight["choices"], "greedy text is the same with and without the gateway");
    assert_eq!(answer["system_fingerprint"], straight["system_fingerprint"]);
    assert_eq!(answer["id"], format!("chatcmpl-{}", id.replace('-', "")));
    let (usage, energy) = (&answer["usage"], &answer["usage"]["energy"]);
    assert_eq!(usage["completion_tokens"], 8);
    assert_eq!(energy["joules"].as_f64(), joules.parse().ok());
    assert_eq!((energy["tier"].as_str(), tier.as_str()), (Some("E"), "E"));
    assert!(
        energy["interval_90"][0].as_f64() < energy["joules"].as_f64()
            && energy["joules"].as_f64() < energy["interval_90"][1].as_f64()
    );

    let row = gateway.request(&id).await;
    assert_eq!((&row["outcome"], &row["status"], &row["streamed"]), (&json!("completed"), &json!(200), &json!(false)));
    assert_eq!(
        (&row["prompt_tokens"], &row["completion_tokens"]),
        (&usage["prompt_tokens"], &usage["completion_tokens"])
    );
    let (kept, shown) = (row["microjoules"].as_f64().unwrap() / 1e6, energy["joules"].as_f64().unwrap());
    assert!((kept - shown).abs() <= kept / 100.0, "{kept} J kept, {shown} J shown with three digits");
    assert_eq!(row["attempts"].as_array().unwrap().len(), 1);
    let sum = &gateway.get("/api/usage").await["data"][0];
    assert_eq!((&sum["requests"], &sum["completion_tokens"]), (&json!(1), &json!(8)));
    assert!((sum["microjoules"].as_f64().unwrap() / 1e6 - kept).abs() <= kept / 100.0, "sums are not rounded: {sum}");
}

#[tokio::test]
async fn a_stream_is_openai_s_with_a_comment_that_says_what_it_used() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = conversation(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let response = gateway.chat(&body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = response.text().await.unwrap();
    assert!(!text.contains("event: usage"), "usage frames are the gateway's alone");

    let events = Scanner::new(1 << 20).push(text.as_bytes()).unwrap();
    let data: Vec<&str> = events.iter().filter_map(|event| event.data()).collect();
    assert_eq!(*data.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = data[..data.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(chunks.last().unwrap()["choices"], json!([]));
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    let reasons: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).map(|choice| &choice["finish_reason"]).collect();
    assert_eq!(reasons.iter().filter(|reason| !reason.is_null()).count(), 1);

    let comment = text.lines().find_map(|line| line.strip_prefix(": commonwatt ")).expect("the summary");
    let summary: Value = serde_json::from_str(comment).unwrap();
    assert_eq!(summary["completion_tokens"], usage["completion_tokens"]);
    assert_eq!(summary["energy"], usage["energy"]);
    let row = gateway.request(summary["request"].as_str().unwrap()).await;
    assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("completed"), &usage["completion_tokens"]));
}

#[tokio::test]
async fn completions_and_models_answer_too() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let body = json!({"model": MODEL, "prompt": "The sea is", "max_tokens": 4, "temperature": 0});
    let completion: Value = gateway.ask("/v1/completions", &body).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&completion["object"], &completion["usage"]["completion_tokens"]),
        (&json!("text_completion"), &json!(4))
    );
    let get = |path: String| gateway.client.get(gateway.url(&path)).bearer_auth(&gateway.key).send();
    let models: Value = get("/v1/models".to_owned()).await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], MODEL);
    let one: Value = get(format!("/v1/models/{MODEL}")).await.unwrap().json().await.unwrap();
    assert_eq!(one, models["data"][0]);
    let by_address = json!({"model": one["manifest"], "prompt": "The sea is", "max_tokens": 4, "temperature": 0});
    let again: Value = gateway.ask("/v1/completions", &by_address).send().await.unwrap().json().await.unwrap();
    assert_eq!(again["choices"], completion["choices"], "a model answers to its content address as well");
}
