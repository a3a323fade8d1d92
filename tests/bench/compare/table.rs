//! The summary, for whoever waits before a terminal.

use super::summary::{Group, Row, hundredths, mebibytes, summary};
use super::turn::Comparison;
use crate::figures::say;

pub(super) fn print(comparison: &Comparison) {
    summary(comparison).iter().for_each(print_group);
}

fn print_group(Group { profile, rows }: &Group) {
    let what = if profile.is_paced_stream() { "a token" } else { "a request" };
    say(&format!("\n{}: {}", profile.name, profile.meaning));
    say(&format!(
        "µs for {what:10} processor  of nginx's       spread  database     p50      p99  gap p99  per second      MiB"
    ));
    rows.iter().for_each(print_row);
}

fn print_row(row: &Row) {
    let times = row.processor.map_or_else(Default::default, |time| {
        (tenths(time.median), format!("{}–{}", tenths(time.least), tenths(time.most)))
    });
    let (processor, spread) = times;
    let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{} ×", hundredths(ratio.median)));
    let resident = row.resident.map_or_else(String::new, |bytes| mebibytes(bytes).to_string());
    let mut line = format!(
        "{:18} {processor:>9} {ratio:>11} {spread:>12} {:>9} {:>7} {:>8} {:>8} {:>11} {resident:>8}",
        row.arm,
        tenths(row.database),
        row.median / 1000,
        row.p99 / 1000,
        row.gap_p99 / 1000,
        row.per_second,
    );
    if row.failed + row.late > 0 {
        line.push_str(&format!("  {} failed and {} late of {}", row.failed, row.late, row.requests));
    }
    say(&line);
}

/// Nanoseconds in microseconds, with one digit behind the point.
fn tenths(nanoseconds: i64) -> String {
    format!("{}.{}", nanoseconds / 1000, nanoseconds % 1000 / 100)
}
