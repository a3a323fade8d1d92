//! What other nodes of the same kind claim for the same work: medians that a few liars don't move, in bounded memory.

mod all;

use std::collections::VecDeque;

use openapi::energy::Boundary;
use uuid::Uuid;

use super::costs::{Costs, Sample};
use super::robust::{NORMAL, median, percentile};
use super::verdict::{Finding, Kind};

pub use all::Classes;

/// What makes claims comparable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Devices with their number, such as `h100-sxm x4`.
    pub device: String,
    pub model: String,
    pub quantisation: String,
    /// See [`batch_bucket`].
    pub batch_bucket: u32,
    pub boundary: Boundary,
}

/// The power of two that is nearest to how many run at once: the cost of a step is affine within one, for mixtures of
/// experts too.
pub fn batch_bucket(batch: f64) -> u32 {
    1 << batch.clamp(1.0, 65_536.0).log2().round() as u32
}

/// Nodes that a class remembers.
const MEMBERS: usize = 32;
/// Claims that it remembers of each.
const SAMPLES: usize = 64;
/// Claims of a node that make a window.
const WINDOW: u64 = 32;
/// Claims before a node's median counts.
const ENOUGH_SAMPLES: usize = 16;
/// Nodes before others are compared with their median.
const ENOUGH_NODES: usize = 5;
/// Claims of the class between two fits.
const REFIT: u64 = 256;
/// How far honest nodes of one class are apart, as a standard deviation of the logarithm, as long as the class doesn't show
/// it itself.
const USUAL_SPREAD: f64 = 0.15;
/// How many nodes that assumption weighs: a deviation from few nodes is itself off by a quarter.
const USUAL_WEIGHT: f64 = 80.0;
/// Noise of one claim around the node's own median, as long as the class doesn't show it, and its least.
const USUAL_NOISE: f64 = 0.1;
const LEAST_NOISE: f64 = 0.03;
/// Deviations outside which a window is strange, and windows in a row that are too many.
const STRANGE: f64 = 4.0;
const STRANGE_WINDOWS: u8 = 3;
/// How far outside the class's 5th to 95th percentile a node's costs must be: one in ten is outside by definition.
const MARGIN: f64 = 1.5;
/// How many times the usual deviation a node's claims may have around its own median.
const SCATTERED: f64 = 3.0;

/// A claim against what its class claims.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// ln(claimed / expected).
    pub log_ratio: f64,
    /// Standard deviation of honest nodes' medians around the expectation, its own error included.
    pub spread: f64,
    /// Standard deviation of one claim around the node's median.
    pub noise: f64,
}

/// One class.
#[derive(Clone, Debug)]
pub struct Statistics {
    members: Vec<Member>,
    costs: Costs,
    guess: Costs,
    spread: f64,
    noise: f64,
    /// Members with enough claims.
    ripe: usize,
    seen: u64,
}

#[derive(Clone, Debug)]
struct Member {
    node: Uuid,
    samples: VecDeque<Sample>,
    /// Median of ln(claimed / expected).
    level: f64,
    /// By its own claims alone, at the end of its last window.
    costs: Option<Costs>,
    seen: u64,
    last_seen: u64,
    strange: u8,
    odd: u8,
}

impl Member {
    fn new(node: Uuid) -> Self {
        Self { node, samples: VecDeque::new(), level: 0.0, costs: None, seen: 0, last_seen: 0, strange: 0, odd: 0 }
    }

    fn is_ripe(&self) -> bool {
        self.samples.len() >= ENOUGH_SAMPLES
    }

    fn take(&mut self, sample: Sample, now: u64) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        (self.seen, self.last_seen) = (self.seen + 1, now);
    }

    /// Deviation of the claims around the node's own median.
    fn scatter(&self, costs: &Costs) -> f64 {
        let mut ratios = self.log_ratios(costs);
        let middle = median(&mut ratios);
        let mut distances: Vec<f64> = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
        NORMAL * median(&mut distances)
    }

    fn log_ratios(&self, costs: &Costs) -> Vec<f64> {
        self.samples.iter().map(|sample| costs.log_ratio(sample)).collect()
    }
}

impl Statistics {
    /// A class of which only a guess is known.
    pub fn new(guess: Costs) -> Self {
        let (spread, noise) = (USUAL_SPREAD, USUAL_NOISE);
        Self { members: Vec::new(), costs: guess, guess, spread, noise, ripe: 0, seen: 0 }
    }

    /// True once enough nodes have claimed enough.
    pub fn is_ripe(&self) -> bool {
        self.ripe >= ENOUGH_NODES
    }

    /// How a claim compares. None while the class has too few nodes.
    pub fn compare(&self, sample: &Sample) -> Option<Comparison> {
        self.is_ripe().then(|| Comparison {
            log_ratio: self.costs.log_ratio(sample),
            spread: self.scale(),
            noise: self.noise,
        })
    }

    /// Takes a claim, and at the end of a node's window says what is strange about it.
    pub fn observe(&mut self, node: Uuid, sample: Sample) -> Vec<Finding> {
        self.seen += 1;
        let now = self.seen;
        let Some(at) = self.place_of(node) else { return Vec::new() };
        self.members[at].take(sample, now);
        let newly_ripe = self.members[at].samples.len() == ENOUGH_SAMPLES;
        if newly_ripe || now.is_multiple_of(REFIT) {
            self.refit();
        }
        if self.members[at].seen.is_multiple_of(WINDOW) && self.is_ripe() {
            return [self.outside(at), self.odd(at)].into_iter().flatten().collect();
        }
        Vec::new()
    }

