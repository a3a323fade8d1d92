//! What comes of all turns: the median of the rounds, and of their ratios to what nginx took in the same round.

use super::arm::ARMS;
use super::profile::{PROFILES, Profile};
use super::turn::{Comparison, Turn};
use crate::figures::median;

/// What others are compared with.
pub(super) const FLOOR: &str = "nginx";

/// The middle, and how far the rounds lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) median: i64,
    pub(super) least: i64,
    pub(super) most: i64,
}

/// What one did at one kind of requests. Times are in nanoseconds, for a request or for a token.
pub(super) struct Row {
    pub(super) arm: &'static str,
    /// Of the program that is compared; none where there is none.
    pub(super) processor: Option<Range>,
    /// To what nginx took, in hundredths.
    pub(super) ratio: Option<Range>,
    pub(super) database: i64,
    /// Most memory held after a turn, in bytes.
    pub(super) resident: Option<i64>,
    /// What clients saw.
    pub(super) median: i64,
    pub(super) p99: i64,
    pub(super) gap_p99: i64,
    pub(super) per_second: i64,
    /// Of all requests of all rounds.
    pub(super) requests: usize,
    pub(super) failed: usize,
    pub(super) late: usize,
}

/// A kind of requests, and all who were measured at it.
pub(super) struct Group {
    pub(super) profile: &'static Profile,
    pub(super) rows: Vec<Row>,
}

impl Group {
    pub(super) fn row(&self, arm: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.arm == arm)
    }
}

/// All kinds of requests that were measured.
pub(super) fn summary(comparison: &Comparison) -> Vec<Group> {
    let groups = PROFILES.iter().map(|profile| {
        let turns: Vec<&Turn> = comparison.turns.iter().filter(|turn| turn.profile == profile.name).collect();
        Group { profile, rows: ARMS.into_iter().filter_map(|arm| row(profile, arm, &turns)).collect() }
    });
    groups.filter(|group| !group.rows.is_empty()).collect()
}

fn row(profile: &Profile, arm: &'static str, all: &[&Turn]) -> Option<Row> {
    let turns: Vec<&Turn> = all.iter().copied().filter(|turn| turn.arm == arm).collect();
    let middle = |value: fn(&Turn) -> i64| median(&turns.iter().map(|turn| value(turn)).collect::<Vec<_>>());
    let processor: Option<Vec<i64>> = turns.iter().map(|turn| per_unit(profile, turn, turn.processor)).collect();
    let ratios: Option<Vec<i64>> = turns
        .iter()
        .map(|turn| {
            let floor = all.iter().find(|other| other.arm == FLOOR && other.round == turn.round)?;
            let floor = per_unit(profile, floor, floor.processor)?;
            let taken = per_unit(profile, turn, turn.processor)?;
            Some((100 * taken + floor / 2) / floor.max(1))
        })
        .collect();
    let database: Vec<i64> = turns.iter().filter_map(|turn| per_unit(profile, turn, Some(turn.database))).collect();
    (!turns.is_empty()).then(|| Row {
        arm,
        processor: processor.map(|times| Range::of(&times)),
        ratio: ratios.map(|ratios| Range::of(&ratios)),
        database: median(&database),
        resident: turns.iter().filter_map(|turn| turn.resident).max(),
        median: middle(|turn| turn.total.median),
        p99: middle(|turn| turn.total.p99),
        gap_p99: middle(|turn| turn.gap.p99),
        per_second: middle(|turn| turn.requests as i64 * 1_000_000_000 / turn.elapsed.max(1)),
        requests: turns.iter().map(|turn| turn.requests).sum(),
        failed: turns.iter().map(|turn| turn.failed).sum(),
        late: turns.iter().map(|turn| turn.late).sum(),
    })
}

impl Range {
    fn of(values: &[i64]) -> Self {
        let bound = |bound: Option<&i64>| bound.copied().unwrap_or_default();
        Self { median: median(values), least: bound(values.iter().min()), most: bound(values.iter().max()) }
    }
}

/// Nanoseconds for a request, or for a token of a stream that takes its time.
fn per_unit(profile: &Profile, turn: &Turn, nanoseconds: Option<i64>) -> Option<i64> {
    let units = if profile.is_paced_stream() { turn.tokens as i64 } else { turn.requests as i64 };
    Some(nanoseconds? / units.max(1))
}

/// Hundredths, as people write them: 150 is 1.50.
pub(super) fn hundredths(value: i64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

/// Bytes in MiB, of which one that is begun counts.
pub(super) fn mebibytes(bytes: i64) -> i64 {
    const MIB: i64 = 1 << 20;
    (bytes + MIB - 1) / MIB
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::turn::{Comparison, Spread, Turn};
    use super::*;

    /// A turn of a thousand requests, each of which took so many microseconds of processor and of a client's time.
    pub(in super::super) fn turn(profile: &str, arm: &str, round: u32, microseconds: i64) -> Turn {
        let spread = |nanoseconds| Spread { median: nanoseconds, p99: 2 * nanoseconds };
        let nothing = Spread { median: 0, p99: 0 };
        Turn {
            profile: profile.to_owned(),
            arm: arm.to_owned(),
            round,
            requests: 1000,
            tokens: 32_000,
            elapsed: 2_000_000_000,
            processor: Some(microseconds * 1_000_000),
            database: 40_000_000,
            resident: Some(35 << 20),
            failed: 0,
            late: 0,
            first_byte: nothing,
            total: spread(microseconds * 1000),
            gap: spread(0),
        }
    }

    pub(in super::super) fn comparison(turns: Vec<Turn>) -> Comparison {
        Comparison { turns, ..Comparison::default() }
    }

    #[test]
    fn each_round_has_a_ratio_of_its_own() {
        let figures = [("nginx", 0, 100), ("bare", 0, 150), ("nginx", 1, 50), ("bare", 1, 150), ("bare", 2, 10)];
        let all = |figures: &[(&str, u32, i64)]| {
            summary(&comparison(figures.iter().map(|(arm, round, time)| turn("json", arm, *round, *time)).collect()))
        };
        let groups = all(&figures[..4]);
        let ratio = groups[0].row("bare").and_then(|row| row.ratio);
        assert_eq!(ratio, Some(Range { median: 150, least: 150, most: 300 }));
        assert_eq!((groups.len(), groups[0].rows[0].arm), (1, "nginx"), "in the order of the tables");
        assert!(all(&figures)[0].row("bare").is_some_and(|row| row.ratio.is_none()), "a round without nginx");
    }
}
