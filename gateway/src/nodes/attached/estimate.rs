//! What an answer of an attached server takes in energy. Nothing is known of the machine nor of the model, so it is what
//! published measurements have found for tokens of many models on many accelerators, and a wide interval around it.

use std::sync::LazyLock;

use openapi::energy::{Boundary, Energy, Tier};
use openapi::hardware::steps::{Step, steps};
use openapi::units::Microjoules;
use openapi::upstream::Tokens;

/// Name and version of this estimate.
const METHOD: &str = "attached/1";
/// Servers compute about so many sequences at once.
const USUAL_BATCH: u32 = 8;
/// A token of a prompt takes about so many times less than one of an answer.
const PROMPT_PART: u64 = 10;
/// What a token of an answer takes if nothing was ever measured, in microjoules.
const UNMEASURED: u64 = 2_000_000;

/// Microjoules of a token of an answer.
struct PerToken {
    likely: u64,
    low: u64,
    high: u64,
}

/// The median of the measured models in usual batches; the ends are the twentieth parts of the best and the worst, in the
/// largest and the smallest batches.
static PER_TOKEN: LazyLock<PerToken> = LazyLock::new(|| PerToken {
    likely: percentile(50, |step| step.microjoules_per_token(USUAL_BATCH)),
    low: percentile(5, |step| step.microjoules_per_token(step.batches.1)),
    high: percentile(95, |step| step.microjoules_per_token(1)),
});

fn percentile(hundredths: usize, of: impl Fn(&Step) -> u64) -> u64 {
    let mut figures: Vec<u64> = steps().iter().map(of).collect();
    figures.sort_unstable();
    figures.get(figures.len() * hundredths / 100).copied().unwrap_or(UNMEASURED)
}

/// The same where the server says later what it was.
pub(super) fn provisional(tokens: Tokens) -> Energy {
    Energy { settled: false, ..estimate(tokens) }
}

/// The energy of so many tokens.
pub(super) fn estimate(tokens: Tokens) -> Energy {
    let tenths = tokens.prompt.saturating_add(tokens.completion.saturating_mul(PROMPT_PART));
    let energy = |each: u64, parts: u64| Microjoules::new((each / PROMPT_PART).saturating_mul(parts));
    let likely = energy(PER_TOKEN.likely, tenths);
    Energy {
        microjoules: likely,
        low_microjoules: energy(PER_TOKEN.low, tenths).min(likely),
        high_microjoules: energy(PER_TOKEN.high, tenths).max(likely),
        marginal_microjoules: likely,
        prefill_microjoules: energy(PER_TOKEN.likely, tokens.prompt),
        tier: Tier::E,
        boundary: Boundary::Device,
        method: METHOD.to_owned(),
        // Nobody will ever say more.
        settled: true,
    }
    .held()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_that_it_is_one_and_how_wide() {
        let of = |prompt, completion| estimate(Tokens { prompt, completion, stated: true });
        let answer = of(100, 50);
        assert!(answer.is_sane() && answer.tier == Tier::E && answer.method == METHOD);
        assert!(answer.low_microjoules.get() * 5 < answer.microjoules.get(), "{answer:?}");
        assert!(answer.high_microjoules.get() > answer.microjoules.get() * 5, "{answer:?}");
        assert!(of(100, 51).microjoules > answer.microjoules && of(110, 50).microjoules > answer.microjoules);
        assert_eq!(of(0, 0).microjoules, Microjoules::ZERO);
        assert!(of(u64::from(u32::MAX), u64::MAX).is_sane(), "held to what a request can take");
    }
}
