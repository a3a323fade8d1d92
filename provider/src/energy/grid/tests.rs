use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// A machine whose clock is set somewhere; gone when dropped.
struct Machine {
    root: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("site-{}", Uuid::now_v7()));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("usr/share/zoneinfo")).unwrap();
        let machine = Self { root };
        machine.write(
            "usr/share/zoneinfo/zone.tab",
            "# comment\nFR\t+4852+00220\tEurope/Paris\nSE\t+5920+01803\tEurope/Stockholm\n",
        );
        machine.write(
            "usr/share/zoneinfo/zone1970.tab",
            "#codes\nDE,DK,NO,SE,SJ\t+5230+01322\tEurope/Berlin\tmost of Germany\nFR,MC\t+4852+00220\tEurope/Paris\n",
        );
        machine
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap();
    }

    fn set(&self, name: &str) {
        let link = self.root.join("etc/localtime");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("/usr/share/zoneinfo/{name}"), link).unwrap();
    }

    fn warnings(&self, zone: &str) -> Vec<String> {
        in_zone(zone).site(&self.root).unwrap().warnings
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn in_zone(zone: &str) -> Statement {
    Statement { zone: Some(zone.to_owned()), ..Statement::default() }
}

fn site(statement: &Statement) -> Result<Site, SiteError> {
    statement.site(Path::new("/nowhere"))
}

fn said(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn who_says_nothing_is_at_home_and_shows_no_carbon() {
    let expected = Site {
        zone: None,
        pue_milli: 1_000,
        pue_source: PueSource::Home,
        idle_policy: IdlePolicy::Dedicated,
        embodied: None,
        warnings: Vec::new(),
    };
    assert_eq!(site(&Statement::default()), Ok(expected));
}

#[test]
fn what_is_said_is_read_and_labelled() {
    let statement = Statement {
        zone: said("us-ca"),
        pue: said("1.2"),
        pue_evidence: said("https://example.org/pue"),
        idle_policy: said("opportunistic"),
        embodied_kilograms: said("164.5"),
        lifespan_years: said("4.5"),
    };
    let site = site(&statement).unwrap();
    assert_eq!(site.zone.unwrap().code, "US-CA");
    assert_eq!((site.pue_milli, site.pue_source.label()), (1_200, "claim"));
    assert_eq!(site.idle_policy, IdlePolicy::Opportunistic);
    let embodied = site.embodied.unwrap();
    assert_eq!(embodied.total_milligrams, 164_500_000);
    assert_eq!(embodied.lifespan.get(), 4_500 * 365 * 86_400 * 1_000);
    assert_eq!(site.warnings, [""; 0]);
}

#[test]
fn a_stated_pue_is_a_claim_even_when_it_is_one() {
    let statement = Statement { pue: said("1"), ..Statement::default() };
    assert_eq!(site(&statement).unwrap().pue_source, PueSource::Claim { evidence: None });
}

#[test]
fn what_cannot_be_used_is_answered_with_a_sentence() {
    let nothing = Statement::default;
    let cases = [
        (in_zone("Germany"), "no electricity zone is called Germany; did you mean DE (Germany)?"),
        (
            in_zone("qqqqqqqqqqqq"),
            "no electricity zone is called qqqqqqqqqqqq: give a country, such as DE, or a part of one, such as US-CA or SE-SE3",
        ),
        (Statement { pue: said("0.9"), ..nothing() }, "a PUE is a number from 1.0 to 3.0, such as 1.2, and not 0.9"),
        (Statement { pue_evidence: said("x"), ..nothing() }, "evidence for a PUE goes with a PUE, which is missing"),
        (
            Statement { idle_policy: said("none"), ..nothing() },
            "the idle policy is dedicated or opportunistic, and not none",
        ),
        (
            Statement { embodied_kilograms: said("0.5"), ..nothing() },
            "embodied emissions are kilograms of CO2e from 1 to 100000, such as 164.5, and not 0.5",
        ),
        (
            Statement { lifespan_years: said("50"), ..nothing() },
            "a lifespan is years from 1 to 20, such as 4.5, and not 50",
        ),
    ];
    for (statement, sentence) in cases {
        assert_eq!(site(&statement).unwrap_err().to_string(), sentence);
    }
}

#[test]
fn a_pue_is_between_one_and_three() {
    let read =
        |text: &str| site(&Statement { pue: said(text), ..Statement::default() }).ok().map(|site| site.pue_milli);
    for (text, milli) in [("1", 1_000), ("1.0", 1_000), (" 1.54 ", 1_540), ("1.007", 1_007), ("3.0", 3_000)] {
        assert_eq!(read(text), Some(milli), "{text}");
    }
    for wrong in ["", "0.999", "3.001", "1,2", "1.2345", "1.", ".5", "-1", "+1.2", "1e0", "nan", "99999999999999999999"]
    {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn a_part_without_a_figure_is_warned_about() {
    let warnings = site(&in_zone("DE-BY")).unwrap().warnings;
    assert_eq!(warnings, ["there is no figure for DE-BY; that of Germany (DE) is used"]);
}

#[test]
fn a_clock_elsewhere_is_a_warning_and_no_more() {
    let machine = Machine::new();
    machine.set("Europe/Paris");
    assert_eq!(
        machine.warnings("DE"),
        ["the zone is DE, and this machine's clock is set to Europe/Paris (FR, MC): is the zone right?"]
    );
    assert_eq!(machine.warnings("FR"), [""; 0]);
    machine.set("Europe/Berlin");
    for zone in ["DE", "SE-SE3", "NO1"] {
        assert_eq!(machine.warnings(zone), [""; 0], "{zone}");
    }
    machine.set("Europe/Stockholm");
    assert_eq!(machine.warnings("DE").len(), 1, "each table knows zones that the other lacks");
}

#[test]
fn a_clock_of_no_country_is_no_hint() {
    let machine = Machine::new();
    assert_eq!(machine.warnings("DE"), [""; 0], "no time zone at all");
    machine.set("Etc/UTC");
    assert_eq!(machine.warnings("DE"), [""; 0]);
    fs::remove_file(machine.root.join("etc/localtime")).unwrap();
    machine.write("etc/timezone", "Europe/Paris\n");
    assert_eq!(machine.warnings("DE").len(), 1, "the file counts where there is no link");
}

proptest! {
    #[test]
    fn thousandths_are_exact(count in 0u64..1 << 50) {
        let text = format!("{}.{:03}", count / 1_000, count % 1_000);
        prop_assert_eq!(thousandths(&text), Some(count));
        prop_assert_eq!(thousandths(text.trim_end_matches('0').trim_end_matches('.')), Some(count));
    }

    #[test]
    fn any_statement_is_read_or_answered(zone in prop::option::of(".{0,12}"), pue in prop::option::of("[0-9.]{0,6}")) {
        if let Ok(site) = site(&Statement { zone, pue, ..Statement::default() }) {
            prop_assert!((1_000..=3_000).contains(&site.pue_milli));
        }
    }
}
