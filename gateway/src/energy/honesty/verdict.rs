//! What is held against a node, what follows from it, and how it is forgotten.

use openapi::energy::Tier;
use openapi::units::Microseconds;
use uuid::Uuid;

/// How much a verdict weighs, lightest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The node is believed and looked at more closely.
    Watch,
    /// The node's figures stand one tier lower.
    Lower,
    /// The node is not believed: its figures are tier X.
    Reject,
}

impl Severity {
    /// The word in the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Lower => "lower",
            Self::Reject => "reject",
        }
    }

    /// Observations in a row, of the kind that the verdict came from, after which it is forgotten unless it is repeated.
    pub const fn recovery(self) -> u32 {
        match self {
            Self::Watch | Self::Lower => 200,
            Self::Reject => 1_000,
        }
    }
}

/// Where a verdict comes from, and so which observations make it forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The claim for one attempt.
    Attempt,
    /// A report of counter windows.
    Report,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A claim less than physics allows.
    BelowFloor,
    /// A claim closer to that floor than any public measurement.
    NearFloor,
    /// A claim of more than the machine can draw.
    AboveCeiling,
    /// Parts that are more than the whole, or an interval beside the figure.
    Insane,
    /// Many attempts without a claim.
    Silent,
    /// Claims far from those of the other nodes of the class, window after window.
    OutsideClass,
    /// Claims that depend on tokens otherwise than those of the other nodes.
    OddCosts,
    /// Claims so low for the class that one honest node in thousands would make them.
    UnderClaim,
    /// Claims low for the class.
    LowClaim,
    /// Claims that have fallen below the node's own earlier ones, without a new start.
    SuddenDrop,
    /// Claims for canaries that are too low.
    OffCanary,
    /// A report that has been seen before.
    Replayed,
    /// Reports that do not bear the digest of the one before.
    BrokenChain,
    /// A report that is missing.
    MissingReport,
    /// Time that no report covers.
    Gap,
    /// Time that two reports cover, or a report that ends before it begins.
    Overlap,
    /// A report from the future.
    ClockAhead,
    /// A counter that does not go on where it was.
    BrokenCounter,
    /// A counter that has come or gone without a new start.
    PoolsChanged,
    /// A node that starts anew again and again.
    ManyStarts,
    /// Parts that are not the counter's movement.
    DoesNotAddUp,
    /// Much energy is said to be other programs'.
    MuchForeign,
    /// Most energy is said to have gone to requests that this gateway has not seen.
    MuchElsewhere,
    /// A counter that stands still while the machine computes.
    Frozen,
    /// Less power than the machine draws at rest.
    TooLittlePower,
    /// More power than the machine can draw.
    TooMuchPower,
    /// The attempts are not what was attributed to them.
    Unbalanced,
    /// Another node's counters move as this one's do.
    SharedMeter,
}

impl Kind {
    /// What follows.
    pub const fn severity(self) -> Severity {
        match self {
            Self::NearFloor | Self::OddCosts | Self::LowClaim => Severity::Watch,
            Self::MissingReport
            | Self::Gap
            | Self::Overlap
            | Self::ClockAhead
            | Self::PoolsChanged
            | Self::ManyStarts
            | Self::MuchForeign
            | Self::MuchElsewhere => Severity::Lower,
            _ => Severity::Reject,
        }
    }

    /// Where it is seen.
    pub const fn source(self) -> Source {
        match self {
            Self::BelowFloor
            | Self::NearFloor
            | Self::AboveCeiling
            | Self::Insane
            | Self::Silent
            | Self::OutsideClass
            | Self::OddCosts
            | Self::UnderClaim
            | Self::LowClaim
            | Self::SuddenDrop
            | Self::OffCanary => Source::Attempt,
            _ => Source::Report,
        }
    }
}

/// A figure that a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: &'static str,
    pub value: f64,
}

/// What was found, before it is known of whom and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub kind: Kind,
    /// A sentence for the operator.
    pub reason: String,
    pub evidence: Vec<Figure>,
}

