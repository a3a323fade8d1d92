//! Vectors of texts.

use utoipa::{PartialSchema, ToSchema};

use super::completion::prompts;
use super::{Asked, Described, Named, Shape, collect, integer, text, word};
use crate::completion::Prompt;
use crate::embedding::{EmbeddingRequest, MOST_INPUTS};

const ABOUT: &str = "As OpenAI's `embeddings.create`. Fields that are not named here go on to the node: the built-in engine \
                     refuses them with 400 `unknown_parameter`; another server gets them as they are.";

impl Asked for EmbeddingRequest {
    fn described() -> Described {
        let dimensions = integer(&(1..=i64::from(u32::MAX)));
        Described::new(ABOUT)
            .required("model", "The model's name, or the content address of its manifest", text())
            .required("input", "Each has a vector of its own", prompts(MOST_INPUTS))
            .optional("dimensions", "How long the vectors are to be; no longer than the model makes them", dimensions)
            .optional("encoding_format", "How they are written down", word(["float", "base64"]))
            .user()
            .open()
    }
}

impl PartialSchema for EmbeddingRequest {
    fn schema() -> Shape {
        Self::described().into()
    }
}

impl ToSchema for EmbeddingRequest {
    fn schemas(into: &mut Named) {
        collect::<Prompt>(into);
    }
}
