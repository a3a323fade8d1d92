//! The node itself: its model, its places, its meter.

use std::sync::Arc;

use openapi::energy::{EnergyOffer, EnergyTerms};
use openapi::error::ApiError;
use openapi::manifest::ModelManifest;
use openapi::model::{Model, ModelKind};
use openapi::node::{Offer, OfferedModel, Ticket};
use openapi::price::Price;
use openapi::region::Region;
use tokio_util::task::TaskTracker;

use crate::blobs::Blobs;
use crate::energy::Ledger;
use crate::energy::setup::Metered;
use crate::engine::{Embedder, Engine};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::slots::Slots;
use crate::upstream::Upstream;

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
}

/// Everything that a request needs on this node.
pub struct Node {
    pub backend: Backend,
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
        backend: Backend,
        (manifest, blobs): (ModelManifest, Blobs),
        slots: Slots,
        Metered { ledger, metrics, offer, terms }: Metered,
        Said { price, place, tokens_per_second }: Said,
    ) -> Arc<Self> {
        let model_id = manifest.id();
        let fingerprint = match &backend {
            Backend::Engine(_) | Backend::Embedder(_) => fingerprint(&model_id),
            // Nobody knows what its text depends on.
            Backend::Upstream(_) => "upstream".to_owned(),
        };
        Arc::new(Self {
            backend,
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
        Model::new(
            self.manifest.name.clone(),
            self.started,
            self.manifest.authors.join(", "),
            self.model_id.clone(),
            self.backend.context_length(),
        )
        .of_kind(self.backend.kind())
    }

    /// What the node sells.
    pub fn offer(&self) -> Offer {
        let knows_its_tokens = !matches!(self.backend, Backend::Upstream(_));
        Offer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            models: vec![OfferedModel {
                manifest: self.manifest.clone(),
                kind: self.backend.kind(),
                context_length: self.backend.context_length(),
                price: self.price,
                fingerprint: knows_its_tokens.then(|| self.fingerprint.clone()),
                // Of vectors nobody sees anything before they are complete.
                continues: matches!(self.backend, Backend::Engine(_)),
                unnamed_tokens: !knows_its_tokens,
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

    /// Refuses a request, or its ticket, that is for another model than this node's.
    ///
    /// # Errors
    /// 404.
    pub fn check_model(&self, model: &str, ticket: Option<&Ticket>) -> Result<(), ApiError> {
        // By its alias or by its content address.
        let serves = |name: &str| name == self.manifest.name || name == self.model_id;
        if serves(model) && ticket.is_none_or(|ticket| serves(&ticket.model)) {
            Ok(())
        } else {
            Err(ApiError::model_not_found(model))
        }
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
