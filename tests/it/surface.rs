//! What a request can ask for beyond text, with the real model: calls of tools, JSON of a schema, chances of tokens, several
//! answers, several prompts, and the prompt itself.

use serde_json::{Value, json};
use tests::{Gateway, MODEL, Node, conversation};

/// Of a scored text; where the model is asked twice, in steps of another size, its figures differ in their last digits.
const NEAR: f64 = 0.02;

async fn gateway() -> (Gateway, Node) {
    let gateway = Gateway::start().await;
    let node = Node::join(&gateway, &[]).await;
    (gateway, node)
}

async fn ask(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let response = gateway.ask(path, body).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn chat(gateway: &Gateway, more: Value) -> Value {
    ask(gateway, "/v1/chat/completions", &conversation(more)).await
}

async fn refused(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let response = gateway.ask(path, body).send().await.unwrap();
    (response.status().as_u16(), response.json::<Value>().await.unwrap()["error"].clone())
}

/// The chunks of a stream.
async fn streamed(gateway: &Gateway, more: Value) -> Vec<Value> {
    let mut body = conversation(json!({"stream": true}));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = gateway.chat(&body).await.text().await.unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn tool(name: &str, parameters: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "Says it.", "parameters": parameters}})
}

fn weather() -> Value {
    let city = json!({"type": "string", "enum": ["Paris", "Rome"]});
    tool(
        "weather",
        json!({"type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": false}),
    )
}

#[tokio::test]
async fn a_tool_that_must_be_called_is_called_with_what_its_schema_allows() {
    let (gateway, _node) = gateway().await;
    for choice in [json!("required"), json!({"type": "function", "function": {"name": "weather"}})] {
        let asked = json!({"max_tokens": 200, "seed": 1, "tools": [weather()], "tool_choice": choice, "parallel_tool_calls": false});
        let answer = chat(&gateway, asked.clone()).await;
        let choice = &answer["choices"][0];
        let [call] = choice["message"]["tool_calls"].as_array().unwrap().as_slice() else { panic!("{answer}") };
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("weather")));
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(["Paris", "Rome"].contains(&arguments["city"].as_str().unwrap()), "{arguments}");

        let chunks = streamed(&gateway, asked).await;
        let deltas = || chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0));
        let first = deltas().next().unwrap();
        assert_eq!((&first["function"]["name"], &first["function"]["arguments"]), (&json!("weather"), &json!("")));
        assert!(first["id"].as_str().unwrap().starts_with("call_") && first["index"] == 0, "{first}");
        let pieces: String = deltas().map(|delta| delta["function"]["arguments"].as_str().unwrap()).collect();
        assert_eq!(Some(pieces.as_str()), call["function"]["arguments"].as_str(), "the same, piece by piece");
        assert!(deltas().skip(1).all(|delta| delta.get("id").is_none() && delta["function"].get("name").is_none()));
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[tokio::test]
async fn what_a_tool_has_answered_goes_into_the_next_answer() {
    let (gateway, _node) = gateway().await;
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}});
    let messages = json!([
        {"role": "user", "content": "What is the weather in Rome?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 31 degrees."},
    ]);
    let answer = chat(
        &gateway,
        json!({"messages": messages, "tools": [weather()], "tool_choice": "none", "temperature": 0, "max_tokens": 40}),
    )
    .await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("31") || text.to_lowercase().contains("sunny"), "{text}");
    assert!(answer["choices"][0]["message"].get("tool_calls").is_none());
}

#[tokio::test]
async fn json_is_what_its_schema_says_greedy_or_not() {
    let (gateway, _node) = gateway().await;
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}},
        "required": ["name", "age", "tags"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "person", "strict": true, "schema": schema}});
    for (temperature, seed) in [(0.0, 1), (1.0, 2), (1.5, 3)] {
        let asked = json!({"response_format": format, "temperature": temperature, "seed": seed, "max_tokens": 150});
        let answer = chat(&gateway, asked).await;
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        let person: Value = serde_json::from_str(content).unwrap_or_else(|error| panic!("{error}: {content}"));
        assert!(
            person["name"].as_str().unwrap().chars().count() <= 12 && person["age"].as_u64().unwrap() <= 99,
            "{person}"
        );
        assert!(person["tags"].as_array().unwrap().iter().all(|tag| tag == "a" || tag == "b"), "{person}");
        assert_eq!((person.as_object().unwrap().len(), &answer["choices"][0]["finish_reason"]), (3, &json!("stop")));
    }
    let any = chat(&gateway, json!({"response_format": {"type": "json_object"}, "seed": 5, "max_tokens": 300})).await;
    if any["choices"][0]["finish_reason"] == "stop" {
        let content = any["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(content).unwrap().is_object(), "{content}");
    }
}

