//! Streams that llama.cpp's server sent (xllamacpp 2026.10, SmolLM2-135M-Instruct).

use super::*;

const CHAT: &str = include_str!("../fixtures/chat.sse");
const CHAT_USAGE: &str = include_str!("../fixtures/chat_usage.sse");
const COMPLETION: &str = include_str!("../fixtures/completion.sse");
const COMPLETION_TWO: &str = include_str!("../fixtures/completion_two.sse");
const COMPLETION_PROMPTS: &str = include_str!("../fixtures/completion_prompts.sse");
const TWO_CHOICES: &str = include_str!("../fixtures/two_choices.sse");
const LOGPROBS: &str = include_str!("../fixtures/logprobs.sse");
const TOOL_CALLS: &str = include_str!("../fixtures/tool_calls.sse");

fn texts(sent: &Sent, choice: u64) -> String {
    let pieces = sent.data.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let choices = pieces.flat_map(|piece| piece["choices"].as_array().cloned().unwrap_or_default());
    choices
        .filter(|piece| piece["index"] == choice)
        .filter_map(|piece| piece["delta"]["content"].as_str().or(piece["text"].as_str()).map(str::to_owned))
        .collect()
}

#[test]
fn every_piece_bears_our_names_and_is_otherwise_as_it_was() {
    let sent = translate(facts(Endpoint::Chat), CHAT_USAGE).unwrap();
    assert_eq!(
        sent.data[1],
        r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hello"}}],"created":1700000000,"id":"chatcmpl-ours","model":"smollm2-135m-instruct","system_fingerprint":"upstream-b0-unknown","object":"chat.completion.chunk","usage":null}"#
    );
    assert!(!sent.data.concat().contains("chatcmpl-cmk") && !sent.data.concat().contains("\"smollm2\""));
}

#[test]
fn the_usage_at_the_end_is_ours() {
    let sent = translate(facts(Endpoint::Chat), CHAT_USAGE).unwrap();
    assert_eq!(sent.data.last().unwrap(), "[DONE]");
    let usage: crate::chat::ChatChunk = serde_json::from_str(&sent.data[sent.data.len() - 2]).unwrap();
    assert!(usage.choices.is_empty() && usage.id == "chatcmpl-ours");
    let usage = usage.usage.unwrap().unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (36, 12, 48));
    assert_eq!(usage.cost.as_deref(), Some("0.0000156"));
    assert_eq!(usage.energy.unwrap().joules, Some(48.0));
    assert_eq!(sent.data.concat().matches("\"prompt_tokens\"").count(), 1);
}

#[test]
fn a_client_that_did_not_ask_for_usage_reads_none() {
    for stream in [CHAT, CHAT_USAGE] {
        let sent = translate(Facts { include_usage: false, ..facts(Endpoint::Chat) }, stream).unwrap();
        assert!(!sent.data.concat().contains("usage"));
        assert_eq!(sent.last().finish_reason, Some(crate::chat::FinishReason::Stop));
    }
    let sent = translate(Facts { include_usage: false, ..facts(Endpoint::Completion) }, COMPLETION).unwrap();
    assert!(!sent.data.concat().contains("usage"), "llama.cpp puts it beside the last choice");
    assert_eq!(sent.counted(), (5, 8));
}

#[test]
fn a_frame_goes_before_each_piece_and_the_last_one_holds_the_total() {
    let sent = translate(facts(Endpoint::Chat), CHAT_USAGE).unwrap();
    let counts: Vec<u64> = sent.frames.iter().map(|frame| frame.completion_tokens).collect();
    assert!(counts.is_sorted() && counts[..3] == [0, 1, 2], "{counts:?}");
    assert_eq!(sent.counted(), (36, 12));
    assert_eq!(sent.last().energy.microjoules, Microjoules::new(48_000_000));
    assert!(sent.frames[..sent.frames.len() - 1].iter().all(|frame| frame.finish_reason.is_none()));
    // Each piece has one, the usage and the end mark share one.
    assert_eq!(sent.frames.len(), sent.data.len() - 1);
}

