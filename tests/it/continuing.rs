//! A stream survives its node: another one goes on with the same text, to the letter.

use std::time::Duration;

use openapi::continuation::{CONTINUE_PATH, ChoiceSoFar, SoFar};
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::node::Ticket;
use openapi::sse::Event;
use serde_json::{Value, json};
use tests::{Behaviour, Gateway, Node, ScriptedGateway, ScriptedNode, conversation};
use uuid::Uuid;

const CHAT: &str = "/v1/chat/completions";

/// What a client got of an answer, or of several.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heard {
    /// All text, calls of tools included.
    text: String,
    answers: Vec<Answer>,
    finish_reason: Option<String>,
    openings: usize,
    done: bool,
    ids: Vec<String>,
}

/// One of several.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answer {
    text: String,
    logprobs: Vec<Value>,
    finish_reason: Option<String>,
}

impl Heard {
    fn hear(&mut self, data: &str) {
        if data == "[DONE]" {
            self.done = true;
            return;
        }
        let chunk: Value = serde_json::from_str(data).unwrap();
        assert!(chunk.get("error").is_none(), "{chunk}");
        self.ids.push(chunk["id"].as_str().unwrap().to_owned());
        let Some(choice) = chunk["choices"].get(0) else { return };
        let index = choice["index"].as_u64().unwrap() as usize;
        self.answers.resize(self.answers.len().max(index + 1), Answer::default());
        let answer = &mut self.answers[index];
        self.openings += usize::from(choice["delta"]["role"].is_string());
        let function = &choice["delta"]["tool_calls"][0]["function"];
        for text in [&choice["delta"]["content"], &function["name"], &function["arguments"]] {
            answer.text.push_str(text.as_str().unwrap_or_default());
            self.text.push_str(text.as_str().unwrap_or_default());
        }
        answer.logprobs.extend(choice["logprobs"]["content"].as_array().into_iter().flatten().cloned());
        if let Some(reason) = choice["finish_reason"].as_str() {
            assert_eq!(answer.finish_reason.replace(reason.to_owned()), None, "an answer ends once");
            self.finish_reason = Some(reason.to_owned());
        }
    }
}

/// What the first chunk bears.
fn fingerprint(events: &[Event]) -> Option<String> {
    let chunk = events.iter().find(|event| event.name() != Some(USAGE_EVENT) && event.data().is_some())?;
    let chunk: Value = serde_json::from_str(chunk.data()?).unwrap();
    chunk["system_fingerprint"].as_str().map(str::to_owned)
}

/// An answer, cut after so many of its events: what its client has, and what a gateway knows of it.
fn cut(events: &[Event], after: usize) -> (Heard, SoFar) {
    let mut heard = Heard::default();
    let mut so_far = SoFar { fingerprint: fingerprint(events), ..SoFar::default() };
    for event in &events[..after] {
        let Some(data) = event.data() else { continue };
        if event.name() == Some(USAGE_EVENT) {
            let frame: UsageFrame = serde_json::from_str(data).unwrap();
            choice(&mut so_far, frame.choice as usize).token_ids.extend(frame.token_ids);
        } else {
            heard.hear(data);
        }
    }
    for (index, answer) in heard.answers.iter().enumerate() {
        let choice = choice(&mut so_far, index);
        choice.opened = true;
        choice.text_bytes = answer.text.len() as u64;
        choice.logprobs = answer.logprobs.len() as u64;
        choice.finished = answer.finish_reason.is_some();
    }
    (heard, so_far)
}

fn choice(so_far: &mut SoFar, index: usize) -> &mut ChoiceSoFar {
    so_far.choices.resize(so_far.choices.len().max(index + 1), ChoiceSoFar::default());
    &mut so_far.choices[index]
}

fn tokens(so_far: &SoFar) -> Vec<Vec<u32>> {
    so_far.choices.iter().map(|choice| choice.token_ids.clone()).collect()
}

fn weather() -> Value {
    let city = json!({"type": "string", "enum": ["Paris", "Rome"]});
    let parameters = json!({"type": "object", "properties": {"city": city}, "required": ["city"]});
    json!({"type": "function", "function": {"name": "weather", "parameters": parameters}})
}

fn two() -> Value {
    let word = json!({"type": "string", "minLength": 8, "maxLength": 12});
    json!({"type": "object", "properties": {"one": word, "other": word}, "required": ["one", "other"]})
}

