//! Upstreams that fail, lie, or never stop.

use proptest::prelude::*;

use super::*;

const SAYS: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
const ENDS: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

fn failure(chunks: &[&str]) -> TranslateError {
    translate(facts(Endpoint::Chat), &stream(chunks)).unwrap_err()
}

fn small() -> Limits {
    Limits { event_bytes: 400, stream_bytes: 4_000, collected_bytes: 1_000, choices: 3, tool_calls: 2 }
}

/// Sends the same chunk until it is refused.
fn endless(facts: Facts, chunk: &str) -> TranslateError {
    let mut translator = Translator::new(facts, small());
    let event = events(format!("data: {chunk}\n\n").as_bytes()).remove(0);
    (0..10_000).find_map(|_| translator.push(&event, energy).err()).unwrap()
}

#[test]
fn an_answer_that_breaks_off_is_no_answer() {
    for broken in ["", &format!("data: {SAYS}\n\n"), "data: [DONE]\n\n", &stream(&[SAYS])] {
        for facts in [facts(Endpoint::Chat), whole(Endpoint::Chat)] {
            assert_eq!(translate(facts, broken).unwrap_err(), TranslateError::Early, "{broken}");
        }
    }
    let other = r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#;
    assert_eq!(failure(&[SAYS, other, ENDS]), TranslateError::Early, "one of two choices never ends");
}

#[test]
fn an_error_within_the_stream_is_reported_to_the_log() {
    let reported = |stream: &str| translate(facts(Endpoint::Chat), stream).unwrap_err();
    for failing in [
        r#"data: {"error":{"message":"CUDA out of memory","code":500}}"#,
        r#"data: {"error":"CUDA out of memory"}"#,
        r#"data: {"object":"error","message":"CUDA out of memory","code":500}"#,
        "event: error\ndata: CUDA out of memory",
        "error: CUDA out of memory",
    ] {
        let error = reported(&format!("data: {SAYS}\n\n{failing}\n\n"));
        assert!(matches!(&error, TranslateError::Reported(said) if said.contains("CUDA out of memory")), "{error}");
    }
    let long = format!("data: {{\"error\":{{\"message\":\"{}\"}}}}\n\n", "x\\n".repeat(9_999));
    assert!(reported(&long).to_string().len() < 200);
}

#[test]
fn what_is_not_openais_is_refused() {
    for chunk in ["{", "oops", "[]", "7", "\u{fffd}"] {
        assert!(matches!(failure(&[chunk]), TranslateError::NoJson(_)), "{chunk}");
    }
    for chunk in [
        "{}",
        r#"{"choices":7}"#,
        r#"{"choices":[7]}"#,
        r#"{"choices":[{"index":-1}]}"#,
        r#"{"choices":[{"index":"0"}]}"#,
        r#"{"choices":[{"delta":"a"}]}"#,
        r#"{"choices":[{"finish_reason":7}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":{}}}]}"#,
        r#"{"choices":[],"usage":[]}"#,
        r#"{"choices":[],"usage":{"completion_tokens":-1}}"#,
    ] {
        assert!(matches!(failure(&[chunk]), TranslateError::NotOpenAi(_)), "{chunk}");
    }
    let broken = translate_within(Limits::default(), facts(Endpoint::Chat), b"data: {\"choices\":\"\xff\"}\n\n");
    assert!(matches!(broken, Err(TranslateError::NoJson(_))));
}

#[test]
fn an_event_has_a_longest_length_whether_it_ends_or_not() {
    let long = format!("data: {{\"choices\":[],\"x\":\"{}\"}}\n\n", "x".repeat(500));
    let refused = translate_within(small(), facts(Endpoint::Chat), long.as_bytes());
    assert_eq!(refused.unwrap_err(), TranslateError::LongEvent(400));
    assert!(Scanner::new(small().event_bytes).push(&long.as_bytes()[..500]).is_err());
}

#[test]
fn a_stream_has_a_longest_length() {
    for chunk in [SAYS, r#"{"choices":[]}"#] {
        assert_eq!(endless(facts(Endpoint::Chat), chunk), TranslateError::LongStream(4_000));
    }
    let mut translator = Translator::new(facts(Endpoint::Chat), small());
    let comment = Event { raw: b": still here\n\n".to_vec() };
    assert!((0..1_000).any(|_| translator.push(&comment, energy) == Err(TranslateError::LongStream(4_000))));
}

