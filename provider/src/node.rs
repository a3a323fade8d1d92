//! The node itself: its model, its places, its meter.

use std::sync::Arc;

use openapi::energy::{EnergyOffer, EnergyTerms};
use openapi::manifest::ModelManifest;
use openapi::model::Model;
use openapi::node::{Offer, OfferedModel};
use openapi::price::Price;
use openapi::region::Region;
use tokio_util::task::TaskTracker;

use crate::blobs::Blobs;
use crate::energy::Ledger;
use crate::energy::setup::Metered;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::slots::Slots;

/// What the operator says of the machine's place, and of what is sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub region: Option<Region>,
    pub denies_data_collection: bool,
}

/// What is published about the node beside its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub price: Option<Price>,
    pub place: Place,
    pub tokens_per_second: Option<u32>,
}

/// Everything that a request needs on this node.
pub struct Node {
    pub engine: Engine,
    pub manifest: ModelManifest,
    pub model_id: String,
    pub slots: Slots,
    pub energy: Ledger,
    pub metrics: Arc<Metrics>,
    /// What the operator says of the machine and its place.
    pub site: EnergyOffer,
    /// What that means for the machine's own clients; a gateway sets its own.
    pub terms: EnergyTerms,
    pub place: Place,
    /// Of one answer alone, if it was measured.
    pub tokens_per_second: Option<u32>,
    /// What the operator asks for; without it the gateway's own list decides.
    pub price: Option<Price>,
    pub limits: Limits,
    /// The model's files, for other nodes.
    pub blobs: Blobs,
    /// Answers in the making, awaited when the node stops.
    pub answers: TaskTracker,
    pub started: u64,
    pub fingerprint: String,
}

impl Node {
    /// Puts a node together, from its model and the files of it among others.
    pub fn new(
        engine: Engine,
        (manifest, blobs): (ModelManifest, Blobs),
        slots: Slots,
        Metered { ledger, metrics, offer, terms }: Metered,
        Said { price, place, tokens_per_second }: Said,
    ) -> Arc<Self> {
        let model_id = manifest.id();
        let fingerprint = fingerprint(&model_id);
        Arc::new(Self {
            engine,
            manifest,
            model_id,
            slots,
            energy: ledger,
            metrics,
            site: offer,
            terms,
            place,
            tokens_per_second,
            price,
            limits: Limits::default(),
            blobs,
            answers: TaskTracker::new(),
            started: unix_seconds(),
            fingerprint,
        })
    }

    /// The model as OpenAI lists it.
    pub fn model(&self) -> Model {
        let context = u32::try_from(self.engine.context_length()).unwrap_or(u32::MAX);
        Model::new(
            self.manifest.name.clone(),
            self.started,
            self.manifest.authors.join(", "),
            self.model_id.clone(),
            context,
        )
    }

    /// What the node sells.
    pub fn offer(&self) -> Offer {
        Offer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            models: vec![OfferedModel {
                manifest: self.manifest.clone(),
                context_length: u32::try_from(self.engine.context_length()).unwrap_or(u32::MAX),
                price: self.price,
                fingerprint: Some(self.fingerprint.clone()),
                continues: true,
                tokens_per_second: self.tokens_per_second,
                ..OfferedModel::default()
            }],
            slots: self.slots.count(),
            queue: self.slots.queue(),
            energy: self.site.clone(),
            region: self.place.region,
            denies_data_collection: self.place.denies_data_collection,
        }
    }

    /// True when `name` means this node's model, by its alias or by its content address.
    pub fn serves(&self, name: &str) -> bool {
        name == self.manifest.name || name == self.model_id
    }
}

/// Names what decides the text for a seed: model file, program version and kind of processor code.
fn fingerprint(model_id: &str) -> String {
    let kernel = if cfg!(target_feature = "avx2") { "avx2" } else { "portable" };
    let build = format!("{model_id}/{}/{kernel}", env!("CARGO_PKG_VERSION"));
    format!("fp_{}", &blake3::hash(build.as_bytes()).to_hex()[..12])
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
