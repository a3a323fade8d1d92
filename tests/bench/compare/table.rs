//! All turns as a table: the median of the rounds, and of their ratios to what nginx took in the same round.

use super::profile::{PROFILES, Profile};
use super::{Comparison, Turn};
use crate::figures::{median, say};

/// What others are compared with.
const FLOOR: &str = "nginx";

pub(super) fn print(comparison: &Comparison) {
    for profile in &PROFILES {
        let turns: Vec<&Turn> = comparison.turns.iter().filter(|turn| turn.profile == profile.name).collect();
        if !turns.is_empty() {
            print_profile(profile, &turns);
        }
    }
}

fn print_profile(profile: &Profile, turns: &[&Turn]) {
    let what = if profile.is_paced_stream() { "a token" } else { "a request" };
    say(&format!("\n{}: {}", profile.name, profile.meaning));
    say(&format!(
        "µs for {what:10} processor  of nginx's       spread  database     p50      p99  gap p99  per second      MiB"
    ));
    let mut arms: Vec<&str> = Vec::new();
    for turn in turns {
        if !arms.contains(&turn.arm) {
            arms.push(turn.arm);
        }
    }
    for arm in arms {
        let of_arm: Vec<&Turn> = turns.iter().copied().filter(|turn| turn.arm == arm).collect();
        print_arm(profile, arm, &of_arm, turns);
    }
}

fn print_arm(profile: &Profile, arm: &str, of_arm: &[&Turn], all: &[&Turn]) {
    let middle = |value: &dyn Fn(&Turn) -> i64| median(&of_arm.iter().map(|turn| value(turn)).collect::<Vec<_>>());
    let processor: Option<Vec<i64>> = of_arm.iter().map(|turn| per_unit(profile, turn, turn.processor)).collect();
    let ratios: Option<Vec<i64>> = of_arm
        .iter()
        .map(|turn| {
            let floor = all.iter().find(|other| other.arm == FLOOR && other.round == turn.round)?;
            let floor = per_unit(profile, floor, floor.processor)?;
            Some(100 * per_unit(profile, turn, turn.processor)? / floor.max(1))
        })
        .collect();
    let (processor, spread) = processor.map_or_else(Default::default, |times| {
        let (least, most) = (times.iter().min().copied(), times.iter().max().copied());
        (tenths(median(&times)), format!("{}–{}", tenths(least.unwrap_or(0)), tenths(most.unwrap_or(0))))
    });
    let ratio =
        ratios.map_or_else(String::new, |ratios| format!("{}.{:02} ×", median(&ratios) / 100, median(&ratios) % 100));
    let per_second = middle(&|turn| turn.requests as i64 * 1_000_000_000 / turn.elapsed.max(1));
    let resident = of_arm
        .iter()
        .filter_map(|turn| turn.resident)
        .max()
        .map_or_else(String::new, |bytes| (bytes >> 20).to_string());
    say(&format!(
        "{arm:18} {processor:>9} {ratio:>11} {spread:>12} {:>9} {:>7} {:>8} {:>8} {per_second:>11} {resident:>8}",
        tenths(middle(&|turn| per_unit(profile, turn, Some(turn.database)).unwrap_or(0))),
        middle(&|turn| turn.total.median) / 1000,
        middle(&|turn| turn.total.p99) / 1000,
        middle(&|turn| turn.gap.p99) / 1000,
    ));
}

/// Nanoseconds for a request, or for a token of a stream that takes its time.
fn per_unit(profile: &Profile, turn: &Turn, nanoseconds: Option<i64>) -> Option<i64> {
    let units = if profile.is_paced_stream() { turn.tokens as i64 } else { turn.requests as i64 };
    Some(nanoseconds? / units.max(1))
}

/// Nanoseconds in microseconds, with one digit behind the point.
fn tenths(nanoseconds: i64) -> String {
    format!("{}.{}", nanoseconds / 1000, nanoseconds % 1000 / 100)
}
