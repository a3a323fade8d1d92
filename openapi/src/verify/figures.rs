//! Whether every figure follows from what else is said, with the figures.

use super::{Finding, What};
use crate::error::echo;
use crate::price::Price;
use crate::receipt::{Receipt, ReceiptEnergy, Shares};
use crate::units::{Microjoules, Nanocredits};

/// Tokens times their price.
pub(super) fn cost(claims: &Receipt) -> Finding {
    if let Err(contradiction) = claims.check_cost() {
        return Finding::contradicted(What::Cost, &contradiction);
    }
    if !claims.is_paid {
        return Finding::holds(What::Cost, "This answer is free, and nothing is charged.");
    }
    let Price { prompt, cached, completion } = claims.price;
    let from_cache = claims.cached_tokens.min(claims.prompt_tokens);
    let parts = [
        (claims.prompt_tokens - from_cache, prompt, "of the prompt"),
        (from_cache, cached, "that the node still had"),
        (claims.completion_tokens, completion, "of the answer"),
    ];
    let counted = parts.iter().filter(|(tokens, ..)| *tokens > 0);
    let terms: Vec<String> =
        counted.map(|(tokens, price, which)| format!("{tokens} tokens {which} × {}", price.get())).collect();
    let sum = if terms.is_empty() { "No tokens".to_owned() } else { terms.join(" + ") };
    let (nanocredits, credits) = (claims.nanocredits.get(), claims.nanocredits.credits());
    Finding::holds(What::Cost, format!("{sum} = {nanocredits} nanocredits: {credits} credits."))
}

/// What was paid, divided by the split.
pub(super) fn shares(claims: &Receipt) -> Finding {
    match (claims.check_shares(), &claims.shares) {
        (Err(contradiction), _) => Finding::contradicted(What::Shares, &contradiction),
        (Ok(()), None) => Finding::holds(What::Shares, "Nothing was paid, so nothing is shared."),
        (Ok(()), Some(shares)) => Finding::holds(What::Shares, divided(shares)),
    }
}

fn divided(shares: &Shares) -> String {
    let part = |who: &str, ppm: u32, got: Nanocredits| format!("{who} {} ({})", got.get(), percent(ppm));
    let split = shares.split;
    // Without an author it is the operator's.
    let to_operator = if shares.authors.is_empty() { split.authors_ppm } else { 0 };
    let operator = part("the operator", split.operator_ppm + to_operator, shares.operator);
    let authors = shares.authors.iter().map(|author| format!("{} {}", echo(&author.author), author.nanocredits.get()));
    let authors = if shares.authors.is_empty() {
        String::new()
    } else {
        format!(
            ", the model's authors {} ({} in all)",
            authors.collect::<Vec<_>>().join(", "),
            percent(split.authors_ppm)
        )
    };
    let gateway = part("the gateway", split.gateway_ppm, shares.gateway);
    let fund = part("the audit fund", split.audit_fund_ppm, shares.audit_fund);
    format!("By split {}, in nanocredits: {operator}{authors}, {gateway}, {fund}.", shares.version)
}

fn percent(ppm: u32) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The machine's energy, the site's, and the carbon of that.
pub(super) fn energy(claims: &Receipt) -> Vec<Finding> {
    let Some(energy) = &claims.energy else {
        return vec![Finding::unchecked(What::Energy, "There is none: the node had not begun to compute.")];
    };
    vec![machine(energy), site(energy), carbon(energy)]
}

fn machine(energy: &ReceiptEnergy) -> Finding {
    if let Err(contradiction) = energy.check_parts() {
        return Finding::contradicted(What::Energy, &contradiction);
    }
    let doubt = if energy.believed { "" } else { " The gateway does not believe it." };
    let says = format!(
        "{} µJ, nine times out of ten between {} and {}: tier {}, boundary {}, by {}.{doubt}",
        energy.microjoules.get(),
        energy.low_microjoules.get(),
        energy.high_microjoules.get(),
        energy.tier.letter(),
        energy.boundary.word(),
        echo(&energy.method),
    );
    Finding::holds(What::Energy, says)
}

fn site(energy: &ReceiptEnergy) -> Finding {
    if let Err(contradiction) = energy.check_site() {
        return Finding::contradicted(What::Site, &contradiction);
    }
    let [own, idle, site] =
        [energy.microjoules, energy.idle_microjoules, energy.facility_microjoules].map(Microjoules::get);
    let (whole, thousandths) = (energy.pue_milli / 1_000, energy.pue_milli % 1_000);
    let says = format!("({own} µJ + {idle} µJ of idle time) × PUE {whole}.{thousandths:03} = {site} µJ of the site.");
    Finding::holds(What::Site, says)
}

fn carbon(energy: &ReceiptEnergy) -> Finding {
    if let Err(contradiction) = energy.check_carbon() {
        return Finding::contradicted(What::Carbon, &contradiction);
    }
    match (&energy.grid, energy.micrograms_co2e) {
        (Some(grid), Some(micrograms)) => {
            let (site, intensity, zone) = (energy.facility_microjoules.get(), grid.mg_per_kwh, echo(&grid.zone));
            let says = format!("{site} µJ × {intensity} mg/kWh (zone {zone}) = {micrograms} µg of CO₂ equivalent.");
            Finding::holds(What::Carbon, says)
        }
        _ => Finding::unchecked(What::Carbon, "There is none: the node's grid is not known."),
    }
}