#[test]
fn without_usage_of_the_upstream_pieces_are_counted() {
    let mut translator = Translator::new(Facts { prompt_tokens: 30, ..facts(Endpoint::Chat) }, Limits::default());
    for event in events(CHAT.as_bytes()) {
        translator.push(&event, energy).unwrap();
    }
    assert!(translator.is_finished());
    assert_eq!(translator.tokens(), Tokens { prompt: 30, completion: 11, stated: false });
}

#[test]
fn choices_keep_their_index_and_their_tokens_are_added_up() {
    for (endpoint, stream, tokens) in [
        (Endpoint::Chat, TWO_CHOICES, (34, 12)),
        (Endpoint::Completion, COMPLETION_TWO, (5, 8)),
        (Endpoint::Completion, COMPLETION_PROMPTS, (5, 6)),
    ] {
        let pieces = translate(facts(endpoint), stream).unwrap();
        assert_eq!(pieces.counted(), tokens);
        let sent = translate(whole(endpoint), stream).unwrap();
        assert_eq!(sent.counted(), tokens);
        let answer = sent.json(0);
        for at in 0..2 {
            let choice = &answer["choices"][at as usize];
            assert_eq!((&choice["index"], &choice["finish_reason"]), (&at.into(), &"length".into()));
            let text = choice["message"]["content"].as_str().or(choice["text"].as_str()).unwrap();
            assert!(!text.is_empty());
            assert_eq!(text, texts(&pieces, at));
        }
    }
}

#[test]
fn a_whole_conversation_is_openais_object() {
    let sent = translate(whole(Endpoint::Chat), CHAT_USAGE).unwrap();
    assert_eq!(sent.data.len(), 1, "one event and no end mark");
    let answer: crate::chat::ChatCompletion = serde_json::from_str(&sent.data[0]).unwrap();
    assert_eq!((answer.id.as_str(), answer.object.as_str()), ("chatcmpl-ours", "chat.completion"));
    let pieces = translate(facts(Endpoint::Chat), CHAT_USAGE).unwrap();
    assert_eq!(answer.choices[0].message.content.as_deref(), Some(texts(&pieces, 0).as_str()));
    assert_eq!((answer.usage.completion_tokens, answer.usage.cost.as_deref()), (12, Some("0.0000156")));
}

#[test]
fn a_whole_completion_is_openais_object() {
    let sent = translate(whole(Endpoint::Completion), COMPLETION).unwrap();
    let answer: crate::completion::Completion = serde_json::from_str(&sent.data[0]).unwrap();
    assert!(answer.choices[0].text.starts_with(" Paris."), "{answer:?}");
    assert_eq!(answer.object, "text_completion");
    assert_eq!(answer.system_fingerprint, "upstream-b0-unknown");
}

#[test]
fn tool_calls_are_put_together_by_their_index() {
    let answer = translate(whole(Endpoint::Chat), TOOL_CALLS).unwrap().json(0);
    let choice = &answer["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let said: Vec<_> = calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(said, [r#"{"city": "Paris"}"#, r#"{"city": "Rome"}"#, r#"{"city": "Paris"}"#]);
    assert_eq!((&calls[1]["function"]["name"], &calls[1]["type"]), (&"weather".into(), &"function".into()));
    assert_eq!(calls[2]["id"], "14mQCrOXhC6X7P7lTWqKeOA782ltDiXX");
    assert!(calls[0].get("index").is_none());
    assert_eq!(choice["finish_reason"], "length", "it would have called for ever");
}

#[test]
fn log_probabilities_keep_every_digit() {
    let answer = translate(whole(Endpoint::Chat), LOGPROBS).unwrap();
    assert!(answer.data[0].contains("-1.7734805345535278"), "{}", answer.data[0]);
    let listed = answer.json(0)["choices"][0]["logprobs"]["content"].as_array().unwrap().len();
    assert_eq!((listed as u64, answer.counted().1), (4, 4));
}
