//! The loads that rules are compared under, and the table of how they did.

use super::quality::{Quality, Spread};
use super::rules::{Coefficients, Given, Rule};
use super::scenario::{Scenario, Setting};

/// A named load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) setting: Setting,
}

/// From a machine that is mostly idle to one that is never, a bad counter, a slow one, and a cost that is not affine.
pub(crate) const CASES: [Case; 8] = [
    Case { name: "0.3 requests/s", setting: Setting::of(1, 0.3) },
    Case { name: "2 requests/s", setting: Setting::of(1, 2.0) },
    Case { name: "10 requests/s", setting: Setting::of(1, 10.0) },
    Case { name: "24 requests/s", setting: Setting::of(1, 24.0) },
    Case { name: "30 requests/s", setting: Setting::of(1, 30.0) },
    Case {
        name: "10 requests/s, 2 % noise, lag to 100 ms",
        setting: Setting { lag: 0.1, noise: 0.02, ..Setting::of(2, 10.0) },
    },
    Case {
        name: "10 requests/s, counter of 1 s, lag to 200 ms",
        setting: Setting { refresh: 1.0, lag: 0.2, ..Setting::of(3, 10.0) },
    },
    Case { name: "10 requests/s, strongly concave", setting: Setting { exponent: 0.75, ..Setting::of(4, 10.0) } },
];

/// The rules, in the order of the columns. The first prior is off by a third in every way; the second believes that a
/// sequence costs 2.5 times less than it does, as a rule of thumb from rated power and bandwidth does on a B200.
pub(crate) const RULES: [(&str, Rule); 7] = [
    ("start/stop", Rule::StartStop),
    ("equal", Rule::Equal),
    ("output tokens", Rule::OutputTokens),
    ("all tokens", Rule::AllTokens),
    ("prior, 30 % off", Rule::Prior(Coefficients::scaled(1.3, 0.7, 0.7, 1.2))),
    ("prior, 2.5 times off", Rule::Prior(Coefficients::scaled(1.0, 0.4, 1.0, 1.0))),
    ("calibrated", Rule::Calibrated),
];

/// Something that divides what a scenario's counter has moved, and its name.
pub(crate) type Column<'a> = (&'a str, &'a dyn Fn(&Scenario) -> Given);

/// The table in Markdown, with the rules and with further columns.
pub(crate) fn table(cases: &[Case], further: &[Column]) -> String {
    let rules = RULES.map(|(name, _)| name).into_iter();
    let names: Vec<&str> = rules.chain(further.iter().map(|(name, _)| *name)).collect();
    let head = format!("| load | batch | error in % | {} |\n|{}\n", names.join(" | "), "---|".repeat(3 + names.len()));
    cases.iter().fold(head, |table, case| table + &rows(case, further))
}

fn rows(case: &Case, further: &[Column]) -> String {
    let scenario = Scenario::play(case.setting);
    let rules = RULES.iter().map(|(_, rule)| rule.divide(&scenario));
    let given = rules.chain(further.iter().map(|(_, divide)| divide(&scenario)));
    let qualities: Vec<Quality> = given.filter_map(|given| Quality::of(&scenario, &given)).collect();
    let row = |measure: &str, cell: fn(&Quality) -> String| {
        let cells: Vec<String> = qualities.iter().map(cell).collect();
        format!("| {} | {:.1} | {measure} | {} |\n", case.name, scenario.mean_batch(), cells.join(" | "))
    };
    row("median / p95", |quality| both(Some(quality.all)))
        + &row("the same, under 1 s", |quality| both(quality.short))
        + &row("bias", |quality| format!("{:.2}", quality.bias * 100.0))
        + &row("total off by", |quality| format!("{:.2}", quality.conservation * 100.0))
}

fn both(spread: Option<Spread>) -> String {
    spread.map_or("none".to_owned(), |Spread { median, p95 }| format!("{:.2} / {:.2}", median * 100.0, p95 * 100.0))
}
