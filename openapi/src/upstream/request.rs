//! The request as the upstream gets it.

use serde_json::Value;

use super::Endpoint;
use super::json::{MOST_FIELDS, Object, json};
use crate::completion::DEFAULT_MAX_TOKENS;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::sampling::MOST_CHOICES;

/// What only the gateway reads.
const ROUTING: [&str; 2] = ["provider", "models"];
/// Both names of the same limit. The client's choice is kept, since servers know one, the other, or both.
const LENGTHS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Makes the upstream's body of a client's: always streamed and with usage, so that what was used is known and a client
/// that leaves is noticed; `model` by the upstream's own name for it; no more than `max_tokens` in all choices together;
/// `seed` where the client gave none. Everything else stays byte for byte and in its place.
///
/// # Errors
/// 400 when the body is not one JSON object, or when `n`, `best_of` or a limit of tokens is no positive integer.
pub fn request(endpoint: Endpoint, body: &[u8], model: &str, max_tokens: u32, seed: i64) -> Result<Vec<u8>, ApiError> {
    let mut fields = Fields::parse(body)?;
    let each = share(&mut fields, endpoint, max_tokens)?;
    let mut asked = rewritten(body, model)?;
    let mut unlimited = true;
    for name in LENGTHS {
        if let Some(most) = fields.integer(name, 1..=i64::from(i32::MAX))? {
            asked.set(name, json(&most.min(each)));
            unlimited = false;
        }
    }
    if unlimited {
        asked.set("max_tokens", json(&each));
    }
    set_seed(&mut asked, &mut fields, seed)?;
    Ok(asked.text().into_bytes())
}

/// A request for an upstream that holds the answer to the client's own limit, or to the model's context. Whoever sends it
/// counts, and ends the answer where another limit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlimited {
    pub body: Vec<u8>,
    /// Tokens that an upstream which keeps to this computes at most, in all choices together.
    pub most_tokens: u64,
}

/// As [`request()`], without a limit of ours. For conversations, the client's own is left out if it is `context` or more:
/// servers refuse what prompt and answer can't have together, and without a limit give what there is room for.
///
/// # Errors
/// As [`request()`].
pub fn unlimited(endpoint: Endpoint, body: &[u8], model: &str, context: u32, seed: i64) -> Result<Unlimited, ApiError> {
    let mut fields = Fields::parse(body)?;
    let sequences = sequences(&mut fields, endpoint)?;
    let mut asked = rewritten(body, model)?;
    let (mut each, mut is_said) = (i64::from(context), false);
    for name in LENGTHS {
        let Some(most) = fields.integer(name, 1..=i64::from(i32::MAX))? else { continue };
        is_said = true;
        // The newer name comes last, and counts.
        each = most.min(i64::from(context));
        if most >= i64::from(context) && endpoint == Endpoint::Chat {
            asked.remove(name);
        }
    }
    if endpoint == Endpoint::Completion && !is_said {
        // Servers differ in their own default.
        each = each.min(i64::from(DEFAULT_MAX_TOKENS));
        asked.set("max_tokens", json(&each));
    }
    set_seed(&mut asked, &mut fields, seed)?;
    let most_tokens = u64::try_from(each.saturating_mul(sequences)).unwrap_or_default();
    Ok(Unlimited { body: asked.text().into_bytes(), most_tokens })
}

/// The client's body with what is the same for every upstream.
fn rewritten<'a>(body: &'a [u8], model: &str) -> Result<Object<'a>, ApiError> {
    let mut asked: Object<'a> = serde_json::from_slice(body).map_err(|_| {
        ApiError::invalid(format!("The request has more than {MOST_FIELDS} fields. Leave out what no model reads."))
    })?;
    ROUTING.iter().for_each(|name| asked.remove(name));
    asked.set("model", json(model));
    asked.set("stream", "true");
    asked.set("stream_options", r#"{"include_usage":true}"#);
    Ok(asked)
}

