//! The inference engine: the only module that names mistral.rs.
//!
//! mistral.rs 0.8.1 computes logits; everything a client can see is decided here. Each request runs as a stream inside
//! the engine, even when the client wants one whole answer (an unstreamed request whose client leaves brings the engine
//! down). A [`hook::Hook`] chooses every token itself, so that the same seed gives the same text, and hands the token
//! ids over; text, stop strings and endings are made from those ids in [`generate`].

mod generate;

mod hook;

mod load;

mod sampler;

mod stop;

mod template;

mod text;

mod untold;

pub use generate::{EngineError, Generation, Said, Step, Task};
pub use load::LoadError;

use std::sync::Arc;

use mistralrs::Model;
use openapi::chat::Message;
use openapi::error::ApiError;
use template::ChatTemplate;
use tokenizers::Tokenizer;

/// A loaded model.
pub struct Engine {
    model: Model,
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
    pub fn tokenize_chat(&self, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
        let text = self.template.render(messages).map_err(|error| {
            tracing::info!(%error, "the chat template refused a conversation");
            ApiError::invalid("Invalid 'messages': the model's chat template does not accept this conversation.")
                .with_param("messages")
                .with_code("invalid_conversation")
        })?;
        self.tokenize_text(&text)
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
