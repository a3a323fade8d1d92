//! What the gateway has been asked to reach, and whether it does.

use super::arm::PEERS;
use super::summary::{FLOOR, Group, Row, hundredths, mebibytes};

/// One thing to reach.
struct Target {
    what: &'static str,
    /// By which kind of requests it is measured.
    profile: &'static str,
    measure: Measure,
}

enum Measure {
    /// Processor time of each of these, in hundredths of nginx's.
    Ratio {
        arms: &'static [&'static str],
        most: i64,
    },
    /// Processor time of this one is less than that of every other gateway.
    BelowPeers {
        arm: &'static str,
    },
    /// Processor time of the database, in microseconds.
    Database {
        arm: &'static str,
        most: i64,
    },
    /// What clients wait longer than with nginx: half of them, or all but one in a hundred. In microseconds.
    AddedMedian {
        arm: &'static str,
        most: i64,
    },
    AddedP99 {
        arm: &'static str,
        most: i64,
    },
    /// What the pauses of a stream are longer than without anything between, for all but one in a hundred. In microseconds.
    AddedGap {
        arm: &'static str,
        most: i64,
    },
    /// In MiB.
    Memory {
        arm: &'static str,
        most: i64,
    },
}

const fn target(what: &'static str, profile: &'static str, measure: Measure) -> Target {
    Target { what, profile, measure }
}

const TARGETS: [Target; 12] = [
    target("bare, answer in one piece", "json", Measure::Ratio { arms: &["bare"], most: 200 }),
    target("governed, answer in one piece", "json", Measure::Ratio { arms: &["governed"], most: 300 }),
    target("governed, answer in one piece", "json", Measure::BelowPeers { arm: "governed" }),
    target("database, for a governed request", "json", Measure::Database { arm: "governed", most: 50 }),
    target("median, 1,000 requests a second, bare", "json-paced", Measure::AddedMedian { arm: "bare", most: 40 }),
    target(
        "median, 1,000 requests a second, governed",
        "json-paced",
        Measure::AddedMedian { arm: "governed", most: 70 },
    ),
    target(
        "99th percentile, 1,000 requests a second, governed",
        "json-paced",
        Measure::AddedP99 { arm: "governed", most: 1000 },
    ),
    target("slow stream, for a token", "slow", Measure::Ratio { arms: &["bare", "governed"], most: 115 }),
    target("prompt of 60 KB, bare", "prompt", Measure::Ratio { arms: &["bare"], most: 150 }),
    target("stream of 32 events, governed", "burst", Measure::Ratio { arms: &["governed"], most: 250 }),
    target(
        "gap between two events, 50 slow streams, 99th percentile, governed",
        "slow",
        Measure::AddedGap { arm: "governed", most: 1000 },
    ),
    target("memory, governed, answers in one piece", "json", Measure::Memory { arm: "governed", most: 35 }),
];

/// A target beside what was measured.
pub(super) struct Judged {
    pub(super) target: String,
    /// None where it was not measured.
    pub(super) measured: Option<(String, bool)>,
}

/// All targets.
pub(super) fn judged(groups: &[Group]) -> Vec<Judged> {
    let judge = |target: &Target| {
        let group = groups.iter().find(|group| group.profile.name == target.profile);
        let measured = group.and_then(|group| target.measure.of(group));
        Judged { target: format!("{}: {}", target.what, target.measure.limit()), measured }
    };
    TARGETS.iter().map(judge).collect()
}

impl Measure {
    fn limit(&self) -> String {
        match self {
            Self::Ratio { most, .. } if most % 100 == 0 => format!("at most {} × nginx", most / 100),
            Self::Ratio { most, .. } => format!("at most {} × nginx", hundredths(*most).trim_end_matches('0')),
            Self::BelowPeers { .. } => "less than any other gateway, bare".to_owned(),
            Self::Database { most, .. } => format!("at most {most} µs"),
            Self::AddedMedian { most, .. } => format!("at most {most} µs more than nginx"),
            Self::AddedP99 { most, .. } => format!("at most {} ms more than nginx", most / 1000),
            Self::AddedGap { most, .. } => format!("at most {} ms added", most / 1000),
            Self::Memory { most, .. } => format!("at most {most} MiB"),
        }
    }

