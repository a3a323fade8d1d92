//! `GET /v1/models`. Source: OpenAI API reference, "Models".

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, echo};

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
        Self { id, object: "model".to_owned(), created, owned_by, manifest, context_length, kind: ModelKind::Text }
    }

    /// The same of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ModelKind) -> Self {
        self.kind = kind;
        self
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
        assert!(
            serde_json::to_string(&model.of_kind(ModelKind::Embedding)).unwrap().ends_with(r#""kind":"embedding"}"#)
        );
        let offered = crate::node::OfferedModel::default();
        assert!(!serde_json::to_string(&offered).unwrap().contains("kind"), "nobody has to mention text");
    }
}
