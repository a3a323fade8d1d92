//! How other servers write. Sources: vLLM, `vllm/entrypoints/openai/serving_chat.py`; SGLang,
//! `sglang/srt/entrypoints/openai/protocol.py`; Ollama, `openai/openai.go`; OpenAI API reference, "Streaming".

use super::*;

const VLLM: &[&str] = &[
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[{"index":0,"delta":{"reasoning_content":"Hm, "}}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[{"index":0,"delta":{"reasoning_content":"two."}}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[{"index":0,"delta":{"tool_calls":[{"id":"chatcmpl-tool-a","type":"function","index":0,"function":{"name":"weather"}}]}}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\": "}}]}}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Paris\"}"}}]}}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"tool_calls","stop_reason":null}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"org/m","choices":[],"usage":{"prompt_tokens":20,"total_tokens":45,"completion_tokens":25}}"#,
];

const OLLAMA: &[&str] = &[
    r#"{"id":"chatcmpl-730","object":"chat.completion.chunk","created":1,"model":"qwen3:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"Hm"},"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-730","object":"chat.completion.chunk","created":1,"model":"qwen3:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Let "},"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-730","object":"chat.completion.chunk","created":1,"model":"qwen3:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"me see."},"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-730","object":"chat.completion.chunk","created":1,"model":"qwen3:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"","tool_calls":[{"id":"call_a","index":0,"type":"function","function":{"name":"weather","arguments":"{\"city\":\"Paris\"}"}},{"id":"call_b","type":"function","function":{"name":"weather","arguments":"{}"}}]},"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-730","object":"chat.completion.chunk","created":1,"model":"qwen3:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"tool_calls"}]}"#,
    r#"{"id":"chatcmpl-730","object":"chat.completion.chunk","created":1,"model":"qwen3:8b","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":73,"completion_tokens":78,"total_tokens":151}}"#,
];

/// Says with every piece what was used so far, and of what it does not say that it is null.
const SGLANG: &[&str] = &[
    r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}"#,
    r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":"one two three","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#,
    r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":"stop","matched_stop":2}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#,
];

