//! What the gateway reads of a request. The rest goes to the node untouched, and is the node's to judge.

use std::collections::BTreeMap;

use axum::body::Bytes;
use openapi::completion::DEFAULT_MAX_TOKENS;
use openapi::embedding;
use openapi::error::ApiError;
use openapi::fields::{Fields, wrong_type, wrong_value};
use openapi::model::ModelKind;
use openapi::sampling::{self, MOST_CHOICES};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::nodes::preference::Preference;
use crate::nodes::queue::Priority;

/// Models that a request may name beside its own.
pub(super) const MOST_MODELS: usize = 8;
/// Of `service_tier`.
pub(super) const SERVICE_TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];
/// What a connection reads at once. A body within that is a piece of its buffer, which it would keep as long as there is
/// the request, for the stream of its answer.
const READ_AT_ONCE: usize = 8 * 1024;
/// The longest answer in text: an unstreamed one is one event.
const LONGEST_TEXT: usize = 8 * 1024 * 1024;

/// Which of the paths that compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    /// A chat completion that was asked for as a response.
    Responses,
    Embeddings,
}

impl Endpoint {
    /// The path on the node.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Responses => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// The word in the database.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat.completions",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
        }
    }

    const fn prompt_field(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Responses => "messages",
            Self::Completions => "prompt",
            Self::Embeddings => "input",
        }
    }

    /// What a model has to make of a text for it.
    pub(super) const fn kind(self) -> ModelKind {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses => ModelKind::Text,
            Self::Embeddings => ModelKind::Embedding,
        }
    }

    /// The longest event that a node may send, in bytes.
    pub(super) const fn longest_event(self) -> usize {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses => LONGEST_TEXT,
            Self::Embeddings => embedding::LONGEST_ANSWER,
        }
    }

    /// Nothing but the prompt can be asked for where it can stand before the answer.
    const fn fewest_tokens(self) -> i64 {
        match self {
            Self::ChatCompletions | Self::Responses => 1,
            Self::Completions | Self::Embeddings => 0,
        }
    }

    const fn default_max_tokens(self) -> Option<u32> {
        match self {
            Self::ChatCompletions | Self::Responses => None,
            Self::Completions => Some(DEFAULT_MAX_TOKENS),
            Self::Embeddings => Some(0),
        }
    }
}

/// A request, read as far as routing and holding need it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) endpoint: Endpoint,
    /// The model, and those that may answer in its place, in this order.
    pub(super) models: Vec<String>,
    pub(super) stream: bool,
    /// Prompts, and answers to all of them.
    pub(super) prompts: u64,
    pub(super) answers: u64,
    /// The most tokens that it wants in each answer; none: as many as the model will give.
    pub(super) max_tokens: Option<u32>,
    /// What it asks of the nodes that may answer it.
    pub(super) preference: Preference,
    /// Names of its fields, as far as a node must support each of them.
    pub(super) parameters: Vec<String>,
    /// Among the requests of its account that wait for a node.
    pub(super) priority: Priority,
    pub(super) body: Bytes,
}

