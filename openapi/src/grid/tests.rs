use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// eGRID2023's STC2ERTA in pounds per megawatt-hour.
const EGRID: &str = "\
    AL 713.976 AK 814.457 AZ 689.104 AR 998.414 CA 394.769 CO 1091.078 CT 540.674 DE 704.171 DC 395.011 FL \
    789.133 GA 717.445 HI 1394.68 ID 313.88 IL 474.436 IN 1465.502 IA 634.156 KS 733.284 KY 1747.004 LA 763.068 \
    ME 316.835 MD 522.207 MA 830.101 MI 797.432 MN 752.329 MS 828.274 MO 1454.593 MT 1063.921 NE 1025.822 NV \
    643.859 NH 276.222 NJ 470.168 NM 773.637 NY 466.616 NC 626.438 ND 1297.852 OH 1068.27 OK 648.834 OR 364.963 \
    PA 647.871 RI 840.004 SC 560.363 SD 335.582 TN 661.166 TX 771.179 UT 1421.234 VT 52.239 VA 539.599 WA \
    266.585 WV 1968.869 WI 1163.572 WY 1833.263";

fn count(part: impl Fn(&Zone) -> bool) -> usize {
    zones().filter(|zone| part(zone)).count()
}

#[test]
fn every_row_is_read() {
    assert_eq!(zones().count(), table::rows().count());
    assert!(count(|zone| zone.code.len() == 2) >= 190);
    assert_eq!(count(|zone| zone.code.starts_with("US-")), 51, "states and the District of Columbia");
    assert_eq!(count(|zone| zone.source.id == "entsoe-mix-2025"), 9);
    assert_eq!(count(|zone| zone.code.starts_with("CN-")), 30);
}

#[test]
fn every_row_is_recent_plausible_and_its_sources_own() {
    for zone in zones() {
        assert!(zone.year >= 2023 && zone.year == zone.source.year, "{zone:?}");
        assert!((5_000..=DIRTIEST).contains(&zone.mg_per_kwh), "{zone:?}");
        assert!(!zone.name.is_empty() && !zone.name.contains('"'), "{zone:?}");
        assert!(super::zone(zone.country()).is_some_and(|country| country.code == zone.country()), "{zone:?}");
        assert!(zone.within_sanity(zone.mg_per_kwh), "{zone:?}");
    }
}

#[test]
fn no_code_means_two_zones() {
    let mut seen = HashSet::new();
    for code in zones().flat_map(|zone| [zone.code, zone.also]).filter(|code| !code.is_empty()) {
        assert!(seen.insert(code), "{code}");
        assert!(zone(code).is_some_and(|zone| zone.is_called(code)), "{code}");
    }
    for (other, _) in OTHER_NAMES {
        assert!(seen.insert(other), "{other}");
    }
}

#[test]
fn every_source_is_labelled_and_used() {
    for one in &SOURCES {
        for text in [one.title, one.publisher, one.licence, one.attribution] {
            assert!(!text.trim().is_empty(), "{one:?}");
        }
        assert!(one.url.starts_with("https://"), "{one:?}");
        assert!(one.id.ends_with(&format!("-{}", one.year)), "{one:?}");
        let words: Vec<&str> = one.basis.split('-').collect();
        assert!(["lifecycle", "direct"].contains(&words[0]), "{one:?}");
        assert!(["production", "consumption"].contains(&words[1]), "{one:?}");
        assert!(words[2..].iter().all(|word| ["co2", "partial"].contains(word)), "{one:?}");
        assert!(zones().any(|zone| zone.source == one), "{one:?}");
        assert_eq!(source(one.id), Some(one));
    }
    assert_eq!(source("ember-1999"), None);
}

#[test]
fn states_convert_back_to_what_the_agency_published() {
    let figures: Vec<&str> = EGRID.split_whitespace().collect();
    assert_eq!(figures.len(), 2 * 51);
    for pair in figures.chunks(2) {
        let milligrams = zone(&format!("US-{}", pair[0])).unwrap().mg_per_kwh as f64;
        let published: f64 = pair[1].parse().unwrap();
        // Half a milligram per kilowatt-hour is 0.0011 pounds per megawatt-hour.
        assert!((milligrams / 453.592 - published).abs() < 0.0012, "{pair:?} {milligrams}");
    }
}

#[test]
fn a_zone_is_found_under_all_its_names() {
    let found = [
        ("DE", "DE"),
        (" de ", "DE"),
        ("DEU", "DE"),
        ("US-CA", "US-CA"),
        ("us_ca", "US-CA"),
        ("SE-SE3", "SE-SE3"),
        ("se3", "SE-SE3"),
        ("CN-GD", "CN-GD"),
        ("uk", "GB"),
        ("US-PR", "PR"),
        ("XK", "XK"),
    ];
    for (code, zone) in found {
        let found = super::zone(code).unwrap();
        assert_eq!(found.code, zone, "{code}");
        assert!(found.is_called(code), "{code}");
    }
}

#[test]
fn a_part_without_a_figure_gets_its_country_and_says_so() {
    for (code, country) in [("DE-BY", "DE"), ("CN-XZ", "CN"), ("DEU-BY", "DE"), ("SE-SE9", "SE")] {
        let found = zone(code).unwrap();
        assert_eq!((found.code, found.grid().zone.as_str()), (country, country), "{code}");
        assert!(!found.is_called(code), "{code}");
    }
    for unknown in ["", "-", "ZZ", "ZZ-CA", "DE-", "-DE", "DE-A B", "DE-TOOLONGPART", "US-VI", "Germany"] {
        assert_eq!(zone(unknown), None, "{unknown}");
    }
}

#[test]
fn the_figure_travels_with_its_source_and_basis() {
    let expected = Grid {
        zone: "DE".to_owned(),
        mg_per_kwh: 334_100,
        source: "ember-2025".to_owned(),
        basis: "lifecycle-production".to_owned(),
    };
    assert_eq!(zone("DE").unwrap().grid(), expected);
    let costa_rica = zone("CR").unwrap();
    assert_eq!((costa_rica.mg_per_kwh, costa_rica.year), (25_800, 2024), "2025 is below zero there");
    let mut bases: Vec<&str> = ["US-CA", "FR", "SE3", "CN-GD"].map(|code| zone(code).unwrap().source.basis).into();
    bases.sort_unstable();
    bases.dedup();
    assert_eq!(bases.len(), 4, "four tables that count different things");
}

#[test]
fn an_hour_may_differ_from_the_year_and_not_by_any_amount() {
    let germany = zone("DE").unwrap();
    for (milligrams, possible) in
        [(16_704, false), (16_705, true), (334_100, true), (1_500_000, true), (1_500_001, false), (0, false)]
    {
        assert_eq!(germany.within_sanity(milligrams), possible, "{milligrams}");
    }
    assert!(!zone("FR").unwrap().within_sanity(412_001));
}

proptest! {
    #[test]
    fn any_text_is_looked_up_without_trouble(text in ".{0,20}") {
        if let Some(found) = zone(&text) {
            prop_assert!(found.is_called(&text) || text.contains(['-', '_']));
        }
        prop_assert!(nearest(&text).len() <= 3);
    }
}
