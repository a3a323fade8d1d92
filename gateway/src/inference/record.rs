//! What became of each request, as the journal keeps it and the database gets it: field names are the tables' columns.

use openapi::energy::{Boundary, Energy, EnergyTerms, Grid, Status, Tier};
use openapi::price::Price;
use openapi::receipt::commitment::{Commitment, Salt};
use openapi::units::{Microjoules, Microseconds, Nanocredits};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::admission::Spent;

/// What became of a request: see the README, "How a request ends".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer was delivered to its end.
    Completed,
    /// Credit or a limit of the caller ended it before the model did.
    CutShort,
    /// Its account ended it.
    Cancelled,
    /// The request itself was wrong.
    Refused,
    /// The client went away before the end.
    ClientLeft,
    /// The node died, fell silent or sent garbage.
    NodeFailed,
    /// Nobody could take it.
    NoNode,
    /// The key was revoked meanwhile.
    KeyRevoked,
    /// The gateway died.
    GatewayFailed,
    /// Of an attempt: another node was asked at the same time, and was first.
    Outdone,
}

impl Outcome {
    /// The word in the log and in the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::CutShort => "cut_short",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::ClientLeft => "client_left",
            Self::NodeFailed => "node_failed",
            Self::NoNode => "no_node",
            Self::KeyRevoked => "key_revoked",
            Self::GatewayFailed => "gateway_failed",
            Self::Outdone => "outdone",
        }
    }

    /// True when what was delivered is paid for. An answer that ends in a failure of ours is free.
    pub const fn is_paid(self) -> bool {
        matches!(self, Self::Completed | Self::CutShort | Self::Cancelled | Self::ClientLeft | Self::KeyRevoked)
    }
}

/// A request that was let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenRequest {
    pub id: Uuid,
    /// The request in whose name it is billed, unless that is itself: at most one of a name is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_as: Option<Uuid>,
    pub account_id: Uuid,
    pub user_id: Uuid,
    pub key_id: Uuid,
    pub endpoint: String,
    pub model: String,
    pub streamed: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// What its client calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_request: Option<String>,
}

impl OpenRequest {
    /// The journal's form.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    #[serde(flatten)]
    pub request: OpenRequest,
    pub outcome: Outcome,
    /// The HTTP status that the client saw, or would have seen.
    pub status: u16,
    pub node_id: Option<Uuid>,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    pub nanocredits: Nanocredits,
    pub price_version: Option<i64>,
    pub microjoules: Microjoules,
    pub low_microjoules: Microjoules,
    pub high_microjoules: Microjoules,
    pub energy_tier: Option<String>,
    pub energy_boundary: Option<String>,
    pub energy_method: Option<String>,
    pub first_byte_microseconds: Option<Microseconds>,
    pub duration_microseconds: Microseconds,
    pub attempts: Vec<AttemptRecord>,
    /// Who made the model and shares the income.
    pub authors: Vec<String>,
    /// What was used of leased limits.
    pub spent: Vec<Spent>,
}

/// What the gateway has seen of a try itself, for its receipt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Noted {
    /// Hides prompt and answer from whoever has not got it.
    pub salt: Salt,
    /// The model id.
    pub model: String,
    pub price: Price,
    pub price_version: i64,
    /// True when the client pays for it.
    pub is_paid: bool,
    /// By a server that signs nothing.
    pub is_attached: bool,
    /// More tokens the prompt can't have.
    pub most_prompt_tokens: u64,
    /// Tokens of the answer that the node has made, as counted here; none of an answer that was not heard to its end.
    pub completion_tokens: Option<u64>,
    pub request_commitment: Commitment,
    /// None when the client got nothing of it.
    pub answer_commitment: Option<Commitment>,
    pub authors: Vec<String>,
    /// What its client calls the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_request: Option<String>,
}

