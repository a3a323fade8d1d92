//! What an administrator says of an attached server: its models, and what else a node would say in its offer.

use std::collections::HashSet;

use openapi::energy::{Boundary, EnergyOffer, IdlePolicy, Tier};
use openapi::manifest::ModelManifest;
use openapi::node::{Offer, OfferedModel};
use openapi::price::Price;
use openapi::region::Region;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) const MOST_MODELS: usize = 100;
const MOST_SLOTS: u32 = 10_000;
const LONGEST_NAME: usize = 200;
/// What nobody has said.
const UNKNOWN: &str = "unknown";

/// An attached server, but for its URL and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub models: Vec<DescribedModel>,
    /// Requests that it computes at the same time.
    pub slots: u32,
    /// Where it stands: a country of ISO 3166-1 or a part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Its operator's word that nothing of what is sent to it is kept or learned from.
    #[serde(default)]
    pub denies_data_collection: bool,
    /// Zone of its electricity grid, such as `DE` or `US-CA`, for its carbon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// A model of an attached server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribedModel {
    /// The name that clients send.
    pub name: String,
    /// The name that the server knows it by.
    pub upstream_name: String,
    /// The most tokens that prompt and answer may have together.
    pub context_length: u32,
    /// Such as `fp16` or `Q4_K_M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<String>,
    /// SPDX identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Who made it; they share the income.
    #[serde(default)]
    pub authors: Vec<String>,
    /// Nanocredits per token; the gateway's default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Nanocredits per token that the server itself may ask: it is sent to it as OpenRouter's `provider.max_price`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<Price>,
}

impl Description {
    /// Says what is wrong with it, if anything is.
    ///
    /// # Errors
    /// What to change.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MOST_MODELS).contains(&self.models.len()) {
            return Err(format!("'models' lists 1 to {MOST_MODELS} models."));
        }
        if !(1..=MOST_SLOTS).contains(&self.slots) {
            return Err(format!("'slots' is from 1 to {MOST_SLOTS}: the requests that the server computes at once."));
        }
        if let Some(zone) = self.zone.as_deref().filter(|zone| openapi::grid::zone(zone).is_none()) {
            let zone = openapi::error::echo(zone);
            return Err(format!("'{zone}' is no zone of a grid that is known here. Use one such as DE or US-CA."));
        }
        let mut names = HashSet::new();
        for model in &self.models {
            model.check()?;
            if !names.insert(&model.name) {
                return Err(format!("The model '{}' is listed twice.", model.name));
            }
        }
        Ok(())
    }

    /// As a node would say it.
    pub fn offer(&self) -> Offer {
        Offer {
            version: format!("attached/{}", env!("CARGO_PKG_VERSION")),
            models: self.models.iter().map(DescribedModel::offered).collect(),
            slots: self.slots,
            // It lets wait whatever comes, and says nothing of it: the queue is the gateway's.
            queue: 0,
            energy: EnergyOffer {
                zone: self.zone.clone(),
                idle_policy: IdlePolicy::Opportunistic,
                tier: Tier::E,
                boundary: Boundary::Device,
                ..EnergyOffer::default()
            },
            region: self.region,
            denies_data_collection: self.denies_data_collection,
        }
    }
}

impl DescribedModel {
    fn check(&self) -> Result<(), String> {
        let is_name = |name: &str| (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        let others = [&self.quantisation, &self.licence];
        let names = [&self.name, &self.upstream_name].into_iter().chain(&self.authors);
        if !names.chain(others.into_iter().flatten()).all(|name| is_name(name)) {
            return Err(format!("A model's names have 1 to {LONGEST_NAME} bytes each, without control characters."));
        }
        if self.context_length == 0 {
            return Err("A model's 'context_length' is at least 1 token.".to_owned());
        }
        if [self.price, self.max_price].into_iter().flatten().any(|price| !price.is_sane()) {
            return Err(format!("A token costs at most {} nanocredits, which is one credit.", Price::HIGHEST.get()));
        }
        Ok(())
    }

    /// Its manifest names no files, so its content address is that of a name: no node's model has the same.
    pub(super) fn manifest(&self) -> ModelManifest {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        ModelManifest {
            name: self.name.clone(),
            files: Vec::new(),
            quantisation: or_unknown(&self.quantisation),
            licence: or_unknown(&self.licence),
            authors: self.authors.clone(),
        }
    }

    fn offered(&self) -> OfferedModel {
        let (manifest, context_length, price) = (self.manifest(), self.context_length, self.price);
        OfferedModel { manifest, context_length, price, ..OfferedModel::default() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn described() -> Description {
        let model = DescribedModel {
            name: "small".to_owned(),
            upstream_name: "org/small-instruct".to_owned(),
            context_length: 4096,
            quantisation: None,
            licence: None,
            authors: Vec::new(),
            price: None,
            max_price: None,
        };
        let models = vec![model];
        Description { models, slots: 4, region: None, denies_data_collection: false, zone: Some("DE".to_owned()) }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(described().check(), Ok(()));
        for (change, advice) in [
            ((|it| it.models.clear()) as fn(&mut Description), "1 to 100 models"),
            (|it| it.models.push(it.models[0].clone()), "listed twice"),
            (|it| it.slots = 0, "'slots' is from 1"),
            (|it| it.zone = Some("XX-NOWHERE".to_owned()), "XX-NOWHERE"),
            (|it| it.models[0].upstream_name.clear(), "1 to 200 bytes"),
            (|it| it.models[0].licence = Some("\0".to_owned()), "control characters"),
            (|it| it.models[0].context_length = 0, "context_length"),
        ] {
            let mut wrong = described();
            change(&mut wrong);
            let said = wrong.check().unwrap_err();
            assert!(said.contains(advice), "{said}");
        }
    }

    #[test]
    fn its_offer_is_an_estimate_s_and_nothing_goes_on_elsewhere() {
        let offer = described().offer();
        assert_eq!((offer.slots, offer.energy.tier, offer.energy.zone.as_deref()), (4, Tier::E, Some("DE")));
        assert!(!offer.models[0].continues && offer.models[0].manifest.files.is_empty());
    }
}
