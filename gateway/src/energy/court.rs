//! Brings what nodes claim before the judge, and keeps what comes of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use openapi::energy::report::EnergyReport;
use openapi::energy::{Energy, EnergyOffer};
use openapi::hardware::{self, Quantisation, device};
use openapi::node::OfferedModel;
use openapi::units::Microseconds;
use uuid::Uuid;

use super::honesty::bounds::{Instructions, Machine, Model, Work};
use super::honesty::canary::Canaries;
use super::honesty::classes::{Class, batch_bucket};
use super::honesty::verdict::{Standing, Verdict};
use super::honesty::{Judge, Reported, Settled};
use super::table;
use crate::app::App;
use crate::nodes::Node;

/// Attempts that a node has not settled are remembered up to so many.
const MOST_OUTSTANDING: usize = 4096;

/// When each attempt of a node began that it has not settled, by request and attempt.
type Outstanding = HashMap<(Uuid, u32), Microseconds>;

/// The judge, and what it needs to know of attempts under way.
pub struct Court {
    judge: Mutex<Judge>,
    canaries: Canaries,
    /// By node.
    outstanding: Mutex<HashMap<Uuid, Outstanding>>,
    /// False where other replicas have attempts on the same nodes, of which this one knows nothing.
    alone: bool,
}

/// An attempt that has come to its end, as this gateway has counted it.
pub struct Tried<'a> {
    pub request: Uuid,
    pub attempt: u32,
    pub model: &'a str,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub took: Microseconds,
    pub claim: Option<&'a Energy>,
}

impl Court {
    /// `key` is known to no node.
    pub fn new(key: [u8; 32], alone: bool) -> Self {
        Self { judge: Mutex::default(), canaries: Canaries::new(key), outstanding: Mutex::default(), alone }
    }

    /// An attempt is sent to a node.
    pub fn begins(&self, node: Uuid, request: Uuid, attempt: u32) {
        let mut outstanding = lock(&self.outstanding);
        let of_node = outstanding.entry(node).or_default();
        if of_node.len() < MOST_OUTSTANDING {
            of_node.insert((request, attempt), now());
        }
    }

    /// An attempt never came to be computed.
    pub fn came_to_nothing(&self, node: Uuid, request: Uuid, attempt: u32) {
        if let Some(of_node) = lock(&self.outstanding).get_mut(&node) {
            of_node.remove(&(request, attempt));
        }
    }

    /// Judges the claim for an attempt.
    pub fn hear(&self, app: &App, node: &Node, tried: &Tried<'_>) {
        let way = node.best();
        let offer = way.offer();
        // Ids are digests of manifests, and stand beside them.
        let mut models = way.models().iter().zip(&offer.models);
        let named = models.find(|(served, _)| served.name == tried.model || served.id == tried.model);
        let Some((served, offered)) = named else { return };
        let machine = machine(&offer.energy);
        let batch = f64::from(node.in_flight().max(1));
        let settled = Settled {
            node: node.id,
            class: &class(&offer.energy, (offered, &served.id), batch),
            machine: &machine,
            model: &model(offered),
            work: Work {
                prompt_tokens: tried.prompt_tokens,
                cached_tokens: 0,
                completion_tokens: tried.completion_tokens,
                busy: tried.took,
                tokens_per_step: u64::from(offer.slots.max(1)),
            },
            batch,
            claim: tried.claim,
            is_canary: self.canaries.is_canary(tried.request),
            at: now(),
        };
        let mut judge = lock(&self.judge);
        let before = judge.standing(node.id);
        let verdicts = judge.observe_settled(&settled);
        let after = judge.standing(node.id);
        drop(judge);
        publish(app, node.id, verdicts, (before, after));
    }

    /// Judges a report. `digest` is the BLAKE3 of its JWS.
    pub fn hear_report(&self, app: &App, node: Uuid, offer: &EnergyOffer, (report, digest): (&EnergyReport, &str)) {
        let machine = machine(offer);
        let oldest_running = self.oldest_running(node, report);
        let reported = Reported { node, report, digest, machine: &machine, oldest_running, at: now() };
        let mut judge = lock(&self.judge);
        let before = judge.standing(node);
        let verdicts = judge.observe_report(&reported);
        let after = judge.standing(node);
        drop(judge);
        publish(app, node, verdicts, (before, after));
    }

    fn oldest_running(&self, node: Uuid, report: &EnergyReport) -> Option<Microseconds> {
        if !self.alone {
            return Some(Microseconds::ZERO);
        }
        let mut outstanding = lock(&self.outstanding);
        let of_node = outstanding.get_mut(&node)?;
        for settled in &report.settled {
            of_node.remove(&(settled.request, settled.attempt));
        }
        of_node.values().min().copied()
    }
}

/// What newly speaks against the node is told to everybody, and to the log; what was held against it already is no news.
fn publish(app: &App, node: Uuid, mut verdicts: Vec<Verdict>, (before, after): (Standing, Standing)) {
    verdicts.retain(|verdict| !before.reasons.contains(&verdict.reason));
    for verdict in &verdicts {
        tracing::warn!(%node, kind = ?verdict.kind, reason = verdict.reason, "a node's energy figures are doubtful");
    }
    let changed = (before.believed, before.tier_cap) != (after.believed, after.tier_cap);
    if verdicts.is_empty() && !changed {
        return;
    }
    let app = app.clone();
    app.tasks.clone().spawn(async move {
        if let Err(error) = table::judge(&app.database, app.replica.id(), node, &verdicts, &after).await {
            tracing::warn!(%error, %node, "a verdict on a node could not be kept");
        }
    });
}

/// What is known of the machine behind an offer.
pub fn machine(offer: &EnergyOffer) -> Machine {
    let known = offer.accelerators.first().and_then(|name| device(name));
    let processors = if known.is_some() { offer.accelerators.len() as u64 } else { u64::from(offer.processors) };
    Machine {
        device: known,
        instructions: if known.is_none() && !offer.processor.is_empty() {
            Instructions::Matrix
        } else {
            Instructions::Unknown
        },
        power_limit_milliwatts: known.map_or(0, |device| device.tdp_milliwatts),
        processors: processors.max(1),
    }
}

/// What is known of a model on offer.
pub fn model(offered: &OfferedModel) -> Model {
    let weight_bytes = offered.manifest.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
    let quantisation = &offered.manifest.quantisation;
    Model {
        parameters: hardware::parameters(weight_bytes, quantisation).unwrap_or_default(),
        weight_bytes,
        precision: Quantisation::named(quantisation).map_or(hardware::Precision::Four, |known| known.precision),
    }
}

/// What an attempt of a model of this id is compared with.
pub fn class(offer: &EnergyOffer, (offered, id): (&OfferedModel, &str), batch: f64) -> Class {
    let device = match offer.accelerators.split_first() {
        Some((first, others)) => format!("{first} x{}", others.len() + 1),
        None => format!("{} x{}", offer.processor, offer.processors),
    };
    Class {
        device,
        model: id.to_owned(),
        quantisation: offered.manifest.quantisation.clone(),
        batch_bucket: batch_bucket(batch),
        boundary: offer.boundary,
    }
}

fn now() -> Microseconds {
    Microseconds::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
