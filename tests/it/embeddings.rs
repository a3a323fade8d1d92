//! Vectors of texts: what the engine computes is what the formulas say, and the gateway bills and routes it as all else.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use openapi::price::{BilledTokens, Price};
use openapi::units::Nanocredits;
use serde_json::{Value, json};
use tests::tiny_embedder::{DIMENSIONS, END};
use tests::{Gateway, MODEL, Node, TinyEmbedder, conversation, eventually};

const PATH: &str = "/v1/embeddings";
const SEA: &str = "Tell me about the sea.";

fn asking(input: Value, more: Value) -> Value {
    let mut body = json!({"model": TinyEmbedder::NAME, "input": input});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn answered(node: &Node, body: &Value) -> Value {
    let response = node.ask(PATH, body).await;
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The vectors of an answer, in order.
fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    assert_eq!(answer["object"], "list");
    let number = |number: &Value| number.as_f64().unwrap() as f32;
    let of = |(index, embedding): (usize, &Value)| {
        assert_eq!((&embedding["object"], &embedding["index"]), (&json!("embedding"), &json!(index)));
        embedding["embedding"].as_array().unwrap().iter().map(number).collect()
    };
    answer["data"].as_array().unwrap().iter().enumerate().map(of).collect()
}

async fn refusal(node: &Node, path: &str, body: &Value) -> (u16, String, Value) {
    let response = node.ask(path, body).await;
    let status = response.status().as_u16();
    let error = response.json::<Value>().await.unwrap()["error"].clone();
    (status, error["message"].as_str().unwrap().to_owned(), error["code"].clone())
}

#[tokio::test]
async fn a_vector_is_what_the_formulas_say() {
    let model = TinyEmbedder::make(1);
    let node = Node::start(&model.arguments()).await;
    // One token alone, which the engine can't read by itself, and a text of many.
    let long: Vec<u32> = (0..2100).map(|at| at * 31 % 256).chain([END]).collect();
    let texts = ["a", SEA, "Erzähl mir vom Meer. 海"].map(TinyEmbedder::tokenize);
    let inputs = [vec![7], vec![7, END], texts[0].clone(), texts[1].clone(), texts[2].clone(), long];
    let answer = answered(&node, &asking(json!(inputs), json!({}))).await;
    let tokens: usize = inputs.iter().map(Vec::len).sum();
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["total_tokens"]), (&json!(tokens), &json!(tokens)));
    let mut largest: f64 = 0.0;
    for (vector, tokens) in vectors(&answer).iter().zip(&inputs) {
        let expected = model.vector(tokens);
        assert_eq!(vector.len(), DIMENSIONS);
        let errors = vector.iter().zip(&expected).map(|(number, exact)| (f64::from(*number) - exact).abs());
        largest = errors.fold(largest, f64::max);
    }
    println!("the largest error of any number of a vector of length 1: {largest:.1e}");
    assert!(largest < 1e-5, "{largest}");
}