#[tokio::test]
async fn a_node_goes_on_wherever_another_one_stopped() {
    let mut gateway = ScriptedGateway::start().await;
    let _node = Node::enrol(&gateway.url, "any", &[]).await;
    let tunnel = gateway.tunnel().await;
    for more in [
        json!({"temperature": 0, "max_tokens": 24}),
        json!({"temperature": 1.0, "max_tokens": 24, "seed": 5}),
        json!({"temperature": 1.3, "max_tokens": 24, "seed": 6, "frequency_penalty": 1.5, "presence_penalty": 0.5}),
        // Held back and let go again, and found in the end.
        json!({"temperature": 0, "max_tokens": 60, "stop": ["the s", ", and the wind"]}),
        json!({"temperature": 0.8, "seed": 3, "messages": [{"role": "user", "content": "Say: 🙂 naïve 🙂"}], "max_tokens": 20}),
        json!({"temperature": 1, "seed": 4, "n": 3, "max_tokens": 12}),
        json!({"temperature": 1, "seed": 4, "max_tokens": 16, "logprobs": true, "top_logprobs": 2}),
        json!({"temperature": 1, "seed": 7, "max_tokens": 90, "tool_choice": "required", "tools": [weather()]}),
        json!({"temperature": 1, "seed": 8, "max_tokens": 60, "response_format": {"type": "json_schema", "json_schema": {"name": "two", "schema": two()}}}),
    ] {
        let body = conversation(more.clone());
        let streamed = conversation(json!({"stream": true, "stream_options": {"include_usage": true}}));
        let mut streamed = streamed.as_object().unwrap().clone();
        streamed.extend(body.as_object().unwrap().clone());
        let body = Value::Object(streamed);
        let request = Uuid::now_v7();
        let ticket = tunnel.ticket(request, 1000);
        let events = tunnel.post(CHAT, &ticket, &body).await.events().await;
        let (whole, _) = cut(&events, events.len());
        assert!(whole.done && whole.text.len() > 10, "{more}: {whole:?}");
        for (attempt, after) in (2..).zip((1..events.len()).step_by(17).chain([events.len() - 2, events.len() - 1])) {
            let (mut heard, so_far) = cut(&events, after);
            if heard.done {
                continue;
            }
            let continuation = json!({"path": CHAT, "request": body, "so_far": so_far});
            let ticket = Ticket { attempt, ..ticket.clone() };
            let rest = tunnel.post(CONTINUE_PATH, &ticket, &continuation).await;
            assert_eq!(rest.status, 200);
            let (mut named, mut counted) = (so_far, 0);
            for event in rest.events().await {
                match event.data() {
                    Some(data) if event.name() == Some(USAGE_EVENT) => {
                        let frame: UsageFrame = serde_json::from_str(data).unwrap();
                        choice(&mut named, frame.choice as usize).token_ids.extend(frame.token_ids);
                        counted = frame.completion_tokens;
                    }
                    Some(data) => heard.hear(data),
                    None => {}
                }
            }
            assert_eq!(heard.answers, whole.answers, "{more}, cut after {after} of {} events", events.len());
            assert_eq!((heard.openings, heard.done), (whole.openings, true), "{more}, cut after {after}");
            let all = tokens(&cut(&events, events.len()).1);
            assert_eq!(tokens(&named), all, "every token is named once: {more}, cut after {after}");
            assert_eq!(counted, all.iter().flatten().count() as u64, "{more}, cut after {after}");
        }
    }
}

