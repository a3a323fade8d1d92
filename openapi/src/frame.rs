//! What travels beside an answer, from node to gateway, on the same event stream.
//!
//! A node answers every ticketed request with an event stream. `data:` events are the client's: chunks and `[DONE]` of a
//! streamed answer, or one event with the whole JSON of an unstreamed one. [`USAGE_EVENT`]s are the gateway's: it eats
//! them, so that what was used is known however the answer ends. Comments keep a waiting stream alive.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::FinishReason;
use crate::energy::Energy;

/// The name of a [`UsageFrame`]'s event.
pub const USAGE_EVENT: &str = "usage";

/// The comment on the event stream of an answer that waits for a slot of its node.
pub const WAITING: &str = "waiting for a slot";

/// What an answer has used so far. Counts are cumulative: the last frame holds the total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageFrame {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// The ids of the tokens since the frame before this one, in order.
    pub token_ids: Vec<u32>,
    /// Which of the answers they belong to.
    #[serde(default, skip_serializing_if = "is_first")]
    pub choice: u32,
    pub energy: Energy,
    /// Set on the last frame.
    pub finish_reason: Option<FinishReason>,
}

impl UsageFrame {
    /// More than any request or answer has. What a node says beyond it is not worth adding up.
    pub const MOST_TOKENS: u64 = u32::MAX as u64;

    /// The same with nothing in it that no answer takes: it would fit no sum and no database.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.prompt_tokens = self.prompt_tokens.min(Self::MOST_TOKENS);
        self.completion_tokens = self.completion_tokens.min(Self::MOST_TOKENS);
        self.energy = self.energy.held();
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_first(choice: &u32) -> bool {
    *choice == 0
}
