//! What was served, what it took, and who was paid for it: one receipt for each attempt of a request. The node signs what it
//! has done ([`NodeReceipt`]), the gateway what that cost and how it was shared ([`Receipt`]). Either is a compact JWS that
//! any library can check. Reading order:
//!
//! - [`jws`]: how both are signed and read
//! - [`commitment`]: how they name prompt and answer without telling them
//! - [`check`]: what must follow from what

pub mod jws;

pub mod commitment;

pub mod check;

#[cfg(test)]
pub(crate) mod example;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::chat::FinishReason;
use crate::energy::{Boundary, Energy, Grid, Status, Tier};
use crate::price::{Price, Split};
use crate::units::{Microjoules, Microseconds, Nanocredits};
use commitment::Commitment;

/// On the node, through the tunnel: `GET`, with `?after=` the last sequence number that the gateway has. An event stream
/// of [`NodeReceipt`]s, each a compact JWS (EdDSA) by the node's key: those that the node still has, then those to come.
pub const RECEIPTS_PATH: &str = "/node/v1/receipts";
/// On the gateway: the public keys that sign receipts, those of before among them (RFC 7517).
pub const KEYS_PATH: &str = "/.well-known/jwks.json";
/// The version of both kinds of receipts.
pub const VERSION: u8 = 1;

/// A node's word on an attempt: what it computed, how long it took, in time and in energy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeReceipt {
    /// Always [`VERSION`].
    pub v: u8,
    pub node: Uuid,
    /// The gateway whose ticket it was, by the public key that signed that: [`Enrolled::ticket_key`](crate::node::Enrolled).
    pub gateway: String,
    /// The node's receipts are numbered, from 1.
    pub sequence: u64,
    /// [`jws::digest`] of the node's receipt before this one; empty for the first.
    pub previous: String,
    pub request: Uuid,
    /// From 1.
    pub attempt: u32,
    /// The model id.
    pub model: String,
    /// The node's program and build: what answers bear as `system_fingerprint`.
    pub engine: String,
    pub prompt_tokens: u64,
    /// Of these, the ones that the node still had computed.
    pub cached_tokens: u64,
    /// Tokens of the answer that other nodes had made before.
    pub begun_tokens: u64,
    /// Tokens of the answer that this node has made.
    pub completion_tokens: u64,
    /// When the node began with it, by its clock, in microseconds since 1970.
    pub started_at: Microseconds,
    pub duration_microseconds: Microseconds,
    pub energy: Energy,
    /// What the ticket says that a token costs.
    pub price: Price,
    /// What the ticket says that chance begins with, unless the request said so itself.
    pub seed: i64,
    pub request_commitment: Commitment,
    pub answer_commitment: Commitment,
    /// None for an answer that did not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
}

/// Which attempt of which request: `<request>.<attempt>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReceiptId {
    pub request: Uuid,
    /// From 1.
    pub attempt: u32,
}

/// The gateway's word on an attempt: what was delivered of it, what that cost, and who got the money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Always [`VERSION`].
    pub v: u8,
    #[schema(value_type = String)]
    pub id: ReceiptId,
    /// As [`NodeReceipt::gateway`].
    pub gateway: String,
    pub node: Uuid,
    /// What the node says, as compact JWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_receipt: Option<String>,
    /// The Ed25519 key that signed it, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_key: Option<String>,
    /// Why the gateway signs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Alone>,
    /// Where the node is another gateway: its own [`Receipt`], as compact JWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_receipt: Option<String>,
    /// The model id.
    pub model: String,
    /// What became of the attempt: see the README, "How a request ends".
    pub outcome: String,
    /// When the request was let in, by the gateway's clock, in microseconds since 1970.
    pub started_at: Microseconds,
    /// How long the attempt took.
    pub duration_microseconds: Microseconds,
    /// Tokens that are paid for. None of an attempt that another one has taken the place of.
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    pub price: Price,
    /// Which of the node's prices that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<i64>,
    /// True unless the answer is free, as one is that ends in a failure of ours.
    pub is_paid: bool,
    pub nanocredits: Nanocredits,
    /// How that was shared; none when nothing was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
    /// None when the node had not begun to compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<ReceiptEnergy>,
    /// Of what the gateway sent to the node.
    pub request_commitment: Commitment,
    /// Of what the client got from the node. None when that was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_commitment: Option<Commitment>,
}

