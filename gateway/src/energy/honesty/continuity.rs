//! Whether a node's reports follow each other: no report missing or twice, no time left out, no counter set back.

use openapi::energy::report::EnergyReport;
use openapi::units::{Microjoules, Microseconds};

use super::verdict::{Finding, Kind};

/// How far two clocks may be apart, and how far the ends of two reports.
const CLOCKS_APART: Microseconds = Microseconds::new(100_000);
/// Starts among the last 64 reports: each forgets what a node may be compared with.
const MOST_STARTS: u32 = 3;

/// The end of the last report.
#[derive(Clone, Debug)]
struct Last {
    sequence: u64,
    /// BLAKE3 of its JWS, lower-case hexadecimal.
    digest: String,
    to: Microseconds,
    counters: Vec<(String, Microjoules)>,
}

/// The reports of one node.
#[derive(Clone, Debug, Default)]
pub struct Continuity {
    last: Option<Last>,
    /// A bit for each of the last reports: a start.
    starts: u64,
}

/// What is known of a report once its place among the others is.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    pub findings: Vec<Finding>,
    /// False for what has been seen before: nothing of it counts.
    pub is_new: bool,
    /// It stands where the one before it ended: sums go on. Otherwise they begin anew.
    pub goes_on: bool,
    /// The node has started since the last one.
    pub is_start: bool,
}

impl Continuity {
    /// Takes a report, the digest of its JWS, and the gateway's time.
    pub fn observe(&mut self, report: &EnergyReport, digest: &str, at: Microseconds) -> Followed {
        let from_nothing =
            !report.pools.is_empty() && report.pools.iter().all(|pool| pool.counter_from == Microjoules::ZERO);
        let counted_before = |last: &Last| last.counters.iter().any(|(_, counter)| *counter > Microjoules::ZERO);
        let is_start = from_nothing && self.last.as_ref().is_none_or(counted_before);
        let mut findings = Vec::new();
        if let Some(last) = &self.last {
            if report.sequence <= last.sequence {
                let finding = numbers(last, report, Kind::Replayed, "A report has come a second time.");
                return Followed { findings: vec![finding], is_new: false, goes_on: false, is_start: false };
            }
            findings.extend(chained(last, report));
            findings.extend(timed(last, report, from_nothing));
            findings.extend(counted(last, report, from_nothing));
        }
        self.starts = self.starts << 1 | u64::from(is_start);
        findings.extend(started(self.starts.count_ones()));
        findings.extend(clocked(report, at));
        findings.extend(added(report));
        let follows = self.last.as_ref().is_some_and(|last| report.sequence == last.sequence + 1);
        let counters = report.pools.iter().map(|pool| (pool.pool.clone(), pool.counter_to)).collect();
        self.last = Some(Last { sequence: report.sequence, digest: digest.to_owned(), to: report.to, counters });
        Followed { goes_on: follows && findings.is_empty(), is_new: true, is_start, findings }
    }
}

fn numbers(last: &Last, report: &EnergyReport, kind: Kind, reason: &str) -> Finding {
    Finding::new(kind, reason, &[("sequence before", last.sequence as f64), ("sequence", report.sequence as f64)])
}

/// Sequence and digest.
fn chained(last: &Last, report: &EnergyReport) -> Option<Finding> {
    if report.sequence > last.sequence + 1 {
        return Some(numbers(last, report, Kind::MissingReport, "Reports are missing between two."));
    }
    let broken = report.previous != last.digest;
    broken.then(|| numbers(last, report, Kind::BrokenChain, "A report does not bear the digest of the one before it."))
}

/// No time is left out but before a start, and none is counted twice.
fn timed(last: &Last, report: &EnergyReport, is_start: bool) -> Option<Finding> {
    let figures =
        [("seconds left out", seconds(report.from - last.to)), ("seconds twice", seconds(last.to - report.from))];
    if last.to - report.from > CLOCKS_APART {
        return Some(Finding::new(Kind::Overlap, "A report begins before the one before it ends.", &figures));
    }
    let missing = report.from - last.to > CLOCKS_APART && report.sequence == last.sequence + 1 && !is_start;
    missing.then(|| Finding::new(Kind::Gap, "There is time that no report covers, without a new start.", &figures))
}

/// A report ends after it begins, and not in the future.
fn clocked(report: &EnergyReport, at: Microseconds) -> Option<Finding> {
    if report.to < report.from || report.busy_microseconds - (report.to - report.from) > CLOCKS_APART {
        let figures = [("seconds", seconds(report.to - report.from)), ("busy", seconds(report.busy_microseconds))];
        return Some(Finding::new(Kind::Overlap, "A report covers less time than it says it computed in.", &figures));
    }
    let ahead = report.to - at;
    (ahead > CLOCKS_APART)
        .then(|| Finding::new(Kind::ClockAhead, "A report ends in the future.", &[("seconds ahead", seconds(ahead))]))
}

