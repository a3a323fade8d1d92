//! What an answer used, as the client is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::energy::EnergyUsage;
use crate::price::{BilledTokens, Price};

/// Tokens and energy of one answer. Source of the token fields: OpenAI API reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    pub prompt_tokens_details: PromptTokensDetails,
    /// What the answer cost in credits, as an exact decimal such as `0.00001234`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// What the answer cost in energy, and how well that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyUsage>,
}

/// A closer look at the prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Tokens that were not computed anew.
    pub cached_tokens: u64,
}

impl Usage {
    /// The usage of an answer whose prompt was computed whole.
    pub fn new(prompt_tokens: u64, completion_tokens: u64, energy: Option<EnergyUsage>) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens: 0 },
            cost: None,
            energy,
        }
    }

    /// The same with what it cost.
    #[must_use]
    pub fn at(mut self, price: &Price) -> Self {
        let cached = self.prompt_tokens_details.cached_tokens;
        let tokens = BilledTokens { prompt: self.prompt_tokens, cached, completion: self.completion_tokens };
        self.cost = Some(price.cost(&tokens).credits());
        self
    }
}

/// Keeps "absent" and "null" apart, which OpenAI's streams do.
pub(crate) mod nullable {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::<T>::deserialize(from).map(Some)
    }
}
