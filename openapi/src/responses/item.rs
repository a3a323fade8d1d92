//! Items: what a conversation consists of, whether it came as input or went out as output. They are stored as they are
//! written here.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// How far an item has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    InProgress,
    #[default]
    Completed,
    /// A limit ended the answer within it.
    Incomplete,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    User,
    System,
    Developer,
    Assistant,
}

impl Speaker {
    /// The role of the same message in a chat completion.
    pub(super) const fn role(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System | Self::Developer => "system",
            Self::Assistant => "assistant",
        }
    }
}

/// One item of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    Message {
        id: String,
        role: Speaker,
        status: ItemStatus,
        content: Vec<Part>,
    },
    /// What the model has called.
    FunctionCall {
        id: String,
        /// Names the call to whoever answers it.
        call_id: String,
        name: String,
        /// A JSON text.
        arguments: String,
        status: ItemStatus,
    },
    /// What came of a call.
    FunctionCallOutput {
        id: String,
        call_id: String,
        output: String,
        status: ItemStatus,
    },
    /// What the model thought before it spoke. Models are not told of it again.
    Reasoning {
        id: String,
        /// Always empty: what was thought stands in `content`.
        summary: Vec<Value>,
        content: Vec<Part>,
        status: ItemStatus,
    },
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    InputText {
        text: String,
    },
    OutputText {
        text: String,
        /// Always empty: nothing is searched, so nothing is cited.
        annotations: Vec<Value>,
        /// How likely the tokens were, if it was asked for.
        logprobs: Vec<Value>,
    },
    Refusal {
        refusal: String,
    },
    ReasoningText {
        text: String,
    },
}

impl Part {
    /// What it says.
    pub fn text(&self) -> &str {
        match self {
            Self::InputText { text } | Self::OutputText { text, .. } | Self::ReasoningText { text } => text,
            Self::Refusal { refusal } => refusal,
        }
    }
}

impl Item {
    /// Its id; empty until it has one.
    pub fn id(&self) -> &str {
        match self {
            Self::Message { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::FunctionCallOutput { id, .. }
            | Self::Reasoning { id, .. } => id,
        }
    }

    /// Gives an id to an item of a response's input that has none.
    pub fn name(&mut self, response: Uuid, index: usize) {
        let prefix = self.prefix();
        let (Self::Message { id, .. }
        | Self::FunctionCall { id, .. }
        | Self::FunctionCallOutput { id, .. }
        | Self::Reasoning { id, .. }) = self;
        if id.is_empty() {
            *id = format!("{prefix}_{}_in{index}", response.simple());
        }
    }

    pub(super) const fn status_mut(&mut self) -> &mut ItemStatus {
        match self {
            Self::Message { status, .. }
            | Self::FunctionCall { status, .. }
            | Self::FunctionCallOutput { status, .. }
            | Self::Reasoning { status, .. } => status,
        }
    }

    const fn prefix(&self) -> &'static str {
        match self {
            Self::Message { .. } => "msg",
            Self::FunctionCall { .. } => "fc",
            Self::FunctionCallOutput { .. } => "fco",
            Self::Reasoning { .. } => "rs",
        }
    }
}

/// The id of an item of a response's output.
pub(super) fn output_id(prefix: &str, response: &str, index: usize) -> String {
    format!("{prefix}_{}_{index}", response.trim_start_matches("resp_"))
}

/// The public id of a response: `resp_` and the id of the request that made it.
pub fn response_text(id: Uuid) -> String {
    format!("resp_{}", id.simple())
}

/// The response that an id of its own, or of one of its items, names.
pub fn response_of(id: &str) -> Option<Uuid> {
    let (prefix, rest) = id.split_once('_')?;
    let known = ["resp", "msg", "fc", "fco", "rs"].contains(&prefix);
    let hex = rest.split('_').next().filter(|hex| known && hex.len() == 32)?;
    Uuid::try_parse(hex).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_responses_and_of_their_items_name_the_response() {
        let id = Uuid::from_u128(7);
        let response = response_text(id);
        let mut item = Item::FunctionCallOutput {
            id: String::new(),
            call_id: "c".into(),
            output: "7".into(),
            status: ItemStatus::Completed,
        };
        item.name(id, 3);
        assert!(item.id().ends_with("_in3"));
        for text in [response.clone(), output_id("msg", &response, 0), item.id().to_owned()] {
            assert_eq!(response_of(&text), Some(id), "{text}");
        }
        for text in ["", "resp_", "resp_7", "chatcmpl_00000000000000000000000000000007", &id.simple().to_string()] {
            assert_eq!(response_of(text), None, "{text}");
        }
        let before = item.clone();
        item.name(Uuid::from_u128(8), 0);
        assert_eq!(item, before, "an item keeps its id");
    }
}
