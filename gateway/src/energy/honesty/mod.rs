//! Whether a node's figures can be believed. Pure: time and data are arguments, and memory has a bound.
//!
//! A node measures itself and could lie. What the gateway knows without it are its own token counts and clock, physics
//! ([`bounds`]), what other nodes of the class claim ([`classes`], [`under_claim`], [`canary`]), and that the node's own
//! words must fit each other ([`continuity`], [`balance`]) and nobody else's ([`meters`]). A [`Judge`] holds all of it and
//! says how a node stands.
//!
//! What does not find a lie: a node whose sensors themselves are false, and that stays between the floors and the most
//! frugal honest nodes of its class, in its reports as in its claims, from its first request on. It gains no more by it than
//! to look like one of those. And a class in which most nodes lie alike has the wrong median.
//!
//! Nobody gains by silence: without a claim, and without belief, a node ranks at its class's 90th percentile, and no claim
//! ranks behind that.

pub mod balance;

pub mod bounds;

pub mod canary;

pub mod classes;

pub mod continuity;

pub mod costs;

pub mod meters;

mod robust;

pub mod under_claim;

pub mod verdict;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use openapi::energy::report::EnergyReport;
use openapi::energy::{Energy, Tier};
use openapi::units::{Microjoules, Microseconds};
use uuid::Uuid;

use balance::{Balance, MOST_CROWD};
use bounds::{Machine, Model, Place, Work};
use classes::{Class, Classes};
use continuity::Continuity;
use costs::Sample;
use meters::Meters;
use under_claim::UnderClaim;
use verdict::{Finding, Kind, Record, Source, Standing, Verdict};

/// Of the last 64 attempts, those without a claim that are too many.
const MOST_SILENT: u32 = 6;

/// An attempt whose energy is settled, or was never claimed.
#[derive(Clone, Copy, Debug)]
pub struct Settled<'a> {
    pub node: Uuid,
    pub class: &'a Class,
    pub machine: &'a Machine,
    pub model: &'a Model,
    pub work: Work,
    /// How many attempts of this gateway ran on the node meanwhile, on average, itself among them.
    pub batch: f64,
    /// None, or tier X, when the node claims nothing.
    pub claim: Option<&'a Energy>,
    /// See [`canary::Canaries`].
    pub is_canary: bool,
    /// The gateway's clock, in microseconds since 1970.
    pub at: Microseconds,
}

/// A report whose signature has been verified.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    pub node: Uuid,
    pub report: &'a EnergyReport,
    /// BLAKE3 of its JWS, lower-case hexadecimal.
    pub digest: &'a str,
    pub machine: &'a Machine,
    /// When the oldest attempt began whose energy the node has not settled, this report included, by the gateway's clock
    /// and count; none when there is none.
    pub oldest_running: Option<Microseconds>,
    /// The gateway's clock when it came, in microseconds since 1970.
    pub at: Microseconds,
}

/// What is known of one node: a few kilobytes.
#[derive(Clone, Debug)]
struct Node {
    record: Record,
    under_claim: UnderClaim,
    canaries: canary::Claims,
    continuity: Continuity,
    balance: Balance,
    /// A bit for each of the last attempts: without a claim.
    silence: u64,
    /// The tier of its last report or claim.
    tier: Tier,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            record: Record::default(),
            under_claim: UnderClaim::default(),
            canaries: canary::Claims::default(),
            continuity: Continuity::default(),
            balance: Balance::default(),
            silence: 0,
            tier: Tier::A,
        }
    }
}

/// Holds what is known of every node and class.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    nodes: HashMap<Uuid, Node>,
    classes: Classes,
    meters: Meters,
}

impl Judge {
    /// Takes an attempt, and says what is wrong with its claim.
    pub fn observe_settled(&mut self, settled: &Settled<'_>) -> Vec<Verdict> {
        let node = self.nodes.entry(settled.node).or_default();
        let claim = settled.claim.filter(|claim| claim.tier != Tier::X);
        node.silence = node.silence << 1 | u64::from(claim.is_none());
        let findings = match claim {
            None => silent(node.silence).into_iter().collect(),
            Some(claim) => {
                node.tier = claim.tier;
                claimed(node, &mut self.classes, settled, claim)
            }
        };
        node.record.observe(Source::Attempt, &findings);
        findings.into_iter().map(|finding| finding.on(settled.node, settled.at)).collect()
    }