#[tokio::test]
async fn a_schema_that_can_not_be_held_to_is_refused_by_name_and_disturbs_nobody() {
    let (gateway, _node) = gateway().await;
    let format = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let deep = (0..60).fold(
        json!({"type": "string"}),
        |inner, _| json!({"type": "object", "properties": {"a": inner}, "required": ["a"]}),
    );
    let wide: serde_json::Map<String, Value> =
        (0..2_000).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
    for (body, param, code, word) in [
        (
            json!({"response_format": format(json!({"type": "object", "properties": {"a": {"not": {"type": "string"}}}, "unevaluatedProperties": false}))}),
            "response_format",
            "invalid_json_schema",
            "nevaluatedProperties",
        ),
        (
            json!({"response_format": format(json!({"type": "thing"}))}),
            "response_format",
            "invalid_json_schema",
            "thing",
        ),
        (
            json!({"response_format": format(json!({"type": "string", "pattern": "("}))}),
            "response_format",
            "invalid_json_schema",
            "",
        ),
        (
            json!({"response_format": format(json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}))}),
            "response_format",
            "invalid_json_schema",
            "",
        ),
        (
            json!({"tools": [tool("f", json!({"type": "object", "unevaluatedItems": 1}))]}),
            "tools",
            "invalid_function_parameters",
            "f",
        ),
    ] {
        let (status, error) = refused(&gateway, "/v1/chat/completions", &conversation(body.clone())).await;
        assert_eq!(
            (status, error["param"].as_str(), error["code"].as_str()),
            (400, Some(param), Some(code)),
            "{error} for {body}"
        );
        assert!(error["message"].as_str().unwrap().contains(word), "{error} for {body}");
    }
    // Large ones are computed, or refused; either way in time, and others go on.
    for schema in
        [deep, json!({"type": "object", "properties": wide}), json!({"type": "string", "maxLength": 1_000_000_000})]
    {
        let asked = conversation(json!({"response_format": format(schema), "max_tokens": 8}));
        let response = gateway.ask("/v1/chat/completions", &asked).send().await.unwrap();
        assert!([200, 400].contains(&response.status().as_u16()), "{}", response.text().await.unwrap());
    }
    assert_eq!(chat(&gateway, json!({})).await["usage"]["completion_tokens"], 8);
}

#[tokio::test]
async fn chances_are_those_of_the_text_and_the_same_in_one_piece_and_in_many() {
    let (gateway, _node) = gateway().await;
    for temperature in [0.0, 1.0] {
        let asked =
            json!({"temperature": temperature, "seed": 3, "max_tokens": 12, "logprobs": true, "top_logprobs": 3});
        let answer = chat(&gateway, asked.clone()).await;
        let choice = &answer["choices"][0];
        let content = choice["logprobs"]["content"].as_array().unwrap();
        assert_eq!(content.len() as u64, answer["usage"]["completion_tokens"].as_u64().unwrap());
        let bytes = content.iter().flat_map(|token| token["bytes"].as_array().unwrap());
        let bytes: Vec<u8> = bytes.map(|byte| byte.as_u64().unwrap() as u8).collect();
        assert_eq!(
            std::str::from_utf8(&bytes).ok(),
            choice["message"]["content"].as_str(),
            "tokens may be parts of characters"
        );
        for token in content {
            let (logprob, top) = (token["logprob"].as_f64().unwrap(), token["top_logprobs"].as_array().unwrap());
            assert!((-100.0..=0.0).contains(&logprob) && top.len() == 3, "{token}");
            assert!(top.windows(2).all(|two| two[0]["logprob"].as_f64() >= two[1]["logprob"].as_f64()), "{token}");
            if temperature == 0.0 {
                assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&token["token"], &token["logprob"]));
            }
        }
        let chunks = streamed(&gateway, asked).await;
        let pieces: Vec<&Value> = chunks
            .iter()
            .flat_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array().into_iter().flatten())
            .collect();
        assert_eq!(pieces, content.iter().collect::<Vec<_>>());
    }
    assert_eq!(chat(&gateway, json!({})).await["choices"][0]["logprobs"], Value::Null);
}