#[tokio::test]
async fn what_no_answer_can_have_is_not_gone_on_with() {
    let mut gateway = ScriptedGateway::start().await;
    let _node = Node::enrol(&gateway.url, "any", &[]).await;
    let tunnel = gateway.tunnel().await;
    let ticket = tunnel.ticket(Uuid::now_v7(), 1000);
    let so_far = |token_ids: Value| json!({"choices": [{"token_ids": token_ids, "text_bytes": 0, "opened": false, "finished": false}]});
    for (continuation, status, word) in [
        (
            json!({"path": "/v1/embeddings", "request": conversation(json!({})), "so_far": so_far(json!([]))}),
            404,
            "/v1/embeddings",
        ),
        (json!({"path": CHAT, "request": {}, "so_far": so_far(json!([]))}), 400, "model"),
        (
            json!({"path": CHAT, "request": conversation(json!({})), "so_far": so_far(json!([4_000_000]))}),
            400,
            "4000000",
        ),
        (
            json!({"path": CHAT, "request": conversation(json!({})), "so_far": so_far(json!(vec![5; 9]))}),
            400,
            "9 tokens",
        ),
        (json!({"path": CHAT}), 400, "request"),
    ] {
        let reply = tunnel.post(CONTINUE_PATH, &ticket, &continuation).await;
        assert_eq!(reply.status, status, "{continuation}");
        let error = reply.json().await["error"]["message"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{error}");
    }
}

/// Reads a stream to its end; `at` so many chunks in, does something.
async fn read(mut stream: reqwest::Response, at: usize, then: impl AsyncFnOnce()) -> Heard {
    let (mut heard, mut scanner, mut then, mut chunks) =
        (Heard::default(), openapi::sse::Scanner::new(1 << 20), Some(then), 0);
    while let Some(bytes) = stream.chunk().await.unwrap() {
        for event in scanner.push(&bytes).unwrap() {
            chunks += usize::from(event.data().is_some());
            event.data().into_iter().for_each(|data| heard.hear(data));
        }
        if chunks >= at
            && let Some(then) = then.take()
        {
            then().await;
        }
    }
    heard
}

#[tokio::test]
async fn an_answer_survives_its_node_and_costs_the_same() {
    let gateway = Gateway::start().await;
    let mut nodes = [Node::join(&gateway, &[]).await, Node::join(&gateway, &[]).await];
    let body = conversation(
        json!({"stream": true, "temperature": 1.0, "seed": 11, "max_tokens": 200, "logit_bias": {"2": -100}}),
    );
    let whole = read(gateway.chat(&body).await, usize::MAX, async || ()).await;
    assert!(whole.done);

    let stream = gateway.chat(&body).await;
    let served_by: Uuid = stream.headers()["x-commonwatt-node"].to_str().unwrap().parse().unwrap();
    let request = stream.headers()["x-commonwatt-request-id"].to_str().unwrap().to_owned();
    let names = gateway.get("/api/nodes").await;
    let at = names["data"].as_array().unwrap().iter().position(|node| node["id"] == served_by.to_string()).unwrap();
    // Late enough that computing it once more takes longer than a stream may be without a token.
    let heard = read(stream, 150, async || nodes[at].kill().await).await;
    assert_eq!((&heard.text, &heard.finish_reason), (&whole.text, &whole.finish_reason));
    assert!(heard.done && heard.openings == 1);
    assert!(heard.ids.windows(2).all(|pair| pair[0] == pair[1]), "one stream, one id");

    let row = gateway.request(&request).await;
    assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("completed"), &json!(200)), "{row}");
    let attempts = row["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{row}");
    assert_eq!((&attempts[0]["outcome"], &attempts[0]["node"]), (&json!("node_failed"), &json!(served_by)), "{row}");
    let made: i64 = attempts.iter().map(|attempt| attempt["completion_tokens"].as_i64().unwrap()).sum();
    assert_eq!(made, 200, "each token was made once: {row}");
    let first = gateway.requests(2).await.into_iter().find(|other| other["id"] != row["id"]).unwrap();
    assert_eq!(first["nanocredits"], row["nanocredits"], "the client pays for the answer, not for the accident");
}

#[tokio::test]
async fn a_whole_answer_is_gone_on_with_by_a_node_that_comes_back() {
    let gateway = Gateway::start().await;
    let mut node = Node::join(&gateway, &[]).await;
    let body = conversation(json!({"temperature": 1.0, "seed": 12, "max_tokens": 60}));
    let whole: Value = gateway.chat(&body).await.json().await.unwrap();
    let asking = tokio::spawn(gateway.ask(CHAT, &body).send());
    gateway.engine_runs(1, Duration::from_secs(10)).await;
    node.restart().await;
    let answer: Value = asking.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["choices"], whole["choices"]);
}

#[tokio::test]
async fn a_stream_that_nobody_can_go_on_with_ends_with_an_error() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, Behaviour::BreaksAfter(3)).await;
    let _other = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 5, every_ms: 1 }).await;
    let body = conversation(json!({"stream": true}));
    let mut broken = 0;
    for _ in 0..20 {
        let text =
            tokio::time::timeout(Duration::from_secs(60), gateway.chat(&body).await.text()).await.unwrap().unwrap();
        broken += usize::from(text.contains("node_failed"));
        assert!(text.contains("[DONE]") != text.contains("node_failed"), "{text}");
    }
    assert!(broken > 0, "the one that breaks was asked");
}
