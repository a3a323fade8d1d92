//! Chips with an energy counter or a power gauge, as Linux shows them under `hwmon` (Linux documentation,
//! `hwmon/sysfs-interface.rst`: `energyN_input` in microjoules, `powerN_*` in microwatts, `inN_input` in millivolts,
//! `currN_input` in milliamperes).
//!
//! A gauge of an unknown chip may be that of a fan, so only chips are read of which it is known what they cover.

use std::path::PathBuf;
use std::time::Duration;

use openapi::energy::{Boundary, Tier};

use super::root::Root;
use super::{Description, Discovered, Kind, Pool, Reading, Sensor, SensorError, Value, amdgpu};

const BACK_END: &str = "hwmon";
const FOLDER: &str = "/sys/class/hwmon";
const RESOLUTION: Duration = Duration::from_millis(100);
/// How far above its limit a device may go for a moment, and then some.
const MARGIN: u64 = 2;
/// Power by which a graphics card is limited, with the names that drivers have for it.
pub(super) const GPU_LIMITS: [&str; 2] = ["power1_cap_max", "power1_cap"];
/// The platform's limits, where they are known.
const PLATFORM_LIMITS: [&str; 2] = ["power1_cap_max", "power1_max"];

/// A chip: its folder and its name.
pub(super) struct Chip {
    pub folder: PathBuf,
    pub name: String,
}

/// The chips of a machine, in the order of their folders' names.
pub(super) fn chips(root: &Root) -> Vec<Chip> {
    let folders = root.names(FOLDER).into_iter().map(|name| PathBuf::from(FOLDER).join(name));
    folders.filter_map(|folder| Some(Chip { name: root.text(folder.join("name")).ok()?, folder })).collect()
}

impl Chip {
    /// The number of the graphics card that the chip sits on.
    pub(super) fn card(&self, root: &Root) -> Option<u32> {
        root.names(self.folder.join("device/drm")).iter().find_map(|name| name.strip_prefix("card")?.parse().ok())
    }

    /// Numbers and labels of a kind of channel, such as `energy` or `power`; a label may be empty.
    pub(super) fn channels(&self, root: &Root, kind: &str) -> Vec<(u32, String)> {
        let number = |name: &String| name.strip_prefix(kind)?.split_once('_')?.0.parse::<u32>().ok();
        let mut numbers: Vec<u32> = root.names(&self.folder).iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let label = |number| root.text(self.folder.join(format!("{kind}{number}_label"))).unwrap_or_default();
        numbers.into_iter().map(|number| (number, label(number))).collect()
    }

    /// More than the highest of these limits, in milliwatts.
    pub(super) fn most_milliwatts(&self, root: &Root, limits: &[&str]) -> Option<u64> {
        let limits = limits.iter().filter_map(|name| root.number(self.folder.join(name)).ok());
        limits.max().filter(|most| *most > 0).map(|microwatts| (microwatts / 1_000).saturating_mul(MARGIN))
    }
}

/// Files that show energy or power.
pub(super) struct Channel {
    pub description: Description,
    pub root: Root,
    pub source: Source,
}

/// What the files hold.
pub(super) enum Source {
    /// Microjoules.
    Energy(PathBuf),
    /// Microwatts.
    Power(PathBuf),
    /// Millivolts and milliamperes of several rails.
    Rails(Vec<(PathBuf, PathBuf)>),
}

impl Sensor for Channel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let value = match &self.source {
            Source::Energy(file) => Value::Counter { microjoules: self.root.number(file)?, wraps_after: None },
            Source::Power(file) => Value::Gauge { milliwatts: self.root.number(file)? / 1_000 },
            Source::Rails(rails) => {
                let power = |(volts, amperes): &(PathBuf, PathBuf)| -> Result<u64, SensorError> {
                    Ok(self.root.number(volts)?.saturating_mul(self.root.number(amperes)?))
                };
                let microwatts =
                    rails.iter().map(power).try_fold(0, |sum, rail| rail.map(|rail| u64::saturating_add(sum, rail)))?;
                Value::Gauge { milliwatts: microwatts / 1_000 }
            }
        };
        Ok(Reading { at: self.root.now(), value, foreign_microjoules: 0 })
    }
}

/// Looks for chips, but for those that cover what `owned` names: others know that better.
pub(super) fn discover(root: &Root, owned: &[Pool]) -> Discovered {
    let chips = chips(root);
    let mut channels: Vec<Channel> = chips.iter().flat_map(|chip| known(root, chip)).collect();
    channels.extend(jetson(root, &chips));
    let mut discovered = Discovered::default();
    for channel in channels {
        let pool = channel.description.pool;
        if !owned.contains(&pool) && !discovered.pools().contains(&pool) {
            discovered.admit(Box::new(channel), |_| "let the node's user read that file, for example by a udev rule");
        }
    }
    discovered.or_absent(BACK_END, root.path(FOLDER).join("*/{energy,power}*").display().to_string())
}

