//! `GET /v1/models`. Source: OpenAI API reference, "Models".

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
        Self { id, object: "model".to_owned(), created, owned_by, manifest, context_length }
    }
}

impl From<Vec<Model>> for ModelList {
    fn from(data: Vec<Model>) -> Self {
        Self { object: "list".to_owned(), data }
    }
}
