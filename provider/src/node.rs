//! The node itself: its models, its places, its meter.

use std::ops::Deref;
use std::sync::Arc;

use openapi::energy::{EnergyOffer, EnergyTerms};
use openapi::error::ApiError;
use openapi::manifest::ModelManifest;
use openapi::model::{Model, ModelKind};
use openapi::node::{Offer, OfferedModel, Ticket};
use openapi::price::Price;
use openapi::region::Region;
use serde::Deserialize;
use tokio_util::task::TaskTracker;

use crate::blobs::Blobs;
use crate::energy::setup::Metered;
use crate::energy::{Ledger, Pass};
use crate::engine::{self, Embedder, Engine};
use crate::keeper::Keeper;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::slots::Slots;
use crate::traces::Traces;
use crate::upstream::Upstream;

/// What answers of a server bear as their fingerprint.
const UPSTREAM: &str = "upstream";

/// What the operator says of the machine's place, and of what is sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub region: Option<Region>,
    pub denies_data_collection: bool,
}

/// What computes.
#[derive(Clone)]
pub enum Backend {
    /// The engine in this program, for text.
    Engine(Arc<Engine>),
    /// The same for vectors of texts.
    Embedder(Arc<Embedder>),
    /// The operator's own server.
    Upstream(Arc<Upstream>),
}

impl Backend {
    /// The most tokens that prompt and answer may have together.
    pub fn context_length(&self) -> u32 {
        let length = match self {
            Self::Engine(engine) => engine.context_length(),
            Self::Embedder(embedder) => embedder.context_length(),
            Self::Upstream(upstream) => upstream.context_length(),
        };
        u32::try_from(length).unwrap_or(u32::MAX)
    }

    /// What it makes of a text.
    pub fn kind(&self) -> ModelKind {
        match self {
            Self::Embedder(_) => ModelKind::Embedding,
            Self::Engine(_) | Self::Upstream(_) => ModelKind::Text,
        }
    }

    /// True while anybody has it beside its keeper.
    pub fn is_used(&self) -> bool {
        let holders = match self {
            Self::Engine(engine) => Arc::strong_count(engine),
            Self::Embedder(embedder) => Arc::strong_count(embedder),
            Self::Upstream(upstream) => Arc::strong_count(upstream),
        };
        holders > 1
    }
}

/// A model that is ready to be asked.
pub struct Offered {
    pub keeper: Arc<Keeper>,
    pub manifest: ModelManifest,
    /// Its files, for other nodes.
    pub blobs: Blobs,
    /// What the operator asks for; without it the gateway's own list decides.
    pub price: Option<Price>,
    /// Of one answer alone, if it was measured.
    pub tokens_per_second: Option<u32>,
}

/// What all models of a node share.
pub struct Shared {
    /// The machine's places, whichever model a request is for.
    pub slots: Slots,
    pub energy: Ledger,
    pub metrics: Arc<Metrics>,
    pub traces: Arc<Traces>,
    /// What the operator says of the machine and its place.
    pub site: EnergyOffer,
    /// What that means for the machine's own clients; a gateway sets its own.
    pub terms: EnergyTerms,
    pub place: Place,
    pub limits: Limits,
    /// Answers in the making, awaited when the node stops.
    pub answers: TaskTracker,
    pub started: u64,
}

/// The machine with its models.
pub struct Node {
    shared: Arc<Shared>,
    first: Arc<Served>,
    more: Vec<Arc<Served>>,
    /// The models' files, for other nodes.
    pub blobs: Blobs,
}

/// A model of a node, and everything that a request for it needs.
pub struct Served {
    shared: Arc<Shared>,
    pub keeper: Arc<Keeper>,
    pub manifest: ModelManifest,
    pub model_id: String,
    /// The node's, for this model's requests.
    pub energy: Ledger,
    pub price: Option<Price>,
    pub tokens_per_second: Option<u32>,
    pub fingerprint: String,
}