/// The channels of a chip that are known to cover a pool.
fn known(root: &Root, chip: &Chip) -> Vec<Channel> {
    match chip.name.as_str() {
        "amdgpu" | "nouveau" => graphics(root, chip).into_iter().collect(),
        // Sockets beside cores, which are parts of them.
        "amd_energy" => {
            let energies = chip.channels(root, "energy").into_iter();
            let sockets = energies.filter_map(|(n, label)| Some((n, label.strip_prefix("Esocket")?.parse().ok()?)));
            let channel = |(n, socket)| {
                let source = Source::Energy(chip.folder.join(format!("energy{n}_input")));
                channel(root, Pool::Package(socket), None, source)
            };
            sockets.map(channel).collect()
        }
        // The ACPI power meter of servers, Apple's controller under Linux, and power supplies that tell.
        "power_meter" => platform(root, chip, "").into_iter().collect(),
        "macsmc_hwmon" => platform(root, chip, "Total System Power").into_iter().collect(),
        "corsairpsu" => platform(root, chip, "power total").into_iter().collect(),
        _ => Vec::new(),
    }
}

/// A graphics card's power; that of a processor with graphics is the whole package's.
fn graphics(root: &Root, chip: &Chip) -> Option<Channel> {
    let card = chip.card(root)?;
    let file = gauge(root, chip, 1)?;
    let pool = if amdgpu::is_processor(root, card) { Pool::Package(0) } else { Pool::Gpu(card) };
    Some(channel(root, pool, chip.most_milliwatts(root, &GPU_LIMITS), Source::Power(file)))
}

fn platform(root: &Root, chip: &Chip, label: &str) -> Option<Channel> {
    let (number, _) = chip.channels(root, "power").into_iter().find(|(_, found)| label.is_empty() || found == label)?;
    let file = gauge(root, chip, number)?;
    Some(channel(root, Pool::Platform, chip.most_milliwatts(root, &PLATFORM_LIMITS), Source::Power(file)))
}

/// The average over a while is better than a moment's figure.
fn gauge(root: &Root, chip: &Chip, number: u32) -> Option<PathBuf> {
    let files = ["average", "input"].map(|kind| chip.folder.join(format!("power{number}_{kind}")));
    files.into_iter().find(|file| root.exists(file))
}

/// The power monitors of NVIDIA's Jetson boards (INA3221): the rail `VDD_IN` where there is one, or else all of them
/// (NVIDIA Jetson Linux Developer Guide, "Jetson Power Monitoring").
fn jetson(root: &Root, chips: &[Chip]) -> Option<Channel> {
    let monitors = chips.iter().filter(|chip| chip.name == "ina3221");
    let channels = monitors.flat_map(|chip| chip.channels(root, "in").into_iter().map(move |channel| (chip, channel)));
    let rails: Vec<_> = channels.filter(|(_, (_, label))| label.starts_with('V')).collect();
    let whole = rails.iter().any(|(_, (_, label))| label == "VDD_IN");
    let files = |(chip, (n, _)): &(&Chip, (u32, String))| {
        (chip.folder.join(format!("in{n}_input")), chip.folder.join(format!("curr{n}_input")))
    };
    let files: Vec<_> = rails.iter().filter(|(_, (_, label))| !whole || label == "VDD_IN").map(files).collect();
    (!files.is_empty()).then(|| channel(root, Pool::Platform, None, Source::Rails(files)))
}

