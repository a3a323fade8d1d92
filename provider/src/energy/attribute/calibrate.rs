//! Learns what steps cost from windows whose energy is known.

use super::regression::Regression;
use super::{BUCKETS, Coefficients, Step, StepKind, Window, bucket, busy, overlap, span};

/// A window of a tenth of a second counts for about a minute and a half.
const KEEP: f64 = 0.999;
/// A first guess may be off by this many times itself.
const PRIOR_DEVIATION: f64 = 2.0;
/// A thousand tokens of context may make a token dearer by this part of itself.
const CONTEXT_DEVIATION: f64 = 0.1;
/// Batches of different sizes differ by so much of the cost of all of them.
const BUCKET_DEVIATION: f64 = 0.3;
/// Before so many windows the guess is better than what was learned.
const ENOUGH_WINDOWS: u32 = 40;
/// A bucket learns from windows in which at least this part of the decoding steps was of its size.
const OF_ONE_SIZE: f64 = 0.9;
/// A window's energy is off by about this part of a typical one, since counter and clock never quite agree.
const NOISE: f64 = 0.05;

/// The costs of a node's first model on one pool, as far as they are known; those of its others are in proportion.
#[derive(Clone, Debug)]
pub struct Calibration {
    prior: Coefficients,
    /// fixed, decode, decode × context, prefill, idle
    costs: Regression<5>,
    windows: u32,
    buckets: [Option<(Regression<2>, u32)>; BUCKETS],
    typical_joules: f64,
}

/// What happened in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Features {
    steps: f64,
    prefill_steps: f64,
    decode_tokens: f64,
    decode_context: f64,
    prefill_tokens: f64,
    idle_seconds: f64,
    decode_steps_of: [f64; BUCKETS],
}

impl Calibration {
    /// Begins with a guess.
    pub fn new(prior: Coefficients) -> Self {
        let mean = [prior.fixed, prior.decode, prior.decode * prior.context, prior.prefill, prior.idle_watts];
        let mut deviation = mean.map(|guess| guess.max(1e-6) * PRIOR_DEVIATION);
        // How much context counts is not known beforehand, even if the guess is nothing.
        deviation[2] = deviation[2].max(prior.decode * CONTEXT_DEVIATION);
        Self {
            prior,
            costs: Regression::new(mean, deviation, KEEP),
            windows: 0,
            buckets: [const { None }; BUCKETS],
            typical_joules: 0.0,
        }
    }

    /// Windows that it has learned from.
    pub fn windows(&self) -> u32 {
        self.windows
    }

    /// Learns from a window.
    pub fn learn(&mut self, window: &Window, steps: &[Step]) {
        let seen = Features::of(window, steps);
        let joules = window.microjoules.saturating_sub(window.foreign_microjoules) as f64 / 1e6;
        self.windows = self.windows.saturating_add(1);
        let weight = 1.0 / f64::from(self.windows.min(100));
        self.typical_joules += (joules - self.typical_joules) * weight;
        let variance = (NOISE * self.typical_joules).powi(2).max(1e-12);
        let features = [seen.steps, seen.decode_tokens, seen.decode_context, seen.prefill_tokens, seen.idle_seconds];
        self.costs.observe(&features, joules, variance);
        self.learn_of_size(&seen, joules, variance);
    }

    fn learn_of_size(&mut self, seen: &Features, joules: f64, variance: f64) {
        let decode_steps: f64 = seen.decode_steps_of.iter().sum();
        let of_one_size = |at: &usize| seen.decode_steps_of[*at] > decode_steps * OF_ONE_SIZE;
        let Some(at) = (0..BUCKETS).find(of_one_size).filter(|_| self.windows > ENOUGH_WINDOWS) else { return };
        let general = self.general();
        let rest = general.fixed * seen.prefill_steps
            + general.prefill * seen.prefill_tokens
            + general.idle_watts * seen.idle_seconds;
        let guess = [general.fixed, general.decode];
        let (costs, windows) = self.buckets[at].get_or_insert_with(|| {
            (Regression::new(guess, guess.map(|guess| guess.max(1e-6) * BUCKET_DEVIATION), KEEP), 0)
        });
        let tokens = seen.decode_tokens + general.context * seen.decode_context;
        costs.observe(&[decode_steps, tokens], joules - rest, variance);
        *windows = windows.saturating_add(1);
    }

    /// What steps cost, whatever the size of the batch.
    fn general(&self) -> Coefficients {
        if self.windows < ENOUGH_WINDOWS {
            return self.prior.clone();
        }
        let [fixed, decode, context, prefill, idle_watts] = self.costs.mean().map(|cost| cost.max(0.0));
        let context = if decode > 0.0 { context / decode } else { 0.0 };
        Coefficients { fixed, decode, context, prefill, idle_watts, buckets: [None; BUCKETS] }
    }

    /// What steps cost as far as is known now. No cost is negative.
    pub fn coefficients(&self) -> Coefficients {
        let mut all = self.general();
        for (known, learned) in all.buckets.iter_mut().zip(&self.buckets) {
            *known = learned
                .as_ref()
                .filter(|(_, windows)| *windows >= ENOUGH_WINDOWS)
                .map(|(costs, _)| (costs.mean()[0].max(0.0), costs.mean()[1].max(0.0)));
        }
        all
    }
}

impl Features {
    fn of(window: &Window, steps: &[Step]) -> Self {
        let mut seen = Self::default();
        for step in steps {
            let Some((_, part)) = overlap(window, step) else { continue };
            let part = part * step.weight();
            seen.steps += part;
            match step.kind {
                StepKind::Prefill => seen.prefill_steps += part,
                StepKind::Decode => seen.decode_steps_of[bucket(step.members.len())] += part,
            }
            for member in &step.members {
                let tokens = part * f64::from(member.tokens);
                match step.kind {
                    StepKind::Prefill => seen.prefill_tokens += tokens,
                    StepKind::Decode => {
                        seen.decode_tokens += tokens;
                        seen.decode_context += tokens * f64::from(member.context) / 1e3;
                    }
                }
            }
        }
        seen.idle_seconds = span(window.from, window.to).saturating_sub(busy(window, steps)).as_secs_f64();
        seen
    }
}
