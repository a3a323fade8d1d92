//! Which node gets a request, when it says what matters to it.

use std::sync::Arc;
use std::time::Duration;

use openapi::energy::Tier;
use openapi::error::ApiError;
use openapi::units::{Microjoules, Nanocredits};

use super::request::Request;
use super::terms::Terms;
use crate::app::App;
use crate::nodes::Node;
use crate::nodes::choose::{Ask, Candidate, NoChoice, Reason, choose};
use crate::nodes::marginal::{Profile, Work};
use crate::nodes::preference::Preference;

/// Work gathers on busy nodes for as long as their first bytes usually come within this time.
const LATENCY_OBJECTIVE: Duration = Duration::from_secs(2);
/// A token of text has about so many bytes.
const BYTES_PER_TOKEN: u64 = 4;
/// An answer of a model that nobody has asked yet.
const UNKNOWN_ANSWER: u64 = 200;
/// Where no node's figures are known: an old processor at home, on a coal grid. Silence must not pay.
const WORST: Profile = Profile {
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

/// Chooses among nodes that could all answer.
///
/// # Errors
/// When what the request asks for leaves none.
pub(super) fn route(
    app: &App,
    request: &Request,
    terms: &Terms,
    nodes: &[Arc<Node>],
    price: impl Fn(&Node) -> Nanocredits,
) -> Result<(uuid::Uuid, Reason), NoChoice> {
    let candidates: Vec<Candidate> = nodes
        .iter()
        .map(|node| {
            let (state, tokens_per_second) = node.state();
            Candidate { node: node.id, profile: profile(app, node), state, price: price(node), tokens_per_second }
        })
        .collect();
    let ask = Ask {
        preference: request.preference,
        work: work(app, request, terms),
        latency_objective: LATENCY_OBJECTIVE,
        stand_in: stand_in(&candidates),
        random: fastrand::u64(..),
    };
    choose(candidates, &ask).map(|choice| (choice.node, choice.reason))
}

/// What the request will probably take.
fn work(app: &App, request: &Request, terms: &Terms) -> Work {
    let usual = app.typicals.of(&request.model).map_or(UNKNOWN_ANSWER, |typical| typical.completion_tokens);
    Work { prompt: request.body.len() as u64 / BYTES_PER_TOKEN, completion: usual.min(terms.most) }
}

/// What is known of a node's energy; nothing until it has reported.
fn profile(app: &App, node: &Node) -> Option<Profile> {
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
fn stand_in(candidates: &[Candidate]) -> Profile {
    let profiles = candidates.iter().filter_map(|candidate| candidate.profile.as_ref());
    let known: Vec<&Profile> = profiles.filter(|profile| profile.believed).collect();
    let worse = |figure: fn(&Profile) -> Option<u64>| {
        let mut figures: Vec<u64> = known.iter().filter_map(|profile| figure(profile)).collect();
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

/// Why no node suits, for the client: what it asked for is the reason, and asking for less helps.
pub(super) fn none_suits(preference: &Preference, refusal: NoChoice) -> Option<ApiError> {
    let asked = match refusal {
        NoChoice::NoCandidate => return None,
        NoChoice::TierTooLow => {
            let tier = preference.min_tier.map_or("?", Tier::letter);
            format!("'provider.min_energy_tier' asks for figures of tier {tier} or better")
        }
        NoChoice::TooMuchCarbon => {
            let most = preference.max_micrograms_per_million_tokens.unwrap_or_default() as f64 / 1e6;
            format!("'provider.max_gco2e_per_mtok' asks for at most {most} g CO2e for a million tokens")
        }
    };
    const SECONDS: u32 = 30;
    Some(ApiError::overloaded(
        format!("{asked}, and no node that serves this model can give that now. Ask for less, or try again later."),
        SECONDS,
    ))
}
