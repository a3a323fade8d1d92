//! How a node joins a gateway, what it offers, and the ticket without which it serves nobody.
//!
//! A node enrols once (`POST` [`ENROL_PATH`]), then dials [`TUNNEL_PATH`] with a signed greeting and asks for an upgrade
//! to [`TUNNEL_PROTOCOL`]. On the upgraded connection the roles swap: the gateway speaks HTTP/2 to the node, which
//! serves [`OFFER_PATH`], [`STATUS_PATH`], [`ENERGY_PATH`](crate::energy::report::ENERGY_PATH) and the OpenAI paths.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::energy::{EnergyOffer, EnergyTerms};
use crate::manifest::ModelManifest;
use crate::model::ModelKind;
use crate::price::Price;
use crate::receipt::commitment::Salt;
use crate::region::Region;

/// On the gateway: a new node presents its one-time token.
pub const ENROL_PATH: &str = "/node/v1/enrol";
/// On the gateway: an enrolled node dials in.
pub const TUNNEL_PATH: &str = "/node/v1/tunnel";
/// The name of the protocol that the connection is upgraded to.
pub const TUNNEL_PROTOCOL: &str = "commonwatt-tunnel/1";
/// On the gateway: an enrolled node changes its key, with a greeting and a [`KeyChange`]. 204; 401 when the greeting is not
/// signed by the key that counts, 409 when another node has the new one.
pub const KEY_PATH: &str = "/node/v1/key";
/// On the gateway: an enrolled node asks, with a greeting, for its [`Standing`](crate::standing::Standing).
pub const STANDING_PATH: &str = "/node/v1/standing";
/// On the node, through the tunnel: what it sells.
pub const OFFER_PATH: &str = "/node/v1/offer";
/// On the node, through the tunnel: an endless event stream of [`NodeStatus`].
pub const STATUS_PATH: &str = "/node/v1/status";
/// On the node, through the tunnel: `POST` with the ticket of a running request that has a higher `max_tokens` raises that
/// request's limit; zero ends the answer at once, in good order, with `finish_reason` `length`. See [`moved_limit`].
/// 204, or 404 when no such request runs.
pub const LIMIT_PATH: &str = "/node/v1/limit";
/// On the node, through the tunnel: `POST` with a body as for `/v1/chat/completions`; answers with a [`PromptCount`] and
/// computes nothing.
pub const COUNT_PATH: &str = "/node/v1/count";
/// On the node, through the tunnel: `POST`, empty body: this gateway replica is about to stop. The node opens another tunnel and keeps this one for the answers that run. 202.
pub const MOVE_PATH: &str = "/node/v1/move";

/// On the node, through the tunnel: `POST` with a [`Farewell`]: this gateway replica closes the tunnel, and says why. 202.
pub const FAREWELL_PATH: &str = "/node/v1/farewell";

/// On the node, through the tunnel: `GET` gives its witness's [key](crate::log::key::VerifierKey), a line of text; `POST` to
/// [`ADD_CHECKPOINT_PATH`] asks it to cosign.
pub const WITNESS_PATH: &str = "/node/v1/witness";
/// On the node, through the tunnel: `POST` as the `add-checkpoint` of C2SP tlog-witness, see [`witness`](crate::log::witness).
/// With [`LOG_HEADER`], which says by which keys the node knows the log.
pub const ADD_CHECKPOINT_PATH: &str = "/node/v1/witness/add-checkpoint";
/// The header that carries [`LogKeys`] as compact JWS.
pub const LOG_HEADER: &str = "x-commonwatt-log";

/// On the gateway: an enrolled node says at which URL it can be dialled. See [`Advertisement`].
pub const DIRECT_PATH: &str = "/node/v1/direct";
/// With `GET` [`OFFER_PATH`] at a node's URL: a text that the node has to sign.
pub const CHALLENGE_HEADER: &str = "x-commonwatt-challenge";
/// The answer to it: a [`Proof`] as compact JWS (EdDSA) with the node's own key.
pub const PROOF_HEADER: &str = "x-commonwatt-proof";
/// The audience of a [`Proof`].
pub const PROOF_AUDIENCE: &str = "commonwatt-direct";

