//! What a gateway knows about a node and its work: for the operator who wonders why none arrives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::price::Price;

/// A node as the gateway sees it. Counts are those of the replica that answers, since it first saw the node connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    pub node: Uuid,
    /// What its operator calls it.
    pub name: String,
    /// Connected to the gateway, whichever replica.
    pub connected: bool,
    /// Its operator has paused it.
    pub paused: bool,
    /// When two machines were last found with the node's key, as `2027-01-31T00:00:00Z`, if that was within a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub copied_key_at: Option<String>,
    /// Maintenance that goes on or is to come, the earliest first.
    pub maintenance: Vec<Maintenance>,
    /// What its models cost now.
    pub prices: Vec<ModelPrice>,
    /// Requests that it got.
    pub chosen: u64,
    /// How often it was passed over, by the reason.
    pub skipped: BTreeMap<String, u64>,
    /// What the operator can do to get work, the most effective first.
    pub advice: Vec<String>,
}

/// A time in which a node gets no new work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Maintenance {
    /// When it begins, as `2027-01-31T00:00:00Z`.
    #[schema(format = DateTime)]
    pub from: String,
    /// When it is over.
    #[schema(format = DateTime)]
    pub until: String,
}

/// What a token of a model costs on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelPrice {
    /// The model's content address.
    pub model: String,
    pub price: Price,
}
