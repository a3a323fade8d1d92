//! What a node sells, manifests and all, and what the judge makes of a claim for each of its models.

use gateway::energy::court;
use gateway::energy::honesty::bounds::Work;
use gateway::energy::honesty::{Judge, Settled};
use gateway::nodes::offer;
use openapi::energy::{Energy, EnergyOffer};
use openapi::manifest::ModelManifest;
use openapi::node::{Offer, OfferedModel};
use openapi::units::{Microjoules, Microseconds};
use uuid::Uuid;

use crate::duplicates;

/// Reads an offer.
pub fn check(bytes: &[u8]) {
    let offer = match offer::parse(bytes) {
        Ok(offer) => offer,
        Err(refused) => {
            let refused = refused.to_string();
            assert!(refused.len() < 1_000 && !refused.contains(char::is_control), "{refused}");
            return;
        }
    };
    let known = serde_json::to_value(&offer).unwrap();
    for twice in duplicates::find(bytes) {
        assert_eq!(known.pointer(&twice), None, "{twice} stands twice");
    }
    let written: Offer = offer::parse(known.to_string().as_bytes()).unwrap();
    assert_eq!(written, offer);
    for (model, again) in offer.models.iter().zip(&written.models) {
        assert_eq!(model.manifest.id(), again.manifest.id());
        named(&model.manifest);
        judged(&offer.energy, model);
    }
}

/// Whatever changes in a manifest changes the model's id.
fn named(manifest: &ModelManifest) {
    let id = manifest.id();
    assert!(id.starts_with("bagaa") && id.len() == 61, "{id}");
    let renamed = ModelManifest { name: format!("{}x", manifest.name), ..manifest.clone() };
    let licensed = ModelManifest { licence: format!("{}x", manifest.licence), ..manifest.clone() };
    let mut shorter = manifest.clone();
    shorter.files.pop();
    let shorter = (!manifest.files.is_empty()).then_some(shorter);
    for other in [Some(renamed), Some(licensed), shorter].into_iter().flatten() {
        assert_ne!(other.id(), id);
    }
    for file in &manifest.files {
        let address = file.address();
        assert!(
            address.is_none_or(|address| file.blake3.as_ref().unwrap().to_lowercase() == address.blake3.to_string())
        );
    }
}

fn judged(energy: &EnergyOffer, model: &OfferedModel) {
    let claim = Energy::exact(Microjoules::new(1_000_000), (energy.tier, energy.boundary), "fuzz/1");
    let settled = Settled {
        node: Uuid::from_u128(7),
        class: &court::class(energy, (model, &model.manifest.id()), 1.0),
        machine: &court::machine(energy),
        model: &court::model(model),
        work: Work {
            prompt_tokens: 10,
            cached_tokens: 0,
            completion_tokens: 10,
            busy: Microseconds::new(1_000_000),
            tokens_per_step: 1,
        },
        batch: 1.0,
        claim: Some(&claim),
        is_canary: true,
        at: Microseconds::new(1_800_000_000_000_000),
    };
    Judge::default().observe_settled(&settled);
}
