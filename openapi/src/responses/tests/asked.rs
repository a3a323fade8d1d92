//! Requests.

use super::*;

/// The chat completion that a request becomes.
fn chat(body: &Value) -> Result<Value, crate::error::ApiError> {
    let request = ResponseRequest::parse(body.to_string().as_bytes())?;
    let items: Vec<Item> = request
        .input
        .iter()
        .filter_map(|given| match given {
            Given::Item(item) => Some(item.clone()),
            Given::Reference(_) => None,
        })
        .collect();
    Ok(serde_json::from_slice(&request.chat(items.iter())?).unwrap())
}

/// The request with these fields.
fn body(more: Value) -> Value {
    let mut body = json!({"model": "small", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn each_field_becomes_its_like() {
    let schema = json!({"type": "object"});
    for (ours, theirs) in [
        (json!({}), json!({})),
        (json!({"max_output_tokens": 9}), json!({"max_completion_tokens": 9})),
        (json!({"temperature": 0, "top_p": 0.5}), json!({"temperature": 0.0, "top_p": 0.5})),
        (json!({"stream": true}), json!({"stream": true, "stream_options": {"include_usage": true}})),
        (json!({"stream_options": {"include_obfuscation": false}}), json!({})),
        (
            json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
            json!({"logprobs": true, "top_logprobs": 2}),
        ),
        (json!({"include": ["file_search_call.results"]}), json!({})),
        (json!({"text": {"format": {"type": "json_object"}}}), json!({"response_format": {"type": "json_object"}})),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": schema}, "verbosity": "medium"}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}}}),
        ),
        (json!({"reasoning": {"effort": "low", "summary": "auto"}}), json!({"reasoning_effort": "low"})),
        (
            json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": "required", "parallel_tool_calls": false}),
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required", "parallel_tool_calls": false}),
        ),
        (json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true}), json!({})),
        (
            json!({"provider": {"sort": "energy"}, "models": ["b"], "service_tier": "flex", "user": "u"}),
            json!({"provider": {"sort": "energy"}, "models": ["b"], "service_tier": "flex", "user": "u"}),
        ),
        (json!({"store": true, "metadata": {"a": "b"}, "background": false, "truncation": "disabled"}), json!({})),
        (json!({"prompt": null, "conversation": null, "max_tool_calls": 3}), json!({})),
    ] {
        let mut expected = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]});
        expected.as_object_mut().unwrap().extend(theirs.as_object().unwrap().clone());
        assert_eq!(chat(&body(ours.clone())).unwrap(), expected, "{ours}");
    }
    let instructed = chat(&body(json!({"instructions": "be brief"}))).unwrap();
    assert_eq!(instructed["messages"][0], json!({"role": "system", "content": "be brief"}));
}

#[test]
fn every_chat_completion_made_is_one_that_nodes_take() {
    let tools =
        json!([{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": true}]);
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"}]);
    for more in [
        json!({"input": input, "tools": tools, "tool_choice": {"type": "function", "name": "f"}}),
        json!({"stream": true, "include": ["message.output_text.logprobs"], "top_logprobs": 20, "max_output_tokens": 1}),
        json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}}),
        json!({"reasoning": {"effort": "none"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"}),
        json!({"instructions": "be brief", "service_tier": "auto", "models": ["b"], "provider": {"sort": "price"}}),
    ] {
        let chat = chat(&body(more.clone())).unwrap().to_string();
        assert!(crate::chat::ChatRequest::parse(chat.as_bytes()).is_ok(), "{more}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (more, param, code) in [
        (json!({"model": null}), "model", "missing_required_parameter"),
        (json!({"input": null}), "input", "missing_required_parameter"),
        (json!({"input": []}), "input", "missing_required_parameter"),
        (json!({"background": true}), "background", "unsupported_parameter"),
        (json!({"conversation": "conv_1"}), "conversation", "unsupported_parameter"),
        (json!({"prompt": {"id": "p"}}), "prompt", "unsupported_parameter"),
        (json!({"context_management": []}), "context_management", "unsupported_parameter"),
        (json!({"truncation": "auto"}), "truncation", "unsupported_value"),
        (
            json!({"stream_options": {"include_obfuscation": true}}),
            "stream_options.include_obfuscation",
            "unsupported_parameter",
        ),
        (json!({"include": ["reasoning.encrypted_content"]}), "include[0]", "invalid_value"),
        (json!({"top_logprobs": 21}), "top_logprobs", "integer_above_max_value"),
        (json!({"max_output_tokens": 0}), "max_output_tokens", "integer_below_min_value"),
        (json!({"text": {"format": {"type": "grammar"}}}), "text.format.type", "invalid_value"),
        (json!({"text": {"verbosity": "high"}}), "text.verbosity", "unsupported_parameter"),
        (json!({"reasoning": {"summary": "detailed"}}), "reasoning.summary", "unsupported_parameter"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type", "unsupported_value"),
        (json!({"metadata": {"a": 1}}), "metadata", "invalid_type"),
        (json!({"metadata": {"a": "x".repeat(513)}}), "metadata", "invalid_value"),
        (json!({"store": "yes"}), "store", "invalid_type"),
        (json!({"user": 7}), "user", "invalid_type"),
        (json!({"tempratur": 1}), "tempratur", "unknown_parameter"),
        (json!({"messages": []}), "messages", "unknown_parameter"),
    ] {
        let detail = chat(&body(more.clone())).unwrap_err().detail;
        assert_eq!((detail.param.as_deref(), detail.code.as_deref()), (Some(param), Some(code)), "{more}");
    }
}

#[test]
fn a_response_repeats_what_was_asked() {
    let more = json!({"instructions": "be brief", "metadata": {"a": "b"}, "temperature": 0.5, "max_output_tokens": 9,
        "reasoning": {"effort": "low"}, "tools": [{"type": "function", "name": "f"}], "tool_choice": "none",
        "parallel_tool_calls": false, "user": "u", "service_tier": "flex", "previous_response_id": "resp_1",
        "text": {"format": {"type": "json_object"}}});
    let response = ResponseRequest::parse(body(more.clone()).to_string().as_bytes()).unwrap().response;
    let response = serde_json::to_value(response).unwrap();
    for field in more.as_object().unwrap().keys().filter(|field| !["reasoning", "text"].contains(&field.as_str())) {
        assert_eq!(response[field], more[field], "{field}");
    }
    assert_eq!(
        (&response["reasoning"]["effort"], &response["text"]["format"]["type"]),
        (&json!("low"), &json!("json_object"))
    );
    assert_eq!(
        (&response["top_p"], &response["store"], &response["truncation"]),
        (&json!(1.0), &json!(true), &json!("disabled"))
    );
}
