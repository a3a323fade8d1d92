//! Answers.

use proptest::prelude::*;

use super::*;

/// Sums up the deltas of every item and compares them with what the last event says. That they come in order goes with it.
fn check(events: &[Value]) -> Value {
    let (mut open, mut texts): (Option<Value>, Vec<String>) = (None, Vec::new());
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        let item = event.get("item_id").or_else(|| event["item"].get("id"));
        match event["type"].as_str().unwrap() {
            "response.created" | "response.in_progress" => {
                assert!(number < 2 && event["response"]["output"] == json!([]))
            }
            "response.output_item.added" => {
                assert_eq!((open.replace(item.unwrap().clone()), &event["output_index"]), (None, &json!(texts.len())));
                texts.push(String::new());
            }
            "response.output_item.done" => assert_eq!(open.take().as_ref(), item),
            "error" | "response.completed" | "response.incomplete" | "response.failed" => {}
            kind => {
                assert_eq!((open.as_ref(), &event["output_index"]), (item, &json!(texts.len() - 1)), "{event}");
                let text = texts.last_mut().unwrap();
                let said = event.get("text").or_else(|| event.get("arguments"));
                assert!(said.is_none_or(|said| said == text.as_str()), "{kind} says what its deltas said");
                text.push_str(event["delta"].as_str().unwrap_or_default());
            }
        }
    }
    let last = events.last().unwrap()["response"].clone();
    let output: Vec<Item> = serde_json::from_value(last["output"].clone()).unwrap();
    let said: Vec<String> = output
        .iter()
        .map(|item| match item {
            Item::FunctionCall { arguments, .. } => arguments.clone(),
            Item::Message { content, .. } | Item::Reasoning { content, .. } => content.iter().map(Part::text).collect(),
            Item::FunctionCallOutput { .. } => panic!("a model puts out no output of a call"),
        })
        .collect();
    assert_eq!(said, texts);
    last
}