    /// What was measured, in words, and whether that will do.
    fn of(&self, group: &Group) -> Option<(String, bool)> {
        match *self {
            Self::Ratio { arms, most } => ratio(group, arms, most),
            Self::BelowPeers { arm } => below_peers(group, arm),
            Self::Database { arm, most } => {
                let taken = group.row(arm)?.database / 1000;
                Some((format!("{taken} µs"), taken <= most))
            }
            Self::AddedMedian { arm, most } => added(group, arm, |row| row.median, most),
            Self::AddedP99 { arm, most } => added(group, arm, |row| row.p99, most),
            Self::AddedGap { arm, most } => {
                let gap = |arm| Some(group.row(arm)?.gap_p99 / 1000);
                let (ours, direct) = (gap(arm)?, gap("direct")?);
                let said = |gap: i64| format!("{}.{} ms", gap / 1000, gap % 1000 / 100);
                let floor = gap(FLOOR).map_or_else(String::new, |gap| format!(", {FLOOR} {}", said(gap)));
                let words = format!("{arm} {}{floor}, without anything between {}", said(ours), said(direct));
                Some((words, ours - direct <= most))
            }
            Self::Memory { arm, most } => {
                let held = |arm| Some(mebibytes(group.row(arm)?.resident?));
                let others = ["bare", FLOOR].into_iter().filter_map(|arm| Some(format!("{arm} {}", held(arm)?)));
                let others: Vec<String> = others.collect();
                let ours = held(arm)?;
                Some((format!("{ours} MiB ({})", others.join(", ")), ours <= most))
            }
        }
    }
}

fn ratio(group: &Group, arms: &[&str], most: i64) -> Option<(String, bool)> {
    let mut words = Vec::new();
    let mut met = true;
    for arm in arms {
        let ratio = group.row(arm)?.ratio?.median;
        met &= ratio <= most;
        words.push(if arms.len() == 1 {
            format!("{} ×", hundredths(ratio))
        } else {
            format!("{} × {arm}", hundredths(ratio))
        });
    }
    Some((words.join(", "), met))
}

fn below_peers(group: &Group, arm: &str) -> Option<(String, bool)> {
    let taken = |arm| Some(group.row(arm)?.processor?.median);
    let ours = taken(arm)?;
    let peers: Vec<(&str, i64)> = PEERS.into_iter().filter_map(|peer| Some((peer, taken(peer)?))).collect();
    let words: Vec<String> = peers.iter().map(|(peer, time)| format!("{peer} {}", time / 1000)).collect();
    let met = peers.iter().all(|(_, time)| ours < *time);
    (!peers.is_empty()).then(|| (format!("{} µs; {}", ours / 1000, words.join(", ")), met))
}

/// In microseconds, beside nginx.
fn added(group: &Group, arm: &str, time: fn(&Row) -> i64, most: i64) -> Option<(String, bool)> {
    let taken = |arm| Some(time(group.row(arm)?) / 1000);
    let (ours, floor) = (taken(arm)?, taken(FLOOR)?);
    Some((format!("{} µs ({ours}, {FLOOR} {floor})", ours - floor), ours - floor <= most))
}

#[cfg(test)]
mod tests {
    use super::super::summary::summary;
    use super::super::summary::tests::{comparison, turn};
    use super::*;

    #[test]
    fn what_is_reached_is_told_from_what_is_not() {
        let arms = [("nginx", 10), ("sglang-router", 29), ("bare", 20), ("governed", 31)];
        let groups = summary(&comparison(arms.map(|(arm, time)| turn("json", arm, 0, time)).into()));
        let judged = judged(&groups);
        let of =
            |words: &str| judged.iter().find(|judged| judged.target.ends_with(words)).map(|judged| &judged.measured);
        let met = |words: &str| of(words).and_then(|measured| Some(measured.as_ref()?.1));
        assert_eq!(met("at most 2 × nginx"), Some(true));
        assert_eq!(met("at most 3 × nginx"), Some(false));
        assert_eq!(met("less than any other gateway, bare"), Some(false));
        assert_eq!(met("at most 50 µs"), Some(true));
        assert_eq!(met("at most 35 MiB"), Some(true));
        assert_eq!(of("at most 1.15 × nginx"), Some(&None), "not measured");
    }
}
