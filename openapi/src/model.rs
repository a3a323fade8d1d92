//! `GET /v1/models`. Source: OpenAI API reference, "Models".

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, echo};
use crate::price::Price;
use crate::units::Nanocredits;

/// What a model makes of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// More text: chats and completions.
    #[default]
    Text,
    /// One vector, near those of texts that mean the same.
    Embedding,
}

impl ModelKind {
    /// The 400 for a request that needs the other kind than this model's.
    pub fn refusal(self, model: &str) -> ApiError {
        let model = echo(model);
        let message = match self {
            Self::Text => format!(
                "The model '{model}' writes text and makes no embeddings. Ask it at /v1/chat/completions or \
                 /v1/completions."
            ),
            Self::Embedding => {
                format!("The model '{model}' makes embeddings and writes no text. Ask it at /v1/embeddings.")
            }
        };
        ApiError::invalid(message).with_param("model").with_code("unsupported_model")
    }
}

/// What a model reads or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    Text,
    /// Vectors.
    Embeddings,
}

/// What goes in and what comes out, as OpenRouter's "List available models" says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Architecture {
    pub input_modalities: Vec<Modality>,
    pub output_modalities: Vec<Modality>,
}

impl From<ModelKind> for Architecture {
    fn from(kind: ModelKind) -> Self {
        let made = match kind {
            ModelKind::Text => Modality::Text,
            ModelKind::Embedding => Modality::Embeddings,
        };
        Self { input_modalities: vec![Modality::Text], output_modalities: vec![made] }
    }
}

impl Default for Architecture {
    fn default() -> Self {
        ModelKind::default().into()
    }
}

/// What nodes ask for a token, in nanocredits: each part of a price for itself, so that they need not be one node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriceRange {
    pub lowest: Price,
    pub highest: Price,
}

impl From<Price> for PriceRange {
    fn from(price: Price) -> Self {
        Self { lowest: price, highest: price }
    }
}

impl PriceRange {
    fn with(self, price: Price) -> Self {
        let each = |a: Price, b: Price, choose: fn(Nanocredits, Nanocredits) -> Nanocredits| Price {
            prompt: choose(a.prompt, b.prompt),
            cached: choose(a.cached, b.cached),
            completion: choose(a.completion, b.completion),
        };
        Self { lowest: each(self.lowest, price, Ord::min), highest: each(self.highest, price, Ord::max) }
    }
}

/// A model that can be asked now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// The name to send as `model`.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The authors that the manifest names.
    pub owned_by: String,
    /// The content address of the model's manifest: the same everywhere for the same files.
    pub manifest: String,
    /// The most tokens that prompt and answer may have together.
    pub context_length: u32,
    /// What it makes of a text.
    #[serde(default)]
    pub kind: ModelKind,
    /// The same, in more words.
    #[serde(default)]
    pub architecture: Architecture,
    /// What is asked for it now, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<PriceRange>,
    /// Nodes that are connected and serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// The model that answers, where `id` is an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
}

/// All models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    pub data: Vec<Model>,
}

impl Model {
    /// A model under its name.
    pub fn new(id: String, created: u64, owned_by: String, manifest: String, context_length: u32) -> Self {
        let (object, kind) = ("model".to_owned(), ModelKind::Text);
        let (architecture, prices, nodes, alias_of) = (kind.into(), None, None, None);
        Self { id, object, created, owned_by, manifest, context_length, kind, architecture, prices, nodes, alias_of }
    }

    /// The same of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ModelKind) -> Self {
        self.kind = kind;
        self.architecture = kind.into();
        self
    }

    /// Counts a node that serves it, with so long a context and at this price, as far as that is known.
    pub fn add_node(&mut self, context_length: u32, price: Option<Price>) {
        self.nodes = Some(self.nodes.unwrap_or_default().saturating_add(1));
        self.context_length = self.context_length.max(context_length);
        if let Some(price) = price {
            self.prices = Some(self.prices.map_or_else(|| price.into(), |range| range.with(price)));
        }
    }
}

impl From<Vec<Model>> for ModelList {
    fn from(data: Vec<Model>) -> Self {
        Self { object: "list".to_owned(), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_where_to_ask() {
        for (kind, path) in [(ModelKind::Text, "/v1/chat/completions"), (ModelKind::Embedding, "/v1/embeddings")] {
            let refusal = kind.refusal("m");
            assert_eq!((refusal.status, refusal.detail.param.as_deref()), (400, Some("model")));
            assert!(refusal.detail.message.contains("'m'") && refusal.detail.message.contains(path), "{refusal}");
        }
    }

    #[test]
    fn a_model_of_before_there_were_kinds_writes_text() {
        let json = r#"{"id":"m","object":"model","created":1,"owned_by":"a","manifest":"b","context_length":8}"#;
        let model: Model = serde_json::from_str(json).unwrap();
        assert_eq!(model.kind, ModelKind::Text);
        let makes =
            |model: &Model| serde_json::to_value(model).unwrap()["architecture"]["output_modalities"][0].clone();
        assert_eq!(makes(&model), "text");
        let embedder = model.of_kind(ModelKind::Embedding);
        assert_eq!(makes(&embedder), "embeddings");
        let written = serde_json::to_string(&embedder).unwrap();
        assert!(written.contains(r#""kind":"embedding""#), "{written}");
        assert!(!written.contains("null"), "nobody is told of what is not known: {written}");
        let offered = crate::node::OfferedModel::default();
        assert!(!serde_json::to_string(&offered).unwrap().contains("kind"), "nobody has to mention text");
    }
}
