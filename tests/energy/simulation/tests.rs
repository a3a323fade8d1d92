//! The simulation against its Python sister: what that printed once, and what it prints where there is a Python.

use std::process::Command;

use super::cases::{CASES, Case, RULES, table};
use super::ours::attributed;
use super::quality::{Quality, Spread};
use super::rules::{Coefficients, Rule};
use super::scenario::Scenario;

/// Percentage points by which two of the same figure may differ.
const TOLERANCE: f64 = 0.1;

/// Cases that the Python sister plays unless `COMMONWATT_ENERGY=full`.
const QUICK: [usize; 3] = [0, 1, 2];

/// Median and 95th percentile in percent, for each case and rule, as `python.py` printed them.
const PYTHONS: [[[f64; 2]; RULES.len()]; CASES.len()] = [
    [[47.19, 272.26], [2.16, 12.42], [1.33, 5.02], [3.75, 23.77], [0.35, 2.52], [0.48, 3.143], [0.32, 2.33]],
    [[367.36, 660.53], [2.93, 20.03], [2.57, 19.01], [8.17, 40.06], [1.08, 5.58], [0.69, 3.81], [0.85, 3.35]],
    [[2_922.07, 5_043.73], [10.96, 48.65], [12.46, 56.46], [15.96, 74.13], [3.53, 12.98], [2.92, 14.88], [2.19, 9.68]],
    [
        [47_389.05, 75_367.52],
        [20.57, 69.42],
        [20.63, 69.87],
        [10.77, 43.22],
        [5.28, 17.02],
        [8.25, 37.72],
        [3.92, 11.61],
    ],
    [
        [109_183.10, 191_560.99],
        [21.18, 76.15],
        [20.62, 70.32],
        [7.58, 36.84],
        [4.89, 15.11],
        [6.37, 29.91],
        [3.68, 11.00],
    ],
    [[3_256.65, 4_391.36], [10.94, 45.89], [12.86, 54.59], [20.37, 85.06], [5.81, 25.14], [6.94, 32.59], [5.41, 25.14]],
    [[3_738.72, 6_497.57], [15.10, 75.38], [11.65, 50.99], [26.99, 142.93], [4.25, 16.07], [3.37, 13.54], [2.55, 9.48]],
    [[3_624.35, 5_241.45], [12.66, 52.74], [14.23, 57.15], [13.07, 53.02], [4.38, 17.72], [2.06, 8.68], [2.24, 8.55]],
];

fn close(ours: f64, pythons: f64) -> bool {
    (ours - pythons).abs() <= TOLERANCE
}

#[test]
fn every_rule_errs_as_it_does_in_python() {
    for (case, expected) in CASES.iter().zip(PYTHONS) {
        let scenario = Scenario::play(case.setting);
        for ((name, rule), [median, p95]) in RULES.iter().zip(expected) {
            let all = Quality::of(&scenario, &rule.divide(&scenario)).unwrap().all;
            let found = [all.median * 100.0, all.p95 * 100.0];
            assert!(close(found[0], median) && close(found[1], p95), "{}, {name}: {found:?}", case.name);
        }
    }
}

#[test]
fn every_rule_that_shares_gives_what_was_measured() {
    for case in CASES {
        let scenario = Scenario::play(case.setting);
        for (name, rule) in RULES {
            let conservation = Quality::of(&scenario, &rule.divide(&scenario)).unwrap().conservation;
            assert_eq!(conservation < 1e-12, rule != Rule::StartStop, "{}, {name}: {conservation}", case.name);
        }
    }
}

/// The numbers of a table, in order, with the words that are in place of some.
fn cells(table: &str) -> Vec<&str> {
    table.split(['|', '/', '\n']).map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the size of a test is no setting of a program")]
fn python_prints_the_same_table() {
    let full = std::env::var("COMMONWATT_ENERGY").is_ok_and(|size| size == "full");
    let which: Vec<usize> = if full { (0..CASES.len()).collect() } else { QUICK.to_vec() };
    let cases: Vec<Case> = which.iter().map(|case| CASES[*case]).collect();
    let ours = table(&cases, &[]);
    println!("{ours}");
    let arguments = which.iter().map(usize::to_string);
    let Ok(python) = Command::new("python3").args(["-c", include_str!("python.py")]).args(arguments).output() else {
        println!("there is no python3 here");
        return;
    };
    let pythons = String::from_utf8(python.stdout).unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    assert_eq!(cells(&ours).len(), cells(&pythons).len(), "{pythons}");
    for (ours, pythons) in cells(&ours).into_iter().zip(cells(&pythons)) {
        let same = match (ours.parse(), pythons.parse()) {
            (Ok(ours), Ok(pythons)) => close(ours, pythons),
            _ => ours == pythons,
        };
        assert!(same, "{ours} is not {pythons}");
    }
}

/// What ours begins with: everything off by a third.
const GUESS: Coefficients = Coefficients::scaled(1.3, 0.7, 0.7, 1.2);

/// Windows of the counter are put together until they are at least this long, in seconds.
const LEAST_WINDOW: f64 = 0.3;

fn coarse(scenario: &Scenario) -> Scenario {
    scenario.clone().coarser((LEAST_WINDOW / scenario.setting.refresh).ceil() as usize)
}

#[test]
fn ours_errs_little_and_loses_nothing() {
    for case in CASES {
        let scenario = coarse(&Scenario::play(case.setting));
        let ours = attributed(&scenario, GUESS);
        assert_eq!(ours.moved, ours.booked, "{}: every microjoule", case.name);
        let quality = Quality::of(&scenario, &ours.given).unwrap();
        let within = |spread: Option<Spread>, median, p95| {
            spread.is_none_or(|spread| spread.median <= median && spread.p95 <= p95)
        };
        assert!(within(quality.long, 0.03, 0.10), "{}: {quality:?}", case.name);
        assert!(within(quality.short, 0.05, 0.15), "{}, under a second: {quality:?}", case.name);
        for (name, rule) in RULES.iter().take(4) {
            let other = Quality::of(&scenario, &rule.divide(&scenario)).unwrap();
            assert!(quality.all.p95 < other.all.p95 / 2.0, "{}: {name} is nearly as good", case.name);
        }
    }
}

#[test]
fn the_table_of_all_rules() {
    let fine = |scenario: &Scenario| attributed(scenario, GUESS).given;
    let usual = |scenario: &Scenario| attributed(&coarse(scenario), GUESS).given;
    let table = table(&CASES, &[("ours", &fine), ("ours, windows of 0.3 s", &usual)]);
    println!("{table}");
    assert_eq!(table.lines().count(), 2 + 4 * CASES.len(), "nothing was left out");
}
