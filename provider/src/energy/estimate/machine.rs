//! What a machine is, as Linux describes it: `/proc/cpuinfo`, `/proc/meminfo`, `/sys/class/dmi/id` and the device tree,
//! below a root that can be moved. What is not there is not known, and nothing is an error.

use std::collections::HashSet;
use std::path::Path;

use super::family::{Family, Signature};

/// A machine, or the part of one that a virtual machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Threads of its processors together; zero when nobody says.
    pub threads: u32,
    /// Processor packages; zero when nobody says.
    pub sockets: u32,
    /// As the processor calls itself; on ARM the core's name.
    pub model_name: Option<String>,
    /// When what a thread of it draws is known.
    pub family: Option<Family>,
    pub arm: bool,
    pub virtual_machine: bool,
    /// True of laptops and tablets, whose memory is of the kind that ARM boards have.
    pub portable: bool,
    pub memory_bytes: u64,
    /// Maker and model of the whole, such as `LENOVO 21CB`.
    pub product: Option<String>,
}

impl Machine {
    /// Looks at the machine whose `/` is `root`.
    pub fn read(root: &Path) -> Self {
        let cpuinfo = text(root, "proc/cpuinfo").unwrap_or_default();
        let vendor = text(root, "sys/class/dmi/id/sys_vendor").unwrap_or_default();
        let product = text(root, "sys/class/dmi/id/product_name").unwrap_or_default();
        let board = text(root, "proc/device-tree/model");
        let chassis = text(root, "sys/class/dmi/id/chassis_type").and_then(|text| text.parse().ok());
        let mut machine = processors(&cpuinfo);
        // x86 processors say so themselves; others leave it to the firmware.
        machine.virtual_machine = match value(&cpuinfo, "flags") {
            Some(flags) => flags.split(' ').any(|flag| flag == "hypervisor"),
            None => is_virtual(&vendor, &product),
        };
        machine.portable = chassis.is_some_and(is_portable);
        machine.memory_bytes = text(root, "proc/meminfo").and_then(|info| memory_bytes(&info)).unwrap_or_default();
        let whole = format!("{vendor} {product}").trim().to_owned();
        machine.product = Some(whole).filter(|whole| !whole.is_empty()).or(board);
        machine
    }

    /// How many memory modules there are likely to be: CodeCarbon's rule.
    pub fn memory_modules(&self) -> u32 {
        const LARGEST: u64 = 64;
        // The kernel keeps a part of the memory for itself.
        let gibibytes = self.memory_bytes.div_ceil(1 << 30);
        match gibibytes {
            0..=2 => 1,
            3..=16 => 2,
            17..=64 => 4,
            65..=128 => 8,
            _ => u32::try_from(gibibytes.div_ceil(LARGEST)).unwrap_or(u32::MAX).clamp(8, 32),
        }
    }

    /// What each of them draws: 5 W on x86, 1.5 W on ARM, as CodeCarbon has it, and on laptops, whose memory is of the
    /// same kind.
    pub fn module_milliwatts(&self) -> u64 {
        if self.arm || self.portable { 1_500 } else { 5_000 }
    }
}

fn processors(cpuinfo: &str) -> Machine {
    let number = |key: &str| value(cpuinfo, key).and_then(|text| text.parse().ok()).unwrap_or_default();
    let packages: HashSet<&str> = values(cpuinfo, "physical id").collect();
    let vendor = value(cpuinfo, "vendor_id");
    let signature = Signature {
        intel: vendor == Some("GenuineIntel"),
        amd: vendor == Some("AuthenticAMD"),
        family: number("cpu family"),
        model: number("model"),
        stepping: number("stepping"),
    };
    let core = value(cpuinfo, "CPU part").and_then(|part| core(value(cpuinfo, "CPU implementer")?, part));
    let model_name = value(cpuinfo, "model name").filter(|name| !name.is_empty());
    Machine {
        threads: u32::try_from(values(cpuinfo, "processor").count()).unwrap_or(u32::MAX),
        sockets: u32::try_from(packages.len()).unwrap_or(u32::MAX),
        model_name: core.or(model_name).map(str::to_owned),
        family: if core == Some(NEOVERSE_N1) { Some(Family::Graviton2) } else { Family::of(&signature) },
        arm: value(cpuinfo, "CPU implementer").is_some(),
        ..Machine::default()
    }
}

const NEOVERSE_N1: &str = "Neoverse-N1";

/// The name of a core by ARM's numbers, as Linux' `arch/arm64/include/asm/cputype.h` lists them.
fn core(implementer: &str, part: &str) -> Option<&'static str> {
    match (implementer, part) {
        ("0x41", "0xd03") => Some("Cortex-A53"),
        ("0x41", "0xd08") => Some("Cortex-A72"),
        ("0x41", "0xd0b") => Some("Cortex-A76"),
        ("0x41", "0xd0c") => Some(NEOVERSE_N1),
        ("0x41", "0xd40") => Some("Neoverse-V1"),
        ("0x41", "0xd49") => Some("Neoverse-N2"),
        ("0x41", "0xd4f") => Some("Neoverse-V2"),
        _ => None,
    }
}

