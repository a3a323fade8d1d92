//! The energy counters of processor packages and their memory, as Linux shows them under `powercap`: Intel's and AMD's
//! RAPL (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3B, section 15.10; Linux documentation,
//! `power/powercap/powercap.rst`).
//!
//! Since the PLATYPUS attack (CVE-2020-8694) only root may read them; the [`crate::reader`] does it for a node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use openapi::energy::{Boundary, Tier};

use super::root::Root;
use super::{Description, Discovered, Kind, Pool, Reading, Sensor, SensorError, Value};
use crate::reader::{self, Client, POWERCAP};

const BACK_END: &str = "rapl-powercap";
/// The registers are brought up to date about once in a millisecond.
const RESOLUTION: Duration = Duration::from_millis(1);
/// How far above its highest set limit a package may go for a moment, and then some.
const MARGIN: u64 = 2;

/// A zone's energy and where it comes from.
struct Zone {
    description: Description,
    root: Root,
    file: PathBuf,
    wraps_after: Option<u64>,
    reader: Option<Client>,
}

/// Looks for zones. `socket` is where a [`reader`] listens, for when the files may not be read directly.
pub(super) fn discover(root: &Root, socket: Option<PathBuf>) -> Discovered {
    let mut discovered = Discovered::default();
    for (pool, zone) in zones(root) {
        let mut sensor = Zone::new(root, pool, &zone);
        if let (Err(SensorError::Denied { .. }), Some(socket)) = (sensor.read(), &socket) {
            sensor.reader = Some(Client::new(socket.clone(), zone));
        }
        discovered.admit(Box::new(sensor), remedy);
    }
    discovered.or_absent(BACK_END, root.path(POWERCAP).join("intel-rapl:*").display().to_string())
}

fn remedy(error: &SensorError) -> &'static str {
    match error {
        SensorError::Denied { .. } => {
            "only root may read it since CVE-2020-8694: run `commonwatt-reader --socket /run/commonwatt/reader.sock \
             --group <the node's group>` as root and name that socket to the node"
        }
        SensorError::Gone(_) | SensorError::Nonsense(_) => {
            "see that the kernel module intel_rapl_msr is loaded and that commonwatt-reader listens where the node looks"
        }
    }
}

/// Zones by what they cover, each once: several drivers (MSR, MMIO, TPMI) may show the same package. `core` and
/// `uncore` are parts of their package and left out.
fn zones(root: &Root) -> BTreeMap<Pool, String> {
    let names = reader::zones(root.path(POWERCAP).as_path());
    let title = |zone: &str| root.text(format!("{POWERCAP}/{zone}/name")).unwrap_or_default();
    let (mut zones, mut packages) = (BTreeMap::new(), BTreeMap::new());
    // Those of the first driver come first.
    for zone in names.iter().filter(|zone| !is_child(zone)) {
        let title = title(zone);
        if title == "psys" {
            zones.entry(Pool::Platform).or_insert_with(|| zone.clone());
        } else if let Some(package) = package(&title) {
            packages.entry(package).or_insert(zone);
        }
    }
    for (number, zone) in (0..).zip(packages.values()) {
        zones.insert(Pool::Package(number), (*zone).clone());
        let children = names.iter().filter(|name| name.rsplit_once(':').is_some_and(|(parent, _)| parent == *zone));
        zones.extend(children.filter(|child| title(child) == "dram").map(|child| (Pool::Dram(number), child.clone())));
    }
    zones
}

fn is_child(zone: &str) -> bool {
    zone.matches(':').count() > 1
}

/// Package and die of a title such as `package-1` or `package-1-die-0`.
fn package(title: &str) -> Option<(u32, u32)> {
    let rest = title.strip_prefix("package-")?;
    match rest.split_once("-die-") {
        Some((package, die)) => Some((package.parse().ok()?, die.parse().ok()?)),
        None => Some((rest.parse().ok()?, 0)),
    }
}

impl Zone {
    fn new(root: &Root, pool: Pool, zone: &str) -> Self {
        let folder = PathBuf::from(POWERCAP).join(zone);
        let (name, boundary) = match pool {
            Pool::Package(number) => (format!("rapl:package-{number}"), Boundary::Device),
            Pool::Dram(number) => (format!("rapl:dram-{number}"), Boundary::Device),
            _ => ("rapl:psys".to_owned(), Boundary::NodeDc),
        };
        let limits = ["0_max_power", "0_power_limit", "1_max_power", "1_power_limit", "2_power_limit"];
        let limit = |limit: &str| root.number(folder.join(format!("constraint_{limit}_uw"))).ok();
        // Some are not filled in.
        let most = limits.into_iter().filter_map(limit).max().filter(|most| *most > 0);
        Self {
            description: Description {
                name,
                back_end: BACK_END,
                pool,
                kind: Kind::Counter,
                boundary,
                tier: Tier::B,
                resolution: RESOLUTION,
                most_milliwatts: most.map(|microwatts| (microwatts / 1_000).saturating_mul(MARGIN)),
            },
            root: root.clone(),
            wraps_after: root.number(folder.join("max_energy_range_uj")).ok().filter(|range| *range > 0),
            file: folder.join("energy_uj"),
            reader: None,
        }
    }
}

