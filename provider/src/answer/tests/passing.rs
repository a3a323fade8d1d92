//! What goes through, and what is refused.

use openapi::chat::FinishReason;
use openapi::continuation::CONTINUE_PATH;
use openapi::node::{COUNT_PATH, OFFER_PATH, Offer};

use super::*;

#[tokio::test]
async fn an_answer_goes_through_under_the_nodes_names() {
    let mut stage = Stage::start(10_000).await;
    let (request, body) =
        (Uuid::now_v7(), conversation(json!({"stream_options": {"include_usage": true}, "top_k": 5})));
    let (mut events, pieces, asked) = stage.begin((request, 100), &body).await;
    assert_eq!((&asked["model"], &asked["seed"], &asked["top_k"]), (&json!("org/m"), &json!(7), &json!(5)));
    assert_eq!((&asked["max_tokens"], &asked["stream_options"]["include_usage"]), (&Value::Null, &json!(true)));
    let (frame, piece) = events.piece().await;
    assert_eq!((frame.prompt_tokens, frame.completion_tokens, frame.finish_reason), (2, 1, None));
    assert_eq!((&piece["model"], &piece["system_fingerprint"]), (&json!("m"), &json!("upstream")));
    assert_eq!(piece["id"], format!("chatcmpl-{}", request.simple()));
    assert_eq!(piece["choices"][0]["delta"]["content"], "a");
    for chunk in [ENDS, USAGE, "[DONE]"] {
        send(&pieces, chunk).await;
    }
    let (frame, rest) = events.rest().await;
    assert_eq!((frame.prompt_tokens, frame.completion_tokens), (9, 2), "the server's own count");
    assert_eq!(frame.finish_reason, Some(FinishReason::Stop));
    assert_eq!((rest.len(), rest[2].as_str()), (3, "[DONE]"));
    let usage: Value = serde_json::from_str(&rest[1]).unwrap();
    assert_eq!(usage["usage"]["prompt_tokens"], 9);
    stage.idle().await;
}

#[tokio::test]
async fn whoever_wants_it_whole_gets_it_whole() {
    let mut stage = Stage::start(10_000).await;
    let said = format!(
        "data: {}\n\ndata: {ENDS}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n",
        json!({"choices": [{"index": 0, "delta": {"content": "ab"}}]})
    );
    let body = conversation(json!({"stream": false}));
    let url = format!("{}{CHAT}", stage.local);
    let asking = stage.client.post(url).json(&body).send();
    let (whole, ()) = tokio::join!(asking, async { stage.server.next().await.events(&said) });
    let whole = whole.unwrap();
    assert_eq!(whole.headers()["content-type"], "application/json");
    let whole: Value = whole.json().await.unwrap();
    assert_eq!(
        (&whole["choices"][0]["message"]["content"], &whole["object"]),
        (&json!("ab"), &json!("chat.completion"))
    );
    assert_eq!((&whole["usage"]["completion_tokens"], &whole["model"]), (&json!(2), &json!("m")));

    let (url, ticket) = (format!("{}{CHAT}", stage.tunnelled), stage.ticket(Uuid::now_v7(), 100));
    let asking = stage.client.post(url).header(TICKET_HEADER, ticket).json(&body).send();
    let (framed, ()) = tokio::join!(asking, async { stage.server.next().await.events(&said) });
    let mut events = Events { response: framed.unwrap(), scanner: Scanner::new(1 << 20), ready: Vec::new() };
    let (frame, rest) = events.rest().await;
    assert_eq!((frame.completion_tokens, rest.len()), (2, 1));
    assert_eq!(serde_json::from_str::<Value>(&rest[0]).unwrap()["choices"][0]["message"]["content"], "ab");

    let (body, url) = (conversation(json!({})), format!("{}{CHAT}", stage.local));
    let asking = stage.client.post(url).json(&body).send();
    let (streamed, ()) = tokio::join!(asking, async { stage.server.next().await.events(&said) });
    let streamed = streamed.unwrap().text().await.unwrap();
    assert!(streamed.ends_with("data: [DONE]\n\n") && !streamed.contains(USAGE_EVENT), "{streamed}");
}