/// Every counter goes on where it was, and none comes or goes but at a start.
fn counted(last: &Last, report: &EnergyReport, is_start: bool) -> Option<Finding> {
    if is_start || report.sequence != last.sequence + 1 {
        return None;
    }
    let before = |name: &str| last.counters.iter().find(|(pool, _)| pool == name).map(|(_, counter)| *counter);
    for pool in &report.pools {
        let Some(counter) = before(&pool.pool) else { continue };
        if counter != pool.counter_from {
            let figures = [("joules before", counter.joules()), ("joules", pool.counter_from.joules())];
            return Some(Finding::new(
                Kind::BrokenCounter,
                format!("{} does not go on where it was.", pool.pool),
                &figures,
            ));
        }
    }
    let same =
        report.pools.len() == last.counters.len() && report.pools.iter().all(|pool| before(&pool.pool).is_some());
    let figures = [("pools before", last.counters.len() as f64), ("pools", report.pools.len() as f64)];
    (!same).then(|| Finding::new(Kind::PoolsChanged, "A counter has come or gone without a new start.", &figures))
}

/// Every pool adds up, and is there once.
fn added(report: &EnergyReport) -> Option<Finding> {
    let twice = |at: usize| report.pools[..at].iter().any(|pool| pool.pool == report.pools[at].pool);
    let wrong = (0..report.pools.len()).find(|at| twice(*at) || !report.pools[*at].adds_up())?;
    let pool = &report.pools[wrong];
    let figures = [
        ("joules counted", pool.total().joules()),
        ("attributed", pool.attributed.joules()),
        ("elsewhere", pool.elsewhere.joules()),
        ("idle", pool.idle.joules()),
        ("foreign", pool.foreign.joules()),
    ];
    Some(Finding::new(Kind::DoesNotAddUp, format!("The parts of {} are not what it counted.", pool.pool), &figures))
}

fn started(starts: u32) -> Option<Finding> {
    let reason = "It starts anew again and again.";
    let figures = [("starts in 64 reports", f64::from(starts))];
    (starts > MOST_STARTS).then(|| Finding::new(Kind::ManyStarts, reason, &figures))
}

