//! What a gateway says to a node beside its requests: how many tokens an answer may have, before it begins and while it
//! runs; how long a prompt is; and that the node shall open another tunnel. With the real model.

use std::time::Duration;

use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::node::{COUNT_PATH, LIMIT_PATH, MOVE_PATH};
use openapi::sse::Event;
use serde_json::{Value, json};
use tests::{MODEL, Node, Reply, ScriptedGateway, Tunnel, conversation, eventually};
use uuid::Uuid;

const CHAT: &str = "/v1/chat/completions";

/// Goes on until somebody ends it.
fn endless(max_tokens: u32, stream: bool) -> Value {
    let mut body = conversation(json!({"max_tokens": max_tokens, "logit_bias": {"2": -100}, "stream": stream}));
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

async fn node(arguments: &[&str]) -> (Node, Tunnel) {
    let mut gateway = ScriptedGateway::start().await;
    let node = Node::enrol(&gateway.url, "any", arguments).await;
    (node, gateway.tunnel().await)
}

fn frame(event: &Event) -> Option<UsageFrame> {
    (event.name() == Some(USAGE_EVENT)).then(|| serde_json::from_str(event.data().unwrap()).unwrap())
}

/// Reads until this many tokens are counted.
async fn counted(reply: &mut Reply, tokens: u64) {
    while frame(&reply.event().await.unwrap()).is_none_or(|frame| frame.completion_tokens < tokens) {}
}

async fn set(tunnel: &Tunnel, request: Uuid, max_tokens: u32) -> u16 {
    tunnel.post(LIMIT_PATH, &tunnel.ticket(request, max_tokens), &Value::Null).await.status
}

/// The end of an answer in good order, and its tokens as frame and client's usage agree on them.
async fn ended(reply: Reply, stream: bool) -> u64 {
    let events = reply.events().await;
    let frame = events.iter().filter_map(frame).next_back().unwrap();
    let data: Vec<&str> =
        events.iter().filter(|event| event.name() == Some("message")).filter_map(Event::data).collect();
    let json = |at: usize| serde_json::from_str::<Value>(data[at]).unwrap();
    let (reason, usage) = if stream {
        assert_eq!(*data.last().unwrap(), "[DONE]");
        (json(data.len() - 3), json(data.len() - 2)["usage"].clone())
    } else {
        assert_eq!(data.len(), 1);
        (json(0), json(0)["usage"].clone())
    };
    assert_eq!(reason["choices"][0]["finish_reason"], "length");
    assert_eq!(serde_json::to_value(frame.finish_reason).unwrap(), "length");
    assert_eq!(usage["prompt_tokens"], frame.prompt_tokens);
    assert_eq!(usage["completion_tokens"], frame.completion_tokens);
    frame.completion_tokens
}

#[tokio::test]
async fn an_answer_has_no_more_tokens_than_its_ticket_and_its_client_allow() {
    let (_node, tunnel) = node(&[]).await;
    for (ticket, client, stream, tokens) in [(5, 40, true, 5), (5, 40, false, 5), (40, 6, true, 6), (1, 40, true, 1)] {
        let reply = tunnel.post(CHAT, &tunnel.ticket(Uuid::now_v7(), ticket), &endless(client, stream)).await;
        assert_eq!(ended(reply, stream).await, tokens, "{ticket}, {client}, {stream}");
    }
}

#[tokio::test]
async fn a_raised_limit_lets_an_answer_go_on_up_to_what_the_client_asked_for() {
    let (_node, tunnel) = node(&[]).await;
    for (raised, tokens) in [(40, 40), (1000, 60)] {
        let request = Uuid::now_v7();
        let mut reply = tunnel.post(CHAT, &tunnel.ticket(request, 25), &endless(60, true)).await;
        counted(&mut reply, 2).await;
        assert_eq!(set(&tunnel, request, raised).await, 204);
        assert_eq!(ended(reply, true).await, tokens);
    }
}

#[tokio::test]
async fn a_limit_of_nothing_ends_an_answer_at_once_and_in_good_order_and_a_lower_one_does_not_count() {
    let (_node, tunnel) = node(&[]).await;
    for stream in [true, false] {
        let request = Uuid::now_v7();
        let mut reply = tunnel.post(CHAT, &tunnel.ticket(request, 1000), &endless(1000, stream)).await;
        counted(&mut reply, 3).await;
        assert_eq!(set(&tunnel, request, 1).await, 204);
        counted(&mut reply, 10).await;
        assert_eq!(set(&tunnel, request, 0).await, 204);
        let tokens = ended(reply, stream).await;
        assert!((10..60).contains(&tokens), "{tokens} tokens");
        assert_eq!(set(&tunnel, request, 100).await, 404, "it has ended");
    }
}

#[tokio::test]
async fn who_waits_for_a_slot_and_may_have_nothing_is_answered_with_nothing() {
    let (_node, tunnel) = node(&["--slots", "1"]).await;
    let running = Uuid::now_v7();
    let mut first = tunnel.post(CHAT, &tunnel.ticket(running, 1000), &endless(1000, true)).await;
    counted(&mut first, 1).await;
    for stream in [true, false] {
        let waiting = Uuid::now_v7();
        let reply = tunnel.post(CHAT, &tunnel.ticket(waiting, 10), &endless(10, stream)).await;
        assert_eq!(set(&tunnel, waiting, 0).await, 204);
        assert_eq!(ended(reply, stream).await, 0);
    }
    let reply = tunnel.post(CHAT, &tunnel.ticket(Uuid::now_v7(), 0), &endless(10, true)).await;
    assert_eq!(ended(reply, true).await, 0, "a ticket for nothing");
    let twice = tunnel.post(CHAT, &tunnel.ticket(running, 1000), &endless(10, true)).await;
    assert_eq!(twice.status, 409, "an attempt is answered once");
    assert_eq!(set(&tunnel, running, 0).await, 204);
    assert!(ended(first, true).await > 0);
}

#[tokio::test]
async fn a_limit_is_moved_with_a_ticket_for_what_runs() {
    let (_node, tunnel) = node(&[]).await;
    assert_eq!(set(&tunnel, Uuid::now_v7(), 5).await, 404);
    let (_other, stranger) = node(&[]).await;
    let foreign = stranger.ticket(Uuid::now_v7(), 5);
    assert_eq!(tunnel.post(LIMIT_PATH, &foreign, &Value::Null).await.status, 401);
    assert_eq!(tunnel.post(COUNT_PATH, &foreign, &conversation(json!({}))).await.status, 401);
}

#[tokio::test]
async fn a_count_is_what_the_answer_then_says_and_takes_no_slot() {
    let (_node, tunnel) = node(&["--slots", "1", "--queue", "0", "--context", "128"]).await;
    let completion = json!({"model": MODEL, "prompt": "The sea is", "max_tokens": 4});
    let bodies = [(CHAT, conversation(json!({"max_tokens": 4}))), ("/v1/completions", completion)];
    let mut counts = Vec::new();
    let busy = Uuid::now_v7();
    let mut running = tunnel.post(CHAT, &tunnel.ticket(busy, 1000), &endless(1000, true)).await;
    counted(&mut running, 1).await;
    for (_, body) in &bodies {
        let count = tunnel.post(COUNT_PATH, &tunnel.ticket(Uuid::now_v7(), 1), body).await;
        assert_eq!(count.status, 200);
        let count = count.json().await;
        assert_eq!(count["max_completion_tokens"], 4, "whatever the ticket says");
        counts.push(count["prompt_tokens"].as_u64().unwrap());
    }
    set(&tunnel, busy, 0).await;
    ended(running, true).await;
    for ((path, body), counted) in bodies.iter().zip(counts) {
        // The slot is free a moment after the last byte.
        let events = eventually("an answer", Duration::from_secs(10), || async {
            let reply = tunnel.post(path, &tunnel.ticket(Uuid::now_v7(), 100), body).await;
            (reply.status == 200).then_some(reply)
        })
        .await
        .events()
        .await;
        assert_eq!(events.iter().filter_map(frame).next_back().unwrap().prompt_tokens, counted);
    }
    let mut open = conversation(json!({}));
    open.as_object_mut().unwrap().remove("max_tokens");
    let count = tunnel.post(COUNT_PATH, &tunnel.ticket(Uuid::now_v7(), 1), &open).await.json().await;
    assert_eq!(count["prompt_tokens"].as_u64().unwrap() + count["max_completion_tokens"].as_u64().unwrap(), 128);
}

#[tokio::test]
async fn a_count_refuses_what_the_answer_would_refuse() {
    let (_node, tunnel) = node(&["--context", "64"]).await;
    let long = json!({"model": MODEL, "prompt": "sea ".repeat(100)});
    let no_token = json!({"model": MODEL, "prompt": [4_000_000]});
    for (path, body) in [
        (CHAT, json!({"model": MODEL})),
        (CHAT, conversation(json!({"model": "gpt-9"}))),
        (CHAT, conversation(json!({"temperature": 3}))),
        (CHAT, conversation(json!({"prompt": "x"}))),
        ("/v1/completions", long),
        ("/v1/completions", no_token),
    ] {
        let count = tunnel.post(COUNT_PATH, &tunnel.ticket(Uuid::now_v7(), 5), &body).await;
        let answer = tunnel.post(path, &tunnel.ticket(Uuid::now_v7(), 5), &body).await;
        assert_eq!(count.status, answer.status, "{body}");
        assert!(count.status >= 400);
        assert_eq!(count.json().await, answer.json().await);
    }
}

/// A frame stands before the text that its tokens became, and counts no token of which nothing was shown.
#[tokio::test]
async fn the_frame_before_a_piece_counts_the_tokens_that_were_shown() {
    let (_node, tunnel) = node(&[]).await;
    // The sea's waves: a stop string whose beginning occurs again and again, and which never comes.
    let body = endless(40, true);
    let mut held = body.clone();
    held["stop"] = json!([" the sea of", "e x", ". Zebra"]);
    let mut texts = Vec::new();
    for body in [&body, &held] {
        let events = tunnel.post(CHAT, &tunnel.ticket(Uuid::now_v7(), 40), body).await.events().await;
        let (mut shown, mut ids, mut counted) = (String::new(), Vec::new(), 0);
        let mut moments = Vec::new();
        for event in &events {
            if let Some(frame) = frame(event) {
                ids.extend(frame.token_ids);
                counted = frame.completion_tokens;
                assert_eq!(counted, ids.len() as u64);
            } else if let Ok(chunk) = serde_json::from_str::<Value>(event.data().unwrap_or_default())
                && let Some(text) = chunk["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty())
            {
                shown.push_str(text);
                moments.push((shown.len(), counted));
            }
        }
        assert_eq!(counted, 40);
        texts.push((shown, ids, moments));
    }
    let [(plain, ids, each), (text, held_ids, moments)] = texts.as_slice() else { panic!("two answers") };
    assert_eq!((plain, ids), (text, held_ids), "a stop string that does not come changes nothing");
    assert!(moments.len() < each.len(), "something was held back");
    for (shown, counted) in moments {
        // Where each token's text begins is known from the answer in which nothing was held back.
        let begun = 1 + each.iter().filter(|(end, _)| end < shown).count() as u64;
        assert_eq!(*counted, begun, "{:?}", &text[..*shown]);
    }
}

#[tokio::test]
async fn a_node_that_is_asked_away_opens_another_tunnel_and_ends_what_it_has() {
    let mut one = ScriptedGateway::start().await;
    let mut two = one.replica().await;
    let _node = Node::enrol(&format!("{},{}", one.url, two.url), "any", &[]).await;
    let (old, is_one) = tokio::select! {
        tunnel = one.tunnel() => (tunnel, true),
        tunnel = two.tunnel() => (tunnel, false),
    };
    let request = Uuid::now_v7();
    let mut running = old.post(CHAT, &old.ticket(request, 1000), &endless(1000, true)).await;
    counted(&mut running, 1).await;
    assert_eq!(old.post(MOVE_PATH, &old.ticket(request, 0), &Value::Null).await.status, 202);
    let new = if is_one { two.tunnel().await } else { one.tunnel().await };
    // Both tunnels work, and the running answer hears what is said through the new one.
    assert_eq!(set(&new, Uuid::now_v7(), 5).await, 404);
    assert_eq!(set(&new, request, 1).await, 204);
    assert!(ended(running, true).await > 0);
    let reply = old.post(CHAT, &old.ticket(Uuid::now_v7(), 3), &endless(9, true)).await;
    assert_eq!(ended(reply, true).await, 3);
}

#[tokio::test]
async fn a_node_goes_to_the_address_that_answers() {
    let mut gateway = ScriptedGateway::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let addresses = format!("http://{gone},{},http://{gone}", gateway.url);
    let _node = Node::enrol(&addresses, "any", &["--price", "100,10,400"]).await;
    gateway.tunnel().await;
}
