//! What other programs on an accelerator are predicted to have taken of its energy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Gpu;
use crate::energy::sensor::Value;

/// The driver samples programs a few times a second and asking takes longer than reading a counter.
const EVERY: Duration = Duration::from_secs(1);

/// Follows an accelerator's figure. Of what it moves, others get the part of the time in which their kernels ran: never
/// more than that, so that nobody else is charged for idling.
pub(super) struct Foreign {
    own: u32,
    asked: Option<Instant>,
    /// The newest sample's time.
    seen: Option<u64>,
    percent: u64,
    last: Option<(Instant, Value)>,
    /// In hundredths of a nanojoule, so that small parts are not lost.
    taken: u128,
}

/// Of [`Foreign::taken`] in a microjoule.
const PER_MICROJOULE: u128 = 100_000;

impl Foreign {
    pub(super) fn new(own: u32) -> Self {
        Self { own, asked: None, seen: None, percent: 0, last: None, taken: 0 }
    }

    /// Takes a figure and says what others took since the first one, in microjoules.
    pub(super) fn follow(&mut self, gpu: &impl Gpu, at: Instant, value: Value) -> u64 {
        if self.asked.is_none_or(|asked| at.saturating_duration_since(asked) >= EVERY) {
            self.asked = Some(at);
            self.percent = self.ask(gpu);
        }
        let drawn = self.last.map_or(0, |last| nanojoules(last, (at, value)));
        self.last = Some((at, value));
        self.taken += drawn * u128::from(self.percent);
        u64::try_from(self.taken / PER_MICROJOULE).unwrap_or(u64::MAX)
    }

    /// Zero where nobody can tell: on a divided board, on old ones, and where this program is not among those that the
    /// driver names, for then it counts processes otherwise than the system around us does, as outside of a container.
    fn ask(&mut self, gpu: &impl Gpu) -> u64 {
        let since = self.seen.unwrap_or_default();
        let samples = gpu.activity(since).unwrap_or_default();
        let newest = samples.iter().map(|sample| sample.at).max();
        let is_first = self.seen.is_none();
        self.seen = Some(newest.unwrap_or_default().max(since));
        let knows_us = gpu.programs().is_ok_and(|programs| programs.contains(&self.own));
        // The first answer holds whatever happened long before.
        if is_first || !knows_us {
            return 0;
        }
        let mut programs: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.program != self.own && sample.at > since) {
            let (sum, count) = programs.entry(sample.program).or_default();
            *sum += u64::from(sample.percent.min(100));
            *count += 1;
        }
        programs.values().map(|(sum, count)| sum / count).sum::<u64>().min(100)
    }
}

/// What the figure moved between two looks.
fn nanojoules((before, was): (Instant, Value), (now, is): (Instant, Value)) -> u128 {
    match (was, is) {
        (Value::Counter { microjoules: was, .. }, Value::Counter { microjoules: is, .. }) => {
            u128::from(is.saturating_sub(was)) * 1_000
        }
        // mW × µs = nJ
        (_, Value::Gauge { milliwatts }) => u128::from(milliwatts) * now.saturating_duration_since(before).as_micros(),
        (Value::Gauge { .. }, Value::Counter { .. }) => 0,
    }
}
