//! Who took how much of what a counter moved. Pure: windows and steps in, whole microjoules out.
//!
//! A step of the engine costs something whoever is in it, and something more for each token of each sequence:
//! `E = F + Σ w·tokens·(1 + κ·context)` for steps that decode, `E = F + Σ p·tokens` for those that read prompts. The fair
//! share of a sequence in such a step is known in closed form: an equal part of `F`, and all of its own. That is the
//! Shapley value of this cost game: by symmetry and additivity a cost that is there as soon as anybody is belongs to all
//! alike, and one that comes with a player belongs to that player (Shapley, "A Value for n-Person Games", 1953). The shares
//! of all steps in a window are then scaled to what the counter really moved, so that nothing depends on the coefficients
//! but the ratios of shares within one window. A node with several models has one set of coefficients: a pass over a model
//! reads all of its weights, so its costs are taken to be in proportion to their bytes.

mod calibrate;

mod regression;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use openapi::apportion::largest_remainders;

pub use calibrate::Calibration;

/// Names a sequence in the engine.
pub type TaskId = u64;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// It reads prompts.
    Prefill,
    /// It makes one token, or a few, for each of its sequences.
    Decode,
}

/// A sequence in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub task: TaskId,
    /// Tokens of the prompt that were computed, without cached ones; or tokens that were made, with those that a draft
    /// had wrong.
    pub tokens: u32,
    /// Tokens before these.
    pub context: u32,
}

/// One pass of the engine over one or more sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: Instant,
    pub to: Instant,
    pub kind: StepKind,
    /// What a pass over its model costs, in thousandths of one over the node's first model.
    pub weight_milli: u32,
    pub members: Vec<Member>,
}

impl Step {
    fn weight(&self) -> f64 {
        f64::from(self.weight_milli) / 1e3
    }
}

/// What a counter moved between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
    pub microjoules: u64,
    /// The part that other programs took; it is taken off first. Never more than all.
    pub foreign_microjoules: u64,
}

/// What steps are predicted to cost, in joules and watts. Only ratios matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Coefficients {
    /// `F`, of a step.
    pub fixed: f64,
    /// `w`, of a token that is made.
    pub decode: f64,
    /// `κ`: by so much of itself a token is dearer for a thousand tokens before it.
    pub context: f64,
    /// `p`, of a token of a prompt.
    pub prefill: f64,
    /// While there is no step.
    pub idle_watts: f64,
    /// `F` and `w` of steps that decode for 1, 2 to 3, 4 to 7 … sequences, where they have been learned: mixtures of
    /// experts cost less than proportionally more while a batch is small.
    pub buckets: [Option<(f64, f64)>; BUCKETS],
}

/// Batches of up to 2¹² sequences are told apart by their powers of two.
pub const BUCKETS: usize = 12;

/// The bucket of a batch.
pub(super) fn bucket(sequences: usize) -> usize {
    (sequences.max(1).ilog2() as usize).min(BUCKETS - 1)
}

impl Coefficients {
    /// Cost of a step as such, and of each member in it.
    fn of(&self, step: &Step) -> (f64, impl Fn(&Member) -> f64) {
        let learned = self.buckets[bucket(step.members.len())].filter(|_| step.kind == StepKind::Decode);
        let (fixed, decode) = learned.unwrap_or((self.fixed, self.decode));
        let (kind, context, prefill, weight) = (step.kind, self.context, self.prefill, step.weight());
        let own = move |member: &Member| match kind {
            StepKind::Prefill => weight * prefill * f64::from(member.tokens),
            StepKind::Decode => {
                weight * decode * f64::from(member.tokens) * (1.0 + context * f64::from(member.context) / 1e3)
            }
        };
        (weight * fixed, own)
    }

    /// The window between two moments as it is predicted to be.
    pub fn window(&self, from: Instant, to: Instant, steps: &[Step]) -> Window {
        let window = Window { from, to, microjoules: 0, foreign_microjoules: 0 };
        let (claims, busy) = claims(&window, steps, self);
        let idle = self.idle_watts * span(from, to).saturating_sub(busy).as_secs_f64();
        let joules = claims.values().map(|claim| claim.all).sum::<f64>() + idle;
        Window { microjoules: (nanojoules(joules) / 1_000) as u64, ..window }
    }

    /// What a task is predicted to take in these steps.
    pub fn predict(&self, steps: &[Step], task: TaskId) -> Part {
        let mut all = Claim::default();
        for step in steps {
            let Some(member) = step.members.iter().find(|member| member.task == task) else { continue };
            let (fixed, own) = self.of(step);
            all.add(step.kind, fixed / step.members.len() as f64, own(member));
        }
        all.part((nanojoules(all.all) / 1_000) as u64)
    }
}