fn seconds(span: Microseconds) -> f64 {
    span.get() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use openapi::energy::report::PoolWindow;
    use openapi::energy::{Boundary, StepCosts, Tier};
    use proptest::prelude::*;

    use super::*;

    fn pool(from: u64, to: u64) -> PoolWindow {
        PoolWindow {
            pool: "gpu-0".to_owned(),
            tier: Tier::B,
            boundary: Boundary::Device,
            counter_from: Microjoules::new(from),
            counter_to: Microjoules::new(to),
            attributed: Microjoules::new(to - from),
            elsewhere: Microjoules::ZERO,
            idle: Microjoules::ZERO,
            foreign: Microjoules::ZERO,
        }
    }

    /// The report of a second, from this one on.
    fn report(sequence: u64) -> EnergyReport {
        let second = |number: u64| Microseconds::new(number * 1_000_000);
        EnergyReport {
            sequence,
            previous: format!("{}", sequence - 1),
            from: second(sequence),
            to: second(sequence + 1),
            busy_microseconds: second(1),
            pools: vec![pool(sequence * 100, sequence * 100 + 100)],
            costs: StepCosts::default(),
            grid: None,
            settled: Vec::new(),
        }
    }

    fn kinds(change: impl FnOnce(&mut EnergyReport)) -> Vec<Kind> {
        let mut continuity = Continuity::default();
        assert_eq!(observed(&mut continuity, &report(7)).findings, []);
        assert_eq!(observed(&mut continuity, &report(8)).findings, []);
        let mut next = report(9);
        change(&mut next);
        observed(&mut continuity, &next).findings.into_iter().map(|finding| finding.kind).collect()
    }

    fn observed(continuity: &mut Continuity, report: &EnergyReport) -> Followed {
        continuity.observe(report, &report.sequence.to_string(), Microseconds::new(11_000_000))
    }

    #[test]
    fn reports_that_follow_each_other_go_on() {
        let mut continuity = Continuity::default();
        assert!(!observed(&mut continuity, &report(3)).goes_on, "the first has nothing before it");
        for sequence in 4..9 {
            let followed = observed(&mut continuity, &report(sequence));
            assert!(followed.goes_on && followed.is_new && !followed.is_start && followed.findings.is_empty());
        }
    }

    #[test]
    fn everything_that_does_not_follow_is_found() {
        let second = |number: u64| Microseconds::new(number * 1_000_000);
        assert_eq!(kinds(|report| report.sequence = 8), [Kind::Replayed]);
        assert_eq!(kinds(|report| report.previous = "7".to_owned()), [Kind::BrokenChain]);
        assert_eq!(kinds(|report| report.sequence = 10), [Kind::MissingReport]);
        assert_eq!(kinds(|report| (report.from, report.busy_microseconds) = (second(9) + CLOCKS_APART, second(0))), []);
        let late = |report: &mut EnergyReport| {
            (report.from, report.busy_microseconds) = (Microseconds::new(9_100_001), second(0))
        };
        assert_eq!(kinds(late), [Kind::Gap]);
        assert_eq!(kinds(|report| report.from = second(9) - CLOCKS_APART), []);
        assert_eq!(kinds(|report| report.from = Microseconds::new(8_899_999)), [Kind::Overlap]);
        assert_eq!(kinds(|report| report.to = second(8)), [Kind::Overlap], "backwards");
        assert_eq!(kinds(|report| report.busy_microseconds = second(2)), [Kind::Overlap]);
        assert_eq!(kinds(|report| report.to = second(11) + CLOCKS_APART), []);
        assert_eq!(kinds(|report| report.to = second(12)), [Kind::ClockAhead]);
        assert_eq!(kinds(|report| report.pools = vec![pool(899, 1_000)]), [Kind::BrokenCounter]);
        assert_eq!(kinds(|report| report.pools.clear()), [Kind::PoolsChanged]);
        assert_eq!(kinds(|report| report.pools[0].pool = "gpu-1".to_owned()), [Kind::PoolsChanged]);
        assert_eq!(kinds(|report| report.pools[0].idle = Microjoules::new(1)), [Kind::DoesNotAddUp]);
        assert_eq!(kinds(|report| report.pools.push(pool(900, 1_000))), [Kind::PoolsChanged, Kind::DoesNotAddUp]);
    }

    #[test]
    fn a_start_may_leave_time_out_and_change_counters() {
        let mut continuity = Continuity::default();
        observed(&mut continuity, &report(4));
        let mut start = EnergyReport { previous: "4".to_owned(), sequence: 5, ..report(9) };
        start.pools = vec![PoolWindow { pool: "package-0".to_owned(), ..pool(0, 50) }];
        let followed = observed(&mut continuity, &start);
        assert!(followed.findings.is_empty() && followed.is_start && followed.goes_on, "{followed:?}");
        let mut continuity = Continuity::default();
        observed(&mut continuity, &report(4));
        start.from = Microseconds::new(4_000_000);
        let kinds: Vec<Kind> = observed(&mut continuity, &start).findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [Kind::Overlap], "but not count time twice");
    }

    #[test]
    fn a_counter_that_has_not_moved_yet_is_no_start_and_many_starts_are_told() {
        let mut continuity = Continuity::default();
        let still = |number: u64| EnergyReport { pools: vec![pool(0, 0)], ..report(number) };
        assert!(observed(&mut continuity, &still(1)).is_start);
        let followed = observed(&mut continuity, &still(2));
        assert!(followed.goes_on && !followed.is_start, "{followed:?}");
        let moved = |number: u64| EnergyReport { pools: vec![pool(0, 9)], ..report(number) };
        let kinds: Vec<Kind> = (3..8)
            .flat_map(|number| observed(&mut continuity, &moved(number)).findings)
            .map(|finding| finding.kind)
            .collect();
        // The first of these goes on from nothing; the others begin there again.
        assert_eq!(kinds, [Kind::ManyStarts; 2]);
    }

    proptest! {
        /// Whatever is done to one counter of one report of an honest series is found there or right after it.
        #[test]
        fn no_microjoule_disappears(at in 1usize..8, less in 1u64..100, end: bool) {
            let mut continuity = Continuity::default();
            let mut found = Vec::new();
            for number in 0..9usize {
                let mut next = report(number as u64 + 1);
                if number == at {
                    let window = &mut next.pools[0];
                    let counter = if end { &mut window.counter_to } else { &mut window.counter_from };
                    *counter = if end { *counter - Microjoules::new(less) } else { *counter + Microjoules::new(less) };
                    window.attributed = window.total();
                }
                found.extend(observed(&mut continuity, &next).findings.into_iter().map(|finding| finding.kind));
            }
            prop_assert_eq!(found, [Kind::BrokenCounter]);
        }
    }
}
