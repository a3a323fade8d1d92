//! Embedding models: the tokens of a text in, its vector out.
//!
//! The engine has no hook for them, and takes everybody down with it when it can't hand a vector over, or when it is given a
//! single token. So what waits for a vector outlives whoever asked for it, and a single token is given twice: all of its
//! copies have the same values at every layer, whatever attends to what, so that the vector is the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use mistralrs::model_builder_trait::{build_embedding_pipeline, build_model_from_pipeline};
use mistralrs::{
    Constraint, EmbeddingModelBuilder, Model, ModelDType, NormalRequest, Request, RequestMessage, Response,
    SamplingParams, TokenSource,
};
use openapi::embedding::beginning;
use openapi::error::ApiError;
use serde::Deserialize;
use tokenizers::Tokenizer;
use tokio::sync::{mpsc, oneshot};

use super::generate::EngineError;
use super::load::{LoadError, MAX_SEQUENCES};
use crate::energy::{Presence, StepKind};
use crate::slots::Slot;

/// A loaded embedding model.
pub struct Embedder {
    model: Model,
    tokenizer: Tokenizer,
    vocabulary: usize,
    context_length: usize,
    dimensions: usize,
}

/// Where a vector is computed, and where its energy is metered.
type Desk = (Arc<Slot>, Arc<Presence>);

/// What is read of `config.json`.
#[derive(Deserialize)]
struct Sizes {
    vocab_size: usize,
}

impl Embedder {
    /// Loads the model in `folder`; nothing is fetched from the network. `context_limit` lowers the model's own maximum.
    ///
    /// # Errors
    /// When the folder holds no model that the engine can run.
    pub async fn load(folder: &Path, context_limit: Option<usize>) -> Result<Self, LoadError> {
        let failed = |error: &dyn std::fmt::Display| LoadError::Embedder {
            folder: folder.display().to_string(),
            reason: error.to_string(),
        };
        let config = std::fs::read(folder.join("config.json")).map_err(|error| failed(&error))?;
        let sizes: Sizes = serde_json::from_slice(&config).map_err(|error| failed(&error))?;
        let builder = EmbeddingModelBuilder::new(folder.display())
            .with_token_source(TokenSource::None)
            // On a processor narrower numbers are not faster, and a vector's last digits are what texts are told apart by.
            .with_dtype(ModelDType::F32)
            .with_max_num_seqs(MAX_SEQUENCES)
            .with_force_cpu();
        // A task of its own: of some files the engine says by a panic what is wrong with them.
        let built = tokio::spawn(build_embedding_pipeline(builder)).await.map_err(|error| failed(&error))?;
        let (pipeline, scheduler, settings) = built.map_err(|error| failed(&error))?;
        let (tokenizer, metadata) = {
            let pipeline = pipeline.lock().await;
            (pipeline.tokenizer(), pipeline.get_metadata())
        };
        let mut tokenizer = tokenizer.map(|tokenizer| (*tokenizer).clone()).ok_or_else(|| failed(&"no tokenizer"))?;
        // What is too long is refused, not cut off in silence.
        tokenizer.with_padding(None).with_truncation(None).map_err(|error| failed(&error))?;
        let context_length = context_limit.map_or(metadata.max_seq_len, |limit| limit.min(metadata.max_seq_len));
        let model = build_model_from_pipeline(pipeline, scheduler, settings).await;
        let mut embedder = Self { model, tokenizer, vocabulary: sizes.vocab_size, context_length, dimensions: 0 };
        // How long vectors are, and whether the engine can do what `modules.json` asks for, shows with the first one.
        embedder.dimensions = embedder.vector(vec![0], None).await.map_err(|error| failed(&error))?.len();
        Ok(embedder)
    }

    /// The most tokens that a text may have.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Numbers in a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How many token ids the model knows; ids at or above it are not tokens.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The tokens of a text, with those that the model wants around it.
    ///
    /// # Errors
    /// 400 when the tokenizer refuses the text.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| {
            tracing::info!(%error, "the tokenizer refused a text");
            ApiError::invalid("Invalid 'input': the model's tokenizer does not accept this text.").with_param("input")
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The vector of a text, of length 1. `tokens` are at least one and no more than the context holds, each below
    /// [`Self::vocabulary`].
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn embed(&self, tokens: &[u32], desk: Desk) -> Result<Vec<f32>, EngineError> {
        let vector = self.vector(tokens.to_vec(), Some(desk)).await?;
        if vector.iter().any(|number| !number.is_finite()) {
            return Err(EngineError("a vector is not of numbers".to_owned()));
        }
        Ok(beginning(vector, self.dimensions))
    }

    async fn vector(&self, mut tokens: Vec<u32>, desk: Option<Desk>) -> Result<Vec<f32>, EngineError> {
        if let [alone] = tokens[..] {
            tokens.push(alone);
        }
        let read = tokens.len();
        let (response, responses) = mpsc::channel(1);
        let sender = self.model.inner().get_sender(None).map_err(|error| EngineError(error.to_string()))?;
        sender
            .send(request(tokens, response))
            .await
            .map_err(|_| EngineError("it takes no more requests".to_owned()))?;
        let (to, vector) = oneshot::channel();
        tokio::spawn(async move {
            let answer = receive(responses).await;
            if let Some((_, presence)) = &desk {
                presence.mark(Instant::now(), StepKind::Prefill, (read, 0));
            }
            drop(desk);
            // Whoever asked may have left.
            let _ = to.send(answer);
        });
        vector.await.unwrap_or_else(|_| Err(EngineError("it ended without a word".to_owned())))
    }
}

fn request(prompt: Vec<u32>, response: mpsc::Sender<Response>) -> Request {
    Request::Normal(Box::new(NormalRequest {
        messages: RequestMessage::EmbeddingTokens { prompt },
        sampling_params: SamplingParams::neutral(),
        response,
        return_logprobs: false,
        is_streaming: false,
        id: 0,
        constraint: Constraint::None,
        suffix: None,
        tools: None,
        tool_choice: None,
        logits_processors: None,
        return_raw_logits: false,
        web_search_options: None,
        model_id: None,
        truncate_sequence: false,
    }))
}

async fn receive(mut responses: mpsc::Receiver<Response>) -> Result<Vec<f32>, EngineError> {
    let reason = match responses.recv().await {
        Some(Response::Embeddings { embeddings, .. }) => return Ok(embeddings),
        Some(Response::InternalError(error) | Response::ValidationError(error)) => error.to_string(),
        Some(Response::ModelError(error, _) | Response::CompletionModelError(error, _)) => error,
        Some(_) => "it answered with something else than a vector".to_owned(),
        None => "it let go of the request".to_owned(),
    };
    Err(EngineError(reason))
}