/// A task's part of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub microjoules: u64,
    /// Without its part of what the steps cost as such.
    pub marginal_microjoules: u64,
    /// In steps that read prompts.
    pub prefill_microjoules: u64,
}

/// A window, divided: parts, idle and foreign add up to what it moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    pub parts: BTreeMap<TaskId, Part>,
    pub idle_microjoules: u64,
    pub foreign_microjoules: u64,
    /// Time with a step under way.
    pub busy: Duration,
}

impl Division {
    /// What went to tasks.
    pub fn attributed_microjoules(&self) -> u64 {
        self.parts.values().map(|part| part.microjoules).sum()
    }
}

/// A task's claim on a window, in joules.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Claim {
    all: f64,
    marginal: f64,
    prefill: f64,
    /// Its part of the time, for when nothing is known of costs.
    seconds: f64,
}

/// Divides a window over those who were in its steps, idle time, and other programs.
pub fn divide(window: &Window, steps: &[Step], coefficients: &Coefficients) -> Division {
    let foreign = window.foreign_microjoules.min(window.microjoules);
    let (claims, busy) = claims(window, steps, coefficients);
    let idle_seconds = span(window.from, window.to).saturating_sub(busy).as_secs_f64();
    let nothing_known = claims.values().all(|claim| nanojoules(claim.all) == 0);
    let weight = |claim: &Claim| nanojoules(if nothing_known { claim.seconds } else { claim.all });
    let idle = if nothing_known && !claims.is_empty() { idle_seconds } else { coefficients.idle_watts * idle_seconds };
    let weights: Vec<u128> = claims.values().map(weight).chain([nanojoules(idle)]).collect();
    let ours = window.microjoules - foreign;
    let mut shares = largest_remainders(ours, &weights);
    let mut idle_microjoules = shares.pop().unwrap_or_default();
    if claims.is_empty() {
        idle_microjoules = ours;
    }
    let parts = claims.iter().zip(shares).map(|((task, claim), share)| (*task, claim.part(share))).collect();
    Division { parts, idle_microjoules, foreign_microjoules: foreign, busy }
}

impl Claim {
    fn add(&mut self, kind: StepKind, shared: f64, own: f64) {
        self.all += shared + own;
        self.marginal += own;
        if kind == StepKind::Prefill {
            self.prefill += shared + own;
        }
    }

    fn part(&self, share: u64) -> Part {
        let of = |part: f64| {
            let ratio = if self.all > 0.0 { part / self.all } else { 0.0 };
            ((share as f64 * ratio).round() as u64).min(share)
        };
        Part { microjoules: share, marginal_microjoules: of(self.marginal), prefill_microjoules: of(self.prefill) }
    }
}

/// What each task is predicted to have taken in a window, and for how long there was a step.
fn claims(window: &Window, steps: &[Step], coefficients: &Coefficients) -> (BTreeMap<TaskId, Claim>, Duration) {
    let mut claims: BTreeMap<TaskId, Claim> = BTreeMap::new();
    for step in steps {
        let Some((overlap, part)) = overlap(window, step) else { continue };
        let (fixed, own) = coefficients.of(step);
        let heads = step.members.len() as f64;
        for member in &step.members {
            let (shared, own) = (part * fixed / heads, part * own(member));
            let claim = claims.entry(member.task).or_default();
            claim.add(step.kind, shared, own);
            claim.seconds += overlap.as_secs_f64() / heads;
        }
    }
    (claims, busy(window, steps))
}

/// How long there was any step in a window. Steps of different models may be at the same time.
fn busy(window: &Window, steps: &[Step]) -> Duration {
    let clipped = |step: &Step| (step.from.max(window.from), step.to.min(window.to));
    let mut within: Vec<(Instant, Instant)> = steps.iter().map(clipped).filter(|(from, to)| from < to).collect();
    within.sort_unstable();
    let mut busy = Duration::ZERO;
    let mut seen = window.from;
    for (from, to) in within {
        busy += span(from.max(seen), to);
        seen = seen.max(to);
    }
    busy
}

/// How long a step was in a window, and which part of the step that is.
fn overlap(window: &Window, step: &Step) -> Option<(Duration, f64)> {
    let all = span(step.from, step.to);
    if all.is_zero() {
        return (window.from <= step.from && step.from < window.to).then_some((all, 1.0));
    }
    let within = span(step.from.max(window.from), step.to.min(window.to));
    (!within.is_zero()).then(|| (within, within.as_secs_f64() / all.as_secs_f64()))
}

fn span(from: Instant, to: Instant) -> Duration {
    to.saturating_duration_since(from)
}

/// A prediction as a whole number, fine enough that rounding it moves no microjoule.
fn nanojoules(joules: f64) -> u128 {
    if joules.is_finite() && joules > 0.0 { u128::from((joules * 1e9).round() as u64) } else { 0 }
}
