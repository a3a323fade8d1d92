//! What a node claims of an answer and what the site makes of it, as a client reads it: every figure follows from others.

use openapi::energy::{Energy, EnergyTerms, EnergyUsage, Status, Tier, disclose};
use serde::Deserialize;

#[derive(Deserialize)]
struct Input {
    energy: Energy,
    terms: EnergyTerms,
}

/// Discloses a claim, and derives its figures once more.
pub fn check(bytes: &[u8]) {
    let Ok(Input { energy, mut terms }) = serde_json::from_slice(bytes) else { return };
    let energy = energy.held();
    // Within these the gateway makes them.
    terms.pue_milli = terms.pue_milli.clamp(1_000, 3_000);
    terms.grid.iter_mut().for_each(|grid| grid.mg_per_kwh = grid.mg_per_kwh.min(2_000_000));
    for status in [Status::Provisional, Status::Settled, Status::Final] {
        let usage = disclose(&energy, &terms, status);
        assert!(terms.believed || usage.joules.is_none(), "what is not believed is not shown");
        assert!(usage.tier >= energy.tier.max(terms.tier_cap) || usage.tier == Tier::X);
        if energy.is_sane() {
            assert_eq!(usage.recompute(), Ok(()), "{usage:?}");
        }
        let written = serde_json::to_vec(&usage).unwrap();
        let read: EnergyUsage = serde_json::from_slice(&written).unwrap();
        assert_eq!(read.recompute(), usage.recompute(), "{read:?} {usage:?}");
    }
}
