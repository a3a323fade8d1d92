//! Loads a GGUF model from local files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use either::Either;
use mistralrs::core::{
    AddModelConfig, DefaultSchedulerMethod, EngineConfig, GGUFLoaderBuilder, GGUFSpecificConfig, Pipeline,
    SchedulerConfig,
};
use mistralrs::model_builder_trait::{build_gguf_pipeline, build_model_from_pipeline};
use mistralrs::{Device, DeviceMapSetting, GgufModelBuilder, Model, ModelDType, TokenSource};
use tokio::sync::Mutex;

use super::Engine;
use super::instances::{Idle, Lent};
use super::template::ChatTemplate;
use crate::aside::aside;
use crate::memory;

/// The model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine gave up; its own reason follows.
    #[error("the engine could not load {file}: {reason}. Run `commonwatt-node pull` to check the file")]
    Engine { file: String, reason: String },
    /// The engine gave up on an embedding model; its own reason follows.
    #[error(
        "the engine could not load the embedding model in {folder}: {reason}. It runs Qwen3-Embedding and EmbeddingGemma, \
         from a folder with config.json, tokenizer.json, modules.json, what that names, and weights as .safetensors"
    )]
    Embedder { folder: String, reason: String },
    /// A model without a tokenizer can't be prompted with text.
    #[error("{file} holds no tokenizer, so no text can be given to it. Choose another model file")]
    NoTokenizer { file: String },
    /// A model without a usable chat template can't hold a conversation.
    #[error("{file} holds no chat template that works here ({reason}). Choose another model file")]
    NoTemplate { file: String, reason: String },
}

/// An instance takes about so many times its file: weights, embeddings unpacked to 32 bits, and a conversation.
const FILES_IN_MEMORY: u64 = 3;
/// Sequences that the engine itself lets in; what is in front of it is the real limit.
pub(super) const MAX_SEQUENCES: usize = 64;

impl Engine {
    /// Loads `file` in `folder`; nothing is fetched from the network. `context_limit` lowers the model's own maximum.
    ///
    /// # Errors
    /// When the file is no model that the engine can run.
    pub async fn load(folder: &Path, file: &str, context_limit: Option<usize>) -> Result<Self, LoadError> {
        let (pipeline, scheduler, settings) = parts(folder, file).await?;
        let (tokenizer, metadata, template) = {
            let pipeline = pipeline.lock().await;
            (pipeline.tokenizer(), pipeline.get_metadata(), pipeline.get_chat_template())
        };
        let template =
            compile(template.as_deref()).map_err(|reason| LoadError::NoTemplate { file: file.to_owned(), reason })?;
        let (Some(tokenizer), Some(forms)) = (tokenizer, metadata.llg_factory.clone()) else {
            return Err(LoadError::NoTokenizer { file: file.to_owned() });
        };
        let model = build_model_from_pipeline(pipeline, scheduler, settings).await;
        Ok(Self {
            idle: Idle::new(model),
            source: (folder.to_owned(), file.to_owned()),
            forms,
            template,
            tokenizer,
            end_tokens: metadata.eos_tok.clone().into(),
            context_length: context_limit.map_or(metadata.max_seq_len, |limit| limit.min(metadata.max_seq_len)),
        })
    }

    /// An instance that nobody uses, loaded if there is none, on a thread that serves nobody.
    pub(super) async fn instance(&self) -> Result<Lent<Model>, LoadError> {
        if let Some(idle) = self.idle.take() {
            return Ok(idle);
        }
        let (folder, file) = self.source.clone();
        let failed = |reason: String| LoadError::Engine { file: self.source.1.clone(), reason };
        let loaded = aside(async move { parts(&folder, &file).await }).await;
        let (pipeline, scheduler, settings) = loaded.map_err(|error| failed(error.to_string()))??;
        Ok(self.idle.lend(build_model_from_pipeline(pipeline, scheduler, settings).await))
    }

    /// Lets go of idle instances but so many.
    pub fn keep_instances(&self, most: u32) {
        self.idle.keep(most as usize);
    }

    /// Whether so many sequences can be computed at once, each in an instance with weights of its own. None where the system
    /// does not say how much memory it has.
    pub fn has_memory_for(&self, instances: u32) -> Option<bool> {
        let (folder, file) = &self.source;
        let length = std::fs::metadata(folder.join(file)).map_or(u64::MAX, |metadata| metadata.len());
        let all = length.saturating_mul(FILES_IN_MEMORY).saturating_mul(u64::from(instances));
        memory::available(Path::new("/")).map(|available| memory::check(&[(file.as_str(), all)], available).is_ok())
    }
}

/// What an instance is made of.
type Parts = (Arc<Mutex<dyn Pipeline>>, SchedulerConfig, AddModelConfig);

/// Loads the file once.
async fn parts(folder: &Path, file: &str) -> Result<Parts, LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::Engine { file: file.to_owned(), reason: error.to_string() };
    if !cfg!(feature = "cuda") {
        return on_processors(folder, file).map_err(|error| failed(&error));
    }
    let builder = GgufModelBuilder::new(folder.display().to_string(), vec![file.to_owned()])
        .with_token_source(TokenSource::None)
        .with_max_num_seqs(MAX_SEQUENCES)
        // Its hits would show one account what another asked.
        .with_prefix_cache_n(None);
    build_gguf_pipeline(builder).await.map_err(|error| failed(&error))
}

/// The same without an accelerator. The builder knows no type for what is computed, and takes 16 bits: attention would turn
/// each number into 32 bits each time that it reads it.
fn on_processors(folder: &Path, file: &str) -> anyhow::Result<Parts> {
    let (folder, files) = (folder.display().to_string(), vec![file.to_owned()]);
    let settings = GGUFSpecificConfig { topology: None };
    let loader = GGUFLoaderBuilder::new(None, None, folder, files, settings, false, None).build();
    let (dtype, map, is_silent) = (ModelDType::F32, DeviceMapSetting::dummy(), true);
    let pipeline =
        loader.load_model_from_hf(None, TokenSource::None, &dtype, &Device::Cpu, is_silent, map, None, None)?;
    let scheduler =
        SchedulerConfig::DefaultScheduler { method: DefaultSchedulerMethod::Fixed(MAX_SEQUENCES.try_into()?) };
    // On a processor the prefix cache is never emptied, and its hits would show one account what another asked.
    let engine = EngineConfig { no_prefix_cache: true, throughput_logging_enabled: false, ..EngineConfig::default() };
    Ok((pipeline, scheduler, AddModelConfig::new(engine)))
}

/// The template that came with the model; of several, the one for plain conversations.
fn compile(found: Option<&mistralrs::core::ChatTemplate>) -> Result<ChatTemplate, String> {
    let found = found.ok_or("none in the file")?;
    let source = match found.chat_template.as_ref().map(|template| &template.0) {
        None => return Err("none in the file".to_owned()),
        Some(Either::Left(source)) => source,
        Some(Either::Right(named)) => {
            let is_default =
                |template: &&HashMap<String, String>| template.get("name").is_none_or(|name| name == "default");
            let default = named.iter().find(is_default).and_then(|template| template.get("template"));
            default.ok_or("none of its templates is the default")?
        }
    };
    let token = |token: &Either<String, _>| token.as_ref().left().cloned();
    let begin = found.bos_token.as_ref().and_then(|begin| token(&begin.0));
    let end = found.eos_token.as_ref().and_then(|end| token(&end.0));
    ChatTemplate::compile(source, begin, end).map_err(|error| error.to_string())
}