#[tokio::test]
async fn several_answers_have_one_prompt_and_each_its_own_seed() {
    let (gateway, _node) = gateway().await;
    let asked = json!({"n": 3, "seed": 9, "temperature": 1, "max_tokens": 10, "logit_bias": {"2": -100}});
    let answer = chat(&gateway, asked.clone()).await;
    let texts = |answer: &Value| -> Vec<String> {
        let choices = answer["choices"].as_array().unwrap().iter().enumerate();
        choices
            .map(|(at, choice)| {
                assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(at), &json!("length")));
                choice["message"]["content"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    let all = texts(&answer);
    assert!(all.len() == 3 && all[0] != all[1] && all[1] != all[2], "{all:?}");
    assert_eq!(answer["usage"]["completion_tokens"], 30);
    let one = chat(&gateway, json!({"seed": 9, "temperature": 1, "max_tokens": 10, "logit_bias": {"2": -100}})).await;
    assert_eq!((&texts(&one)[0], &one["usage"]["prompt_tokens"]), (&all[0], &answer["usage"]["prompt_tokens"]));
    let rows = gateway.requests(2).await;
    let row = rows.iter().find(|row| row["completion_tokens"] == 30).unwrap();
    assert_eq!(row["outcome"], "completed", "{row}");

    let chunks = streamed(&gateway, asked).await;
    for (index, text) in all.iter().enumerate() {
        let own = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index);
        let pieces: String = own.clone().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(&pieces, text);
        assert_eq!(own.filter(|choice| choice["finish_reason"] == "length").count(), 1);
    }
}

#[tokio::test]
async fn completions_take_lists_of_prompts_and_score_what_they_are_given() {
    let (gateway, _node) = gateway().await;
    let ask = async |more: Value| {
        let mut body = json!({"model": MODEL, "temperature": 0, "max_tokens": 5});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&gateway, "/v1/completions", &body).await
    };
    let both = ask(json!({"prompt": ["The sea is", "Bread is made of"], "n": 2})).await;
    let choices = both["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(choices[0]["text"] == choices[1]["text"] && choices[2]["text"] == choices[3]["text"], "greedy: {both}");
    let alone = ask(json!({"prompt": "Bread is made of"})).await;
    assert_eq!(alone["choices"][0]["text"], choices[2]["text"]);
    let sum = |answers: &[&Value]| {
        answers.iter().map(|answer| answer["usage"]["prompt_tokens"].as_u64().unwrap()).sum::<u64>()
    };
    let sea = ask(json!({"prompt": "The sea is"})).await;
    assert_eq!(sum(&[&both]), sum(&[&alone, &sea]), "each prompt counts once");

    let answered = ask(json!({"prompt": "The sea is", "logprobs": 2, "echo": true})).await;
    let (text, logprobs) = (answered["choices"][0]["text"].as_str().unwrap(), &answered["choices"][0]["logprobs"]);
    assert_eq!(text, format!("The sea is{}", sea["choices"][0]["text"].as_str().unwrap()));
    let lists =
        ["tokens", "token_logprobs", "top_logprobs", "text_offset"].map(|list| logprobs[list].as_array().unwrap());
    assert!(lists.iter().all(|list| list.len() == lists[0].len()), "{logprobs}");
    assert_eq!((&lists[1][0], &lists[3][0]), (&Value::Null, &json!(0)));
    assert_eq!(lists[0].iter().map(|token| token.as_str().unwrap()).collect::<String>(), text);

    // The same text given whole: nothing is generated, and its chances are the same.
    let scored = ask(json!({"prompt": text, "logprobs": 0, "echo": true, "max_tokens": 0})).await;
    let again = scored["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!((scored["usage"]["completion_tokens"].as_u64(), again.len()), (Some(0), lists[1].len()));
    for (one, other) in lists[1].iter().zip(again).skip(1) {
        assert!((one.as_f64().unwrap() - other.as_f64().unwrap()).abs() < NEAR, "{one} and {other}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_name() {
    let (gateway, _node) = gateway().await;
    for (more, param) in [
        (json!({"n": 1000}), "n"),
        (json!({"n": 0}), "n"),
        (json!({"stop": vec!["a"; 10_000]}), "stop"),
        (json!({"logit_bias": {"4000000": 1}}), "logit_bias"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tools": [{"type": "retrieval"}]}), "tools[0].type"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}),
            "messages[0].content[0]",
        ),
        (json!({"modalities": ["audio"]}), "modalities"),
        (json!({"store": true}), "store"),
    ] {
        let (status, error) = refused(&gateway, "/v1/chat/completions", &conversation(more.clone())).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{more}: {error}");
    }
    for (more, param) in
        [(json!({"suffix": "x"}), "suffix"), (json!({"best_of": 2}), "best_of"), (json!({"logprobs": 9}), "logprobs")]
    {
        let mut body = json!({"model": MODEL, "prompt": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, error) = refused(&gateway, "/v1/completions", &body).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{more}: {error}");
    }
}