/// The limit of an answer after the gateway has asked for another one. Calls overtake each other: whatever their order, the
/// highest counts, and nothing counts after the end.
#[must_use]
pub fn moved_limit<Tokens: Copy + Default + Ord>(now: Tokens, asked: Tokens) -> Tokens {
    let end = Tokens::default();
    if now.min(asked) == end { end } else { now.max(asked) }
}

/// The header that carries a [`Ticket`] as compact JWS.
pub const TICKET_HEADER: &str = "x-commonwatt-ticket";
/// Goes before what a node signs to enrol, so that the signature means nothing elsewhere.
pub const ENROL_CONTEXT: &str = "commonwatt enrolment v1";
/// Goes before what a node signs to change its key.
pub const KEY_CONTEXT: &str = "commonwatt key change v1";
/// The audience of the greeting that opens a tunnel.
pub const TUNNEL_AUDIENCE: &str = "commonwatt-tunnel";

/// A node asks to be bound to an operator's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The one-time enrolment token.
    pub token: String,
    /// What the operator calls this machine.
    pub name: String,
    /// The node's Ed25519 public key, 32 bytes in base64url without padding.
    pub public_key: String,
    /// Ed25519 over [`Enrolment::signed_bytes`], base64url without padding: proves that the node holds the key.
    pub signature: String,
}

impl Enrolment {
    /// The bytes that a node signs to enrol.
    pub fn signed_bytes(token: &str, public_key: &str) -> Vec<u8> {
        format!("{ENROL_CONTEXT}\n{token}\n{public_key}").into_bytes()
    }
}

/// The gateway's answer to an enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    pub node: Uuid,
    /// Ed25519 public key, base64url without padding, that signs this gateway's tickets.
    pub ticket_key: String,
}

/// The header of the answer to a greeting that names an older key of the gateway's: a [`Succession`] as compact JWS.
pub const SUCCESSION_HEADER: &str = "x-commonwatt-succession";
/// The audience of a [`Succession`].
pub const SUCCESSION_AUDIENCE: &str = "commonwatt-succession";

/// A gateway signs with another key from now on: a JWS (EdDSA) with the key that the node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    /// The key that signs this, as [`Enrolled::ticket_key`].
    pub iss: String,
    /// The key that follows it.
    pub sub: String,
    /// Always [`SUCCESSION_AUDIENCE`].
    pub aud: String,
    /// Tickets of both keys count until then, since replicas change one after the other. Seconds since 1970.
    pub until: u64,
    /// Seconds since 1970; a succession is told when a node dials, and taken at once.
    pub exp: u64,
}

/// A node changes its key: a greeting alone could be somebody else's copy, so both keys sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// The new Ed25519 public key, 32 bytes in base64url without padding.
    pub public_key: String,
    /// Ed25519 by the new key over [`KeyChange::signed_bytes`], base64url without padding: the node holds it.
    pub signature: String,
    /// The same by the old key: the change is the node's own.
    pub previous_signature: String,
}

impl KeyChange {
    /// The bytes that both keys sign; keys in base64url without padding.
    pub fn signed_bytes(node: Uuid, previous: &str, public_key: &str) -> Vec<u8> {
        format!("{KEY_CONTEXT}\n{node}\n{previous}\n{public_key}").into_bytes()
    }
}

/// What a node says when it dials in: a JWS (EdDSA) with the node's own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The node.
    pub sub: Uuid,
    /// Always [`TUNNEL_AUDIENCE`].
    pub aud: String,
    /// The gateway that it is for, by the [public key](Enrolled::ticket_key) of its tickets: no other can use it.
    pub gateway: String,
    /// Which run of the node program greets. Another one with the same key is another machine, or the same one started anew.
    pub instance: Uuid,
    /// Leaves the tunnel to another run with the same key if that is connected, instead of taking its place.
    #[serde(default)]
    pub yields: bool,
    /// Seconds since 1970.
    pub iat: u64,
    /// Seconds since 1970; greetings live for a minute.
    pub exp: u64,
    /// Opens a tunnel once.
    pub jti: Uuid,
}

/// Why a gateway closes a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    pub reason: FarewellReason,
    /// What happened and what to do, for the node's operator.
    pub message: String,
}