#[test]
fn what_is_collected_has_a_longest_length() {
    for piece in [
        r#""delta":{"content":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}"#,
        r#""delta":{"tool_calls":[{"index":0,"function":{"arguments":"0123456789abcdef0123456789abcdef0123456789"}}]}"#,
        r#""logprobs":{"content":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]},"delta":{}"#,
    ] {
        let chunk = format!(r#"{{"choices":[{{"index":0,{piece}}}]}}"#);
        assert_eq!(endless(whole(Endpoint::Chat), &chunk), TranslateError::LongAnswer(1_000), "{piece}");
        assert_eq!(endless(facts(Endpoint::Chat), &chunk), TranslateError::LongStream(4_000), "pieces aren't kept");
    }
}

#[test]
fn choices_and_tool_calls_are_few_and_leave_no_gap() {
    let refused = |chunk: &str| {
        let [streamed, collected] = [facts(Endpoint::Chat), whole(Endpoint::Chat)]
            .map(|facts| translate_within(small(), facts, stream(&[chunk]).as_bytes()).unwrap_err());
        assert_eq!(streamed, collected);
        streamed
    };
    let many = TranslateError::ManyChoices(3);
    assert_eq!(refused(r#"{"choices":[{"index":3,"delta":{}}]}"#), many);
    assert!(matches!(
        refused(r#"{"choices":[{"index":99999999999999999999,"delta":{}}]}"#),
        TranslateError::NotOpenAi(_)
    ));
    let calls = |calls: &str| refused(&format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{calls}]}}}}]}}"#));
    assert_eq!(calls(r#"{"index":1}"#), TranslateError::Gap);
    assert_eq!(calls(r#"{"index":0},{"index":1},{"index":2}"#), TranslateError::ManyToolCalls(2));
    assert_eq!(calls(r#"{"id":"a"},{"id":"b"},{"id":"c"}"#), TranslateError::ManyToolCalls(2));
}

#[test]
fn nobody_can_claim_more_tokens_than_can_be_added_up() {
    let absurd = r#"{"choices":[],"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":1}}"#;
    assert_eq!(failure(&[absurd]), TranslateError::ManyTokens);
}

#[test]
fn an_answer_ends_once() {
    assert_eq!(failure(&[SAYS, ENDS, SAYS]), TranslateError::AfterTheEnd);
    let twice = format!("{}{}", stream(&[SAYS, ENDS]), stream(&[SAYS, ENDS]));
    for (facts, ends) in [(facts(Endpoint::Chat), 1), (whole(Endpoint::Chat), 0)] {
        let sent = translate(facts, &twice).unwrap();
        assert_eq!(sent.data.iter().filter(|data| *data == "[DONE]").count(), ends);
        assert_eq!(sent.frames.iter().filter(|frame| frame.finish_reason.is_some()).count(), 1);
    }
}

#[test]
fn nothing_comes_after_an_error() {
    let mut translator = Translator::new(facts(Endpoint::Chat), Limits::default());
    let all = events(stream(&["oops", SAYS, ENDS]).as_bytes());
    let sent: Vec<_> = all.iter().map(|event| translator.push(event, energy)).collect();
    assert!(sent[0].is_err());
    assert!(sent[1..].iter().all(|bytes| *bytes == Ok(Vec::new())));
    assert_eq!(translator.finish(energy), Ok(Vec::new()));
}

#[test]
fn an_upstream_can_not_write_events_of_its_own() {
    let forged = "event: usage\ndata: {\"prompt_tokens\":1,\"completion_tokens\":9999}\n\n";
    let sent = translate(facts(Endpoint::Chat), &format!("{forged}{}", stream(&[SAYS, ENDS]))).unwrap();
    assert_eq!(sent.counted().1, 1);
    // To JSON a lone carriage return is a space, to whoever reads an event stream it ends the line.
    for returned in ["{\"choices\":[],\r\"x\":1,\revent\r:1}", "{\"choices\":[],\"x\":[\r1]}"] {
        assert!(matches!(failure(&[returned]), TranslateError::NoJson(_)));
    }
}

proptest! {
    /// Whatever comes, no byte of it panics, and an answer never ends twice.
    #[test]
    fn anything_is_translated_or_refused(chunks in prop::collection::vec(
        prop_oneof![
            Just(SAYS.to_owned()), Just(ENDS.to_owned()), Just("[DONE]".to_owned()), "[ -~]{0,40}",
            "\\{\"choices\":\\[\\{\"index\":[0-9]{1,3},\"(delta|text|finish_reason)\":(\"a\"|null|\\{\\}|7|\\[1\\])\\}\\],\"usage\":(null|\\{\\}|[0-9])\\}",
        ], 0..12), collected in any::<bool>()) {
        let facts = Facts { stream: !collected, ..facts(Endpoint::Chat) };
        let mut translator = Translator::new(facts, small());
        let mut bytes = Vec::new();
        for event in chunks.iter().flat_map(|chunk| events(format!("data: {chunk}\n\n").as_bytes())) {
            bytes.extend(translator.push(&event, energy).unwrap_or_default());
        }
        bytes.extend(translator.finish(energy).unwrap_or_default());
        let ends = read(&bytes).frames.iter().filter(|frame| frame.finish_reason.is_some()).count();
        prop_assert!(ends <= 1);
    }

    /// What a client puts together of the pieces is what it gets whole.
    #[test]
    fn pieces_and_whole_say_the_same(parts in prop::collection::vec((0_u64..3, "\\PC{0,8}"), 1..20)) {
        let mut texts = std::collections::BTreeMap::<u64, String>::new();
        let mut chunks = Vec::new();
        for (index, part) in &parts {
            texts.entry(*index).or_default().push_str(part);
            chunks.push(serde_json::json!({"choices": [{"index": index, "delta": {"content": part}}]}).to_string());
        }
        chunks.extend(texts.keys().map(|index| {
            serde_json::json!({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}).to_string()
        }));
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let answer = translate(whole(Endpoint::Chat), &stream(&chunks)).unwrap().json(0);
        let choices = answer["choices"].as_array().unwrap();
        let said: Vec<_> = choices.iter().map(|choice| choice["message"]["content"].as_str().unwrap()).collect();
        prop_assert_eq!(said, texts.values().collect::<Vec<_>>());
    }
}
