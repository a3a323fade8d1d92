//! The response, and what else the Responses API answers with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::item::Item;
use crate::energy::EnergyUsage;
use crate::usage::Usage;

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseStatus {
    InProgress,
    Completed,
    /// A limit ended it; `incomplete_details` says which.
    Incomplete,
    Failed,
}

/// A response. What was asked is repeated in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Response {
    /// `resp_` and the id of the request.
    pub id: String,
    /// Always `response`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970; only of one that is completed.
    pub completed_at: Option<u64>,
    pub status: ResponseStatus,
    /// Always false.
    pub background: bool,
    pub error: Option<ResponseError>,
    pub incomplete_details: Option<IncompleteDetails>,
    pub instructions: Option<String>,
    pub max_output_tokens: Option<u32>,
    pub max_tool_calls: Option<u32>,
    pub metadata: BTreeMap<String, String>,
    pub model: String,
    pub output: Vec<Item>,
    pub parallel_tool_calls: bool,
    pub previous_response_id: Option<String>,
    pub prompt_cache_key: Option<String>,
    /// `effort` and `summary`.
    pub reasoning: Value,
    pub safety_identifier: Option<String>,
    pub service_tier: String,
    /// Whether it can be asked for again, and gone on from.
    pub store: bool,
    pub temperature: f64,
    /// `format` and `verbosity`.
    pub text: Value,
    pub tool_choice: Value,
    pub tools: Vec<Value>,
    pub top_logprobs: u8,
    pub top_p: f64,
    /// Always `disabled`.
    pub truncation: String,
    pub usage: Option<ResponseUsage>,
    pub user: Option<String>,
}

impl Default for Response {
    /// A response of which nothing has come yet, with OpenAI's defaults.
    fn default() -> Self {
        Self {
            id: String::new(),
            object: "response".to_owned(),
            created_at: 0,
            completed_at: None,
            status: ResponseStatus::InProgress,
            background: false,
            error: None,
            incomplete_details: None,
            instructions: None,
            max_output_tokens: None,
            max_tool_calls: None,
            metadata: BTreeMap::new(),
            model: String::new(),
            output: Vec::new(),
            parallel_tool_calls: true,
            previous_response_id: None,
            prompt_cache_key: None,
            reasoning: json!({"effort": null, "summary": null}),
            safety_identifier: None,
            service_tier: "default".to_owned(),
            store: false,
            temperature: 1.0,
            text: json!({"format": {"type": "text"}, "verbosity": "medium"}),
            tool_choice: json!("auto"),
            tools: Vec::new(),
            top_logprobs: 0,
            top_p: 1.0,
            truncation: "disabled".to_owned(),
            usage: None,
            user: None,
        }
    }
}

/// Why a response failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponseError {
    /// `server_error` or `rate_limit_exceeded`.
    pub code: String,
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncompleteDetails {
    /// `max_output_tokens` or `content_filter`.
    pub reason: String,
}

/// What a response used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseUsage {
    pub input_tokens: u64,
    pub input_tokens_details: InputTokensDetails,
    pub output_tokens: u64,
    pub output_tokens_details: OutputTokensDetails,
    pub total_tokens: u64,
    /// What it cost in credits, as an exact decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// What it cost in energy, and how well that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyUsage>,
}

/// A closer look at the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InputTokensDetails {
    /// Tokens that were not computed anew.
    pub cached_tokens: u64,
    /// Always 0: nobody pays for what is kept.
    pub cache_write_tokens: u64,
}

/// A closer look at the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputTokensDetails {
    /// Always 0: nodes do not count apart what was thought; it is part of `output_tokens`.
    pub reasoning_tokens: u64,
}

impl From<Usage> for ResponseUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputTokensDetails {
                cached_tokens: usage.prompt_tokens_details.cached_tokens,
                cache_write_tokens: 0,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokensDetails { reasoning_tokens: 0 },
            total_tokens: usage.total_tokens,
            cost: usage.cost,
            energy: usage.energy,
        }
    }
}

/// A page of the items that a response was made from.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ItemList {
    /// Always `list`.
    pub object: String,
    pub data: Vec<Item>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    pub has_more: bool,
}

/// A response that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeletedResponse {
    pub id: String,
    /// Always `response`.
    pub object: String,
    /// Always true.
    pub deleted: bool,
}
