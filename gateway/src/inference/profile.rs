//! What a request will probably take on a node in energy, as choosing needs it.

use openapi::energy::Tier;
use openapi::units::Microjoules;

use super::request::Request;
use super::terms::Terms;
use crate::app::App;
use crate::nodes::Node;
use crate::nodes::marginal::{Profile, Work};

/// A token of text has about so many bytes.
const BYTES_PER_TOKEN: u64 = 4;
/// An answer of a model that nobody has asked yet.
const UNKNOWN_ANSWER: u64 = 200;
/// Where no node's figures are known: an old processor at home, on a coal grid. Silence must not pay.
pub(super) const WORST: Profile = Profile {
    fixed_microjoules_per_step: Microjoules::new(10_000_000),
    decode_microjoules_per_token: Microjoules::new(10_000_000),
    prefill_microjoules_per_token: Microjoules::new(1_000_000),
    wake_microjoules: Microjoules::ZERO,
    tier: Tier::E,
    pue_milli: 1_000,
    mg_per_kwh: Some(1_000_000),
    believed: false,
};
/// Nodes without figures of their own are taken for worse than so many of a hundred that have some.
const PERCENTILE: usize = 90;

/// What the request will probably take.
pub(super) fn work(app: &App, request: &Request, model: &str, terms: &Terms) -> Work {
    let usual = app.typicals.of(model).map_or(UNKNOWN_ANSWER, |typical| typical.completion_tokens);
    Work { prompt: request.body.len() as u64 / BYTES_PER_TOKEN, completion: usual.min(terms.most) }
}

/// What is known of a node's energy; nothing until it has reported.
pub(super) fn profile(app: &App, node: &Node) -> Option<Profile> {
    let known = app.energies.of(node.id)?;
    let terms = app.energies.terms(node);
    (known.costs.windows > 0).then(|| Profile {
        fixed_microjoules_per_step: known.costs.fixed_microjoules,
        decode_microjoules_per_token: known.costs.decode_microjoules,
        prefill_microjoules_per_token: known.costs.prefill_microjoules,
        wake_microjoules: Microjoules::ZERO,
        tier: node.best().offer().energy.tier.max(known.tier_cap),
        pue_milli: terms.pue_milli,
        mg_per_kwh: terms.grid.map(|grid| grid.mg_per_kwh),
        believed: terms.believed,
    })
}

/// What a node is taken for that says nothing: each figure at the 90th percentile of the others.
pub(super) fn stand_in(profiles: impl Iterator<Item = Profile>) -> Profile {
    let known: Vec<Profile> = profiles.filter(|profile| profile.believed).collect();
    let worse = |figure: fn(&Profile) -> Option<u64>| {
        let mut figures: Vec<u64> = known.iter().filter_map(figure).collect();
        figures.sort_unstable();
        figures.get((figures.len() * PERCENTILE / 100).min(figures.len().saturating_sub(1))).copied()
    };
    let energy = |figure, otherwise| worse(figure).map_or(otherwise, Microjoules::new);
    Profile {
        fixed_microjoules_per_step: energy(
            |profile| Some(profile.fixed_microjoules_per_step.get()),
            WORST.fixed_microjoules_per_step,
        ),
        decode_microjoules_per_token: energy(
            |profile| Some(profile.decode_microjoules_per_token.get()),
            WORST.decode_microjoules_per_token,
        ),
        prefill_microjoules_per_token: energy(
            |profile| Some(profile.prefill_microjoules_per_token.get()),
            WORST.prefill_microjoules_per_token,
        ),
        mg_per_kwh: worse(|profile| profile.mg_per_kwh).or(WORST.mg_per_kwh),
        ..WORST
    }
}
