//! Loads a GGUF model from local files.

use std::path::Path;
use std::sync::Arc;

use mistralrs::model_builder_trait::{build_gguf_pipeline, build_model_from_pipeline};
use mistralrs::{GgufModelBuilder, TokenSource};

use super::Engine;

/// The model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine gave up; its own reason follows.
    #[error("the engine could not load {file}: {reason}. Run `commonwatt-node pull` to check the file")]
    Engine { file: String, reason: String },
    /// A model without a tokenizer can't be prompted with text.
    #[error("{file} holds no tokenizer, so no text can be given to it. Choose another model file")]
    NoTokenizer { file: String },
}

/// Sequences that the engine itself lets in; the slots in front of it are the real limit.
const MAX_SEQUENCES: usize = 64;

impl Engine {
    /// Loads `file` in `folder`; nothing is fetched from the network. `context_limit` lowers the model's own maximum.
    ///
    /// # Errors
    /// When the file is no model that the engine can run.
    pub async fn load(folder: &Path, file: &str, context_limit: Option<usize>) -> Result<Self, LoadError> {
        let failed =
            |error: &dyn std::fmt::Display| LoadError::Engine { file: file.to_owned(), reason: error.to_string() };
        let builder = GgufModelBuilder::new(folder.display().to_string(), vec![file.to_owned()])
            .with_token_source(TokenSource::None)
            .with_max_num_seqs(MAX_SEQUENCES)
            .with_force_cpu()
            // On a processor the prefix cache is never emptied, and its hits would show one account what another asked.
            .with_prefix_cache_n(None);
        let (pipeline, scheduler, settings) = build_gguf_pipeline(builder).await.map_err(|error| failed(&error))?;
        let (tokenizer, metadata) = {
            let pipeline = pipeline.lock().await;
            (pipeline.tokenizer(), pipeline.get_metadata())
        };
        let tokenizer = tokenizer.ok_or_else(|| LoadError::NoTokenizer { file: file.to_owned() })?;
        let model = build_model_from_pipeline(Arc::clone(&pipeline), scheduler, settings).await;
        Ok(Self {
            model,
            pipeline,
            tokenizer,
            end_tokens: metadata.eos_tok.clone().into(),
            context_length: context_limit.map_or(metadata.max_seq_len, |limit| limit.min(metadata.max_seq_len)),
        })
    }
}