/// What became of one try.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRecord {
    pub request_id: Uuid,
    pub attempt: u32,
    pub node_id: Uuid,
    pub outcome: Outcome,
    /// Why this node was chosen.
    pub choice: Option<String>,
    pub prompt_tokens: u64,
    /// Tokens of the answer that this node made.
    pub completion_tokens: u64,
    pub overclaimed_tokens: u64,
    pub microjoules: Microjoules,
    pub duration_microseconds: Microseconds,
    /// None when the node had not begun to compute.
    #[serde(flatten)]
    pub energy: Option<AttemptEnergy>,
    /// None when there is to be no receipt: the node has done nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noted: Option<Noted>,
}

/// What a try took in energy, and what that means at its place.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptEnergy {
    /// True when the client got something of it.
    pub delivered: bool,
    pub low_microjoules: Microjoules,
    pub high_microjoules: Microjoules,
    pub marginal_microjoules: Microjoules,
    pub prefill_microjoules: Microjoules,
    pub idle_microjoules: Microjoules,
    pub tier: Tier,
    pub boundary: Boundary,
    pub method: String,
    pub energy_status: Status,
    pub believed: bool,
    pub tier_cap: Tier,
    pub pue_milli: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embodied_nanograms_per_joule: Option<u64>,
}

impl AttemptEnergy {
    /// What the node said in the end, under these terms. A figure that contradicts itself is held within its bounds.
    pub fn new(energy: &Energy, terms: &EnergyTerms, delivered: bool) -> Self {
        let figure = energy.microjoules;
        Self {
            delivered,
            low_microjoules: energy.low_microjoules.min(figure),
            high_microjoules: energy.high_microjoules.max(figure),
            marginal_microjoules: energy.marginal_microjoules.min(figure),
            prefill_microjoules: energy.prefill_microjoules.min(figure),
            idle_microjoules: terms.idle_share(figure),
            tier: energy.tier,
            boundary: energy.boundary,
            method: energy.method.clone(),
            energy_status: if energy.settled { Status::Settled } else { Status::Provisional },
            believed: terms.believed && energy.is_sane(),
            tier_cap: terms.tier_cap,
            pue_milli: terms.pue_milli,
            grid: terms.grid.clone(),
            embodied_nanograms_per_joule: terms.embodied_nanograms_per_joule,
        }
    }
}

impl RequestRecord {
    /// A request that ended without an answer.
    pub fn without_answer(request: OpenRequest, outcome: Outcome, status: u16) -> Self {
        Self {
            request,
            outcome,
            status,
            node_id: None,
            prompt_tokens: 0,
            cached_tokens: 0,
            completion_tokens: 0,
            nanocredits: Nanocredits::ZERO,
            price_version: None,
            microjoules: Microjoules::ZERO,
            low_microjoules: Microjoules::ZERO,
            high_microjoules: Microjoules::ZERO,
            energy_tier: None,
            energy_boundary: None,
            energy_method: None,
            first_byte_microseconds: None,
            duration_microseconds: Microseconds::ZERO,
            attempts: Vec::new(),
            authors: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// The journal's form.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it can fail to be written: names are texts and there are no maps.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Takes over what the answer took in energy.
    pub(super) fn set_energy(&mut self, energy: &Energy) {
        self.microjoules = energy.microjoules;
        self.low_microjoules = energy.low_microjoules.min(energy.microjoules);
        self.high_microjoules = energy.high_microjoules.max(energy.microjoules);
        self.energy_tier = Some(energy.tier.letter().to_owned());
        self.energy_boundary = Some(energy.boundary.word().to_owned());
        self.energy_method = Some(energy.method.clone());
    }

    /// The one line that the log has for a request. Never what was asked or answered.
    pub(super) fn log(&self) {
        tracing::info!(
            request = %self.request.id,
            account = %self.request.account_id,
            model = self.request.model,
            node = ?self.node_id,
            attempts = self.attempts.len(),
            outcome = self.outcome.word(),
            status = self.status,
            prompt_tokens = self.prompt_tokens,
            completion_tokens = self.completion_tokens,
            nanocredits = self.nanocredits.get(),
            microjoules = self.microjoules.get(),
            first_byte_us = self.first_byte_microseconds.map(Microseconds::get),
            duration_us = self.duration_microseconds.get(),
            "request"
        );
    }
}
