//! What kinds of hardware can do, and what they must draw: one table that nodes estimate with and that the gateway
//! checks with. Where every figure comes from stands in the table itself and in `data/hardware/README.md`.
//!
//! - [`device`]: the class of an accelerator, by the name that its driver reports
//! - [`bounds`]: what physics lets a node claim
//! - [`steps`]: what a decode step was measured to cost
//! - [`quantisation`]: how many parameters are in so many bytes, and what they are computed with

pub mod bounds;

pub mod quantisation;

pub mod steps;

use std::sync::LazyLock;

pub use quantisation::{Precision, Quantisation, parameters};
pub use steps::{Step, step};

/// A class of accelerators: all that its makers sell under one name with one power limit and one memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Such as `nvidia-h100-sxm`.
    pub class: &'static str,
    /// The names of it that drivers report, normalised.
    names: &'static str,
    /// Rated power; of a system on a chip, the chip's.
    pub tdp_milliwatts: u64,
    /// A floor: what every one of the class draws at least with its driver loaded, and mostly several times over.
    pub idle_milliwatts: u64,
    /// The highest dense rate of 16 bit that the maker states, whatever it accumulates in.
    pub peak_gigaflops: u64,
    /// The same of 8 bit, whether integers or floats; that of 16 bit where nothing is faster.
    pub peak_8_bit_gigaflops: u64,
    pub memory_gigabytes_per_second: u64,
    /// Grams of CO₂ equivalent that making one stands for. None where it is not a card of its own.
    pub embodied_grams: Option<u64>,
    /// Who says so.
    pub source: &'static str,
}

impl Device {
    /// The highest rate of a precision. Four bits are at most twice as fast as eight on every device that has them.
    pub const fn peak(&self, precision: Precision) -> u64 {
        match precision {
            Precision::Sixteen => self.peak_gigaflops,
            Precision::Eight => self.peak_8_bit_gigaflops,
            Precision::Four => 2 * self.peak_8_bit_gigaflops,
        }
    }

    /// Rated power over the highest rate: what an operation costs a device that never waits, in femtojoules.
    pub const fn femtojoules_per_operation(&self, precision: Precision) -> u64 {
        // A milliwatt over a gigaflop per second is a picojoule.
        self.tdp_milliwatts * 1_000 / self.peak(precision)
    }

    fn read(line: &'static str) -> Option<Self> {
        let mut cells = line.split(',');
        let (class, names) = (cells.next()?, cells.next()?);
        let mut figure = || cells.next()?.parse::<u64>().ok().filter(|figure| *figure > 0);
        Some(Self {
            class,
            names,
            tdp_milliwatts: figure()?,
            idle_milliwatts: figure()?,
            peak_gigaflops: figure()?,
            peak_8_bit_gigaflops: figure()?,
            memory_gigabytes_per_second: figure()?,
            embodied_grams: figure(),
            source: cells.next()?,
        })
    }

    fn is_called(&self, name: &str) -> bool {
        self.names.split('|').any(|known| known == name) || normalised(self.class) == name
    }
}

static DEVICES: LazyLock<Vec<Device>> = LazyLock::new(|| rows(DEVICES_CSV).filter_map(Device::read).collect());

const DEVICES_CSV: &str = include_str!("../../data/hardware/devices.csv");

/// All classes.
pub fn devices() -> &'static [Device] {
    &DEVICES
}

/// The class of an accelerator, by what NVML, the AMD or Intel driver, a device tree or macOS calls it, or by the
/// class's own name. None for what is not in the table, and for parts and variants of what is: an instance of a
/// partitioned card, a laptop's card, a `Ti`.
///
/// ```
/// let device = openapi::hardware::device("NVIDIA H100 80GB HBM3").unwrap();
/// assert_eq!((device.class, device.tdp_milliwatts), ("nvidia-h100-sxm", 700_000));
/// ```
pub fn device(name: &str) -> Option<&'static Device> {
    let name = normalised(name);
    DEVICES.iter().find(|device| device.is_called(&name))
}

/// Lower-case words without makers, families and trade marks, which drivers write or leave out as they like.
fn normalised(name: &str) -> String {
    const NOISE: [&str; 14] = [
        "nvidia",
        "amd",
        "intel",
        "apple",
        "geforce",
        "tesla",
        "quadro",
        "instinct",
        "radeon",
        "r",
        "tm",
        "gpu",
        "graphics",
        "corporation",
    ];
    let lower = name.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty() && !NOISE.contains(word)).collect::<Vec<_>>().join(" ")
}