#[test]
fn vllm_thinks_and_calls_a_tool() {
    let sent = translate(facts(Endpoint::Chat), &stream(VLLM)).unwrap();
    assert!(sent.data[1].starts_with(r#"{"id":"chatcmpl-ours","object":"chat.completion.chunk","created":1700000000,"model":"smollm2-135m-instruct","choices":[{"index":0,"delta":{"reasoning_content":"Hm, "}}],"system_fingerprint":"attached""#));
    assert_eq!(sent.counted(), (20, 25));
    let answer = translate(whole(Endpoint::Chat), &stream(VLLM)).unwrap().json(0);
    assert_eq!(
        answer["choices"][0]["message"],
        serde_json::json!({"role": "assistant", "content": "", "refusal": null, "reasoning_content": "Hm, two.",
            "tool_calls": [{"id": "chatcmpl-tool-a", "type": "function",
                "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}}]})
    );
    assert_eq!(answer["system_fingerprint"], "attached");
}

#[test]
fn ollama_says_its_role_each_time_and_whole_tool_calls_at_once() {
    let answer = translate(whole(Endpoint::Chat), &stream(OLLAMA)).unwrap().json(0);
    let message = &answer["choices"][0]["message"];
    assert_eq!((&message["role"], &message["content"]), (&"assistant".into(), &"Let me see.".into()));
    assert_eq!(message["reasoning"], "Hm");
    let ids: Vec<_> = message["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    assert_eq!(ids, ["call_a", "call_b"], "one without an index is the next");
    assert_eq!(answer["system_fingerprint"], "upstream-fp_ollama");
    assert_eq!(answer["usage"]["total_tokens"], 151);
}

#[test]
fn sglang_counts_up() {
    let sent = translate(facts(Endpoint::Chat), &stream(SGLANG)).unwrap();
    let counts: Vec<_> = sent.frames.iter().map(|frame| (frame.prompt_tokens, frame.completion_tokens)).collect();
    assert_eq!(counts, [(9, 0), (9, 3), (9, 4), (9, 4)]);
    assert_eq!(sent.json(1)["usage"], Value::Null);
    let answer = translate(whole(Endpoint::Chat), &stream(SGLANG)).unwrap().json(0);
    assert_eq!(answer["choices"][0]["message"]["content"], "one two three");
    assert_eq!(answer["choices"][0]["matched_stop"], 2, "what a server adds is kept");
}

#[test]
fn a_refusal_is_put_together() {
    let chunks = [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","refusal":"I "}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"refusal":"won't."},"finish_reason":"content_filter"}]}"#,
    ];
    let answer = translate(whole(Endpoint::Chat), &stream(&chunks)).unwrap().json(0);
    let message = &answer["choices"][0]["message"];
    assert_eq!((&message["refusal"], &message["content"]), (&"I won't.".into(), &"".into()));
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
}

#[test]
fn comments_other_events_and_a_repeated_end_are_left_out() {
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let chunks = [r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#, end, end];
    let noise = ": OPENROUTER PROCESSING\n\nevent: ping\ndata: {}\n\n";
    let sent = translate(facts(Endpoint::Chat), &format!("{noise}{}", stream(&chunks))).unwrap();
    assert_eq!(sent.data.len(), 4, "a piece, its end, usage and the end mark");
}

#[test]
fn an_answer_at_its_end_needs_no_end_mark() {
    let marked = stream(VLLM);
    let unmarked = marked.strip_suffix("data: [DONE]\n\n").unwrap();
    for wanted in [facts(Endpoint::Chat), whole(Endpoint::Chat)] {
        assert_eq!(translate(wanted.clone(), &marked).unwrap().data, translate(wanted, unmarked).unwrap().data);
    }
}

/// Says something in these choices, and may say no more.
fn cut(facts: Facts, chunks: &[&str]) -> Sent {
    let mut translator = Translator::new(facts, Limits::default());
    let mut bytes = Vec::new();
    for chunk in chunks {
        let event = events(format!("data: {chunk}\n\n").as_bytes()).remove(0);
        bytes.extend(translator.push(&event, energy).unwrap());
    }
    bytes.extend(translator.end_at_limit(energy).unwrap());
    assert!(translator.is_finished() && translator.finish(energy).unwrap().is_empty());
    read(&bytes)
}

#[test]
fn an_answer_that_may_have_no_more_ends_in_good_order() {
    let said = [0, 1].map(|index| format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"a"}}}}]}}"#));
    let ended = r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#;
    let sent = cut(facts(Endpoint::Chat), &[&said[0], &said[1], ended]);
    let reasons = |sent: &Sent| -> Vec<(Value, Value)> {
        let choice = |data: &String| serde_json::from_str::<Value>(data).ok().map(|chunk| chunk["choices"][0].clone());
        let ends = sent.data.iter().filter_map(choice).filter(|choice| !choice["finish_reason"].is_null());
        ends.map(|choice| (choice["index"].clone(), choice["finish_reason"].clone())).collect()
    };
    assert_eq!(reasons(&sent), [(1.into(), "stop".into()), (0.into(), "length".into())]);
    assert_eq!((sent.data.last().unwrap().as_str(), sent.counted()), ("[DONE]", (0, 2)));
    assert_eq!(sent.last().finish_reason, Some(crate::chat::FinishReason::Length));
    for (endpoint, object) in [(Endpoint::Chat, "chat.completion.chunk"), (Endpoint::Completion, "text_completion")] {
        let nothing = cut(facts(endpoint), &[]);
        assert_eq!(reasons(&nothing), [(0.into(), "length".into())]);
        assert_eq!((&nothing.json(0)["object"], &nothing.json(0)["id"]), (&object.into(), &"chatcmpl-ours".into()));
    }
    let whole = cut(whole(Endpoint::Chat), &[&said[0]]).json(0);
    assert_eq!(whole["choices"][0]["message"]["content"], "a");
    assert_eq!(
        (&whole["choices"][0]["finish_reason"], &whole["usage"]["completion_tokens"]),
        (&"length".into(), &1.into())
    );
}

#[test]
fn what_comes_at_once_is_told_in_one_frame() {
    for (facts, frames) in [(facts(Endpoint::Chat), 2), (whole(Endpoint::Chat), 1)] {
        let one_by_one = translate(facts.clone(), &stream(VLLM)).unwrap();
        let mut translator = Translator::new(facts, Limits::default());
        events(stream(VLLM).as_bytes()).iter().for_each(|event| translator.take(event).unwrap());
        let sent = read(&translator.write(energy));
        assert_eq!((&sent.data, sent.counted()), (&one_by_one.data, one_by_one.counted()));
        assert_eq!(sent.frames.len(), frames, "the pieces' and the end's, or that of the end alone");
        assert!(translator.is_over() && translator.write(energy).is_empty(), "everything is said once");
    }
}
