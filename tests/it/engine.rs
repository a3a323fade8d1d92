//! One regression test for each of the engine's known defects that a node works around, with the real model.

use std::time::Duration;

use futures_util::future::Either;
use serde_json::{Value, json};
use tests::{Gateway, MODEL, Node, conversation};

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// Left alone, the engine panics when an unstreamed request's client goes away, and takes everybody else with it.
#[tokio::test]
async fn a_client_that_leaves_takes_nobody_with_it() {
    let node = Node::start(&["--slots", "2"]).await;
    let client = reqwest::Client::builder().timeout(Duration::from_millis(900)).build().unwrap();
    let leaver = client
        .post(node.url("/v1/chat/completions"))
        .json(&conversation(json!({"max_tokens": 400, "logit_bias": {"2": -100}})));
    let stayer = conversation(json!({"max_tokens": 24}));
    let (left, stayed) = tokio::join!(leaver.send(), node.chat(&stayer));
    assert!(left.unwrap_err().is_timeout());
    assert_eq!(stayed["usage"]["completion_tokens"], 24);
    assert_eq!(node.chat(&conversation(json!({}))).await["usage"]["completion_tokens"], 8);
}

/// Left alone, a sequence that ends in its first step goes on generating.
#[tokio::test]
async fn one_token_is_one_token_and_then_the_engine_rests() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let answer: Value = gateway.chat(&conversation(json!({"max_tokens": 1}))).await.json().await.unwrap();
    assert_eq!(
        (&answer["usage"]["completion_tokens"], &answer["choices"][0]["finish_reason"]),
        (&json!(1), &json!("length"))
    );
    gateway.engine_runs(0, Duration::from_secs(1)).await;
}

/// Left alone, the prefix cache of a processor keeps every prompt for ever: about 7 MB each of these.
#[tokio::test]
async fn memory_stays_flat_over_different_prompts() {
    let node = Node::start(&[]).await;
    let prompt = |n: u32| json!({"model": MODEL, "prompt": (0..150).map(|token| 1000 + n * 151 + token).collect::<Vec<_>>(), "max_tokens": 1});
    for n in 0..2 {
        assert_eq!(node.ask("/v1/completions", &prompt(n)).await.status(), 200);
    }
    let before = node.resident_bytes();
    for n in 2..12 {
        assert_eq!(node.ask("/v1/completions", &prompt(n)).await.status(), 200);
    }
    let grown = node.resident_bytes().saturating_sub(before) / 1_000_000;
    assert!(grown < 35, "ten prompts left {grown} MB behind");
}

/// Left alone, the engine compares the answer alone with the context, and runs beyond it.
#[tokio::test]
async fn prompt_and_answer_fit_the_context_together() {
    let node = Node::start(&["--context", "64"]).await;
    let answer = node.chat(&conversation(json!({"max_tokens": 1000, "logit_bias": {"2": -100}}))).await;
    assert_eq!(
        (&answer["usage"]["total_tokens"], &answer["choices"][0]["finish_reason"]),
        (&json!(64), &json!("length"))
    );
    let long = json!({"model": MODEL, "prompt": "sea ".repeat(100)});
    let refused = node.ask("/v1/completions", &long).await;
    assert_eq!(refused.status(), 400);
    let error: Value = refused.json().await.unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["param"]),
        (&json!("context_length_exceeded"), &json!("prompt"))
    );
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("This model's maximum context length is 64 tokens. However,"), "{message}");
}

/// The engine has no seed: one generator for all, started once. Ours depends on seed and position alone.
#[tokio::test]
async fn a_seed_decides_the_text_whatever_was_asked_before() {
    let node = Node::start(&[]).await;
    let ask = |seed: i64| conversation(json!({"temperature": 1.2, "seed": seed, "max_tokens": 16}));
    let first = node.chat(&ask(7)).await;
    let other = node.chat(&ask(8)).await;
    let again = node.chat(&ask(7)).await;
    assert_eq!(text(&first), text(&again));
    assert_ne!(text(&first), text(&other));
}

