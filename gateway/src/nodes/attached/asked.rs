//! What the gateway asks of an attached server, in the words of both.

use axum::body::Bytes;
use openapi::energy::{Energy, EnergyTerms};
use openapi::error::ApiError;
use openapi::fields::Fields;
use openapi::price::Price;
use openapi::upstream::{self, Endpoint, Facts, Tokens};
use serde_json::{Map, Value};

use crate::nodes::preference::{MaxPrice, Preference};
use crate::nodes::{Call, unix_seconds};

/// A token of a prompt has about so many bytes, at the least: a context has room for what remains.
const FEWEST_BYTES_PER_TOKEN: usize = 2;
/// Tokens of a template around what the client wrote, and of the shortest answer that is asked for.
const TEMPLATE_TOKENS: u32 = 256;
const SHORTEST_ANSWER: u32 = 16;
/// Bytes that a token of a prompt usually has, until the server says how many tokens there are.
const BYTES_PER_TOKEN: u64 = 4;

/// One model, by both its names.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) upstream_name: String,
    pub(super) context_length: u32,
    /// More it must not ask for a token.
    pub(super) max_price: Option<Price>,
    /// What an answer takes in energy.
    pub(super) estimate: fn(Tokens) -> Energy,
}

/// A request for the server, and what its answer is to be translated to.
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) body: Bytes,
    pub(super) facts: Facts,
    /// Of its energy.
    pub(super) estimate: fn(Tokens) -> Energy,
    /// Answers that it asks for at once.
    pub(super) choices: usize,
}

impl Asked {
    /// Reads a client's body.
    ///
    /// # Errors
    /// When the client must change it.
    pub(super) fn read(endpoint: Endpoint, body: &Bytes, model: &Model, call: &Call) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let limited = fields.take("max_tokens")?.is_some() | fields.take("max_completion_tokens")?.is_some();
        // OpenAI's completions are short unless somebody asks for more; the gateway has held for that.
        let is_open = endpoint == Endpoint::Chat && !limited;
        let most = if is_open { room(model.context_length, body.len()) } else { call.max_tokens };
        let seed = call.request.as_u128() as i64;
        let mut upstream = upstream::request(endpoint, body, &model.upstream_name, most, seed)?;
        if let Some(price) = &model.max_price {
            upstream = with_provider(&upstream, price);
        }
        let include_usage = fields.take("stream_options")?.is_some_and(|options| options["include_usage"] == true);
        Ok(Self {
            endpoint,
            body: upstream.into(),
            choices: choices(&mut fields, endpoint)?,
            estimate: model.estimate,
            facts: Facts {
                endpoint,
                id: format!("{}-{}", prefix(endpoint), call.request.simple()),
                created: unix_seconds(),
                model: model.name.clone(),
                fingerprint: "attached".to_owned(),
                stream: fields.boolean("stream")?.unwrap_or(false),
                include_usage,
                prompt_tokens: body.len() as u64 / BYTES_PER_TOKEN,
                price: Some(call.price).filter(|price| *price != Price::default()),
                terms: EnergyTerms::clone(&call.energy),
            },
        })
    }
}

/// The body with OpenRouter's `provider.max_price`, which gateways understand.
fn with_provider(body: &[u8], price: &Price) -> Vec<u8> {
    let max_price = MaxPrice { prompt: Some(price.prompt.max(price.cached)), completion: Some(price.completion) };
    let provider = Preference { max_price: Some(max_price), ..Preference::default() };
    let mut body: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    body.insert("provider".to_owned(), provider.to_value());
    Value::Object(body).to_string().into_bytes()
}

const fn prefix(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat => "chatcmpl",
        Endpoint::Completion => "cmpl",
    }
}

/// Tokens that a context has for an answer of open length. Servers refuse what does not fit, so the prompt is taken for
/// long; the gateway ends an answer that its client can't pay for, so the answer may be.
fn room(context_length: u32, body_bytes: usize) -> u32 {
    let prompt = u32::try_from(body_bytes / FEWEST_BYTES_PER_TOKEN).unwrap_or(u32::MAX);
    context_length.saturating_sub(prompt.saturating_add(TEMPLATE_TOKENS)).max(SHORTEST_ANSWER)
}

/// `upstream::request` has checked the numbers.
fn choices(fields: &mut Fields<'_>, endpoint: Endpoint) -> Result<usize, ApiError> {
    let each = fields.integer("n", 1..=128)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    let prompts = match (endpoint, fields.take("prompt")?) {
        (Endpoint::Completion, Some(Value::Array(list))) if list.iter().any(|item| !item.is_number()) => list.len(),
        _ => 1,
    };
    Ok(each * prompts)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::estimate::estimate;
    use super::*;

    fn asked(endpoint: Endpoint, body: &str) -> (Asked, Value) {
        asked_of(None, endpoint, body)
    }

    fn asked_of(max_price: Option<Price>, endpoint: Endpoint, body: &str) -> (Asked, Value) {
        let model = Model {
            name: "small".to_owned(),
            upstream_name: "org/small".to_owned(),
            context_length: 4096,
            max_price,
            estimate,
        };
        let (price, energy) = (Price::default(), EnergyTerms::default());
        let call = Call {
            request: Uuid::now_v7(),
            attempt: 1,
            model: "b".to_owned(),
            max_tokens: 64,
            price,
            energy,
            salt: None,
            trace: None,
        };
        let asked = Asked::read(endpoint, &Bytes::copy_from_slice(body.as_bytes()), &model, &call).unwrap();
        let sent = serde_json::from_slice(&asked.body).unwrap();
        (asked, sent)
    }

    #[test]
    fn an_open_answer_may_fill_the_context_and_a_limited_one_keeps_to_what_was_held() {
        let (open, sent) = asked(Endpoint::Chat, r#"{"model":"small","messages":[],"stream":true}"#);
        assert_eq!((&sent["model"], &sent["max_tokens"]), (&"org/small".into(), &3_818.into()));
        assert!(open.facts.stream && !open.facts.include_usage && open.choices == 1);
        let (_, sent) = asked(Endpoint::Chat, r#"{"model":"small","messages":[],"max_completion_tokens":100}"#);
        assert_eq!(sent["max_completion_tokens"], 64);
        let (limited, sent) = asked(Endpoint::Completion, r#"{"model":"small","prompt":["a","b"],"n":2}"#);
        assert_eq!((limited.choices, &sent["max_tokens"]), (4, &16.into()));
        assert!(limited.facts.id.starts_with("cmpl-") && !limited.facts.stream);
    }

    #[test]
    fn a_gateway_is_told_what_a_token_may_cost() {
        let price = "120,500,1500".parse().unwrap();
        let (_, sent) = asked_of(Some(price), Endpoint::Chat, r#"{"messages":[],"provider":{"sort":"price"}}"#);
        assert_eq!(sent["provider"], serde_json::json!({"max_price": {"prompt": 0.5, "completion": 1.5}}));
        assert_eq!(
            Preference::read(Some(&sent["provider"])).unwrap().max_price.unwrap().completion,
            Some(price.completion)
        );
    }

    #[test]
    fn a_prompt_as_long_as_the_context_asks_for_a_short_answer() {
        assert_eq!((room(4096, 100_000), room(4096, usize::MAX), room(16, 0)), (16, 16, 16));
    }
}