#[test]
fn a_text_becomes_a_message() {
    let events = events(&stream(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hel"})),
        delta(json!({"content": "lo"})),
        end("stop"),
    ]));
    let response = check(&events);
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    let part = json!({"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []});
    let id = format!("msg_{:032x}_0", 7);
    let message = json!({"type": "message", "id": id, "role": "assistant", "status": "completed", "content": [part]});
    assert_eq!((&events[8]["item"], &response["output"]), (&message, &json!([message])));
    assert_eq!(
        (&response["model"], &response["status"], &response["completed_at"]),
        (&json!("small"), &json!("completed"), &json!(200))
    );
    assert_eq!(
        response["usage"],
        json!({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8, "cost": "0.5"})
    );
}

#[test]
fn thoughts_text_and_parallel_calls_are_items_one_after_the_other() {
    let events = events(&stream(&[
        delta(json!({"reasoning_content": "hm"})),
        delta(json!({"content": "I look."})),
        call(0, Some("call_a"), json!({"name": "f", "arguments": ""})),
        call(0, None, json!({"arguments": "{\"x\""})),
        call(0, None, json!({"arguments": ":1}"})),
        call(1, Some("call_b"), json!({"name": "g", "arguments": "{}"})),
        end("tool_calls"),
    ]));
    let response = check(&events);
    let calls = |response: &Value| {
        let call = |at: usize| {
            let call = &response["output"][at];
            ["type", "call_id", "name", "arguments", "status"].map(|field| call[field].as_str().unwrap().to_owned())
        };
        [call(2), call(3)]
    };
    assert_eq!(
        calls(&response),
        [
            ["function_call", "call_a", "f", "{\"x\":1}", "completed"].map(str::to_owned),
            ["function_call", "call_b", "g", "{}", "completed"].map(str::to_owned)
        ]
    );
    assert_eq!(
        (&response["output"][0]["type"], &response["output"][1]["type"]),
        (&json!("reasoning"), &json!("message"))
    );
    let kinds = kinds(&events);
    let of = |kind: &str| kinds.iter().filter(|known| **known == kind).count();
    assert_eq!(of("function_call_arguments.delta"), 3, "an empty piece is no event");
    assert_eq!((of("function_call_arguments.done"), of("reasoning_text.done"), of("output_item.done")), (2, 1, 4));
}

#[test]
fn recorded_streams_become_the_same_as_whole() {
    for (recorded, items) in [(TEXT, 1), (LOGPROBS, 1), (CALLS, 2)] {
        let events = events(recorded);
        let response = check(&events);
        assert!(response["output"].as_array().unwrap().len() >= items, "{response}");
        assert_ne!(response["status"], "failed");
    }
}

#[test]
fn likelihoods_stand_beside_each_piece_and_beside_the_whole() {
    let events = events(LOGPROBS);
    let in_pieces: Vec<Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .flat_map(|event| event["logprobs"].as_array().unwrap().clone())
        .collect();
    let whole = &check(&events)["output"][0]["content"][0]["logprobs"];
    assert!(in_pieces.len() > 1 && in_pieces[0]["top_logprobs"][1]["token"].is_string());
    assert_eq!(*whole, json!(in_pieces));
}

#[test]
fn a_limit_leaves_the_last_item_incomplete() {
    let text = events(&stream(&[delta(json!({"content": "Once"})), end("length")]));
    let response = check(&text);
    assert_eq!(kinds(&text).last(), Some(&"incomplete"));
    assert_eq!(
        (&response["status"], &response["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!((&response["output"][0]["status"], &response["completed_at"]), (&json!("incomplete"), &Value::Null));
    let nothing = check(&events(&stream(&[end("stop")])));
    assert_eq!(nothing["output"][0]["content"][0]["text"], "", "a model may say nothing");
}

#[test]
fn an_error_in_mid_stream_is_an_event_and_a_failure() {
    let error = json!({"error": {"message": "The node failed.", "type": "server_error", "param": "messages", "code": "node_failed"}});
    let whole = stream(&[delta(json!({"content": "Once"}))]);
    let broken = whole.split_inclusive("\n\n").next().unwrap().to_owned() + &format!("data: {error}\n\n");
    let events = events(&broken);
    let response = check(&events);
    assert_eq!(kinds(&events)[5..], ["error", "failed"]);
    let [error, _] = &events[5..] else { panic!("two events") };
    assert_eq!(
        (&error["code"], &error["message"], &error["param"]),
        (&json!("node_failed"), &json!("The node failed."), &json!("input"))
    );
    assert_eq!(response["error"], json!({"code": "server_error", "message": "The node failed."}));
    assert_eq!((&response["status"], &response["output"][0]["status"]), (&json!("failed"), &json!("incomplete")));
    assert_eq!(response["output"][0]["content"][0]["text"], "Once", "what was said stays");
}

#[test]
fn what_is_no_chat_stream_fails_once() {
    for garbage in [
        "data: <html>\n\ndata: [DONE]\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
        String::new(),
        stream(&[delta(json!({"content": "no end"}))]),
        stream(&[call(0, Some("a"), json!({"arguments": "{}"}))]),
        stream(&[
            call(0, Some("a"), json!({"name": "f"})),
            call(1, Some("b"), json!({"name": "f"})),
            call(0, None, json!({"arguments": "{}"})),
        ]),
    ] {
        let events = events(&garbage);
        check(&events);
        let ends = kinds(&events).iter().filter(|kind| ["error", "failed", "completed"].contains(kind)).count();
        assert_eq!((ends, kinds(&events).last()), (2, Some(&"failed")), "{garbage}");
    }
}

#[test]
fn comments_go_on_and_an_end_mark_stands_behind_what_is_complete() {
    let text = String::from_utf8(translated([stream(&[end("stop")]).as_bytes()])).unwrap();
    assert!(text.contains("\n\n: commonwatt {}\n\n") && text.ends_with("\n\n: end\n\n"), "{text}");
    assert!(!text.contains("[DONE]"));
    let broken = String::from_utf8(translated(["data: {}\n\n".as_bytes()])).unwrap();
    assert!(!broken.contains(": end"), "{broken}");
}

#[test]
fn a_whole_answer_is_the_response_that_its_stream_would_be() {
    let calls = json!([{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]);
    let completion = json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "small",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null,
            "reasoning_content": "hm", "tool_calls": calls}, "logprobs": null, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 2}, "cost": "0.5"}});
    let whole = Translator::whole(asked(), completion.to_string().as_bytes(), 200).unwrap();
    let streamed = check(&events(&stream(&[
        delta(json!({"reasoning_content": "hm"})),
        delta(json!({"content": "Hello"})),
        call(0, Some("call_a"), json!({"name": "f", "arguments": "{}"})),
        call(1, Some("call_b"), json!({"name": "g", "arguments": "{}"})),
        end("tool_calls"),
    ])));
    let whole = serde_json::to_value(Response { store: true, ..whole }).unwrap();
    assert_eq!(whole, streamed);
    for wrong in ["", "{}", "[]", r#"{"choices":[]}"#] {
        assert!(Translator::whole(asked(), wrong.as_bytes(), 200).is_err(), "{wrong}");
    }
}

proptest! {
    /// However the chat stream is cut into chunks, the same events come out.
    #[test]
    fn cuts_do_not_matter(which in 0usize..3, cuts in prop::collection::vec(1usize..200, 1..40)) {
        let stream = [TEXT, CALLS, LOGPROBS][which].as_bytes();
        let mut rest = stream;
        let pieces = cuts.iter().cycle().map_while(|cut| {
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            rest = tail;
            (!head.is_empty()).then_some(head)
        });
        prop_assert_eq!(translated(pieces), translated([stream]));
    }
}
