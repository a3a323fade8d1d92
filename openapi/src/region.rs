//! Where a node is: a country, or a part of one.

use std::fmt::{self, Debug, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::echo;

/// A country by its two letters in ISO 3166-1, such as `DE`, or a part of one: these, a hyphen and one to three letters or
/// digits, such as `US-CA` (ISO 3166-2) or `SE-SE3` (a bidding zone). Which parts a country has is not checked. Small
/// letters are read as capitals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Z]{2}(-[A-Z0-9]{1,3})?$", example = "US-CA")]
pub struct Region(Code);

/// ASCII, filled up with zeros.
type Code = [u8; 6];

/// A text that is no region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRegion {
    /// It doesn't look like one.
    #[error(
        "'{0}' is not a region: give a country's two letters as in ISO 3166-1, such as DE, or a part of a country, such \
         as US-CA"
    )]
    Shape(String),
    /// It looks like one, and no country has these letters.
    #[error("'{0}' is not a region: no country has these two letters in ISO 3166-1")]
    Unknown(String),
    /// It is commonly used and has another code in ISO 3166-1.
    #[error("'{0}' is not a region: in ISO 3166-1 it is {1}")]
    Instead(String, String),
}

impl Region {
    /// The country's two letters.
    pub fn country(&self) -> &str {
        text(&self.0[..2])
    }

    /// True when the other one is this one or a part of it: a country has its parts in it, a part only itself.
    pub fn contains(&self, other: &Self) -> bool {
        let is_country = self.0[2] == 0;
        self == other || (is_country && self.0[..2] == other.0[..2])
    }

    fn as_str(&self) -> &str {
        text(self.0.split(|byte| *byte == 0).next().unwrap_or_default())
    }
}

/// A region has nothing but ASCII in it.
fn text(code: &[u8]) -> &str {
    std::str::from_utf8(code).unwrap_or_default()
}

impl FromStr for Region {
    type Err = NoRegion;

    fn from_str(given: &str) -> Result<Self, NoRegion> {
        let code = given.to_ascii_uppercase();
        let (country, part) = code.split_once('-').unwrap_or((&code, "0"));
        let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_part = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_country || !is_part {
            return Err(NoRegion::Shape(echo(given)));
        }
        if let Some(instead) = instead(&code) {
            return Err(NoRegion::Instead(code, instead));
        }
        if COUNTRIES.binary_search(&country).is_err() {
            return Err(NoRegion::Unknown(code));
        }
        let mut region = Code::default();
        region.iter_mut().zip(code.bytes()).for_each(|(to, from)| *to = from);
        Ok(Self(region))
    }
}

/// What ISO 3166 has for a code that is common or used to be.
fn instead(code: &str) -> Option<String> {
    let (country, part) = code.split_at_checked(2)?;
    match country {
        "UK" => Some(format!("GB{part}")),
        "EL" => Some(format!("GR{part}")),
        _ => own_code(code).map(str::to_owned),
    }
}

/// Parts that are in the list of countries too. Each has one name only, so that who asks for a country is not given a
/// territory with other laws.
/// Source: ISO 3166-2, "Subdivisions included in ISO 3166-1".
fn own_code(part: &str) -> Option<&str> {
    match part {
        "CN-HK" | "CN-MO" | "CN-TW" | "FR-BL" | "FR-GF" | "FR-GP" | "FR-MF" | "FR-MQ" | "FR-NC" | "FR-PF" | "FR-PM"
        | "FR-RE" | "FR-TF" | "FR-WF" | "FR-YT" | "NL-AW" | "NL-CW" | "NL-SX" | "US-AS" | "US-GU" | "US-MP"
        | "US-PR" | "US-UM" | "US-VI" => part.get(3..),
        "FI-01" => Some("AX"),
        "FR-971" => Some("GP"),
        "FR-972" => Some("MQ"),
        "FR-973" => Some("GF"),
        "FR-974" => Some("RE"),
        "FR-976" => Some("YT"),
        "NL-BQ1" | "NL-BQ2" | "NL-BQ3" => Some("BQ"),
        "NO-21" | "NO-22" => Some("SJ"),
        _ => None,
    }
}

impl Display for Region {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Debug for Region {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Region({self})")
    }
}

impl TryFrom<String> for Region {
    type Error = NoRegion;

    fn try_from(given: String) -> Result<Self, NoRegion> {
        given.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.to_string()
    }
}