impl Request {
    /// Reads a body. `defaults` is what the account asks of nodes where the request does not.
    pub(super) fn read(endpoint: Endpoint, body: Bytes, defaults: &Preference) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(&body)?;
        let model = fields.string("model")?.ok_or_else(|| ApiError::missing("model"))?;
        let models = models(model, fields.take("models")?.as_ref())?;
        // Vectors are neither streamed nor counted in tokens.
        let is_text = endpoint.kind() == ModelKind::Text;
        let stream = is_text && fields.boolean("stream")?.unwrap_or(false);
        let preference = Preference::read(fields.take("provider")?.as_ref())?.merged(defaults);
        let priority = priority(fields.string("service_tier")?.as_deref())?;
        let parameters = match preference.require_parameters {
            Some(true) => {
                fields.left_over().filter(|field| *field != endpoint.prompt_field()).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let asked = if is_text { sampling::max_tokens(&mut fields, endpoint.fewest_tokens())? } else { None };
        let max_tokens = asked.or(endpoint.default_max_tokens());
        let n = if is_text { fields.integer("n", 1..=MOST_CHOICES)?.unwrap_or(1) as u64 } else { 1 };
        let field = endpoint.prompt_field();
        if !fields.left_over().any(|left| left == field) {
            return Err(ApiError::missing(field));
        }
        let prompts = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Responses => 1,
            Endpoint::Completions | Endpoint::Embeddings => prompts(&mut fields, field)?,
        };
        Ok(Self {
            endpoint,
            models,
            stream,
            prompts,
            answers: prompts * n,
            max_tokens,
            preference,
            parameters,
            priority,
            body: if body.len() < READ_AT_ONCE { Bytes::copy_from_slice(&body) } else { body },
        })
    }

    /// The same for the models themselves, where it names aliases of them.
    ///
    /// # Errors
    /// None for a body that was read.
    pub(super) fn meant(mut self, stands_for: impl Fn(&str) -> Option<String>) -> Result<Self, ApiError> {
        if !self.models.iter().any(|name| stands_for(name).is_some()) {
            return Ok(self);
        }
        let mut models: Vec<String> = Vec::with_capacity(self.models.len());
        for name in &self.models {
            let model = stands_for(name).unwrap_or_else(|| name.clone());
            if !models.contains(&model) {
                models.push(model);
            }
        }
        if let Some(first) = models.first() {
            self.body = self.body_for(first).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
        }
        Ok(Self { models, ..self })
    }

    /// The model that was asked for.
    pub(super) fn model(&self) -> &str {
        self.models.first().map_or("", String::as_str)
    }

    /// The body for one of the models: as it came, unless that is another one.
    ///
    /// # Errors
    /// None for a body that was read.
    pub(super) fn body_for(&self, model: &str) -> serde_json::Result<Bytes> {
        if model == self.model() {
            return Ok(self.body.clone());
        }
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&self.body)?;
        fields.insert("model".to_owned(), serde_json::value::to_raw_value(model)?);
        Ok(serde_json::to_vec(&fields)?.into())
    }
}

/// How many prompts there are; whatever else is wrong with them is the node's to say.
fn prompts(fields: &mut Fields<'_>, field: &str) -> Result<u64, ApiError> {
    match fields.take(field)? {
        None => Err(ApiError::missing(field)),
        Some(Value::Array(items)) if matches!(items.first(), Some(Value::String(_) | Value::Array(_))) => {
            Ok(items.len() as u64)
        }
        Some(_) => Ok(1),
    }
}

/// The model and its substitutes, each once (OpenRouter's documentation, "Model Routing").
fn models(first: String, more: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let mut models = vec![first];
    match more {
        None => {}
        Some(Value::Array(names)) if names.len() <= MOST_MODELS => {
            for (at, name) in names.iter().enumerate() {
                let param = format!("models[{at}]");
                let name = name.as_str().ok_or_else(|| wrong_type(&param, "a string", name))?;
                if models.iter().all(|known| known != name) {
                    models.push(name.to_owned());
                }
            }
        }
        Some(Value::Array(_)) => {
            let message = format!("Invalid 'models': at most {MOST_MODELS} models can be named.");
            return Err(ApiError::invalid(message).with_param("models").with_code("array_above_max_length"));
        }
        Some(other) => return Err(wrong_type("models", "an array of strings", other)),
    }
    Ok(models)
}

