//! What requests have taken, by model and node.

use std::sync::Arc;

use openapi::energy::Tier;
use opentelemetry::metrics::AsyncInstrument;
use opentelemetry::{KeyValue, StringValue};
use uuid::Uuid;

use super::tally::{Bounded, Room, Tally};
use super::{OTHER, Spent};

/// Models with a name of their own; what comes after them is counted under another.
pub(super) const MOST_MODELS: usize = 1_000;
/// Pairs of a model and a node with a name of their own.
pub(super) const MOST_OFFERS: usize = 20_000;
/// Series of request energy that there can be at most: prefill and decode of every tier.
pub(super) const MOST_SERIES: usize = (MOST_OFFERS + MOST_MODELS + 1) * Tier::ALL.len() * 2;

const PROVIDER: &str = "commonwatt";

/// All models.
pub(super) struct Requests {
    models: Bounded<Box<str>, Model>,
    other: Arc<Model>,
    offers: Arc<Room>,
}

/// One model: where it has run, and the attributes under which it is measured, made once.
pub(super) struct Model {
    name: StringValue,
    nodes: Bounded<Uuid, Offer>,
    other: Arc<Offer>,
    pub(super) chat: Attributes,
    pub(super) completion: Attributes,
    pub(super) embedding: Attributes,
    /// By tier.
    pub(super) per_token: [[KeyValue; 2]; Tier::ALL.len()],
}

/// Of the GenAI conventions, sorted by name: so they are found at the first look.
pub(super) struct Attributes {
    pub(super) request: [KeyValue; 3],
    pub(super) input: [KeyValue; 4],
    pub(super) output: [KeyValue; 4],
}

/// One model on one node. Everything in millionths: microjoules and micrograms.
struct Offer {
    node: StringValue,
    phases: [Phases; Tier::ALL.len()],
    idle: Tally,
    facility: Tally,
    carbon: Tally,
}

#[derive(Default)]
struct Phases {
    prefill: Tally,
    decode: Tally,
}

impl Default for Requests {
    fn default() -> Self {
        let offers = Room::new(MOST_OFFERS);
        let other = Arc::new(Model::new(OTHER, &offers));
        Self { models: Bounded::new(&Room::new(MOST_MODELS)), other, offers }
    }
}

impl Requests {
    /// A model, by the name that a request gives it. Only a name that some node answers to is remembered: others are what
    /// anybody cares to write.
    pub(super) fn model(&self, name: &str, is_served: bool) -> Arc<Model> {
        let known = if is_served {
            self.models.get_or_insert(name, || Model::new(name, &self.offers))
        } else {
            self.models.get(name)
        };
        known.unwrap_or_else(|| Arc::clone(&self.other))
    }

    /// Joules by model, node, phase and tier.
    pub(super) fn show_energy(&self, show: &dyn AsyncInstrument<f64>) {
        self.each(|model, offer| {
            for (tier, phases) in Tier::ALL.iter().zip(&offer.phases) {
                for (phase, tally) in [("prefill", &phases.prefill), ("decode", &phases.decode)] {
                    let [model, node] = offer.labels(model);
                    let (phase, tier) = (KeyValue::new("phase", phase), KeyValue::new("tier", tier.letter()));
                    show_any(show, tally, &[model, node, phase, tier]);
                }
            }
        });
    }

    /// Joules of idle time that go with the requests.
    pub(super) fn show_idle(&self, show: &dyn AsyncInstrument<f64>) {
        self.each(|model, offer| show_any(show, &offer.idle, &offer.labels(model)));
    }

    /// Joules of the nodes' sites.
    pub(super) fn show_facility(&self, show: &dyn AsyncInstrument<f64>) {
        self.each(|model, offer| show_any(show, &offer.facility, &offer.labels(model)));
    }

    /// Grams of CO₂ equivalent.
    pub(super) fn show_carbon(&self, show: &dyn AsyncInstrument<f64>) {
        self.each(|model, offer| show_any(show, &offer.carbon, &offer.labels(model)));
    }

    fn each(&self, mut visit: impl FnMut(&Model, &Offer)) {
        let models = self.models.all().into_iter().chain([Arc::clone(&self.other)]);
        models.for_each(|model| {
            let offers = model.nodes.all().into_iter().chain([Arc::clone(&model.other)]);
            offers.for_each(|offer| visit(&model, &offer));
        });
    }
}

impl Model {
    fn new(name: &str, offers: &Arc<Room>) -> Self {
        let name = StringValue::from(Arc::<str>::from(name));
        Self {
            nodes: Bounded::new(offers),
            other: Arc::new(Offer::new(OTHER)),
            chat: Attributes::new("chat", &name),
            completion: Attributes::new("text_completion", &name),
            embedding: Attributes::new("embeddings", &name),
            per_token: Tier::ALL
                .map(|tier| [KeyValue::new("model", name.clone()), KeyValue::new("tier", tier.letter())]),
            name,
        }
    }

    /// The label of our own instruments.
    pub(super) fn label(&self) -> KeyValue {
        KeyValue::new("model", self.name.clone())
    }

    /// Counts what an attempt on a node has taken.
    pub(super) fn take(&self, node: Uuid, spent: &Spent) {
        let offer = self.nodes.get_or_insert(&node, || Offer::new(&node.to_string()));
        let offer = offer.as_ref().unwrap_or(&self.other);
        let prefill = spent.prefill_microjoules.min(spent.microjoules);
        let phases = &offer.phases[spent.tier as usize];
        phases.prefill.add(prefill.get());
        phases.decode.add((spent.microjoules - prefill).get());
        offer.idle.add(spent.idle_microjoules.get());
        offer.facility.add(spent.facility_microjoules.get());
        offer.carbon.add(spent.micrograms_co2e.unwrap_or_default());
    }
}

impl Attributes {
    fn new(operation: &'static str, model: &StringValue) -> Self {
        let request = [
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.provider.name", PROVIDER),
            KeyValue::new("gen_ai.request.model", model.clone()),
        ];
        let of_type = |kind: &'static str| {
            let [operation, provider, model] = request.clone();
            [operation, provider, model, KeyValue::new("gen_ai.token.type", kind)]
        };
        Self { input: of_type("input"), output: of_type("output"), request }
    }
}

impl Offer {
    fn new(node: &str) -> Self {
        Self {
            node: StringValue::from(Arc::<str>::from(node)),
            phases: Default::default(),
            idle: Tally::default(),
            facility: Tally::default(),
            carbon: Tally::default(),
        }
    }

    fn labels(&self, model: &Model) -> [KeyValue; 2] {
        [model.label(), KeyValue::new("node", self.node.clone())]
    }
}

/// A series begins with the first figure in it.
fn show_any(show: &dyn AsyncInstrument<f64>, tally: &Tally, labels: &[KeyValue]) {
    if tally.get() > 0 {
        show.observe(tally.millionths(), labels);
    }
}