/// The engine accepts a bias and forgets it.
#[tokio::test]
async fn a_bias_moves_the_choice() {
    let node = Node::start(&[]).await;
    let plain = node.chat(&conversation(json!({"max_tokens": 3}))).await;
    let biased = node.chat(&conversation(json!({"max_tokens": 3, "logit_bias": {"30": 100}}))).await;
    let word = text(&biased).chars().next().unwrap();
    assert_eq!(text(&biased), word.to_string().repeat(3), "one token, three times");
    assert_ne!(text(&plain), text(&biased));
}

/// The engine looks for stop strings one token late and shows them.
#[tokio::test]
async fn a_stop_string_is_never_shown() {
    let node = Node::start(&[]).await;
    let whole = node.chat(&conversation(json!({"max_tokens": 16}))).await;
    // From the middle of one word into the next, so that it begins and ends within tokens.
    let words: Vec<&str> = text(&whole).split(' ').collect();
    let stop = format!("{} {}", &words[2][1..], &words[3][..1]);
    let stopped = node.chat(&conversation(json!({"max_tokens": 16, "stop": stop}))).await;
    let (before, _) = text(&whole).split_once(&stop).unwrap();
    assert_eq!((text(&stopped), &stopped["choices"][0]["finish_reason"]), (before, &json!("stop")));
    let streamed =
        node.ask("/v1/chat/completions", &conversation(json!({"max_tokens": 16, "stop": stop, "stream": true}))).await;
    let events = openapi::sse::Scanner::new(1 << 20).push(&streamed.bytes().await.unwrap()).unwrap();
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event.data()?).ok());
    let joined: String =
        chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
    assert_eq!(joined, before);
}

/// The engine admits everybody at once and time-slices; the slots in front of it do not.
#[tokio::test]
async fn who_finds_no_slot_waits_for_one() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let bodies: Vec<Value> = (0..3).map(|n| conversation(json!({"max_tokens": 4 + n}))).collect();
    let answers = futures_util::future::join_all(bodies.iter().map(|body| gateway.chat(body)));
    let most = async {
        let mut most = 0;
        loop {
            let nodes = gateway.get("/api/nodes").await;
            most = most.max(nodes["data"][0]["status"]["running"].as_u64().unwrap());
            if nodes["data"][0]["status"]["running"] == 0 && most > 0 {
                return most;
            }
        }
    };
    let (answers, most) = tokio::join!(answers, most);
    assert_eq!(most, 1);
    assert!(answers.iter().all(|answer| answer.status() == 200));
}

/// The engine holds its pipeline during a whole step, and a long prompt is one step of many seconds.
#[tokio::test]
async fn a_long_prompt_keeps_nobody_from_being_told_what_is_wrong() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let long = json!({"model": MODEL, "prompt": "sea ".repeat(400), "max_tokens": 1});
    let mut computing = Box::pin(gateway.ask("/v1/completions", &long).send());
    let running = gateway.engine_runs(1, Duration::from_secs(10));
    assert!(matches!(futures_util::future::select(&mut computing, Box::pin(running)).await, Either::Right(_)));
    let endless = conversation(json!({"messages": [{"role": "user", "content": "sea ".repeat(9000)}]}));
    let refused = Box::pin(gateway.chat(&endless));
    match futures_util::future::select(&mut computing, refused).await {
        Either::Left(_) => panic!("the refusal waited for the other prompt"),
        Either::Right((refused, _)) => assert_eq!(refused.status(), 400),
    }
    assert_eq!(computing.await.unwrap().status(), 200);
}

/// Text is made of token ids here, never half a character: every prefix of an answer with emoji is valid.
#[tokio::test]
async fn a_character_of_several_tokens_arrives_whole() {
    let node = Node::start(&[]).await;
    let ids: Value = json!({"model": MODEL, "prompt": "Repeat: 🌊🌊🌊 🌊🌊🌊 🌊🌊🌊", "max_tokens": 12, "temperature": 0, "stream": true});
    let streamed = node.ask("/v1/completions", &ids).await.text().await.unwrap();
    assert!(streamed.contains("[DONE]"));
    assert!(
        !streamed.contains('\u{fffd}') || streamed.matches('\u{fffd}').count() == 1,
        "only a cut at max_tokens may show one: {streamed}"
    );
}