impl Finding {
    /// A finding with its figures.
    pub fn new(kind: Kind, reason: impl Into<String>, evidence: &[(&'static str, f64)]) -> Self {
        let evidence = evidence.iter().map(|&(name, value)| Figure { name, value }).collect();
        Self { kind, reason: reason.into(), evidence }
    }

    /// The verdict on a node.
    pub fn on(self, node: Uuid, at: Microseconds) -> Verdict {
        Verdict { node, kind: self.kind, reason: self.reason, evidence: self.evidence, at }
    }
}

/// What is held against a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub node: Uuid,
    pub kind: Kind,
    /// A sentence for the operator.
    pub reason: String,
    pub evidence: Vec<Figure>,
    /// The gateway's clock, in microseconds since 1970.
    pub at: Microseconds,
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// False when no figure of the node is shown and it ranks at the class's 90th percentile.
    pub believed: bool,
    /// The best tier that its figures may bear.
    pub tier_cap: Tier,
    /// Why, in the operator's words: one sentence for each kind of verdict that is not forgotten yet.
    pub reasons: Vec<String>,
}

/// The verdicts on one node that are not forgotten: at most one of each kind.
#[derive(Clone, Debug, Default)]
pub struct Record {
    held: Vec<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    kind: Kind,
    reason: String,
    /// Observations since.
    good: u32,
}

impl Record {
    /// Takes what one observation has brought, which may be nothing.
    pub fn observe(&mut self, source: Source, findings: &[Finding]) {
        for held in self.held.iter_mut().filter(|held| held.kind.source() == source) {
            held.good += 1;
        }
        for finding in findings {
            self.held.retain(|held| held.kind != finding.kind);
            self.held.push(Held { kind: finding.kind, reason: finding.reason.clone(), good: 0 });
        }
        self.held.retain(|held| held.good < held.kind.severity().recovery());
    }

    /// The standing of a node whose figures claim this tier.
    pub fn standing(&self, claimed: Tier) -> Standing {
        let worst = self.held.iter().map(|held| held.kind.severity()).max();
        let tier_cap = match worst {
            None | Some(Severity::Watch) => Tier::A,
            Some(Severity::Lower) => one_lower(claimed),
            Some(Severity::Reject) => Tier::X,
        };
        let reasons = self.held.iter().map(|held| held.reason.clone()).collect();
        Standing { believed: worst != Some(Severity::Reject), tier_cap, reasons }
    }

    /// True when a verdict of this kind is held.
    pub fn holds(&self, kind: Kind) -> bool {
        self.held.iter().any(|held| held.kind == kind)
    }
}

/// The next tier; an estimate stays one, since it has the widest interval already.
fn one_lower(tier: Tier) -> Tier {
    match tier {
        Tier::A => Tier::B,
        Tier::B => Tier::C,
        Tier::C => Tier::D,
        Tier::D | Tier::E => Tier::E,
        Tier::X => Tier::X,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind) -> Finding {
        Finding::new(kind, format!("{kind:?}"), &[("joules", 1.0)])
    }

    #[test]
    fn the_worst_verdict_decides() {
        let mut record = Record::default();
        assert_eq!(record.standing(Tier::B), Standing { believed: true, tier_cap: Tier::A, reasons: vec![] });
        record.observe(Source::Attempt, &[finding(Kind::NearFloor)]);
        assert_eq!(record.standing(Tier::B).tier_cap, Tier::A);
        record.observe(Source::Report, &[finding(Kind::MuchForeign)]);
        assert_eq!(record.standing(Tier::B).tier_cap, Tier::C);
        record.observe(Source::Attempt, &[finding(Kind::BelowFloor)]);
        let standing = record.standing(Tier::B);
        assert_eq!((standing.believed, standing.tier_cap), (false, Tier::X));
        assert_eq!(standing.reasons, ["NearFloor", "MuchForeign", "BelowFloor"]);
    }

    #[test]
    fn only_good_observations_of_the_same_source_heal() {
        let mut record = Record::default();
        record.observe(Source::Attempt, &[finding(Kind::BelowFloor)]);
        for _ in 0..5_000 {
            record.observe(Source::Report, &[]);
        }
        assert!(record.holds(Kind::BelowFloor));
        for _ in 1..Severity::Reject.recovery() {
            record.observe(Source::Attempt, &[]);
        }
        assert!(record.holds(Kind::BelowFloor), "one is missing");
        record.observe(Source::Attempt, &[finding(Kind::BelowFloor)]);
        record.observe(Source::Attempt, &[]);
        assert!(record.holds(Kind::BelowFloor), "it counts anew");
        for _ in 1..Severity::Reject.recovery() {
            record.observe(Source::Attempt, &[]);
        }
        assert!(record.standing(Tier::A).believed);
    }

    #[test]
    fn the_record_has_a_bound() {
        let mut record = Record::default();
        for _ in 0..1_000 {
            record.observe(Source::Report, &[finding(Kind::Gap), finding(Kind::Overlap)]);
        }
        assert_eq!(record.held.len(), 2);
    }
}
