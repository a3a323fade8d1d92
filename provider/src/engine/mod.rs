//! The inference engine: the only module that names mistral.rs.
//!
//! mistral.rs 0.8.1 computes logits; everything a client can see is decided here. Each request runs as a stream inside
//! the engine, even when the client wants one whole answer (an unstreamed request whose client leaves brings the engine
//! down). A [`hook::Hook`] chooses every token itself, so that the same seed gives the same text, and hands the token
//! ids over; text, stop strings and endings are made from those ids in [`generate`].

mod embedder;

mod generate;

mod guide;

mod hook;

mod instances;

mod load;

mod sampler;

mod score;

mod stop;

mod template;

mod text;

mod untold;

mod widen;

pub use embedder::Embedder;
pub use generate::{EngineError, Generation, Said, Step, Task, Told};
pub(crate) use guide::{
    ARGUMENTS_END, ARGUMENTS_FOLLOW, CALL_BEGINS, CALL_ENDS, NAME_FOLLOWS, THOUGHT_BEGINS, THOUGHT_ENDS,
};
pub use guide::{Form, FormError, Thinking};
pub use load::LoadError;
pub use sampler::Chances;
pub use template::Conversation;
pub use widen::widen;

use std::path::PathBuf;
use std::sync::Arc;

use guide::Guide;
use instances::Idle;
use mistralrs::Model;
use mistralrs::llguidance::ParserFactory;
use openapi::error::ApiError;
use template::ChatTemplate;
use tokenizers::Tokenizer;

/// What activations are, and weights of four bits: texts of a seed differ where these do.
pub const NUMBERS: &str = if cfg!(feature = "cuda") { "automatic" } else { "f32/q8_0" };

/// A form that answers can be held to.
#[derive(Clone)]
pub struct Guided(Arc<Guide>);

/// A conversation in tokens, ready for its answer.
pub struct Prompt {
    pub tokens: Vec<u32>,
    pub thinking: Thinking,
}

/// A loaded model.
pub struct Engine {
    /// As many as have computed at once.
    idle: Idle<Model>,
    /// The model's folder, and its file there.
    source: (PathBuf, String),
    forms: Arc<ParserFactory>,
    template: ChatTemplate,
    tokenizer: Arc<Tokenizer>,
    end_tokens: Arc<[u32]>,
    context_length: usize,
}

impl Engine {
    /// The most tokens that prompt and answer may have together.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// The tokens of a conversation, written out as the model's own chat template says, ready for its answer.
    ///
    /// # Errors
    /// 400 when the template refuses the conversation.
    pub fn tokenize_chat(&self, conversation: &Conversation<'_>) -> Result<Prompt, ApiError> {
        let text = self.template.render(conversation).map_err(|error| {
            tracing::info!(%error, "the chat template refused a conversation");
            ApiError::invalid("Invalid 'messages': the model's chat template does not accept this conversation.")
                .with_param("messages")
                .with_code("invalid_conversation")
        })?;
        let thinking = self.template.thinking(&text, conversation.thinks);
        Ok(Prompt { tokens: self.tokenize_text(&text)?, thinking })
    }

    /// Makes ready what holds answers to a form; none where any text will do. Takes time: not on a thread that serves
    /// others.
    ///
    /// # Errors
    /// When the form asks for what answers can't be held to.
    pub fn guided(&self, form: &Form) -> Result<Option<Guided>, FormError> {
        if form.is_free() {
            return Ok(None);
        }
        Ok(Some(Guided(Arc::new(form.compile(&self.forms)?))))
    }

    /// The text of tokens, those included that stand for no text.
    pub fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, false).unwrap_or_default()
    }

    /// A token's own bytes: a part of a character, perhaps.
    pub fn token_bytes(&self, token: u32) -> Vec<u8> {
        self.forms.tok_env().tok_trie().decode(&[token])
    }

    /// The tokens of a plain text.
    ///
    /// # Errors
    /// 400 when the tokenizer refuses the text.
    pub fn tokenize_text(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| {
            tracing::info!(%error, "the tokenizer refused a prompt");
            ApiError::invalid("Invalid 'prompt': the model's tokenizer does not accept this text.").with_param("prompt")
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens that end an answer.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// How many token ids the model knows; ids at or above it are not tokens.
    pub fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}
