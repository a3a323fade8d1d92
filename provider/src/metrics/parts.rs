//! What the machine's parts have drawn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openapi::energy::Tier;
use openapi::units::Microjoules;
use opentelemetry::KeyValue;
use opentelemetry::metrics::AsyncInstrument;
use opentelemetry_semantic_conventions::attribute::{HW_ID, HW_TYPE};

/// The label of pools that were not announced.
const OTHER: &str = "other";
/// No window has been seen.
const NEVER: u64 = u64::MAX;

/// All pools, known from the beginning.
pub(super) struct Parts {
    parts: Vec<Part>,
    other: Part,
}

/// One pool.
struct Part {
    pool: String,
    /// In the hardware conventions' words; none of a whole machine.
    kind: Option<&'static str>,
    /// Microjoules by how well they are known.
    by_tier: [AtomicU64; Tier::ALL.len()],
    /// The mean of the last window.
    microwatts: AtomicU64,
}

impl Parts {
    pub(super) fn new(pools: &[&str]) -> Self {
        let is_alone = pools.len() == 1;
        let parts = pools.iter().map(|pool| Part::new(pool, kind(pool, is_alone))).collect();
        Self { parts, other: Part::new(OTHER, Some(OTHER)) }
    }

    /// Series of an instrument that there can be at most.
    pub(super) fn most_series(&self) -> usize {
        (self.parts.len() + 1) * Tier::ALL.len()
    }

    /// Takes a window of a pool.
    pub(super) fn take(&self, pool: &str, tier: Tier, total: Microjoules, window: Duration) {
        let part = self.parts.iter().find(|part| part.pool == pool).unwrap_or(&self.other);
        let sum = &part.by_tier[tier as usize];
        // Cannot fail: there always is a next sum.
        let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(total.get())));
        if let Some(microwatts) = microwatts(total, window) {
            part.microwatts.store(microwatts, Ordering::Relaxed);
        }
    }

    /// Joules of components, or of whole machines.
    pub(super) fn show_energy(&self, whole: bool, show: &dyn AsyncInstrument<f64>) {
        self.each(whole, |part, labels| {
            for (tier, sum) in Tier::ALL.iter().zip(&part.by_tier) {
                let sum = Microjoules::new(sum.load(Ordering::Relaxed));
                if sum > Microjoules::ZERO {
                    show.observe(sum.joules(), &[labels, &[KeyValue::new("tier", tier.letter())]].concat());
                }
            }
        });
    }

    /// Watts of components, or of whole machines.
    pub(super) fn show_power(&self, whole: bool, show: &dyn AsyncInstrument<f64>) {
        self.each(whole, |part, labels| {
            let microwatts = part.microwatts.load(Ordering::Relaxed);
            if microwatts != NEVER {
                show.observe(microwatts as f64 / 1e6, labels);
            }
        });
    }

    fn each(&self, whole: bool, mut visit: impl FnMut(&Part, &[KeyValue])) {
        let parts = self.parts.iter().chain([&self.other]).filter(|part| part.kind.is_none() == whole);
        parts.for_each(|part| visit(part, &part.labels()));
    }
}

impl Part {
    fn new(pool: &str, kind: Option<&'static str>) -> Self {
        Self { pool: pool.to_owned(), kind, by_tier: Default::default(), microwatts: AtomicU64::new(NEVER) }
    }

    fn labels(&self) -> Vec<KeyValue> {
        let id = KeyValue::new(HW_ID, self.pool.clone());
        [id].into_iter().chain(self.kind.map(|kind| KeyValue::new(HW_TYPE, kind))).collect()
    }
}

/// The mean power of a window; none of one without length.
fn microwatts(total: Microjoules, window: Duration) -> Option<u64> {
    let watts_in_millionths = (u128::from(total.get()) * 1_000_000_000).checked_div(window.as_nanos())?;
    Some(u64::try_from(watts_in_millionths).unwrap_or(NEVER - 1).min(NEVER - 1))
}

/// What a pool is. The estimate of a machine stands for all of it only where nothing else is metered beside it.
fn kind(pool: &str, is_alone: bool) -> Option<&'static str> {
    match pool.split_once('-').map_or(pool, |(kind, _)| kind) {
        "gpu" => Some("gpu"),
        "package" => Some("cpu"),
        "dram" => Some("memory"),
        "wall" | "platform" => None,
        "machine" => (!is_alone).then_some("machine"),
        _ => Some(OTHER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_energy_over_time() {
        let power = |microjoules, window| microwatts(Microjoules::new(microjoules), window);
        assert_eq!(power(1_500_000, Duration::from_millis(100)), Some(15_000_000));
        assert_eq!(power(1, Duration::ZERO), None);
        assert_eq!(power(u64::MAX, Duration::from_nanos(1)), Some(NEVER - 1));
    }

    #[test]
    fn a_pool_is_a_component_or_the_whole_machine() {
        for (pool, is_alone, expected) in [
            ("gpu-1", false, Some("gpu")),
            ("package-0", true, Some("cpu")),
            ("dram-0", false, Some("memory")),
            ("machine", true, None),
            ("machine", false, Some("machine")),
            ("platform", true, None),
            ("wall", false, None),
            ("npu-0", true, Some(OTHER)),
        ] {
            assert_eq!(kind(pool, is_alone), expected, "{pool}");
        }
    }
}
