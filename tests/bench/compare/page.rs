//! The summary as a part of a page of the documentation.

use std::fs;
use std::io;
use std::path::Path;

use super::arm::{is_governed, is_of_others};
use super::chart;
use super::summary::{FLOOR, Group, Range, Row, hundredths, mebibytes, summary};
use super::target::judged;
use super::turn::{Comparison, Machine};

/// Lines of the page; what is between them is written here, and nothing else.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";
const LONGEST_LINE: usize = 140;

/// Writes what was measured into the page, and the chart into the folder that is called as the page is.
///
/// # Errors
/// When the page lacks its marks, or can't be written.
pub(super) fn write(page: &Path, comparison: &Comparison) -> io::Result<()> {
    let text = fs::read_to_string(page)?;
    let lacks = |mark: &str| io::Error::other(format!("there is no line '{mark}'"));
    let (before, rest) = text.split_once(BEGIN).ok_or_else(|| lacks(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| lacks(END))?;
    let groups = summary(comparison);
    let folder = page.with_extension("");
    fs::create_dir_all(&folder)?;
    let chart = folder.join("comparison.svg");
    fs::write(&chart, chart::draw(&groups))?;
    let shown = chart.strip_prefix(page.parent().unwrap_or(Path::new(""))).unwrap_or(&chart).display();
    let parts = [
        on_what(comparison),
        format!("![Processor time of each program, as a multiple of nginx's]({shown})"),
        table(&groups),
        trouble(&groups),
        left_out(comparison),
        targets(&groups),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    fs::write(page, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", parts.join("\n\n")))
}

fn on_what(Comparison { machine, versions, turns, .. }: &Comparison) -> String {
    let rounds = turns.iter().map(|turn| (&turn.profile, turn.round)).collect::<std::collections::BTreeSet<_>>();
    let of = |profile: &str| rounds.iter().filter(|(name, _)| *name == profile).count();
    let counts: Vec<usize> = turns.iter().map(|turn| of(&turn.profile)).collect();
    let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
    let count = if least == most { most.to_string() } else { format!("{least} to {most}") };
    let seconds = turns.iter().map(|turn| turn.elapsed / 1_000_000_000).min().unwrap_or(0);
    let machine = machine.as_ref().map_or_else(String::new, |machine| {
        let Machine { processor, cores, system, database, date } = machine;
        format!(" Measured on {cores} cores ({processor}, {system}, {database}), {date}.")
    });
    let versions: Vec<String> = versions.iter().filter_map(|version| numbered(version)).collect();
    wrapped(&format!(
        "The median of {count} rounds of {seconds} seconds, with the least and the most in brackets.{machine} Processor time is for a \
         request, or for a token where it says so; the database's is that of all its processes. Memory is the most that was held at the \
         end of a turn. Compared were {}.",
        versions.join(", ")
    ))
}

/// A program of others with its version alone, of all that it says of itself.
fn numbered(version: &str) -> Option<String> {
    let (arm, said) = version.split_once(": ").filter(|(arm, _)| is_of_others(arm))?;
    let number = said.split([' ', '/']).find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    Some(format!("{arm} {number}"))
}

/// In lines that are as long as the page's others.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(last) if line + word.len() < LONGEST_LINE => {
                if line > 0 {
                    last.push(' ');
                }
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn table(groups: &[Group]) -> String {
    let mut lines = vec![
        "| requests | program | processor, µs | of nginx's, × | database, µs | memory, MiB | answer, median | answer, 99 % | gap, 99 % |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for group in groups.iter().filter(|group| group.profile.trouble.is_none()) {
        for (meaning, row) in named(group) {
            let gap = if group.profile.is_paced_stream() { time(row.gap_p99) } else { String::new() };
            let memory = row.resident.map_or_else(String::new, |bytes| mebibytes(bytes).to_string());
            let (median, p99) = (time(row.median), time(row.p99));
            lines.push(format!("| {meaning} | {} | {memory} | {median} | {p99} | {gap} |", cost(row)));
        }
    }
    lines.join("\n")
}

/// What the requests cost that nothing befell, and what clients saw of trouble.
fn trouble(groups: &[Group]) -> String {
    let mut lines = vec![
        "| requests | program | processor, µs | of nginx's, × | database, µs | errors, % | late, % | others, median | others, 99 % |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for group in groups.iter().filter(|group| group.profile.trouble.is_some()) {
        for (meaning, row) in named(group) {
            let share = |count: usize| hundredths((count * 10_000 / row.requests.max(1)) as i64);
            let (failed, late) = (share(row.failed), share(row.late));
            let (median, p99) = (time(row.median), time(row.p99));
            lines.push(format!("| {meaning} | {} | {failed} | {late} | {median} | {p99} |", cost(row)));
        }
    }
    if lines.len() > 2 { lines.join("\n") } else { String::new() }
}

/// The rows, the first with what was asked for.
fn named(group: &Group) -> impl Iterator<Item = (String, &Row)> {
    let unit = if group.profile.is_paced_stream() { "; for a token" } else { "" };
    let meaning = format!("{}{unit}", group.profile.meaning);
    group
        .rows
        .iter()
        .enumerate()
        .map(move |(place, row)| (if place == 0 { meaning.clone() } else { String::new() }, row))
}

/// The columns that all tables have.
fn cost(row: &Row) -> String {
    let whole = |nanoseconds: i64| ((nanoseconds + 500) / 1000).to_string();
    let processor = row.processor.map_or_else(String::new, |range| spread(range, whole));
    let ratio = match row.ratio {
        Some(_) if row.arm == FLOOR => "1".to_owned(),
        ratio => ratio.map_or_else(String::new, |range| spread(range, hundredths)),
    };
    let database = if is_governed(row.arm) { whole(row.database) } else { String::new() };
    format!("{} | {processor} | {ratio} | {database}", row.arm)
}

fn spread(Range { median, least, most }: Range, say: impl Fn(i64) -> String) -> String {
    format!("{} ({}–{})", say(median), say(least), say(most))
}

fn time(nanoseconds: i64) -> String {
    const MILLISECOND: i64 = 1_000_000;
    if nanoseconds < 10 * MILLISECOND {
        format!("{} µs", nanoseconds / 1000)
    } else if nanoseconds < 100 * MILLISECOND {
        format!("{}.{} ms", nanoseconds / MILLISECOND, nanoseconds % MILLISECOND / 100_000)
    } else {
        format!("{} ms", nanoseconds / MILLISECOND)
    }
}

fn left_out(Comparison { skipped, .. }: &Comparison) -> String {
    let lines: Vec<String> = skipped
        .iter()
        .map(|one| format!("- {} is not measured at `{}`: {}.", one.arm, one.profile, one.reason))
        .collect();
    lines.join("\n")
}

fn targets(groups: &[Group]) -> String {
    let mut lines = vec!["| target | measured | |".to_owned(), "|---|---|---|".to_owned()];
    for judged in judged(groups) {
        let (measured, verdict) = match judged.measured {
            Some((measured, met)) => (measured, if met { "met" } else { "missed" }),
            None => (String::new(), "not measured"),
        };
        lines.push(format!("| {} | {measured} | {verdict} |", judged.target));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{comparison, turn};
    use super::*;

    #[test]
    fn what_is_between_the_marks_is_replaced_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("page-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).unwrap();
        let page = folder.join("figures.md");
        let measured = comparison(vec![turn("json", "nginx", 0, 10), turn("json", "bare", 0, 25)]);
        assert!(write(&page, &measured).is_err(), "no page");
        fs::write(&page, "before\n").unwrap();
        assert!(write(&page, &measured).is_err(), "no marks");
        fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nbehind\n")).unwrap();
        write(&page, &measured).unwrap();
        let once = fs::read_to_string(&page).unwrap();
        assert!(once.starts_with("before\n") && once.ends_with("\nbehind\n") && !once.contains("old"), "{once}");
        assert!(once.contains("|  | bare | 25 (25–25) | 2.50 (2.50–2.50) |"), "{once}");
        let chart = fs::read_to_string(folder.join("figures/comparison.svg")).unwrap();
        assert!(once.contains("(figures/comparison.svg)") && chart.contains(">2.50</text>"), "{chart}");
        write(&page, &measured).unwrap();
        assert_eq!(once, fs::read_to_string(&page).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }
}
