//! What a request asks of the nodes that may answer it: its `provider` object, in OpenRouter's shape with fields of our
//! own. Pure: [`Preference::read`] makes it from JSON, [`Preference::merged`] fills it up from an account's defaults,
//! [`Preference::excludes`] says whether a node will do, and [`Preference::to_value`] is the way back to JSON.
//!
//! Source: OpenRouter's documentation, "Provider Routing".

mod described;

mod filter;

mod hedge;

mod name;

mod names;

mod object;

mod price;

mod quantisation;

mod read;

mod region;

mod sentence;

mod write;

use openapi::energy::Tier;

pub use filter::{Attributes, Exclusion};
pub use hedge::Hedge;
pub use name::Name;
pub use names::Names;
pub use price::MaxPrice;
pub use quantisation::{Class, Quantisation};
pub use region::Area;

/// What comes first among nodes that could all answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sort {
    /// The cheapest.
    Price,
    /// The most tokens a second.
    Throughput,
    /// The soonest first byte.
    Latency,
    /// The least additional energy.
    Energy,
    /// The least additional carbon.
    Carbon,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Price, Self::Throughput, Self::Latency, Self::Energy, Self::Carbon];

    /// The word in `provider.sort`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Energy => "energy",
            Self::Carbon => "carbon",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.word() == word)
    }
}

/// Whether nodes may be used that collect what they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataCollection {
    /// They may.
    Allow,
    /// Only nodes whose data policy rules it out.
    Deny,
}

impl DataCollection {
    /// The word in `provider.data_collection`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// What a request asks of the nodes. Nothing, by default: what is `None` or empty was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Preference {
    /// Who is tried first, in this order.
    pub order: Vec<Name>,
    /// Nobody but these.
    pub only: Vec<Name>,
    /// None of these.
    pub ignore: Vec<Name>,
    /// Whether others are tried when those in `order`, or without it the best node, can't answer. They are, by default.
    pub allow_fallbacks: Option<bool>,
    /// Whether a node has to support every parameter of the request.
    pub require_parameters: Option<bool>,
    pub data_collection: Option<DataCollection>,
    /// Any of these.
    pub quantisations: Vec<Quantisation>,
    pub max_price: Option<MaxPrice>,
    pub sort: Option<Sort>,
    /// In any of these.
    pub regions: Vec<Area>,
    /// Micrograms of CO₂ equivalent that a million tokens may stand for, prompt and answer together.
    pub max_micrograms_per_million_tokens: Option<u64>,
    /// The worst tier that a node's figures may have.
    pub min_tier: Option<Tier>,
    /// When a second node is asked because the first has not begun to answer. Never, by default.
    pub hedge: Option<Hedge>,
    /// Whether other gateways may be asked that answer as nodes here. They may, by default.
    pub partners: Option<bool>,
}

impl Preference {
    /// With an account's defaults for what the request did not give, whole field by whole field. What the account denies
    /// stays denied: its `ignore` is added to the request's, and `data_collection: "deny"` and `partners: false` hold for both.
    #[must_use]
    pub fn merged(self, defaults: &Self) -> Self {
        let mut ignore = self.ignore;
        let more: Vec<Name> = defaults.ignore.iter().filter(|name| !ignore.contains(name)).cloned().collect();
        ignore.extend(more);
        let denied = defaults.data_collection.filter(|policy| *policy == DataCollection::Deny);
        Self {
            order: given(self.order, &defaults.order),
            only: given(self.only, &defaults.only),
            ignore,
            allow_fallbacks: self.allow_fallbacks.or(defaults.allow_fallbacks),
            require_parameters: self.require_parameters.or(defaults.require_parameters),
            data_collection: denied.or(self.data_collection).or(defaults.data_collection),
            quantisations: given(self.quantisations, &defaults.quantisations),
            max_price: self.max_price.or(defaults.max_price),
            sort: self.sort.or(defaults.sort),
            regions: given(self.regions, &defaults.regions),
            max_micrograms_per_million_tokens: self
                .max_micrograms_per_million_tokens
                .or(defaults.max_micrograms_per_million_tokens),
            min_tier: self.min_tier.or(defaults.min_tier),
            hedge: self.hedge.or(defaults.hedge),
            partners: defaults.partners.filter(|may| !may).or(self.partners).or(defaults.partners),
        }
    }

    /// Whether a second node may be tried when the first one fails. Without an `order`, `allow_fallbacks: false` leaves
    /// the best node alone; with one it leaves those that are named, one after the other.
    pub fn may_fall_back(&self) -> bool {
        self.allow_fallbacks != Some(false) || !self.order.is_empty()
    }
}

fn given<T: Clone>(list: Vec<T>, default: &[T]) -> Vec<T> {
    if list.is_empty() { default.to_vec() } else { list }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
