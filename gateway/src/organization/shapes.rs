//! What OpenAI's usage and costs look like on the wire.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::parameters::Groups;
use crate::api::usage::Cost;
use crate::api::usage::sums::UsageRow;

/// Buckets of time.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationPage<T> {
    /// Always `page`.
    object: &'static str,
    data: Vec<TimeBucket<T>>,
    has_more: bool,
    /// Give it as `page` for the next buckets.
    next_page: Option<String>,
}

impl<T> OrganizationPage<T> {
    pub(super) fn new(data: Vec<TimeBucket<T>>, next_page: Option<String>) -> Self {
        Self { object: "page", data, has_more: next_page.is_some(), next_page }
    }
}

/// A span of time and what was used in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TimeBucket<T> {
    /// Always `bucket`.
    object: &'static str,
    /// Unix seconds.
    start_time: i64,
    /// Unix seconds, exclusive.
    end_time: i64,
    /// One for each group; none when nothing was used.
    results: Vec<T>,
}

impl<T> TimeBucket<T> {
    pub(super) fn new(start_time: i64, end_time: i64, results: Vec<T>) -> Self {
        Self { object: "bucket", start_time, end_time, results }
    }
}

/// What one group used. What was not grouped by is null.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompletionsResult {
    /// Always `organization.usage.completions.result`.
    object: &'static str,
    input_tokens: i64,
    output_tokens: i64,
    input_cached_tokens: i64,
    input_audio_tokens: i64,
    output_audio_tokens: i64,
    num_model_requests: i64,
    /// The account.
    project_id: Option<Uuid>,
    user_id: Option<Uuid>,
    api_key_id: Option<Uuid>,
    model: Option<String>,
    /// There are no batch jobs.
    batch: Option<bool>,
    /// There is one tier, `default`.
    service_tier: Option<&'static str>,
}

impl CompletionsResult {
    pub(super) fn new(row: UsageRow, groups: &Groups, account: Uuid) -> Self {
        Self {
            object: "organization.usage.completions.result",
            input_tokens: row.prompt_tokens,
            output_tokens: row.completion_tokens,
            input_cached_tokens: row.cached_tokens,
            input_audio_tokens: 0,
            output_audio_tokens: 0,
            num_model_requests: row.requests,
            project_id: groups.has("project_id").then_some(account),
            user_id: row.user,
            api_key_id: row.key,
            model: row.model,
            batch: groups.has("batch").then_some(false),
            service_tier: groups.has("service_tier").then_some("default"),
        }
    }
}

/// What one group paid. What was not grouped by is null.
#[derive(Debug, Serialize, ToSchema)]
pub struct CostsResult {
    /// Always `organization.costs.result`.
    object: &'static str,
    amount: Amount,
    /// The same amount of credits, as an exact decimal.
    #[schema(value_type = String)]
    cost: Cost,
    /// The model.
    line_item: Option<String>,
    /// The account.
    project_id: Option<Uuid>,
    api_key_id: Option<Uuid>,
    /// Always null: lines have no quantity of their own.
    quantity: Option<f64>,
}

/// Money as OpenAI writes it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Amount {
    /// Rounded, for display.
    value: f64,
    /// Always `credits`.
    currency: &'static str,
}

impl CostsResult {
    pub(super) fn new(row: UsageRow, groups: &Groups, account: Uuid) -> Self {
        Self {
            object: "organization.costs.result",
            amount: Amount { value: row.cost.nanocredits().rounded_credits(), currency: "credits" },
            cost: row.cost,
            line_item: row.model,
            project_id: groups.has("project_id").then_some(account),
            api_key_id: row.key,
            quantity: None,
        }
    }
}