/// Officially assigned alpha-2 codes of ISO 3166-1, as Debian's package iso-codes 4.15 lists them.
const COUNTRIES: [&str; 249] = [
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA", "BB", "BD",
    "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV", "BW", "BY", "BZ", "CA",
    "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU", "CV", "CW", "CX", "CY", "CZ", "DE",
    "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES", "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA",
    "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK",
    "HM", "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM", "JO", "JP",
    "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC", "LI", "LK", "LR", "LS", "LT",
    "LU", "LV", "LY", "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK", "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS",
    "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ",
    "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS",
    "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS", "ST",
    "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL", "TM", "TN", "TO", "TR", "TT", "TV", "TW",
    "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE", "VG", "VI", "VN", "VU", "WF", "WS", "YE", "YT", "ZA",
    "ZM", "ZW",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(code: &str) -> Region {
        code.parse().unwrap()
    }

    fn complaint(code: &str) -> String {
        code.parse::<Region>().unwrap_err().to_string()
    }

    #[test]
    fn the_table_is_in_order_and_names_each_country_once() {
        assert!(COUNTRIES.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(COUNTRIES.iter().all(|code| region(code).to_string() == **code));
    }

    #[test]
    fn every_country_whose_grid_is_known_is_one_except_kosovo_which_iso_does_not_list() {
        let unknown: Vec<&str> = crate::grid::zones()
            .map(|zone| zone.code)
            .filter(|code| code.len() <= 6 && code.parse::<Region>().is_err())
            .collect();
        assert_eq!(unknown, ["XK"]);
    }

    #[test]
    fn a_country_contains_its_parts_and_a_part_only_itself() {
        assert!(region("US").contains(&region("US-CA")));
        assert!(region("US").contains(&region("US")));
        assert!(region("US-CA").contains(&region("us-ca")));
        assert!(!region("US-CA").contains(&region("US")));
        assert!(!region("US-C").contains(&region("US-CA")));
        assert!(!region("UA").contains(&region("US")));
        assert_eq!(region("SE-SE3").country(), "SE");
    }

    #[test]
    fn what_is_no_region_is_told_what_to_write() {
        assert_eq!(complaint("UK"), "'UK' is not a region: in ISO 3166-1 it is GB");
        assert_eq!(complaint("uk-eng"), "'UK-ENG' is not a region: in ISO 3166-1 it is GB-ENG");
        assert_eq!(complaint("EL"), "'EL' is not a region: in ISO 3166-1 it is GR");
        assert_eq!(complaint("US-PR"), "'US-PR' is not a region: in ISO 3166-1 it is PR");
        assert_eq!(complaint("FI-01"), "'FI-01' is not a region: in ISO 3166-1 it is AX");
        assert_eq!(complaint("EU"), "'EU' is not a region: no country has these two letters in ISO 3166-1");
        for shape in
            ["", "D", "DEU", "DE-", "-CA", "US-CAL4", "US-C A", "U1", "1", "US_CA", " DE", "DE-BY-X", "ÅX", "DE-Ö"]
        {
            assert_eq!(shape.parse::<Region>(), Err(NoRegion::Shape(shape.to_owned())), "{shape}");
        }
    }

    #[test]
    fn on_the_wire_it_is_a_string_and_a_wrong_one_is_refused() {
        assert_eq!(serde_json::to_string(&region("us-ca")).unwrap(), r#""US-CA""#);
        assert_eq!(serde_json::from_str::<Region>(r#""SE-SE3""#).unwrap(), region("SE-SE3"));
        let error = serde_json::from_str::<Region>(r#""UK""#).unwrap_err().to_string();
        assert!(error.starts_with("'UK' is not a region: in ISO 3166-1 it is GB"), "{error}");
        let schema = serde_json::to_value(<Region as utoipa::PartialSchema>::schema()).unwrap();
        assert_eq!(schema["type"], "string");
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_in_capitals_and_read_again(code in "[A-Za-z]{2}(-[A-Za-z0-9]{1,3})?") {
            if let Ok(region) = code.parse::<Region>() {
                prop_assert_eq!(region.to_string(), code.to_ascii_uppercase());
                prop_assert_eq!(region.to_string().parse(), Ok(region));
            }
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,12}") {
            if let Err(error) = text.parse::<Region>() {
                prop_assert!(error.to_string().contains("is not a region"));
            }
        }
    }
}