/// What a node goes by when it is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FarewellReason {
    /// Another machine with the node's key has connected. This one yields from now on, see [`Greeting::yields`].
    KeyInUse,
    /// What the node sells can't be taken up.
    OfferRefused,
    /// Something that this version of the node does not know.
    #[serde(other)]
    Other,
}

/// `POST` [`DIRECT_PATH`], with a [`Greeting`] as bearer token: where the gateway dials the node from now on, beside the
/// tunnel that it may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Advertisement {
    /// Such as `https://node.example:8443`; null takes it back. The gateway dials it before it answers.
    pub url: Option<String>,
}

/// A node's word that it is the one at the other end: nobody can have another's URL dialled in its own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The node.
    pub sub: Uuid,
    /// Always [`PROOF_AUDIENCE`].
    pub aud: String,
    /// The challenge.
    pub nonce: String,
}

/// What a node sells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// Version of the node program.
    pub version: String,
    pub models: Vec<OfferedModel>,
    /// Requests that it computes at the same time.
    pub slots: u32,
    /// Requests that it lets wait beyond those.
    pub queue: u32,
    #[serde(default)]
    pub energy: EnergyOffer,
    /// Where the machine stands, in its operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Its operator's word that nothing of what is sent to it is kept or learned from.
    #[serde(default)]
    pub denies_data_collection: bool,
}

/// A model on offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferedModel {
    pub manifest: ModelManifest,
    /// What it makes of a text.
    #[serde(default, skip_serializing_if = "is_text")]
    pub kind: ModelKind,
    /// The most tokens that prompt and answer may have together.
    pub context_length: u32,
    /// What the operator asks for it. Without one the gateway's own list decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// What its answers bear as `system_fingerprint`: nodes with the same one write the same text for the same seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// It goes on with answers that other nodes have begun, see [`continuation`](crate::continuation).
    #[serde(default)]
    pub continues: bool,
    /// It can't know the tokens of its answers, only how many there are: another server computes them.
    #[serde(default)]
    pub unnamed_tokens: bool,
    /// It keeps what it has computed of a prompt, and is faster with the next one that begins alike.
    #[serde(default)]
    pub caches_prefixes: bool,
    /// Tokens that it makes in a second for one answer alone, as it measured itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<u32>,
    /// The parameters of a request that it supports; none: all that it knows, and it refuses others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_text(kind: &ModelKind) -> bool {
    *kind == ModelKind::Text
}

/// How long a conversation is for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PromptCount {
    /// Tokens of the prompt, with the model's own chat template.
    pub prompt_tokens: u64,
    /// The most tokens that the answer can have: what was asked for, or what fits the context.
    pub max_completion_tokens: u64,
}

/// How a node is at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Sequences in the engine.
    pub running: u32,
    /// Requests that wait for a slot.
    pub waiting: u32,
    /// Set when the node takes nothing new: it is on its way out, or what computes there is away.
    pub draining: bool,
}

/// The gateway's word that a call is its own: a JWS (EdDSA). A node serves nothing through its tunnel without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The node that it is for.
    pub aud: Uuid,
    /// The request, whose id the answer bears.
    pub request: Uuid,
    /// Which try of the request this is, from 1.
    pub attempt: u32,
    /// The model id that the node must serve it with.
    pub model: String,
    /// The most tokens that the answer may have. The request may ask for fewer.
    pub max_tokens: u32,
    /// What the client pays for a token, so that the answer's `usage` can say what it cost.
    pub price: Price,
    /// What turns the node's joules into the site's, and into carbon.
    #[serde(default)]
    pub energy: EnergyTerms,
    /// Used when the client gave none, so that another node can take over the same answer.
    pub seed: i64,
    /// What hides prompt and answer in the receipt. None: no receipt is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Salt>,
    /// Seconds since 1970.
    pub exp: u64,
}

/// The gateway's word which keys sign its log: a JWS (EdDSA) by the key of its tickets, since a node knows that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogKeys {
    /// The node that it is for.
    pub aud: Uuid,
    /// Which log it is.
    pub origin: String,
    /// [Keys](crate::log::key::VerifierKey), any of which may have signed.
    pub log_keys: Vec<String>,
    /// Seconds since 1970.
    pub exp: u64,
}