/// Whether firmware of this maker and product is a hypervisor's. Some sell whole machines under the same name.
fn is_virtual(vendor: &str, product: &str) -> bool {
    const HYPERVISORS: [&str; 14] = [
        "QEMU",
        "KVM",
        "Xen",
        "VMware",
        "innotek GmbH",
        "Parallels",
        "Google",
        "Amazon EC2",
        "OpenStack",
        "DigitalOcean",
        "Alibaba Cloud",
        "Hetzner",
        "Oracle Cloud",
        "Firecracker",
    ];
    const PRODUCTS: [&str; 4] = ["Virtual Machine", "Virtualization", "vServer", "KVM"];
    let known = HYPERVISORS.iter().any(|name| vendor.starts_with(name));
    (known || PRODUCTS.iter().any(|name| product.contains(name))) && !product.contains("metal")
}

/// SMBIOS reference specification 3.7, table 17.
fn is_portable(chassis: u32) -> bool {
    matches!(chassis, 8..=11 | 14 | 30..=32)
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    value(meminfo, "MemTotal")?.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// A small file without the white space and zeros around it. None when there is none or nothing in it.
fn text(root: &Path, path: &str) -> Option<String> {
    let bytes = std::fs::read(root.join(path)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn value<'a>(text: &'a str, key: &'a str) -> Option<&'a str> {
    values(text, key).next()
}

/// What stands behind `key:`, line by line.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(move |(name, _)| name.trim_end() == key).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::sensor::fixture::Folder;

    fn machine(files: &[(&str, &str)]) -> Machine {
        let root = Folder::new();
        for (path, content) in files {
            root.write(path, content.as_bytes());
        }
        Machine::read(root.path())
    }

    fn processor(number: u32, package: u32, rest: &str) -> String {
        format!("processor\t: {number}\nphysical id\t: {package}\n{rest}\n\n")
    }

    #[test]
    fn a_guest_is_known_by_its_flag() {
        let rest = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nstepping\t: 7\n\
                    model name\t: Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz\n\
                    flags\t\t: fpu vme hypervisor lahf_lm";
        let cpuinfo = processor(0, 0, rest) + &processor(1, 0, rest);
        let found = machine(&[
            ("proc/cpuinfo", &cpuinfo),
            ("proc/meminfo", "MemTotal:        7908432 kB\nMemFree:          100000 kB\n"),
            ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"),
            ("sys/class/dmi/id/product_name", "m5.large\n"),
        ]);
        let expected = Machine {
            threads: 2,
            sockets: 1,
            model_name: Some("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz".to_owned()),
            family: Some(Family::CascadeLake),
            virtual_machine: true,
            memory_bytes: 7_908_432 * 1_024,
            product: Some("Amazon EC2 m5.large".to_owned()),
            ..Machine::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_laptop_is_no_guest_whatever_it_is_called() {
        let rest = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\n\
                    model name\t: AMD Ryzen 7 7840HS w/ Radeon 780M Graphics\nflags\t: fpu svm";
        let found = machine(&[
            ("proc/cpuinfo", &processor(0, 0, rest)),
            ("proc/meminfo", "MemTotal:       31900000 kB\n"),
            ("sys/class/dmi/id/sys_vendor", "Google"),
            ("sys/class/dmi/id/chassis_type", "10\n"),
        ]);
        assert!(!found.virtual_machine && found.portable && !found.arm);
        assert_eq!((found.memory_modules(), found.module_milliwatts(), found.family), (4, 1_500, None));
    }

    #[test]
    fn two_packages_are_two_sockets() {
        let rest = "flags\t: fpu";
        let found = machine(&[("proc/cpuinfo", &(processor(0, 0, rest) + &processor(1, 1, rest)))]);
        assert_eq!((found.threads, found.sockets, found.virtual_machine), (2, 2, false));
    }

    #[test]
    fn arm_is_known_by_numbers_and_by_the_device_tree() {
        let core = "CPU implementer\t: 0x41\nCPU part\t: 0xd0b";
        let cpuinfo = format!("processor\t: 0\n{core}\n\nprocessor\t: 1\n{core}\n\nModel\t\t: Raspberry Pi 5\n");
        let found = machine(&[
            ("proc/cpuinfo", &cpuinfo),
            ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
            ("proc/meminfo", "MemTotal:        8258304 kB\n"),
        ]);
        assert_eq!(found.model_name.as_deref(), Some("Cortex-A76"));
        assert_eq!(found.product.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert!(found.arm && !found.virtual_machine);
        assert_eq!((found.threads, found.memory_modules(), found.module_milliwatts()), (2, 2, 1_500));
    }

    #[test]
    fn an_arm_server_is_a_guest_unless_it_is_sold_whole() {
        let cpuinfo = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        let sold_as = |product: &str| {
            machine(&[
                ("proc/cpuinfo", cpuinfo),
                ("sys/class/dmi/id/sys_vendor", "Amazon EC2"),
                ("sys/class/dmi/id/product_name", product),
            ])
        };
        let guest = sold_as("m6g.large");
        assert_eq!((guest.virtual_machine, guest.family), (true, Some(Family::Graviton2)));
        assert!(!sold_as("m6g.metal").virtual_machine);
    }

    #[test]
    fn where_nothing_is_nothing_is_known() {
        assert_eq!(machine(&[]), Machine::default());
        let nonsense = machine(&[("proc/cpuinfo", "processor\n:::\n"), ("proc/meminfo", "MemTotal: many kB")]);
        assert_eq!(nonsense, Machine::default());
    }

    #[test]
    fn modules_are_guessed_from_the_size() {
        let modules = |gibibytes: u64| Machine { memory_bytes: gibibytes << 30, ..Machine::default() }.memory_modules();
        let sizes = [0, 2, 4, 16, 32, 64, 128, 256, 1_024, 1 << 20];
        assert_eq!(sizes.map(modules), [1, 1, 2, 2, 4, 4, 8, 8, 16, 32]);
    }
}