/// The rows below the header of a table without quotes.
fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().skip(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_a_device_and_no_name_is_two() {
        assert_eq!(devices().len(), rows(DEVICES_CSV).count());
        let mut names = HashSet::new();
        for device in devices() {
            assert!(names.insert(normalised(device.class)), "{}", device.class);
            for name in device.names.split('|').filter(|name| *name != normalised(device.class)) {
                assert_eq!(normalised(name), name, "{}", device.class);
                assert!(names.insert(name.to_owned()), "{name}");
            }
            assert!(device.idle_milliwatts * 10 <= device.tdp_milliwatts, "{}", device.class);
            assert!(device.peak_gigaflops <= device.peak_8_bit_gigaflops, "{}", device.class);
            assert!(device.source.len() > 10, "{}", device.class);
        }
    }

    #[test]
    fn drivers_names_are_understood() {
        for (name, class) in [
            ("NVIDIA H100 80GB HBM3", "nvidia-h100-sxm"),
            ("NVIDIA H100 PCIe", "nvidia-h100-pcie"),
            ("NVIDIA H100 NVL", "nvidia-h100-nvl"),
            ("NVIDIA H200", "nvidia-h200-sxm"),
            ("NVIDIA B200", "nvidia-b200"),
            ("NVIDIA A100-SXM4-40GB", "nvidia-a100-sxm-40gb"),
            ("NVIDIA A100-SXM4-80GB", "nvidia-a100-sxm-80gb"),
            ("A100-PCIE-40GB", "nvidia-a100-pcie-40gb"),
            ("NVIDIA A100 80GB PCIe", "nvidia-a100-pcie-80gb"),
            ("NVIDIA L4", "nvidia-l4"),
            ("NVIDIA L40S", "nvidia-l40s"),
            ("NVIDIA A10", "nvidia-a10"),
            ("NVIDIA A10G", "nvidia-a10g"),
            ("Tesla T4", "nvidia-t4"),
            ("Tesla V100-SXM2-16GB", "nvidia-v100-sxm"),
            ("NVIDIA GeForce RTX 3060", "nvidia-rtx-3060"),
            ("GeForce RTX 3090", "nvidia-rtx-3090"),
            ("NVIDIA GeForce RTX 5090", "nvidia-rtx-5090"),
            ("NVIDIA RTX 6000 Ada Generation", "nvidia-rtx-6000-ada"),
            ("NVIDIA Jetson AGX Orin Developer Kit", "nvidia-jetson-agx-orin"),
            ("NVIDIA GB10", "nvidia-gb10"),
            ("AMD Instinct MI300X", "amd-mi300x"),
            ("AMD Instinct MI250X / MI250", "amd-mi250x"),
            ("Intel(R) Arc(TM) A770 Graphics", "intel-arc-a770"),
            ("Intel(R) Arc(TM) B580 Graphics", "intel-arc-b580"),
            ("Intel(R) Data Center GPU Max 1550", "intel-max-1550"),
            ("Apple M4 Max", "apple-m4-max"),
            ("nvidia-rtx-4090", "nvidia-rtx-4090"),
        ] {
            assert_eq!(device(name).map(|device| device.class), Some(class), "{name}");
        }
    }

    #[test]
    fn variants_with_other_limits_are_not_taken_for_the_class() {
        for name in [
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA GeForce RTX 3060 Ti",
            "NVIDIA GeForce RTX 4070 SUPER",
            "NVIDIA H100",
            "NVIDIA",
            "",
        ] {
            assert_eq!(device(name), None, "{name}");
        }
    }

    #[test]
    fn rated_power_over_peak_is_as_published() {
        let rated = |class| device(class).map(|device| device.femtojoules_per_operation(Precision::Sixteen));
        for (class, femtojoules) in [
            ("nvidia-h100-sxm", 707),
            ("nvidia-b200", 444),
            ("nvidia-a100-sxm-80gb", 1_282),
            ("nvidia-l4", 595),
            // Half of what it is with the 165 teraflops that accumulate in 32 bit.
            ("nvidia-rtx-4090", 1_362),
        ] {
            assert_eq!(rated(class), Some(femtojoules), "{class}");
        }
        let h100 = device("nvidia-h100-sxm").unwrap();
        assert_eq!(h100.femtojoules_per_operation(Precision::Eight), 353);
    }
}
