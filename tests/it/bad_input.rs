//! Hostile input: an OpenAI-shaped 4xx, nothing of ours in it, and a healthy gateway afterwards.

use serde_json::Value;
use tests::{Gateway, MODEL, Node};

#[tokio::test]
async fn whatever_is_sent_the_answer_is_a_clean_4xx() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let message =
        |content: &str| format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":{content}}}]}}"#);
    let deep = format!(r#"{{"model":"{MODEL}","messages":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let deep_unread =
        format!(r#"{{"model":"{MODEL}","messages":[],"metadata":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("no JSON", b"hello".to_vec(), 400),
        ("empty", Vec::new(), 400),
        ("an array", b"[]".to_vec(), 400),
        ("half an object", br#"{"model":"#.to_vec(), 400),
        ("invalid UTF-8", [b"{\"model\":\"".as_slice(), &[0xff, 0xfe], b"\"}"].concat(), 400),
        ("no model", br#"{"messages":[]}"#.to_vec(), 400),
        ("model of another type", br#"{"model":7,"messages":[]}"#.to_vec(), 400),
        ("unknown model", br#"{"model":"gpt-9","messages":[]}"#.to_vec(), 404),
        ("endless model", format!(r#"{{"model":"{}","messages":[]}}"#, "x".repeat(1_000_000)).into_bytes(), 404),
        ("NUL in the model", br#"{"model":"a\u0000b","messages":[]}"#.to_vec(), 404),
        ("no messages", format!(r#"{{"model":"{MODEL}"}}"#).into_bytes(), 400),
        ("empty messages", format!(r#"{{"model":"{MODEL}","messages":[]}}"#).into_bytes(), 400),
        ("lone surrogate", message(r#""\ud800""#).into_bytes(), 400),
        ("content of another type", message("7").into_bytes(), 400),
        ("stream of another type", format!(r#"{{"model":"{MODEL}","messages":[],"stream":"yes"}}"#).into_bytes(), 400),
        ("100,000 deep", deep.into_bytes(), 400),
        ("100,000 deep where nobody looks", deep_unread.into_bytes(), 400),
        ("50 MB", vec![b' '; 50_000_000], 413),
    ];
    for (what, body, status) in cases {
        let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(&gateway.key);
        // A server that has answered and closes need not read the rest of a body that is too long.
        let Ok(response) = request.header("content-type", "application/json").body(body).send().await else {
            assert_eq!(status, 413, "{what}: no answer");
            continue;
        };
        assert_eq!(response.status(), status, "{what}");
        assert!(response.headers().contains_key("x-request-id"), "{what}");
        assert!(response.headers().contains_key("openai-processing-ms"), "{what}");
        assert_eq!(response.headers()["content-type"], "application/json", "{what}");
        let text = response.text().await.unwrap();
        let error = serde_json::from_str::<Value>(&text).unwrap()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{what}: {text}");
        assert!(text.len() < 600, "{what}: {} bytes", text.len());
        for ours in ["panicked", "src/", "sqlx", "axum", "serde", " line ", "thread"] {
            assert!(!text.contains(ours), "{what}: {text}");
        }
    }
    let mut healthy: Value = serde_json::from_str(&message(r#""NUL \u0000 in the text is fine""#)).unwrap();
    healthy["max_tokens"] = 8.into();
    let body = gateway.ask("/v1/chat/completions", &healthy).build().unwrap();
    assert_eq!(gateway.client.execute(body).await.unwrap().status(), 200);
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn paths_methods_and_types_are_refused_in_shape() {
    let gateway = Gateway::start().await;
    let url = |path: &str| gateway.url(path);
    let code = |response: reqwest::Response| async move {
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        (status, body["error"]["code"].as_str().unwrap_or("-").to_owned())
    };
    let get = |path: &str| gateway.client.get(url(path)).bearer_auth(&gateway.key).send();
    assert_eq!(code(get("/v1/nothing").await.unwrap()).await, (404, "unknown_url".to_owned()));
    assert_eq!(code(get("/nothing").await.unwrap()).await, (404, "unknown_url".to_owned()));
    assert_eq!(code(get("/v1/chat/completions").await.unwrap()).await, (405, "method_not_allowed".to_owned()));
    assert_eq!(code(get("/v1/models/x").await.unwrap()).await, (404, "model_not_found".to_owned()));
    let form =
        gateway.client.post(url("/v1/chat/completions")).bearer_auth(&gateway.key).body("a=b").send().await.unwrap();
    assert_eq!(code(form).await, (415, "unsupported_content_type".to_owned()));
    let problem = get("/api/nothing").await.unwrap();
    assert_eq!(
        (problem.status().as_u16(), problem.headers()["content-type"].to_str().unwrap()),
        (404, "application/problem+json")
    );
}
