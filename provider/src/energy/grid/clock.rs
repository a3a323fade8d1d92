//! Which country this machine's clock is set to: a hint, since people say so at installation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The name of the machine's time zone, such as `Europe/Paris`.
pub(super) fn time_zone(root: &Path) -> Option<String> {
    let linked = fs::read_link(root.join("etc/localtime")).ok().and_then(|target| {
        let target = target.to_str()?;
        target.split_once("zoneinfo/").map(|(_, name)| name.to_owned())
    });
    let written = || fs::read_to_string(root.join("etc/timezone")).ok().map(|name| name.trim().to_owned());
    linked.or_else(written).filter(|name| !name.is_empty())
}

/// The countries of a time zone by the tables of the time zone database, in ISO 3166-1 alpha-2. Empty where the machine
/// has no tables, and for zones of no country, such as `Etc/UTC`.
pub(super) fn countries(root: &Path, time_zone: &str) -> BTreeSet<String> {
    let tables = ["zone.tab", "zone1970.tab"].map(|name| root.join("usr/share/zoneinfo").join(name));
    let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let mut found = BTreeSet::new();
    for text in texts {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split('\t');
            if let (Some(codes), Some(_), Some(name)) = (fields.next(), fields.next(), fields.next())
                && name == time_zone
            {
                found.extend(codes.split(',').map(str::to_owned));
            }
        }
    }
    found
}
