//! Where a node may be.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use openapi::region::{NoRegion, Region};

/// Member states of the European Union. Territories that have a code of their own in ISO 3166-1 are not meant: in some of
/// them other laws hold.
/// Source: european-union.europa.eu, "EU countries".
const UNION: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];
/// Members of the European Economic Area that are not in the Union.
/// Source: EFTA, "EEA Agreement".
const AREA_BEYOND_UNION: [&str; 3] = ["IS", "LI", "NO"];

/// A part of the world, as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// The European Union.
    Eu,
    /// The European Economic Area.
    Eea,
    /// A country with all its parts, or a part of one.
    Region(Region),
}

impl Area {
    /// True when the node says that it is in here.
    pub(super) fn contains(&self, region: &Region) -> bool {
        let is_in = |countries: &[&str]| countries.contains(&region.country());
        match self {
            Self::Eu => is_in(&UNION),
            Self::Eea => is_in(&UNION) || is_in(&AREA_BEYOND_UNION),
            Self::Region(area) => area.contains(region),
        }
    }
}

impl FromStr for Area {
    type Err = NoRegion;

    fn from_str(text: &str) -> Result<Self, NoRegion> {
        match text.to_ascii_uppercase().as_str() {
            "EU" => Ok(Self::Eu),
            "EEA" => Ok(Self::Eea),
            _ => text.parse().map(Self::Region),
        }
    }
}

impl Display for Area {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eu => f.write_str("EU"),
            Self::Eea => f.write_str("EEA"),
            Self::Region(region) => write!(f, "{region}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(area: &str, region: &str) -> bool {
        area.parse::<Area>().unwrap().contains(&region.parse().unwrap())
    }

    #[test]
    fn unions_are_made_of_countries_and_contain_their_parts() {
        for country in UNION {
            assert!(contains("EU", country) && contains("EEA", country) && contains("eu", &format!("{country}-1")));
        }
        for country in AREA_BEYOND_UNION {
            assert!(!contains("EU", country) && contains("EEA", country));
        }
        for outside in ["GB", "CH", "UA", "US", "GL", "FO", "NC", "SJ", "AX"] {
            assert!(!contains("EEA", outside), "{outside}");
        }
    }

    #[test]
    fn areas_read_as_they_are_written() {
        for area in ["EU", "EEA", "DE", "US-CA", "SE-SE3"] {
            assert_eq!(area.parse::<Area>().unwrap().to_string(), area);
            assert_eq!(area.to_lowercase().parse::<Area>().unwrap().to_string(), area);
        }
        assert!("UK".parse::<Area>().unwrap_err().to_string().ends_with("it is GB"));
    }

    proptest! {
        #[test]
        fn who_is_in_a_part_is_in_its_country(country in "CA|SE|DE|GB", part in "[A-Z0-9]{1,3}", other in "[A-C]{1,2}") {
            let region = format!("{country}-{part}");
            prop_assert!(contains(&region, &region));
            prop_assert!(contains(&country, &region));
            prop_assert!(!contains(&region, &country));
            prop_assert_eq!(contains(&region, &format!("{country}-{other}")), part == other);
        }
    }
}