/// Why there is no node's word in a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alone {
    /// The gateway's operator has attached a server that signs nothing.
    Attached,
    /// The node has not sent any in time.
    NotReceived,
    /// What the node says is not what the gateway has seen.
    Contradicts,
    /// Another gateway has answered, and its own receipt is in this one.
    Partner,
}

/// One income and how it was divided: [`Split::divide`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// Which split was in force when the request was let in.
    pub version: i32,
    pub split: Split,
    pub operator: Nanocredits,
    /// In the order of the model's manifest.
    pub authors: Vec<AuthorShare>,
    pub gateway: Nanocredits,
    pub audit_fund: Nanocredits,
}

/// What an author of a model earns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorShare {
    pub author: String,
    pub nanocredits: Nanocredits,
}

/// What an attempt took, as far as the gateway believes the node, and what that means at its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptEnergy {
    pub microjoules: Microjoules,
    /// Ends of the 90 % interval.
    pub low_microjoules: Microjoules,
    pub high_microjoules: Microjoules,
    pub marginal_microjoules: Microjoules,
    pub prefill_microjoules: Microjoules,
    /// Its share of the node's idle time.
    pub idle_microjoules: Microjoules,
    pub tier: Tier,
    pub boundary: Boundary,
    pub method: String,
    pub status: Status,
    pub believed: bool,
    /// Power usage effectiveness in thousandths.
    pub pue_milli: u32,
    /// Of the site: [`check::facility`].
    pub facility_microjoules: Microjoules,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// Of CO₂ equivalent: [`check::carbon`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micrograms_co2e: Option<u64>,
}

/// A text that names no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a receipt is named by a request's id, a dot and the number of an attempt, from 1")]
pub struct NoReceiptId;

impl fmt::Display for ReceiptId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.request, self.attempt)
    }
}

impl FromStr for ReceiptId {
    type Err = NoReceiptId;

    fn from_str(text: &str) -> Result<Self, NoReceiptId> {
        let (request, attempt) = text.split_once('.').ok_or(NoReceiptId)?;
        let id = Self {
            request: request.parse().map_err(|_| NoReceiptId)?,
            attempt: attempt.parse().map_err(|_| NoReceiptId)?,
        };
        // Written in one way.
        if id.attempt > 0 && id.to_string() == text { Ok(id) } else { Err(NoReceiptId) }
    }
}

impl TryFrom<String> for ReceiptId {
    type Error = NoReceiptId;

    fn try_from(text: String) -> Result<Self, NoReceiptId> {
        text.parse()
    }
}

impl From<ReceiptId> for String {
    fn from(id: ReceiptId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_named_in_one_way() {
        let text = "01a215af-e0b0-7050-8c8f-8d4239ba91f1.2";
        let id: ReceiptId = text.parse().unwrap();
        assert_eq!((id.attempt, id.to_string().as_str()), (2, text));
        for wrong in [
            "",
            "01a215af-e0b0-7050-8c8f-8d4239ba91f1",
            "01a215af-e0b0-7050-8c8f-8d4239ba91f1.0",
            "01a215af-e0b0-7050-8c8f-8d4239ba91f1.02",
            "01a215af-e0b0-7050-8c8f-8d4239ba91f1.+2",
            "01A215AF-e0b0-7050-8c8f-8d4239ba91f1.2",
            "x.1",
        ] {
            assert_eq!(wrong.parse::<ReceiptId>(), Err(NoReceiptId), "{wrong}");
        }
    }
}