impl Sensor for Zone {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let microjoules = match &mut self.reader {
            Some(reader) => reader.read()?,
            None => self.root.number(&self.file)?,
        };
        let value = Value::Counter { microjoules, wraps_after: self.wraps_after };
        Ok(Reading { at: self.root.now(), value, foreign_microjoules: 0 })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Finding;
    use super::super::fixture::{BackEnd, Folder};
    use super::*;

    pub(in super::super) fn back_end() -> BackEnd {
        BackEnd::of_files(BACK_END, |root| discover(root, None))
    }

    fn machine(zones: &[(&str, &str)]) -> (Folder, Root) {
        let folder = Folder::new();
        for (zone, title) in zones {
            folder.write(&format!("sys/class/powercap/{zone}/name"), title.as_bytes());
            folder.write(&format!("sys/class/powercap/{zone}/energy_uj"), b"1000\n");
            folder.write(&format!("sys/class/powercap/{zone}/max_energy_range_uj"), b"262143328850\n");
        }
        let root = Root::new(folder.path());
        (folder, root)
    }

    fn names(discovered: &Discovered) -> Vec<&str> {
        discovered.sensors.iter().map(|sensor| sensor.description().name.as_str()).collect()
    }

    #[test]
    fn every_package_is_found_once_and_its_parts_are_not() {
        let (_folder, root) = machine(&[
            ("intel-rapl:0", "package-0\n"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "uncore"),
            ("intel-rapl:0:2", "dram"),
            ("intel-rapl:1", "psys"),
            ("intel-rapl:2", "package-1"),
            ("intel-rapl-mmio:0", "package-0"),
            ("intel-rapl-mmio:0:0", "dram"),
            ("dtpm", "something else"),
        ]);
        let discovered = discover(&root, None);
        assert_eq!(names(&discovered), ["rapl:package-0", "rapl:package-1", "rapl:dram-0", "rapl:psys"]);
        let Finding::Found(psys) = &discovered.findings[3] else { panic!() };
        assert_eq!((psys.pool, psys.boundary), (Pool::Platform, Boundary::NodeDc));
    }

    #[test]
    fn dies_are_packages_of_their_own() {
        let (_folder, root) = machine(&[
            ("intel-rapl:0", "package-0-die-0"),
            ("intel-rapl:1", "package-0-die-1"),
            ("intel-rapl:2", "package-1-die-0"),
        ]);
        assert_eq!(names(&discover(&root, None)), ["rapl:package-0", "rapl:package-1", "rapl:package-2"]);
    }

    #[test]
    fn the_limit_is_above_the_highest_that_is_set() {
        let (folder, root) = machine(&[("intel-rapl:0", "package-0")]);
        folder.write("sys/class/powercap/intel-rapl:0/constraint_0_max_power_uw", b"125000000");
        folder.write("sys/class/powercap/intel-rapl:0/constraint_1_power_limit_uw", b"253000000");
        let discovered = discover(&root, None);
        assert_eq!(discovered.sensors[0].description().most_milliwatts, Some(506_000));
    }

    #[test]
    fn without_zones_it_says_where_it_looked() {
        let folder = Folder::new();
        let discovered = discover(&Root::new(folder.path()), None);
        assert!(
            matches!(&discovered.findings[..], [Finding::Absent { looked_at, .. }] if looked_at.contains("powercap"))
        );
    }

    #[test]
    fn what_is_denied_comes_through_the_reader() {
        let (folder, root) = machine(&[("intel-rapl:0", "package-0")]);
        let socket = folder.path().join("reader.sock");
        let served = Root::new(folder.path());
        root.deny("sys/class/powercap/intel-rapl:0/energy_uj", true);
        let discovered = discover(&root, Some(socket.clone()));
        assert!(
            matches!(&discovered.findings[..], [Finding::Unusable { error: SensorError::Gone(_), .. }]),
            "no reader"
        );
        reader::tests::serve(&socket, served.path("").as_path());
        let mut discovered = discover(&root, Some(socket));
        assert!(matches!(&discovered.findings[..], [Finding::Found(_)]));
        let Value::Counter { microjoules, .. } = discovered.sensors[0].read().unwrap().value else { panic!() };
        assert_eq!(microjoules, 1_000);
    }
}