    /// Takes a report, and says what is wrong with it; of two nodes on one meter, for both.
    pub fn observe_report(&mut self, reported: &Reported<'_>) -> Vec<Verdict> {
        let (id, report, at) = (reported.node, reported.report, reported.at);
        let node = self.nodes.entry(id).or_default();
        let followed = node.continuity.observe(report, reported.digest, at);
        let mut findings = followed.findings;
        let mut others = Vec::new();
        if followed.is_new {
            if followed.is_start {
                node.under_claim.restart();
            }
            if followed.is_start || !followed.goes_on {
                node.balance.restart();
                self.meters.restart(id);
            }
            node.tier = balance::tier(report);
            findings.extend(node.balance.observe(report, reported.machine, reported.oldest_running));
            let moved = report.pools.iter().fold(0u64, |sum, pool| sum.saturating_add(pool.total().get()));
            others = self.meters.observe(id, report.sequence, report.to, Microjoules::new(moved));
        }
        findings.extend(others.first().map(|(_, finding)| finding.clone()));
        node.record.observe(Source::Report, &findings);
        let mut verdicts: Vec<Verdict> = findings.into_iter().map(|finding| finding.on(id, at)).collect();
        for (other, found) in others {
            let reason = format!("Its counters move as those of node {id} do: both read one meter.");
            let finding = Finding { reason, ..found };
            let record = &mut self.nodes.entry(other).or_default().record;
            record.observe(Source::Report, std::slice::from_ref(&finding));
            verdicts.push(finding.on(other, at));
        }
        verdicts
    }

    /// How a node stands. Nothing is held against one that nobody knows.
    pub fn standing(&self, node: Uuid) -> Standing {
        self.nodes
            .get(&node)
            .map_or_else(|| Record::default().standing(Tier::A), |node| node.record.standing(node.tier))
    }

    /// What a node ranks with, in microjoules per answer token: the upper end of the interval around its claim, so that
    /// nobody wins by being vague; at most the class's 90th percentile, which stands for tier X and for missing claims too.
    /// A class that nobody knows ranks last.
    pub fn ranking_microjoules_per_token(&self, class: &Class, tier: Tier, claimed: Option<u64>) -> u64 {
        let most = self.classes.ninetieth_percentile(class).unwrap_or(u64::MAX);
        let upper = |claimed: u64| u64::try_from(u128::from(claimed) * u128::from(tier.interval_milli().1) / 1_000);
        claimed.filter(|_| tier != Tier::X).map_or(most, |claimed| upper(claimed).unwrap_or(u64::MAX).min(most))
    }

    /// Forgets what is held against a node, after somebody has looked.
    pub fn pardon(&mut self, node: Uuid) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.record = Record::default();
        }
    }

    /// Forgets a node that is no more.
    pub fn forget(&mut self, node: Uuid) {
        self.nodes.remove(&node);
        self.meters.restart(node);
    }
}

fn silent(silence: u64) -> Option<Finding> {
    let missing = silence.count_ones();
    (missing > MOST_SILENT).then(|| {
        let figures = [("of the last 64", f64::from(missing))];
        Finding::new(Kind::Silent, "Many of its attempts come without a claim of energy.", &figures)
    })
}

fn claimed(node: &mut Node, classes: &mut Classes, settled: &Settled<'_>, claim: &Energy) -> Vec<Finding> {
    let joules = claim.microjoules.joules();
    if !claim.is_sane() {
        let figures = [("joules", joules), ("marginal", claim.marginal_microjoules.joules())];
        return vec![Finding::new(Kind::Insane, "The parts of a claim are more than the whole.", &figures)];
    }
    let (work, machine, model) = (&settled.work, settled.machine, settled.model);
    let figures = |bound: Microjoules| [("joules", joules), ("bound", bound.joules())];
    let mut findings = match bounds::place(claim.microjoules, claim.boundary, work, machine, model) {
        Place::Within => Vec::new(),
        Place::Near { least } => {
            vec![Finding::new(Kind::NearFloor, "It claims less than anybody has published.", &figures(least))]
        }
        Place::Below { least } => {
            return vec![Finding::new(Kind::BelowFloor, "It claims less than physics allows.", &figures(least))];
        }
        Place::Above { most } => {
            return vec![Finding::new(Kind::AboveCeiling, "It claims more than it can draw.", &figures(most))];
        }
    };
    let crowd = node.balance.crowd();
    if crowd <= MOST_CROWD && work.completion_tokens > 0 {
        let batch = (settled.batch * crowd).min(work.tokens_per_step.max(1) as f64);
        let sample = Sample::new(work, batch, claim.microjoules.get());
        let Some(class) = classes.of(settled.class, claim.tier, (machine, model), &sample) else { return findings };
        if let Some(comparison) = class.compare(&sample) {
            findings.extend(node.under_claim.observe(settled.class, &comparison));
            findings.extend(settled.is_canary.then(|| node.canaries.observe(&comparison)).flatten());
        }
        findings.extend(class.observe(settled.node, sample));
    }
    findings
}
