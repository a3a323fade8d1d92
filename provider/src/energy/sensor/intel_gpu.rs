//! The energy counters of Intel's graphics cards, as the drivers `xe` and `i915` show them under `hwmon` (Linux
//! documentation, `ABI/testing/sysfs-driver-intel-xe-hwmon` and `sysfs-driver-intel-i915-hwmon`: `energyN_input` in
//! microjoules). `xe` counts the card and its package, of which the card is the whole; `i915` counts the card alone.

use std::time::Duration;

use openapi::energy::{Boundary, Tier};

use super::hwmon::{self, Channel, Chip, Source};
use super::root::Root;
use super::{Description, Discovered, Kind, Pool};

/// Drivers and what they are called here.
const DRIVERS: [(&str, &str); 2] = [("xe", "intel-xe"), ("i915", "intel-i915")];
/// The drivers carry the hardware's counter over its own wraps and look at it when they are asked.
const RESOLUTION: Duration = Duration::from_millis(10);
/// Of the card and of its package: sustained and rated.
const LIMITS: [&str; 5] = ["power1_max", "power1_rated_max", "power1_cap", "power2_max", "power2_rated_max"];

/// Looks for cards.
pub(super) fn discover(root: &Root) -> Discovered {
    let chips = hwmon::chips(root);
    let mut all = Discovered::default();
    for (driver, back_end) in DRIVERS {
        let mut discovered = Discovered::default();
        // Chips such as `i915_gt0` are parts of a card.
        for chip in chips.iter().filter(|chip| chip.name == driver) {
            if let Some(channel) = channel(root, chip, back_end) {
                discovered
                    .admit(Box::new(channel), |_| "let the node's user read that file, for example by a udev rule");
            }
        }
        all.extend(discovered.or_absent(back_end, format!("hwmon chips of the driver {driver}")));
    }
    all
}

fn channel(root: &Root, chip: &Chip, back_end: &'static str) -> Option<Channel> {
    let energies = chip.channels(root, "energy");
    let card = energies.iter().find(|(_, label)| label == "card").or(energies.first());
    let (number, _) = card?;
    let gpu = chip.card(root)?;
    let description = Description {
        name: format!("{back_end}:{gpu}"),
        back_end,
        pool: Pool::Gpu(gpu),
        kind: Kind::Counter,
        boundary: Boundary::Device,
        tier: Tier::B,
        resolution: RESOLUTION,
        most_milliwatts: chip.most_milliwatts(root, &LIMITS),
    };
    let source = Source::Energy(chip.folder.join(format!("energy{number}_input")));
    Some(Channel { description, root: root.clone(), source })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixture::{BackEnd, Folder};
    use super::*;

    pub(in super::super) fn back_ends() -> [BackEnd; 2] {
        DRIVERS.map(|(_, back_end)| BackEnd::of_files(back_end, discover))
    }

    #[test]
    fn the_card_is_counted_rather_than_its_package_and_tiles() {
        let folder = Folder::new();
        for (path, text) in [
            ("hwmon2/name", "xe"),
            ("hwmon2/device/drm/card1/dev", ""),
            ("hwmon2/energy1_label", "pkg"),
            ("hwmon2/energy1_input", "1"),
            ("hwmon2/energy2_label", "card"),
            ("hwmon2/energy2_input", "2"),
            ("hwmon2/power1_max", "190000000"),
            ("hwmon5/name", "i915"),
            ("hwmon5/device/drm/card2/dev", ""),
            ("hwmon5/energy1_input", "3"),
            ("hwmon6/name", "i915_gt0"),
            ("hwmon6/device/drm/card2/dev", ""),
            ("hwmon6/energy1_input", "4"),
        ] {
            folder.write(&format!("sys/class/hwmon/{path}"), text.as_bytes());
        }
        let mut discovered = discover(&Root::new(folder.path()));
        let mut figures = discovered.sensors.iter_mut().map(|sensor| {
            (sensor.description().name.clone(), sensor.description().most_milliwatts, sensor.read().unwrap().value)
        });
        let counter = |microjoules| super::super::Value::Counter { microjoules, wraps_after: None };
        assert_eq!(figures.next(), Some(("intel-xe:1".to_owned(), Some(380_000), counter(2))));
        assert_eq!(figures.next(), Some(("intel-i915:2".to_owned(), None, counter(3))));
        assert_eq!(figures.next(), None);
    }
}
