//! What is no receipt, no key, no proof.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::*;

fn refused(evidence: &Evidence<'_>) -> (Input, String) {
    let Unreadable { input, why } = receipt(evidence).unwrap_err();
    (input, why)
}

fn refused_receipt(file: &str) -> String {
    let (input, why) = refused(&Evidence { receipt: file.as_bytes(), ..Evidence::default() });
    assert_eq!(input, Input::Receipt, "{why}");
    why
}

/// The claims of a receipt, changed and well signed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = serde_json::to_value(paid()).unwrap();
    change(&mut claims);
    sign(&claims)
}

#[test]
fn members_that_no_receipt_has_are_refused_however_deep() {
    assert!(receipt(&Evidence { receipt: changed(|_| ()).as_bytes(), ..Evidence::default() }).is_ok());
    let pointers = ["", "/price", "/shares", "/shares/split", "/shares/authors/0", "/energy", "/energy/grid"];
    for pointer in pointers {
        let token = changed(|claims| claims.pointer_mut(pointer).unwrap()["more"] = json!(1));
        let why = refused_receipt(&token);
        assert!(why.contains("more") || why.contains("no receipt has"), "{pointer}: {why}");
    }
    let mut said = serde_json::to_value(making::node_receipt()).unwrap();
    said["energy"]["more"] = json!(1);
    let verdict = verdict_on(&Receipt { node_receipt: signer(2).sign(&said), ..paid() });
    assert_eq!(failing(&verdict), [What::Node]);
}

#[test]
fn what_is_said_twice_is_refused() {
    let claims = serde_json::to_string(&paid()).unwrap();
    let twice = claims.replacen("\"v\":1,", "\"v\":1,\"v\":1,", 1);
    let deep = claims.replacen("\"zone\":\"DE\"", "\"zone\":\"FR\",\"zone\":\"DE\"", 1);
    for text in [twice, deep] {
        assert_ne!(text, claims);
        let token = format!("{}.{}.{}", part(r#"{"alg":"EdDSA"}"#), part(&text), BASE64URL_NOPAD.encode(&[0; 64]));
        assert!(refused_receipt(&token).contains("duplicate"), "{text}");
    }
    let good = file(&sign(&paid()), None);
    let twice = good.replacen("{", "{\"object\":\"receipt\",", 1);
    assert!(refused_receipt(&twice).contains("duplicate"));
    assert!(refused_receipt(&good.replacen("{", "{\"more\":1,", 1)).contains("unknown"));
    assert!(refused_receipt(&good.replace("\"object\": \"receipt\"", "\"object\": \"list\"")).contains("object"));
}

fn part(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

#[test]
fn other_algorithms_are_refused_with_a_sentence() {
    let token = sign(&paid());
    let (_, rest) = token.split_once('.').unwrap();
    for head in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"ES256"}"#, r#"{"alg":"EdDSA","crit":["b64"]}"#] {
        let why = refused_receipt(&format!("{}.{rest}", part(head)));
        assert!(why.contains("EdDSA"), "{head}: {why}");
    }
}

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let long = vec![b'a'; 10 << 20];
    let (token, keys) = (sign(&paid()), keys());
    let good = Evidence { receipt: token.as_bytes(), keys: Some(keys.as_bytes()), ..Evidence::default() };
    for (evidence, input) in [
        (Evidence { receipt: &long, ..good }, Input::Receipt),
        (Evidence { keys: Some(&long), ..good }, Input::Keys),
        (Evidence { policy: Some(&long), ..good }, Input::Policy),
        (Evidence { proof: Some(&long), ..good }, Input::Proof),
    ] {
        let (refused, why) = refused(&evidence);
        assert_eq!(refused, input, "{why}");
        assert!(why.contains("bytes") || why.contains("long"), "{why}");
    }
    let verdict = receipt(&Evidence { request: Some(&long), answer: Some(&long), ..good }).unwrap();
    assert_eq!(failing(&verdict), [What::Request, What::Answer], "a customer's own may be long");
}

#[test]
fn keys_are_those_of_a_key_set_that_sign_receipts() {
    let token = sign(&paid());
    let refused_keys = |keys: &str| {
        refused(&Evidence { receipt: token.as_bytes(), keys: Some(keys.as_bytes()), ..Evidence::default() })
    };
    let good = keys();
    for (bad, word) in [
        (String::new(), "EOF"),
        ("{}".to_owned(), "keys"),
        (r#"{"keys":[]}"#.to_owned(), "no Ed25519 key"),
        (good.replace("\"sig\"", "\"enc\""), "no Ed25519 key"),
        (good.replace("\"x\": \"", "\"x\": \"A"), "32 bytes"),
        (good.replacen("\"kty\": \"OKP\"", "\"kty\": \"OKP\", \"kty\": \"EC\"", 1), "duplicate"),
    ] {
        let (input, why) = refused_keys(&bad);
        assert!(input == Input::Keys && why.contains(word), "{bad}: {why}");
    }
    let unnamed = good.replace("\"kid\"", "\"name\"");
    let evidence = Evidence { receipt: token.as_bytes(), keys: Some(unnamed.as_bytes()), ..Evidence::default() };
    assert!(receipt(&evidence).unwrap().holds, "a key without a name has its thumbprint for one");
}

#[test]
fn what_is_repeated_of_a_file_has_no_control_characters() {
    let (token, keys) = (changed(|claims| claims["outcome"] = json!("\u{1b}[31mcompleted\n")), keys());
    let evidence = Evidence { receipt: token.as_bytes(), keys: Some(keys.as_bytes()), ..Evidence::default() };
    let verdict = receipt(&evidence).unwrap();
    assert!(verdict.findings.iter().all(|finding| !finding.says.contains(char::is_control)), "{verdict:#?}");
    let why = refused_receipt("{\"\u{1b}[31m\":1}");
    assert!(!why.contains(char::is_control), "{why:?}");
}