#[tokio::test]
async fn what_the_server_says_of_the_request_is_the_answer() {
    let mut stage = Stage::start(10_000).await;
    let long =
        json!({"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}});
    for (status, answered, word) in
        [(400, 400, "too long"), (404, 404, "too long"), (503, 503, "busy"), (401, 502, "failed"), (500, 502, "failed")]
    {
        for locally in [false, true] {
            let body = conversation(json!({"stream": !locally}));
            let url = format!("{}{CHAT}", if locally { &stage.local } else { &stage.tunnelled });
            let asking =
                stage.client.post(url).header(TICKET_HEADER, stage.ticket(Uuid::now_v7(), 100)).json(&body).send();
            let response = (StatusCode::from_u16(status).unwrap(), long.to_string());
            let (refused, ()) = tokio::join!(asking, async { stage.server.next().await.answer(response) });
            let refused = refused.unwrap();
            assert_eq!(refused.status().as_u16(), answered);
            let error: Value = refused.json().await.unwrap();
            assert!(error["error"]["message"].as_str().unwrap().contains(word), "{status}: {error}");
        }
    }
    stage.idle().await;
}

#[tokio::test]
async fn one_is_computed_one_waits_and_says_so_and_the_next_is_refused() {
    let mut stage = Stage::start(60_000).await;
    let body = conversation(json!({}));
    let (_events, pieces, _) = stage.begin((Uuid::now_v7(), 100), &body).await;
    let mut waiting = stage.ask_locally(&body).await;
    let alive = waiting.chunk().await.unwrap().unwrap();
    assert_eq!(alive, ": waiting for a slot\n\n");
    let refused = stage.ask_locally(&body).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    for chunk in [ENDS, "[DONE]"] {
        send(&pieces, chunk).await;
    }
    let next = stage.server.next().await;
    next.answer((StatusCode::BAD_REQUEST, json!({"error": {"message": "too long"}}).to_string()));
    let mut rest = Vec::new();
    while let Some(chunk) = waiting.chunk().await.unwrap() {
        rest.extend(chunk);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("event: error\n") && rest.contains("too long"), "{rest}");
    stage.idle().await;
}

#[tokio::test]
async fn what_needs_tokens_is_refused_and_not_offered() {
    let stage = Stage::start(10_000).await;
    let offer: Offer =
        stage.client.get(format!("{}{OFFER_PATH}", stage.tunnelled)).send().await.unwrap().json().await.unwrap();
    let model = &offer.models[0];
    assert_eq!((model.continues, &model.fingerprint, model.context_length), (false, &None, 1_000));
    let continuation = json!({"path": CHAT, "request": conversation(json!({})), "so_far": {"choices": [{"token_ids": [1], "text_bytes": 1, "opened": true, "finished": false}]}});
    for (path, body, status, code) in [
        (CONTINUE_PATH, continuation, 409, "not_continued"),
        (COUNT_PATH, conversation(json!({})), 501, "not_counted"),
        (CHAT, conversation(json!({"model": "other"})), 404, "model_not_found"),
        (CHAT, conversation(json!({"n": 0})), 400, "integer_below_min_value"),
        (CHAT, conversation(json!({"stream": "yes"})), 400, "invalid_type"),
        (CHAT, json!({"model": "m"}), 400, "missing_required_parameter"),
        ("/v1/completions", json!({"model": "m"}), 400, "missing_required_parameter"),
    ] {
        let refused = stage.post(path, (Uuid::now_v7(), 100), &body).await;
        assert_eq!(refused.status().as_u16(), status, "{path} {body}");
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], code);
    }
    let without_ticket = stage.client.post(format!("{}{CHAT}", stage.tunnelled)).json(&conversation(json!({}))).send();
    assert_eq!(without_ticket.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    stage.node.slots.set_away(true);
    let away = stage.ask_locally(&conversation(json!({}))).await;
    assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(away.text().await.unwrap().contains("is away"));
}