impl Deref for Node {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Deref for Served {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Node {
    /// Puts a node together, from its models among others.
    pub fn new(
        (first, more): (Offered, Vec<Offered>),
        slots: Slots,
        Metered { ledger, metrics, offer, terms }: Metered,
        place: Place,
        traces: Arc<Traces>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            slots,
            energy: ledger,
            metrics,
            traces,
            site: offer,
            terms,
            place,
            limits: Limits::default(),
            answers: TaskTracker::new(),
            started: unix_seconds(),
        });
        let of_first = bytes(&first.manifest);
        let mut blobs = Blobs::default();
        let mut serve = |number, offered: Offered| {
            let Offered { keeper, manifest, blobs: own, price, tokens_per_second } = offered;
            blobs.add(own);
            let weight_milli = weight_milli(bytes(&manifest), of_first);
            let energy = shared.energy.of(Pass { model: number, weight_milli });
            let (model_id, shared) = (manifest.id(), Arc::clone(&shared));
            let fingerprint = match keeper.loaded() {
                // Nobody knows what its text depends on.
                Some(Backend::Upstream(_)) => UPSTREAM.to_owned(),
                _ => fingerprint(&model_id),
            };
            Arc::new(Served { shared, keeper, manifest, model_id, energy, price, tokens_per_second, fingerprint })
        };
        let first = serve(0, first);
        let more = (1..).zip(more).map(|(number, offered)| serve(number, offered)).collect();
        Arc::new(Self { shared: Arc::clone(&shared), first, more, blobs })
    }

    /// Its models, the first one first.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Served>> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The model that a body is for. What names none that is here is for the first one, which refuses it with the reason.
    pub fn asked(&self, body: &[u8]) -> &Arc<Served> {
        #[derive(Deserialize)]
        struct Named {
            model: String,
        }
        if self.more.is_empty() {
            return &self.first;
        }
        let named = serde_json::from_slice(body).ok();
        named.and_then(|Named { model }| self.models().find(|served| served.is_called(&model))).unwrap_or(&self.first)
    }

    /// What the node sells.
    pub fn offer(&self) -> Offer {
        Offer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            models: self.models().map(|served| served.offered()).collect(),
            slots: self.slots.count(),
            queue: self.slots.queue(),
            energy: self.site.clone(),
            region: self.place.region,
            denies_data_collection: self.place.denies_data_collection,
        }
    }
}

impl Served {
    /// The model as OpenAI lists it.
    pub fn model(&self) -> Model {
        Model::new(
            self.manifest.name.clone(),
            self.started,
            self.manifest.authors.join(", "),
            self.model_id.clone(),
            self.keeper.context_length(),
        )
        .of_kind(self.keeper.kind())
    }

    fn offered(&self) -> OfferedModel {
        let kind = self.keeper.kind();
        let knows_its_tokens = self.fingerprint != UPSTREAM;
        OfferedModel {
            manifest: self.manifest.clone(),
            kind,
            context_length: self.keeper.context_length(),
            price: self.price,
            fingerprint: knows_its_tokens.then(|| self.fingerprint.clone()),
            // Of vectors nobody sees anything before they are complete.
            continues: knows_its_tokens && kind == ModelKind::Text,
            unnamed_tokens: !knows_its_tokens,
            tokens_per_second: self.tokens_per_second,
            ..OfferedModel::default()
        }
    }

    /// By its alias or by its content address.
    fn is_called(&self, name: &str) -> bool {
        name == self.manifest.name || name == self.model_id
    }

    /// Refuses a request, or its ticket, that is for another model than this.
    ///
    /// # Errors
    /// 404.
    pub fn check_model(&self, model: &str, ticket: Option<&Ticket>) -> Result<(), ApiError> {
        if self.is_called(model) && ticket.is_none_or(|ticket| self.is_called(&ticket.model)) {
            Ok(())
        } else {
            Err(ApiError::model_not_found(model))
        }
    }
}

/// Of a model's weights.
fn bytes(manifest: &ModelManifest) -> u64 {
    manifest.files.iter().map(|file| file.bytes).sum()
}

/// One model's bytes in thousandths of another's; as much where nobody knows them.
fn weight_milli(bytes: u64, of_first: u64) -> u32 {
    let milli = (u128::from(bytes) * 1_000).checked_div(u128::from(of_first)).filter(|milli| *milli > 0);
    milli.map_or(1_000, |milli| u32::try_from(milli).unwrap_or(u32::MAX))
}

/// Names what decides the text for a seed: model file, program version, kind of processor code, and the numbers that are
/// computed with.
fn fingerprint(model_id: &str) -> String {
    let kernel = if cfg!(target_feature = "avx2") { "avx2" } else { "portable" };
    let build = format!("{model_id}/{}/{kernel}/{}", env!("CARGO_PKG_VERSION"), engine::NUMBERS);
    format!("fp_{}", &blake3::hash(build.as_bytes()).to_hex()[..12])
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_costs_in_proportion_to_the_weights() {
        assert_eq!([weight_milli(5, 10), weight_milli(30, 10), weight_milli(10, 10)], [500, 3_000, 1_000]);
        assert_eq!([weight_milli(0, 10), weight_milli(10, 0)], [1_000; 2], "where one is not known, as much");
        assert_eq!(weight_milli(u64::MAX, 1), u32::MAX);
    }
}
