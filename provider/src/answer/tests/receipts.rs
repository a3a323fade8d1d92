//! What the node signs of an answer is what it has told of it.

use openapi::chat::FinishReason;
use openapi::receipt::jws::{Jws, digest, public_key};
use openapi::receipt::{NodeReceipt, RECEIPTS_PATH};

use super::*;

impl Stage {
    /// The node's next receipts, as a gateway reads them that has so many.
    async fn receipts_after(&self, after: u64, count: usize) -> Vec<(String, NodeReceipt)> {
        let url = format!("{}{RECEIPTS_PATH}?after={after}", self.tunnelled);
        let response = self.client.get(url).send().await.unwrap();
        let mut events = Events { response, scanner: Scanner::new(1 << 20), ready: Vec::new() };
        let key = public_key(&self.identity.key().public()).unwrap();
        let mut receipts = Vec::new();
        while receipts.len() < count {
            let (_, data) = events.next().await.unwrap();
            let statement: String = serde_json::from_str(&data).unwrap();
            let receipt = Jws::read(&statement).unwrap().verify(&key).unwrap();
            receipts.push((statement, receipt));
        }
        receipts
    }

    /// A streamed answer, to its end.
    async fn answer(&mut self, body: &Value) {
        let (mut events, pieces, _) = self.begin((Uuid::now_v7(), 100), body).await;
        for chunk in [ENDS, USAGE, "[DONE]"] {
            send(&pieces, chunk).await;
        }
        events.rest().await;
    }
}

#[tokio::test]
async fn a_streamed_answer_has_a_receipt_over_every_event_that_its_client_reads() {
    let mut stage = Stage::start(10_000).await;
    let (request, body) = (Uuid::now_v7(), conversation(json!({})));
    let (mut events, pieces, _) = stage.begin((request, 100), &body).await;
    for chunk in [ENDS, USAGE, "[DONE]"] {
        send(&pieces, chunk).await;
    }
    let mut answer = SALT.answer();
    while let Some((name, data)) = events.next().await {
        if name == "message" {
            answer.push(format!("data: {data}\n\n").as_bytes());
        }
    }
    let [(_, receipt)] = stage.receipts_after(0, 1).await.try_into().unwrap();
    assert_eq!((receipt.node, receipt.request, receipt.attempt, receipt.sequence), (stage.id, request, 1, 1));
    assert_eq!((receipt.prompt_tokens, receipt.completion_tokens, receipt.begun_tokens), (9, 2, 0));
    assert_eq!(receipt.finish_reason, Some(FinishReason::Stop));
    assert_eq!(receipt.answer_commitment, answer.end());
    assert_eq!(receipt.request_commitment, SALT.request(body.to_string().as_bytes()));
    assert_eq!((receipt.model.as_str(), receipt.seed), (stage.node.models().next().unwrap().model_id.as_str(), 7));
}

#[tokio::test]
async fn receipts_go_on_from_each_other_and_an_answer_that_was_left_has_one_too() {
    let mut stage = Stage::start(10_000).await;
    let (request, body) = (Uuid::now_v7(), conversation(json!({})));
    let (events, pieces, _) = stage.begin((request, 100), &body).await;
    drop(events);
    pieces.closed().await;
    stage.idle().await;
    stage.answer(&body).await;
    let [(left, first), (_, second)] = stage.receipts_after(0, 2).await.try_into().unwrap();
    assert_eq!((first.request, first.finish_reason), (request, None), "it did not come to its end");
    assert_eq!((first.previous.as_str(), second.previous), ("", digest(&left)));
    assert_eq!((first.sequence, second.sequence), (1, 2));
    let [(_, again)] = stage.receipts_after(1, 1).await.try_into().unwrap();
    assert_eq!(again.sequence, 2);
}

#[tokio::test]
async fn a_request_that_was_never_computed_has_no_receipt() {
    let mut stage = Stage::start(10_000).await;
    let refused = stage.post(CHAT, (Uuid::now_v7(), 100), &json!({"model": "m"})).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let body = conversation(json!({}));
    stage.answer(&body).await;
    let [(_, receipt)] = stage.receipts_after(0, 1).await.try_into().unwrap();
    assert_eq!((receipt.sequence, *stage.receipts.chain.newest().borrow()), (1, 1));
}