    /// The member's place; a newcomer to a full class gets that of a node that has left it, or none.
    fn place_of(&mut self, node: Uuid) -> Option<usize> {
        if let Some(at) = self.members.iter().position(|member| member.node == node) {
            return Some(at);
        }
        if self.members.len() == MEMBERS {
            let oldest = (0..MEMBERS).min_by_key(|at| self.members[*at].last_seen)?;
            let silence = self.seen - self.members[oldest].last_seen;
            if silence < (MEMBERS * SAMPLES) as u64 {
                return None;
            }
            self.members.swap_remove(oldest);
        }
        self.members.push(Member::new(node));
        Some(self.members.len() - 1)
    }

    /// Costs take their shape from everybody's claims, each node's divided by its own level, and their height from the
    /// median node.
    fn refit(&mut self) {
        let ripe = || self.members.iter().filter(|member| member.is_ripe());
        let tempered = |member: &'_ Member, sample: &Sample| self.costs.tempered(sample, member.level.exp());
        let levelled = ripe().flat_map(|member| member.samples.iter().map(move |sample| tempered(member, sample)));
        let costs = if ripe().count() == 0 { self.costs } else { self.costs.fitted(levelled, &self.guess) };
        let mut deviations = Vec::new();
        for member in &mut self.members {
            let mut ratios = member.log_ratios(&costs);
            member.level = median(&mut ratios);
            if member.is_ripe() {
                deviations.extend(ratios.iter().map(|ratio| (ratio - member.level).abs()));
            }
        }
        let mut levels: Vec<f64> =
            self.members.iter().filter(|member| member.is_ripe()).map(|member| member.level).collect();
        self.ripe = levels.len();
        let centre = median(&mut levels);
        self.costs = costs.scaled(centre.exp());
        self.members.iter_mut().for_each(|member| member.level -= centre);
        let mut distances: Vec<f64> = levels.iter().map(|level| (level - centre).abs()).collect();
        let (own, nodes) = (NORMAL * median(&mut distances), self.ripe as f64);
        self.spread = ((USUAL_WEIGHT * USUAL_SPREAD.powi(2) + nodes * own.powi(2)) / (USUAL_WEIGHT + nodes)).sqrt();
        if self.is_ripe() {
            self.noise = (NORMAL * median(&mut deviations)).max(LEAST_NOISE);
        }
    }

    /// The spread, with the error of a median of so few nodes.
    fn scale(&self) -> f64 {
        self.spread * (1.0 + std::f64::consts::FRAC_PI_2 / self.ripe.max(1) as f64).sqrt()
    }

    fn outside(&mut self, at: usize) -> Option<Finding> {
        let (scale, costs) = (self.scale(), self.costs);
        let member = &mut self.members[at];
        member.level = median(&mut member.log_ratios(&costs));
        let deviations = member.level / scale;
        member.strange = if deviations.abs() > STRANGE { member.strange.saturating_add(1) } else { 0 };
        (member.strange >= STRANGE_WINDOWS).then(|| {
            let reason = format!(
                "Its claims are {:.2} times those of the other nodes for the same work, {STRANGE_WINDOWS} windows in a row.",
                member.level.exp()
            );
            let figures = [("times the class median", member.level.exp()), ("robust deviations", deviations)];
            Finding::new(Kind::OutsideClass, reason, &figures)
        })
    }

    /// The slope test: what a step and a token cost by the node's own claims, against what they cost by the others', and
    /// how much of the claims neither explains.
    fn odd(&mut self, at: usize) -> Option<Finding> {
        if self.members[at].samples.len() < SAMPLES {
            return None;
        }
        let own = self.costs.fitted(self.members[at].samples.iter().copied(), &self.costs);
        self.members[at].costs = Some(own);
        let all: Vec<Costs> = self.members.iter().filter_map(|member| member.costs).collect();
        let is_outside = |cost: usize| {
            let mut costs: Vec<f64> = all.iter().map(|costs| costs.0[cost]).collect();
            let (low, high) = (percentile(&mut costs, 0.05), percentile(&mut costs, 0.95));
            own.0[cost] < low / MARGIN || own.0[cost] > high * MARGIN
        };
        let scatter = self.members[at].scatter(&self.costs);
        let is_odd = is_outside(0) || is_outside(1) || scatter > SCATTERED * self.noise;
        let member = &mut self.members[at];
        member.odd = if is_odd { member.odd.saturating_add(1) } else { 0 };
        (member.odd >= STRANGE_WINDOWS).then(|| {
            let reason = "Its claims follow steps and tokens otherwise than those of the other nodes.";
            let figures =
                [("microjoules a step", own.0[0]), ("microjoules an answer token", own.0[1]), ("scatter", scatter)];
            Finding::new(Kind::OddCosts, reason, &figures)
        })
    }

    /// Microjoules per answer token, for the class's usual work, that nine nodes in ten stay below. A class of too few
    /// nodes has the first guess instead, times how far that has been found off.
    pub fn ninetieth_percentile(&self) -> u64 {
        const GUESS_IS_LOW_BY: f64 = 2.6;
        let per_token = |amounts: &[f64; 3]| self.costs.expected(amounts) / amounts[1].max(1.0);
        let samples = self.members.iter().flat_map(|member| &member.samples);
        let mut figures: Vec<f64> = samples.map(|sample| per_token(&sample.amounts)).collect();
        // A node alone with one prompt token for each of the answer, where nobody has claimed anything yet.
        let usual = if figures.is_empty() { per_token(&[1.0; 3]) } else { median(&mut figures) };
        let mut levels: Vec<f64> =
            self.members.iter().filter(|member| member.is_ripe()).map(|member| member.level.exp()).collect();
        let level = if self.is_ripe() { percentile(&mut levels, 0.9) } else { GUESS_IS_LOW_BY };
        (usual * level).ceil() as u64
    }
}

#[cfg(test)]
mod tests;
