//! The description of the API: every path is in it, and every path denies whoever brings no credentials.

use openapi::error::ErrorBody;
use serde_json::Value;
use tests::Gateway;

/// What anybody may call, each with the reason.
const OPEN: &[(&str, &str)] = &[
    ("post", "/api/sessions"),         // signing in is how one gets credentials
    ("post", "/api/sessions/refresh"), // the refresh token is the credential, in the body or in a cookie
    ("get", "/.well-known/jwks.json"), // public keys
    ("post", "/node/v1/enrol"),        // the enrolment token in the body is the credential
];

#[tokio::test]
async fn every_path_denies_without_credentials() {
    let gateway = Gateway::start().await;
    let document: Value = gateway.client.get(gateway.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            if OPEN.contains(&(method.as_str(), path.as_str())) {
                continue;
            }
            let url =
                gateway.url(&path.replace("{id}", "01890000-0000-7000-8000-000000000000").replace("{model}", "x"));
            let method: reqwest::Method = method.to_uppercase().parse().unwrap();
            let nobody =
                gateway.client.request(method.clone(), &url).json(&serde_json::json!({})).send().await.unwrap();
            assert_eq!(nobody.status(), 401, "{method} {path} without credentials");
            let stranger = gateway
                .client
                .request(method.clone(), &url)
                .bearer_auth("sk-cw-stranger-key")
                .json(&serde_json::json!({}));
            let stranger = stranger.send().await.unwrap();
            assert_eq!(stranger.status(), 401, "{method} {path} with a wrong key");
            let text = stranger.text().await.unwrap();
            let in_shape = serde_json::from_str::<ErrorBody>(&text).is_ok() || text.contains("about:blank");
            assert!(in_shape, "{method} {path}: {text}");
            checked += 1;
        }
    }
    assert!(checked >= 15, "only {checked} operations in the description");
}

/// Whatever the description refers to, it holds: programs that are made from it would not compile.
#[tokio::test]
async fn every_reference_of_the_description_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
                Value::String(reference) if name == "$ref" => found.push(reference.clone()),
                value => references(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let gateway = Gateway::start().await;
    let document: Value = gateway.client.get(gateway.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    let lost: Vec<&String> =
        found.iter().filter(|reference| document.pointer(reference.trim_start_matches('#')).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
