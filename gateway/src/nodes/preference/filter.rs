//! Whether a node will do, and whom the request wants first. Neither allocates: both are asked of every node.

use openapi::price::Price;
use openapi::region::Region;
use uuid::Uuid;

use super::{DataCollection, Name, Preference};

/// What a preference wants to know of a node and of the model there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    pub node: Uuid,
    /// What the operator calls it.
    pub name: &'a str,
    /// The operator's account.
    pub operator: Uuid,
    /// Where it says it is.
    pub region: Option<&'a Region>,
    /// It is another gateway, and computes nothing itself.
    pub is_partner: bool,
    /// True when its data policy rules out that it collects what it is sent.
    pub denies_data_collection: bool,
    /// As in the model's manifest.
    pub quantisation: &'a str,
    /// What the model costs there; none when that isn't known.
    pub price: Option<Price>,
    /// The parameters of a request that it supports. None: all that OpenAI's API has; what else a request may have is the
    /// node's to judge.
    pub parameters: Option<&'a [String]>,
}

/// Why a node may not answer, in the order in which it is looked at: the later the reason, the nearer it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exclusion {
    /// It is not in `only`.
    NotNamed,
    /// It is in `ignore`.
    Ignored,
    /// It is another gateway, and `partners` is false or the request itself comes from one.
    Partner,
    /// It is not in `order`, and `allow_fallbacks` is false.
    NotInOrder,
    /// It is in none of `regions`, or does not say where it is.
    WrongRegion,
    /// `data_collection` is denied, and its data policy does not deny it.
    CollectsData,
    /// Its weights are none of `quantizations`.
    WrongQuantisation,
    /// It costs more than `max_price`, or nobody knows what it costs.
    TooDear,
    /// `require_parameters`, and it does not support one that the request has.
    LacksParameters,
    /// Its figures are of a worse tier than `min_energy_tier`. Found by who knows the node's energy.
    TierTooLow,
    /// It stands for more carbon than `max_gco2e_per_mtok`, or for nobody knows how much. Found by who knows the node's
    /// energy.
    TooMuchCarbon,
}

impl Exclusion {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NotNamed,
        Self::Ignored,
        Self::Partner,
        Self::NotInOrder,
        Self::WrongRegion,
        Self::CollectsData,
        Self::WrongQuantisation,
        Self::TooDear,
        Self::LacksParameters,
        Self::TierTooLow,
        Self::TooMuchCarbon,
    ];

    /// Its name in counters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotNamed => "not_named",
            Self::Ignored => "ignored",
            Self::Partner => "partner",
            Self::NotInOrder => "not_in_order",
            Self::WrongRegion => "wrong_region",
            Self::CollectsData => "collects_data",
            Self::WrongQuantisation => "wrong_quantisation",
            Self::TooDear => "too_dear",
            Self::LacksParameters => "lacks_parameters",
            Self::TierTooLow => "tier_too_low",
            Self::TooMuchCarbon => "too_much_carbon",
        }
    }
}

impl Preference {
    /// Why this node may not answer a request that has these parameters, as far as its attributes tell; energy is not among
    /// them.
    pub fn excludes(&self, node: &Attributes<'_>, parameters: &[String]) -> Option<Exclusion> {
        let is_named = |names: &[Name]| names.iter().any(|name| name.is(node));
        let exclusion = if !self.only.is_empty() && !is_named(&self.only) {
            Exclusion::NotNamed
        } else if is_named(&self.ignore) {
            Exclusion::Ignored
        } else if self.partners == Some(false) && node.is_partner {
            Exclusion::Partner
        } else if self.allow_fallbacks == Some(false) && !self.order.is_empty() && !is_named(&self.order) {
            Exclusion::NotInOrder
        } else if !self.is_in_region(node) {
            Exclusion::WrongRegion
        } else if self.data_collection == Some(DataCollection::Deny) && !node.denies_data_collection {
            Exclusion::CollectsData
        } else if !self.quantisations.is_empty() && !self.quantisations.iter().any(|one| one.is(node.quantisation)) {
            Exclusion::WrongQuantisation
        } else if self.max_price.is_some_and(|most| node.price.is_none_or(|price| most.is_below(&price))) {
            Exclusion::TooDear
        } else if self.require_parameters == Some(true) && !node.supports(parameters) {
            Exclusion::LacksParameters
        } else {
            return None;
        };
        Some(exclusion)
    }

    /// The node's index in `order`; its length for all that are not named there. Less comes first.
    pub fn place(&self, node: &Attributes<'_>) -> usize {
        self.order.iter().position(|name| name.is(node)).unwrap_or(self.order.len())
    }

    fn is_in_region(&self, node: &Attributes<'_>) -> bool {
        let is_in_one = |region| self.regions.iter().any(|area| area.contains(region));
        self.regions.is_empty() || node.region.is_some_and(is_in_one)
    }
}

impl Attributes<'_> {
    fn supports(&self, parameters: &[String]) -> bool {
        self.parameters.is_none_or(|supported| parameters.iter().all(|parameter| supported.contains(parameter)))
    }
}
