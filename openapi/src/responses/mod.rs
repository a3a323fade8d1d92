//! `POST /v1/responses`, as a translation: what is asked becomes a chat completion, and its answer becomes a response, whole
//! or event by event. Nobody but the gateway knows the difference. Source: OpenAI API reference, "Responses".

mod chat;

mod chunk;

mod input;

mod item;

mod object;

mod output;

mod request;

mod tools;

mod translate;

mod words;

pub use input::Given;
pub(crate) use input::MOST_ITEMS;
pub use item::{Item, ItemStatus, Part, Speaker, response_of, response_text};
pub use object::{
    DeletedResponse, IncompleteDetails, InputTokensDetails, ItemList, OutputTokensDetails, Response, ResponseError,
    ResponseStatus, ResponseUsage,
};
pub use request::ResponseRequest;
pub(crate) use request::{INCLUDABLE, MOST_METADATA, MOST_TOP_LOGPROBS};
pub use translate::{Translator, Untranslatable};
pub use words::in_our_words;

#[cfg(test)]
mod tests;
