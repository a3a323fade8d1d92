//! What a request sees of the nodes of a model: what each costs it, whether it is excluded, and what is held for them all.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use openapi::price::Price;
use openapi::units::Nanocredits;

use super::profile::{WORST, profile, stand_in, work};
use super::request::Request;
use super::terms::Terms;
use crate::app::App;
use crate::nodes::choose::{Ask, Candidate, Mix, NoChoice, dearest};
use crate::nodes::preference::{Attributes, Exclusion, Name, Preference, Sort};
use crate::nodes::{Node, ServedModel, Shelf};

/// Work gathers on busy nodes for as long as their first bytes usually come within this time.
const LATENCY_OBJECTIVE: Duration = Duration::from_secs(2);

/// The nodes of a model, and the request.
pub(super) struct View<'a> {
    pub(super) app: &'a App,
    pub(super) request: &'a Request,
    pub(super) terms: &'a Terms,
    pub(super) model: &'a str,
    pub(super) shelf: &'a Shelf,
}

impl View<'_> {
    /// The model as a node serves it, and its price for the request, if there is one.
    pub(super) fn served(&self, node: &Node) -> Option<(Arc<ServedModel>, Option<Price>)> {
        // Another kind of model may have the same name.
        let served = node.model_named(self.model).filter(|served| served.kind == self.request.endpoint.kind())?;
        let price = self.app.prices.of(node.id, &served.id, self.terms.at).map(|version| version.price);
        Some((served, price))
    }

    /// Why the request does not want this node.
    pub(super) fn excluded(
        &self,
        node: &Node,
        (served, price): (&ServedModel, Option<Price>),
        ask: &Ask,
    ) -> Option<Exclusion> {
        let preference = &self.request.preference;
        let exclusion = with_attributes(self.app, node, Some((served, price)), |attributes| {
            preference.excludes(attributes, &self.request.parameters)
        });
        let energy = || match ask.excludes(&self.candidate_at(node, price))? {
            NoChoice::NoCandidate => None,
            NoChoice::TierTooLow => Some(Exclusion::TierTooLow),
            NoChoice::TooMuchCarbon => Some(Exclusion::TooMuchCarbon),
        };
        exclusion.or_else(|| asks_for_energy(preference).then(energy).flatten())
    }

    /// Whether the node is one that this name means.
    pub(super) fn is_called(&self, node: &Node, name: &Name) -> bool {
        with_attributes(self.app, node, None, |attributes| name.is(attributes))
    }

    /// What is compared.
    pub(super) fn candidate(&self, node: &Node) -> Candidate {
        self.candidate_at(node, self.served(node).and_then(|(_, price)| price))
    }

    fn candidate_at(&self, node: &Node, price: Option<Price>) -> Candidate {
        let (state, tokens_per_second) = node.state();
        Candidate {
            node: node.id,
            profile: profile(self.app, node),
            state,
            price: price.map_or(Nanocredits::ZERO, |price| self.terms.cost(&price)),
            tokens_per_second,
            first_byte: node.first_byte(self.terms.prompt),
        }
    }

    /// What is asked of all of them. What only some requests need is worked out for these alone.
    pub(super) fn ask(&self) -> Ask {
        let preference = &self.request.preference;
        let stand_in = match preference.sort {
            Some(Sort::Energy | Sort::Carbon) => {
                self.shelf.stand_in(|nodes| stand_in(nodes.iter().filter_map(|node| profile(self.app, node))))
            }
            _ => WORST,
        };
        let usual_first_byte = match preference.sort {
            Some(Sort::Latency) => self.shelf.usual_first_byte(self.terms.prompt),
            _ => Duration::ZERO,
        };
        Ask {
            preference: preference.clone(),
            work: work(self.app, self.request, self.model, self.terms),
            latency_objective: LATENCY_OBJECTIVE,
            stand_in,
            usual_first_byte,
            random: fastrand::u64(..),
        }
    }

    /// What the request costs at most on the nodes that may get it.
    pub(super) fn dearest(&self) -> Nanocredits {
        let (preference, mix) = (&self.request.preference, Mix::of(self.terms.prompt, self.terms.held));
        let mut narrowed = DefaultHasher::new();
        (mix, preference).hash(&mut narrowed);
        preference.require_parameters.map(|_| &self.request.parameters).hash(&mut narrowed);
        let limited = preference.max_price.is_some_and(|most| most.is_complete());
        let price = self.shelf.dearest(narrowed.finish(), |nodes| {
            let ask = self.ask();
            let offers: Vec<Price> = nodes.iter().filter_map(|node| self.suited(node, &ask)).collect();
            dearest(&offers, |price| mix.cost(price), limited)
        });
        price.map_or(Nanocredits::ZERO, |price| self.terms.cost(&price))
    }

    /// The price of a node that the request wants.
    fn suited(&self, node: &Node, ask: &Ask) -> Option<Price> {
        let (served, price) = self.served(node)?;
        price.filter(|_| self.excluded(node, (&served, price), ask).is_none())
    }
}

fn asks_for_energy(preference: &Preference) -> bool {
    preference.min_tier.is_some() || preference.max_micrograms_per_million_tokens.is_some()
}

fn with_attributes<T>(
    app: &App,
    node: &Node,
    served: Option<(&ServedModel, Option<Price>)>,
    ask: impl FnOnce(&Attributes<'_>) -> T,
) -> T {
    let (offer, registered) = (node.offer(), node.registered());
    ask(&Attributes {
        node: node.id,
        name: &registered.name,
        operator: registered.operator,
        region: offer.region.as_ref(),
        is_partner: app.partners.answers_as(node.id),
        denies_data_collection: offer.denies_data_collection,
        quantisation: served.map_or("", |(served, _)| &served.quantisation),
        price: served.and_then(|(_, price)| price),
        parameters: served.and_then(|(served, _)| served.parameters.as_deref()),
    })
}
