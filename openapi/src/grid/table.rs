//! The compiled-in files: `zone,also,name,mg_per_kwh,year,source`, no field quoted and none with a comma in it.

use std::sync::LazyLock;

use super::{Zone, source};

const FILES: [&str; 4] = [
    include_str!("../../data/grid/countries.csv"),
    include_str!("../../data/grid/us-states.csv"),
    include_str!("../../data/grid/nordic-zones.csv"),
    include_str!("../../data/grid/china-provinces.csv"),
];

/// Every row of every file.
pub(super) static ZONES: LazyLock<Vec<Zone>> = LazyLock::new(|| rows().filter_map(read).collect());

/// The lines without the headings.
pub(super) fn rows() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().flat_map(|file| file.lines().skip(1))
}

fn read(row: &'static str) -> Option<Zone> {
    let mut fields = row.split(',');
    let mut next = || fields.next();
    let zone = Zone {
        code: next()?,
        also: next()?,
        name: next()?,
        mg_per_kwh: next()?.parse().ok()?,
        year: next()?.parse().ok()?,
        source: source(next()?)?,
    };
    next().is_none().then_some(zone)
}