#[tokio::test]
async fn texts_tokens_batches_and_encodings_agree() {
    let model = TinyEmbedder::make(2);
    let node = Node::start(&model.arguments()).await;
    let texts = [SEA, "zebra", "a"];
    let together = answered(&node, &asking(json!(texts), json!({}))).await;
    let all = vectors(&together);
    assert_eq!((together["model"].as_str(), all.len()), (Some(TinyEmbedder::NAME), 3));
    for (text, vector) in texts.iter().zip(&all) {
        let length: f64 = vector.iter().map(|number| f64::from(*number).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
        for input in [json!(text), json!([text]), json!(TinyEmbedder::tokenize(text))] {
            assert_eq!(&vectors(&answered(&node, &asking(input, json!({}))).await)[0], vector, "{text}");
        }
    }
    assert_ne!(all[0], all[1]);
    let encoded = answered(&node, &asking(json!(texts), json!({"encoding_format": "base64"}))).await;
    for (embedding, vector) in encoded["data"].as_array().unwrap().iter().zip(&all) {
        let bytes = BASE64_STANDARD.decode(embedding["embedding"].as_str().unwrap()).unwrap();
        let numbers: Vec<f32> =
            bytes.chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect();
        assert_eq!(&numbers, vector);
    }
    let short = vectors(&answered(&node, &asking(json!(SEA), json!({"dimensions": 8}))).await).remove(0);
    let scale = all[0][..8].iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    for (number, long) in short.iter().zip(&all[0][..8]) {
        assert!((f64::from(*number) - f64::from(*long) / scale).abs() < 1e-6, "{number} {long}");
    }
    assert_eq!(short.len(), 8);
}

#[tokio::test]
async fn what_can_not_be_embedded_is_refused_and_who_leaves_breaks_nothing() {
    let model = TinyEmbedder::make(3);
    let arguments = [&model.arguments()[..], &["--context", "64"]].concat();
    let node = Node::start(&arguments).await;
    let (status, message, code) = refusal(&node, PATH, &asking(json!(["a", "b".repeat(64)]), json!({}))).await;
    assert_eq!((status, code), (400, json!("context_length_exceeded")), "{message}");
    assert!(
        message.starts_with("This model's maximum context length is 64 tokens. However, your prompt resulted in 65")
    );
    assert_eq!(node.ask(PATH, &asking(json!("b".repeat(63)), json!({}))).await.status(), 200, "what just fits");
    for (body, code) in [
        (asking(json!([257]), json!({})), "invalid_value"),
        (asking(json!([]), json!({})), "empty_string"),
        (asking(json!("a"), json!({"dimensions": 33})), "integer_above_max_value"),
        (asking(json!("a"), json!({"stream": true})), "unknown_parameter"),
        (conversation(json!({"model": TinyEmbedder::NAME})), "missing_required_parameter"),
    ] {
        let (status, message, found) = refusal(&node, PATH, &body).await;
        assert_eq!((status, found), (400, json!(code)), "{message}");
    }
    let (status, message, code) =
        refusal(&node, "/v1/chat/completions", &conversation(json!({"model": TinyEmbedder::NAME}))).await;
    assert_eq!((status, code), (400, json!("unsupported_model")));
    assert!(message.contains("makes embeddings and writes no text"), "{message}");

    let impatient = reqwest::Client::builder().timeout(Duration::from_millis(50)).build().unwrap();
    let many = asking(json!(vec!["c".repeat(60); 2000]), json!({}));
    assert!(impatient.post(node.url(PATH)).json(&many).send().await.unwrap_err().is_timeout());
    assert_eq!(vectors(&answered(&node, &asking(json!(SEA), json!({}))).await).len(), 1);
}

#[tokio::test]
async fn the_gateway_finds_the_model_that_embeds_and_bills_its_tokens() {
    let gateway = Gateway::start().await;
    let model = TinyEmbedder::make(4);
    let arguments = [&model.arguments()[..], &["--price", "700,0,0"]].concat();
    let node = Node::start(&model.arguments()).await;
    let _writer = Node::join(&gateway, &[]).await;
    let _embedder = Node::join(&gateway, &arguments).await;
    let models = gateway.client.get(gateway.url("/v1/models")).bearer_auth(&gateway.key).send().await.unwrap();
    let models: Value = models.json().await.unwrap();
    let kinds: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| (&model["id"], &model["kind"])).collect();
    assert_eq!(kinds, [(&json!(MODEL), &json!("text")), (&json!(TinyEmbedder::NAME), &json!("embedding"))]);

    let body = asking(json!([SEA, "zebra"]), json!({}));
    let estimate: Value = gateway.ask("/v1/estimate", &body).send().await.unwrap().json().await.unwrap();
    let response = gateway.ask(PATH, &body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let (id, charged, joules) = (header("x-request-id"), header("x-cost"), header("x-energy-joules"));
    let answer: Value = response.json().await.unwrap();
    assert_eq!(vectors(&answer), vectors(&answered(&node, &body).await), "the same with and without the gateway");

    let tokens = [SEA, "zebra"].iter().map(|text| TinyEmbedder::tokenize(text).len() as u64).sum();
    let price = Price { prompt: Nanocredits::new(700), ..Price::default() };
    let cost = price.cost(&BilledTokens { prompt: tokens, ..BilledTokens::default() });
    let (usage, row) = (&answer["usage"], gateway.request(&id).await);
    assert_eq!((&usage["prompt_tokens"], &usage["total_tokens"]), (&json!(tokens), &json!(tokens)));
    assert_eq!(
        (charged, &usage["cost"], &row["cost"]),
        (cost.credits(), &json!(cost.credits()), &json!(cost.credits()))
    );
    assert_eq!((&estimate["prompt_tokens"], &estimate["exact"]), (&json!(tokens), &json!(true)));
    assert_eq!(estimate["worst_case"], json!({"nanocredits": cost.get(), "cost": cost.credits()}));
    assert_eq!((&row["endpoint"], &row["outcome"]), (&json!("embeddings"), &json!("completed")), "{row}");
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(tokens), &json!(0)));
    assert_eq!(usage["energy"]["joules"].as_f64(), joules.parse().ok());
    assert!(row["microjoules"].as_u64() > Some(0), "{row}");

    let chat = gateway.chat(&conversation(json!({"model": TinyEmbedder::NAME}))).await;
    let embed = gateway.ask(PATH, &asking(json!("a"), json!({"model": MODEL}))).send().await.unwrap();
    for (refused, why) in [(chat, "Ask it at /v1/embeddings."), (embed, "makes no embeddings")] {
        assert_eq!(refused.status(), 400);
        let error = refused.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!((&error["code"], &error["param"]), (&json!("unsupported_model"), &json!("model")));
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    gateway.audit().await;
}

#[tokio::test]
async fn vectors_of_a_node_that_is_lost_are_computed_elsewhere() {
    let gateway = Gateway::start().await;
    let model = TinyEmbedder::make(5);
    let mut nodes = [Node::join(&gateway, &model.arguments()).await, Node::join(&gateway, &model.arguments()).await];
    let texts: Vec<String> = (0..150).map(|text| format!("{text} {}", "sea ".repeat(200))).collect();
    let body = asking(json!(texts), json!({"encoding_format": "base64"}));
    let asking = gateway.ask(PATH, &body).send();
    let losing = async {
        let at_work = eventually("a node at work", Duration::from_secs(20), || async {
            let connected = gateway.get("/api/nodes").await["data"].as_array().cloned().unwrap_or_default();
            let running = |node: &&Value| node["status"]["running"] == 1;
            connected.iter().find(running).map(|node| node["id"].as_str().unwrap().to_owned())
        })
        .await;
        let is_it =
            |node: &Node| std::fs::read_to_string(node.folder().join("gateways.json")).unwrap().contains(&at_work);
        let lost = nodes.iter_mut().find(|node| is_it(node)).expect("one of the two");
        lost.kill().await;
    };
    let (response, ()) = tokio::join!(asking, losing);
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["data"].as_array().unwrap().len(), texts.len());
    let row = gateway.request(&id).await;
    let outcomes: Vec<_> = row["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, [&json!("node_failed"), &json!("completed")], "{row}");
    let tokens: usize = texts.iter().map(|text| TinyEmbedder::tokenize(text).len()).sum();
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(tokens), &json!(0)), "paid once");
    gateway.audit().await;
}