/// The client's own seed counts.
fn set_seed(asked: &mut Object<'_>, fields: &mut Fields<'_>, seed: i64) -> Result<(), ApiError> {
    if fields.take("seed")?.is_none() {
        asked.set("seed", json(&narrow(seed)));
    }
    Ok(())
}

/// Servers disagree on how wide a seed is and what a negative one means; all of them read 31 bits the same.
fn narrow(seed: i64) -> i64 {
    seed & i64::from(i32::MAX)
}

/// The tokens that each choice may have. Servers count a limit for each sequence that they compute.
fn share(fields: &mut Fields<'_>, endpoint: Endpoint, max_tokens: u32) -> Result<i64, ApiError> {
    let sequences = sequences(fields, endpoint)?;
    let each = i64::from(max_tokens) / sequences;
    if each > 0 {
        return Ok(each);
    }
    Err(ApiError::invalid(format!(
        "The request asks for {sequences} choices and may have {max_tokens} tokens in all. Ask for fewer choices."
    ))
    .with_param("n"))
}

/// The sequences that the upstream computes.
fn sequences(fields: &mut Fields<'_>, endpoint: Endpoint) -> Result<i64, ApiError> {
    let mut sequences = fields.integer("n", 1..=MOST_CHOICES)?.unwrap_or(1);
    if endpoint == Endpoint::Completion {
        sequences = sequences.max(fields.integer("best_of", 1..=MOST_CHOICES)?.unwrap_or(1));
        sequences *= prompts(fields.take("prompt")?.as_ref());
    }
    Ok(sequences)
}