/// OpenAI's service tiers, as far as an order can follow from them.
fn priority(tier: Option<&str>) -> Result<Priority, ApiError> {
    match tier {
        None | Some("auto" | "default" | "scale") => Ok(Priority::Normal),
        Some("flex") => Ok(Priority::Low),
        Some("priority") => Ok(Priority::High),
        Some(other) => Err(wrong_value("service_tier", other, "'auto', 'default', 'flex', 'scale' and 'priority'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Request, ApiError> {
        Request::read(Endpoint::ChatCompletions, Bytes::copy_from_slice(body.as_bytes()), &Preference::default())
    }

    #[test]
    fn models_are_read_in_order_and_once() {
        let request = read(r#"{"model":"a","models":["b","a","c","b"],"messages":[]}"#).unwrap();
        assert_eq!((request.models.as_slice(), request.model()), (&["a", "b", "c"].map(str::to_owned)[..], "a"));
        for (wrong, param) in [
            (r#"{"model":"a","models":"b","messages":[]}"#, "models"),
            (r#"{"model":"a","models":["b",3],"messages":[]}"#, "models[1]"),
            (r#"{"model":"a","models":["1","2","3","4","5","6","7","8","9"],"messages":[]}"#, "models"),
            (r#"{"model":"a","service_tier":"first","messages":[]}"#, "service_tier"),
        ] {
            assert_eq!(read(wrong).unwrap_err().detail.param.as_deref(), Some(param), "{wrong}");
        }
    }

    #[test]
    fn texts_to_embed_are_counted_and_nothing_is_held_for_an_answer() {
        let read = |body: &'static str| {
            Request::read(Endpoint::Embeddings, Bytes::from_static(body.as_bytes()), &Preference::default())
        };
        // A stream or a limit is the node's to refuse.
        for (body, prompts) in [
            (r#"{"model":"a","input":["a","b"],"stream":true,"max_tokens":"x"}"#, 2),
            (r#"{"model":"a","input":[1,2,3]}"#, 1),
            (r#"{"model":"a","input":"text"}"#, 1),
        ] {
            let request = read(body).unwrap();
            assert_eq!((request.prompts, request.max_tokens, request.stream), (prompts, Some(0), false), "{body}");
        }
        assert_eq!(read(r#"{"model":"a","prompt":"x"}"#).unwrap_err().detail.param.as_deref(), Some("input"));
    }

    #[test]
    fn another_model_changes_nothing_else_in_the_body() {
        let request =
            read(r#"{"model":"a","models":["b"],"messages":[{"role":"user","content":"1.0"}],"x":1.0}"#).unwrap();
        assert_eq!(request.body_for("a").unwrap(), request.body);
        let other = String::from_utf8(request.body_for("b").unwrap().to_vec()).unwrap();
        assert_eq!(other, r#"{"messages":[{"role":"user","content":"1.0"}],"model":"b","models":["b"],"x":1.0}"#);
    }

    #[test]
    fn an_alias_becomes_the_model_that_it_stands_for() {
        let stands_for = |name: &str| (name == "alias").then(|| "a".to_owned());
        let body = r#"{"model":"alias","models":["a","alias","b"],"messages":[],"x":1.0}"#;
        let request = read(body).unwrap().meant(stands_for).unwrap();
        assert_eq!((request.models.as_slice(), request.model()), (&["a", "b"].map(str::to_owned)[..], "a"));
        let sent: Value = serde_json::from_slice(&request.body_for("a").unwrap()).unwrap();
        assert_eq!((&sent["model"], &sent["x"]), (&"a".into(), &1.0.into()));
        let plain = r#"{"messages":[],  "model":"a"}"#;
        let request = read(plain).unwrap().meant(stands_for).unwrap();
        assert_eq!(request.body, plain, "where no alias is named, nothing is written anew");
    }

    #[test]
    fn what_a_node_must_support_is_what_the_body_has() {
        let body = r#"{"model":"a","stream":true,"provider":{"require_parameters":true},"messages":[],"tools":[],"seed":1,"max_tokens":3}"#;
        assert_eq!(read(body).unwrap().parameters, ["max_tokens", "seed", "tools"]);
        assert!(read(r#"{"model":"a","messages":[],"tools":[]}"#).unwrap().parameters.is_empty());
    }
}
