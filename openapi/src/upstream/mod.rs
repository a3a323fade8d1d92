//! Makes of any OpenAI-compatible server's answer what a node sends its gateway. No I/O: whoever calls sends
//! [`request()`]'s body with `accept-encoding: identity`, looks at the [`Head`], splits the body with
//! [`sse::Scanner`](crate::sse::Scanner) at [`Limits::event_bytes`], and hands each event to a [`Translator`].
//!
//! The upstream is somebody else's program and may do anything: everything that it makes us keep has a limit. Shapes are
//! those of OpenAI's API reference, of vLLM, SGLang, llama.cpp and Ollama, which differ in where usage stands, in what
//! they leave out, and in what they add.

mod answer;

mod head;

mod json;

mod merged;

mod request;

mod tokens;

mod translate;

#[cfg(test)]
mod tests;

pub use head::{Head, LONGEST_ERROR, Refusal};
pub use request::{Unlimited, request, unlimited};
pub use tokens::Tokens;
pub use translate::{Facts, Translator};

/// Which of OpenAI's two shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Chat,
    Completion,
}

impl Endpoint {
    /// The path below the server's `/v1`.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completion => "/completions",
        }
    }

    /// The `object` of a whole answer.
    const fn object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion",
            Self::Completion => "text_completion",
        }
    }

    /// The `object` of a piece.
    const fn piece(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion.chunk",
            Self::Completion => "text_completion",
        }
    }
}

/// How much of an upstream's answer is taken. What is beyond ends the answer with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event.
    pub event_bytes: usize,
    /// Bytes of the whole stream, comments included.
    pub stream_bytes: usize,
    /// Bytes that are collected of an unstreamed answer: text, arguments of tools, log probabilities.
    pub collected_bytes: usize,
    pub choices: usize,
    /// Of each choice.
    pub tool_calls: usize,
}

impl Default for Limits {
    /// More than any honest answer has.
    fn default() -> Self {
        const MEBIBYTE: usize = 1024 * 1024;
        Self {
            event_bytes: MEBIBYTE,
            stream_bytes: 64 * MEBIBYTE,
            collected_bytes: 16 * MEBIBYTE,
            choices: 128,
            tool_calls: 128,
        }
    }
}

/// What an upstream did wrong. For the log: a client hears no more than that its request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    #[error("an event is longer than {0} bytes")]
    LongEvent(usize),
    #[error("its answer is longer than {0} bytes")]
    LongStream(usize),
    #[error("its answer has more than {0} bytes to collect")]
    LongAnswer(usize),
    #[error("it answers with more than {0} choices")]
    ManyChoices(usize),
    #[error("a choice calls more than {0} tools")]
    ManyToolCalls(usize),
    #[error("its tool calls leave one out")]
    Gap,
    #[error("an event is no JSON: {0}")]
    NoJson(String),
    #[error("an event is not OpenAI's: {0}")]
    NotOpenAi(&'static str),
    #[error("it says that it used more tokens than a request can have")]
    ManyTokens,
    /// The upstream's own words, shortened.
    #[error("it reported an error: {0}")]
    Reported(String),
    #[error("it went on after the answer had ended")]
    AfterTheEnd,
    #[error("it ended before the answer did")]
    Early,
}