/// A list of texts, or of lists of token ids, is several prompts.
fn prompts(prompt: Option<&Value>) -> i64 {
    match prompt {
        Some(Value::Array(list)) if list.iter().any(|item| !item.is_number()) => {
            i64::try_from(list.len()).unwrap_or(i64::MAX / MOST_CHOICES)
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chat(body: &str) -> String {
        String::from_utf8(request(Endpoint::Chat, body.as_bytes(), "org/m", 100, 7).unwrap()).unwrap()
    }

    #[test]
    fn the_upstream_is_asked_for_a_stream_with_usage_by_its_own_name_of_the_model() {
        assert_eq!(
            chat(r#"{"messages":[{"role":"user","content":"a"}],"model":"m","stream":false}"#),
            r#"{"messages":[{"role":"user","content":"a"}],"model":"org/m","stream":true,"stream_options":{"include_usage":true},"max_tokens":100,"seed":7}"#
        );
        assert_eq!(
            chat(
                r#"{"stream_options":{"continuous_usage_stats":true},"models":["x"],"provider":{"order":["y"]},"model":"m","seed":-1,"max_tokens":9}"#
            ),
            r#"{"stream_options":{"include_usage":true},"model":"org/m","seed":-1,"max_tokens":9,"stream":true}"#
        );
    }

    #[test]
    fn limits_are_held_under_the_name_that_the_client_used() {
        for (asked, old, new) in [
            ("", Some(100), None),
            (r#""max_tokens":500"#, Some(100), None),
            (r#""max_completion_tokens":500"#, None, Some(100)),
            (r#""max_tokens":50,"max_completion_tokens":500"#, Some(50), Some(100)),
            (r#""max_tokens":5,"max_tokens":500"#, Some(100), None),
            (r#""max_tokens":16.0"#, Some(16), None),
            (r#""max_tokens":null"#, Some(100), None),
            (r#""n":3"#, Some(33), None),
            (r#""n":4,"max_completion_tokens":50"#, None, Some(25)),
        ] {
            let sent: Value = serde_json::from_str(&chat(&format!("{{{asked}}}"))).unwrap();
            let limits = [&sent["max_tokens"], &sent["max_completion_tokens"]].map(Value::as_i64);
            assert_eq!(limits, [old, new], "{asked}");
        }
    }

    #[test]
    fn every_prompt_and_every_choice_has_its_part_of_the_limit() {
        for (asked, each) in [
            (r#""prompt":"a","n":2,"best_of":5"#, 20),
            (r#""prompt":["a","b"],"n":2"#, 25),
            (r#""prompt":[[1,2],[3]]"#, 50),
            (r#""prompt":[1,2,3]"#, 100),
        ] {
            let body = request(Endpoint::Completion, format!("{{{asked}}}").as_bytes(), "m", 100, 7).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["max_tokens"], each, "{asked}");
        }
    }

    #[test]
    fn without_a_limit_of_ours_the_clients_own_counts_unless_the_context_comes_first() {
        for (endpoint, asked, sent, most) in [
            (Endpoint::Chat, "", None, 1_000),
            (Endpoint::Chat, r#""max_tokens":50"#, Some(50), 50),
            (Endpoint::Chat, r#""max_tokens":1000"#, None, 1_000),
            (Endpoint::Chat, r#""max_tokens":5000,"n":2"#, None, 2_000),
            (Endpoint::Chat, r#""max_tokens":50,"n":3"#, Some(50), 150),
            (Endpoint::Chat, r#""max_tokens":50,"max_completion_tokens":70"#, Some(50), 70),
            (Endpoint::Completion, r#""prompt":"a","max_tokens":5000"#, Some(5_000), 1_000),
            (Endpoint::Completion, r#""prompt":["a","b"]"#, Some(16), 32),
            (Endpoint::Completion, r#""prompt":"a","max_tokens":7"#, Some(7), 7),
        ] {
            let ours = unlimited(endpoint, format!("{{{asked}}}").as_bytes(), "m", 1_000, 7).unwrap();
            let body: Value = serde_json::from_slice(&ours.body).unwrap();
            assert_eq!((body["max_tokens"].as_i64(), ours.most_tokens), (sent, most), "{asked}");
            assert_eq!((&body["seed"], &body["stream"]), (&Value::from(7), &Value::Bool(true)));
        }
        let error = unlimited(Endpoint::Chat, br#"{"max_tokens":0}"#, "m", 1_000, 7).unwrap_err();
        assert_eq!((error.status, error.detail.param.as_deref()), (400, Some("max_tokens")));
    }

    #[test]
    fn what_can_not_be_held_to_a_limit_is_refused() {
        for (body, param) in [
            ("[]", None),
            (r#"{"n":0}"#, Some("n")),
            (r#"{"n":129}"#, Some("n")),
            (r#"{"n":101}"#, Some("n")),
            (r#"{"max_tokens":-1}"#, Some("max_tokens")),
            (r#"{"max_completion_tokens":"1"}"#, Some("max_completion_tokens")),
        ] {
            let error = request(Endpoint::Chat, body.as_bytes(), "m", 100, 7).unwrap_err();
            assert_eq!((error.status, error.detail.param.as_deref()), (400, param), "{body}");
        }
    }

    #[test]
    fn every_server_reads_our_seed_the_same() {
        for seed in [i64::MIN, -1, 0, 1, i64::from(u32::MAX), i64::MAX] {
            assert!((0..=i64::from(i32::MAX)).contains(&narrow(seed)));
        }
        assert_eq!(narrow(12_345), 12_345);
    }

    proptest! {
        /// Fields that are not ours leave as they came, in the order in which they came.
        #[test]
        fn the_rest_is_untouched(names in prop::collection::btree_set("x[a-z]{1,6}", 0..8), value in "[ -~é]{0,20}", number in any::<f64>()) {
            let value = json(&value);
            let rest: Vec<String> = names.iter().map(|name| format!(r#""{name}":{{"t" : {value},"f":{number:e}}}"#)).collect();
            let body = format!("{{{}}}", [rest.clone(), vec![r#""model":"m""#.to_owned()]].concat().join(", "));
            let sent = chat(&body);
            prop_assert!(sent.starts_with(&format!("{{{}", [rest, vec![r#""model":"org/m""#.to_owned()]].concat().join(","))), "{}", sent);
        }
    }
}
