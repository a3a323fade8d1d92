//! How much carbon a kilowatt-hour stands for, by country and by part of a country: open tables that are compiled in.
//!
//! Annual averages, each with its [`Source`]. Sources count different things; their [`Source::basis`] says what, and
//! figures of different bases are not compared.

mod nearest;

pub mod sci;

mod source;

mod table;

use std::ops::RangeInclusive;

use crate::energy::Grid;

pub use nearest::nearest;
pub use source::{SOURCES, Source, source};

/// No grid is dirtier in any hour, in milligrams per kilowatt-hour: lignite alone, in an old plant.
const DIRTIEST: u64 = 1_500_000;
/// An hour may be this many times cleaner than the year: wind can carry a grid that gas carries on other days.
const CLEANER: u64 = 20;
/// An hour may be this many times dirtier than the year: a grid of water power imports from coal in a dry winter.
const DIRTIER: u64 = 10;

/// A country, a part of one or a bidding zone, and a year of its electricity.
#[derive(Debug, PartialEq, Eq)]
pub struct Zone {
    /// ISO 3166-1 alpha-2, ISO 3166-2, or country and bidding zone: `DE`, `US-CA`, `SE-SE3`.
    pub code: &'static str,
    /// ISO 3166-1 alpha-3 of a country, the short name of a bidding zone; else empty.
    also: &'static str,
    /// In English.
    pub name: &'static str,
    /// Milligrams of CO₂ equivalent per kilowatt-hour; of CO₂ alone where the source's basis says so.
    pub mg_per_kwh: u64,
    /// The calendar year that is averaged.
    pub year: u16,
    /// Who says so.
    pub source: &'static Source,
}

/// The zone of a code such as `DE`, `DEU`, `US-CA`, `SE-SE3` or `SE3`, in capitals or not. A part of a country that has no
/// figure of its own gets the country, which [`Zone::is_called`] tells apart and [`Zone::grid`] names. None when the
/// country is unknown too; [`nearest()`] helps then.
pub fn zone(code: &str) -> Option<&'static Zone> {
    let code = normal(code);
    let named = |code: &str| zones().find(|zone| zone.code == code || (zone.also == code && !code.is_empty()));
    named(&code).or_else(|| {
        let (country, part) = code.split_once('-')?;
        let is_part = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        named(country).filter(|_| is_part)
    })
}

/// All of them, by code within each table: countries first.
pub fn zones() -> impl Iterator<Item = &'static Zone> {
    table::ZONES.iter()
}

impl Zone {
    /// True when this code means this zone and not a part of it.
    pub fn is_called(&self, code: &str) -> bool {
        let code = normal(code);
        self.code == code || (self.also == code && !code.is_empty())
    }

    /// ISO 3166-1 alpha-2 of the country that it is, or is in.
    pub fn country(&self) -> &'static str {
        self.code.split_once('-').map_or(self.code, |(country, _)| country)
    }

    /// The figure as it travels.
    pub fn grid(&self) -> Grid {
        Grid {
            zone: self.code.to_owned(),
            mg_per_kwh: self.mg_per_kwh,
            source: self.source.id.to_owned(),
            basis: self.source.basis.to_owned(),
        }
    }

    /// Milligrams per kilowatt-hour that an hour in this zone may have: from a twentieth of the year's average to ten
    /// times it, and never more than lignite.
    pub fn sanity(&self) -> RangeInclusive<u64> {
        self.mg_per_kwh / CLEANER..=(self.mg_per_kwh * DIRTIER).min(DIRTIEST)
    }

    /// True when an hour of this zone may have this many milligrams per kilowatt-hour.
    pub fn within_sanity(&self, mg_per_kwh: u64) -> bool {
        self.sanity().contains(&mg_per_kwh)
    }
}

/// Codes that mean a zone and are not in the tables: two that are common and not ISO's, and those parts of a country that
/// ISO 3166 also lists as countries, with grids of their own.
const OTHER_NAMES: [(&str, &str); 10] = [
    ("UK", "GB"),
    ("EL", "GR"),
    ("US-AS", "AS"),
    ("US-GU", "GU"),
    ("US-MP", "MP"),
    ("US-PR", "PR"),
    ("US-VI", "VI"),
    ("CN-HK", "HK"),
    ("CN-MO", "MO"),
    ("CN-TW", "TW"),
];

/// In capitals, with hyphens, and the name that the tables use.
fn normal(code: &str) -> String {
    let code = code.trim().to_ascii_uppercase().replace('_', "-");
    OTHER_NAMES.iter().find(|(other, _)| *other == code).map_or(code, |(_, zone)| (*zone).to_owned())
}

#[cfg(test)]
mod tests;