fn channel(root: &Root, pool: Pool, most_milliwatts: Option<u64>, source: Source) -> Channel {
    let (name, boundary) = match pool {
        Pool::Gpu(number) => (format!("hwmon:gpu-{number}"), Boundary::Device),
        Pool::Package(number) => (format!("hwmon:package-{number}"), Boundary::Device),
        _ => ("hwmon:platform".to_owned(), Boundary::NodeDc),
    };
    let (kind, tier) = match source {
        Source::Energy(_) => (Kind::Counter, Tier::B),
        Source::Power(_) | Source::Rails(_) => (Kind::Gauge, Tier::D),
    };
    let description =
        Description { name, back_end: BACK_END, pool, kind, boundary, tier, resolution: RESOLUTION, most_milliwatts };
    Channel { description, root: root.clone(), source }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixture::{BackEnd, Folder};
    use super::*;

    pub(in super::super) fn back_end() -> BackEnd {
        BackEnd::of_files(BACK_END, |root| discover(root, &[]))
    }

    fn machine(files: &[(&str, &str)]) -> (Folder, Root) {
        let folder = Folder::new();
        files.iter().for_each(|(path, text)| folder.write(&format!("sys/class/hwmon/{path}"), text.as_bytes()));
        let root = Root::new(folder.path());
        (folder, root)
    }

    fn found(files: &[(&str, &str)], owned: &[Pool]) -> Vec<(String, Value)> {
        let (_folder, root) = machine(files);
        let mut discovered = discover(&root, owned);
        let read = |sensor: &mut Box<dyn Sensor>| (sensor.description().name.clone(), sensor.read().unwrap().value);
        discovered.sensors.iter_mut().map(read).collect()
    }

    fn gauge(name: &str, milliwatts: u64) -> (String, Value) {
        (name.to_owned(), Value::Gauge { milliwatts })
    }

    const CARD: [(&str, &str); 5] = [
        ("hwmon3/name", "amdgpu\n"),
        ("hwmon3/device/drm/card1/dev", "226:1"),
        ("hwmon3/power1_average", "87000000\n"),
        ("hwmon3/power1_input", "90000000\n"),
        ("hwmon3/power1_cap_max", "300000000\n"),
    ];

    #[test]
    fn a_graphics_card_is_read_unless_others_do() {
        assert_eq!(found(&CARD, &[Pool::Gpu(0)]), [gauge("hwmon:gpu-1", 87_000)]);
        assert_eq!(found(&CARD, &[Pool::Gpu(1)]), []);
        let (_folder, root) = machine(&CARD);
        assert_eq!(discover(&root, &[]).sensors[0].description().most_milliwatts, Some(600_000));
    }

    #[test]
    fn a_processor_with_graphics_is_a_package() {
        let (folder, root) = machine(&CARD);
        folder.write("sys/class/drm/card1/device/gpu_metrics", &[120, 0, 2, 1]);
        assert_eq!(discover(&root, &[]).pools(), [Pool::Package(0)]);
        assert_eq!(discover(&root, &[Pool::Package(0)]).pools(), []);
    }

    #[test]
    fn sockets_are_counted_and_cores_are_not() {
        let files = [
            ("hwmon0/name", "amd_energy"),
            ("hwmon0/energy1_label", "Ecore000"),
            ("hwmon0/energy1_input", "5"),
            ("hwmon0/energy12_label", "Esocket0"),
            ("hwmon0/energy12_input", "3938647414"),
        ];
        let counter = Value::Counter { microjoules: 3_938_647_414, wraps_after: None };
        assert_eq!(found(&files, &[]), [("hwmon:package-0".to_owned(), counter)]);
    }

    #[test]
    fn platforms_are_found_by_their_labels() {
        let apple = [
            ("hwmon1/name", "macsmc_hwmon"),
            ("hwmon1/power1_label", "AC Input Power"),
            ("hwmon1/power1_input", "1"),
            ("hwmon1/power2_label", "Total System Power"),
            ("hwmon1/power2_input", "12345000"),
        ];
        assert_eq!(found(&apple, &[]), [gauge("hwmon:platform", 12_345)]);
        let server = [("hwmon0/name", "power_meter"), ("hwmon0/power1_average", "213000000")];
        assert_eq!(found(&server, &[]), [gauge("hwmon:platform", 213_000)]);
        let unknown = [("hwmon0/name", "fan"), ("hwmon0/power1_input", "213000000")];
        assert_eq!(found(&unknown, &[]), []);
    }

    #[test]
    fn a_jetson_is_one_rail_or_the_sum_of_them() {
        let mut files = vec![
            ("hwmon2/name", "ina3221"),
            ("hwmon2/in1_label", "VDD_GPU_SOC"),
            ("hwmon2/in1_input", "20000"),
            ("hwmon2/curr1_input", "400"),
            ("hwmon2/in2_label", "VDD_CPU_CV"),
            ("hwmon2/in2_input", "20000"),
            ("hwmon2/curr2_input", "100"),
            ("hwmon2/in7_label", "sum of shunt voltages"),
            ("hwmon2/in7_input", "3"),
        ];
        assert_eq!(found(&files, &[]), [gauge("hwmon:platform", 10_000)]);
        files.extend([
            ("hwmon4/name", "ina3221"),
            ("hwmon4/in1_label", "VDD_IN"),
            ("hwmon4/in1_input", "5000"),
            ("hwmon4/curr1_input", "2501"),
        ]);
        assert_eq!(found(&files, &[]), [gauge("hwmon:platform", 12_505)]);
    }
}
