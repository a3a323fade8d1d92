//! What a machine draws whose power nobody measures, and what it came from.
//!
//! - [`machine`]: what the machine is, as its operating system describes it
//! - [`cpu`]: what its processor is rated
//! - [`family`]: what a thread of a rented server draws
//! - [`priors`]: what a step of decoding costs before anybody has measured one
//!
//! An estimate is tier E: the truth lies within a factor of 2.5 either way, nine times out of ten.

pub mod cpu;

pub mod family;

pub mod machine;

pub mod priors;

use openapi::hardware::Device;

pub use machine::Machine;
pub use priors::Prior;

use family::Family;

/// What a whole machine draws, all its threads together. Neither is zero, and busy is at least idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watts {
    /// With nothing to do.
    pub idle_milliwatts: u64,
    /// With every thread at work.
    pub busy_milliwatts: u64,
}

impl Watts {
    /// At least a milliwatt each, and the larger one as busy.
    fn new(idle_milliwatts: u64, busy_milliwatts: u64) -> Self {
        let idle_milliwatts = idle_milliwatts.max(1);
        Self { idle_milliwatts, busy_milliwatts: busy_milliwatts.max(idle_milliwatts) }
    }

    fn plus(self, milliwatts: u64) -> Self {
        Self::new(self.idle_milliwatts + milliwatts, self.busy_milliwatts + milliwatts)
    }
}

/// What an operator knows better, in watts of the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub idle_watts: Option<u32>,
    pub busy_watts: Option<u32>,
}

/// A figure and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub watts: Watts,
    /// A sentence for people.
    pub basis: String,
}

/// Of rated power, what a processor or accelerator draws with nothing to do: CodeCarbon's floor.
const IDLE_PART: u64 = 10;
const MILLIWATTS: u64 = 1_000;

/// What a machine draws without its accelerators.
pub fn estimate(machine: &Machine, overrides: &Overrides) -> Estimate {
    let own = if machine.virtual_machine { None } else { rated(machine) };
    let found = own.unwrap_or_else(|| by_threads(machine));
    let milliwatts = |watts: Option<u32>| watts.filter(|watts| *watts > 0).map(|watts| u64::from(watts) * MILLIWATTS);
    let (idle, busy) = (milliwatts(overrides.idle_watts), milliwatts(overrides.busy_watts));
    let idle_milliwatts = idle.unwrap_or(found.watts.idle_milliwatts);
    let busy_milliwatts = busy.unwrap_or(found.watts.busy_milliwatts);
    // Who states that little is drawn at work states that no more is drawn at rest.
    let idle_milliwatts = if idle.is_none() { idle_milliwatts.min(busy_milliwatts) } else { idle_milliwatts };
    let basis = match (idle, busy) {
        (Some(_), Some(_)) => "The operator states what the machine draws idle and busy.".to_owned(),
        (Some(_), None) => format!("The operator states what it draws idle; otherwise: {}", found.basis),
        (None, Some(_)) => format!("The operator states what it draws busy; otherwise: {}", found.basis),
        (None, None) => found.basis,
    };
    Estimate { watts: Watts::new(idle_milliwatts, busy_milliwatts), basis }
}

/// What an accelerator draws that counts nothing.
pub fn accelerator(device: &Device) -> Estimate {
    let idle = (device.tdp_milliwatts / IDLE_PART).max(device.idle_milliwatts);
    let basis = format!(
        "{}: rated {} W ({}), a tenth of it idle.",
        device.class,
        device.tdp_milliwatts / MILLIWATTS,
        device.source
    );
    Estimate { watts: Watts::new(idle, device.tdp_milliwatts), basis }
}

/// By rated power and memory modules. None when neither the processor nor its family is in the table.
fn rated(machine: &Machine) -> Option<Estimate> {
    let name = machine.model_name.as_deref()?;
    let (watts, of) = match cpu::cpu_tdp(name) {
        Some(watts) => (watts, name.to_owned()),
        None => {
            cpu::family_tdp(name).map(|(family, watts)| (watts, format!("{name}, as its kind ({family}) mostly is")))?
        }
    };
    let sockets = u64::from(machine.sockets.max(1));
    let rated = u64::from(watts) * MILLIWATTS * sockets;
    let (modules, each) = (machine.memory_modules(), machine.module_milliwatts());
    let basis = format!(
        "{of}: {sockets} × {watts} W rated (CodeCarbon's table), a tenth of it idle, and {modules} memory modules of {}.{} W.",
        each / MILLIWATTS,
        each % MILLIWATTS / 100
    );
    Some(Estimate { watts: Watts::new(rated / IDLE_PART, rated).plus(u64::from(modules) * each), basis })
}

/// By the part of a server that each thread stands for, its memory and power supply included.
fn by_threads(machine: &Machine) -> Estimate {
    let family = machine.family.unwrap_or(Family::Average);
    let (idle, busy) = family.milliwatts_per_thread();
    let threads = u64::from(machine.threads.max(1));
    let kind = if machine.virtual_machine { "a virtual machine" } else { "a machine whose processor is in no table" };
    let basis =
        format!("{threads} threads of {kind} at {idle} to {busy} mW each (Cloud Carbon Footprint, {}).", family.name());
    Estimate { watts: Watts::new(idle * threads, busy * threads), basis }
}

#[cfg(test)]
mod tests {
    use openapi::energy::Tier;
    use openapi::hardware::device;
    use proptest::prelude::*;

    use super::*;

    fn bare(name: &str, gibibytes: u64) -> Machine {
        Machine {
            threads: 16,
            sockets: 1,
            model_name: Some(name.to_owned()),
            memory_bytes: gibibytes << 30,
            ..Machine::default()
        }
    }

    #[test]
    fn a_known_processor_is_rated_and_its_memory_added() {
        let found = estimate(&bare("AMD Ryzen 7 7840HS w/ Radeon 780M Graphics", 32), &Overrides::default());
        assert_eq!(found.watts, Watts { idle_milliwatts: 5_400 + 20_000, busy_milliwatts: 54_000 + 20_000 });
        assert!(found.basis.contains("54 W") && found.basis.contains("4 memory modules of 5.0 W"), "{}", found.basis);
        let two = Machine { sockets: 2, ..bare("AMD EPYC 7763 64-Core Processor", 512) };
        assert_eq!(estimate(&two, &Overrides::default()).watts.busy_milliwatts, 560_000 + 8 * 5_000);
    }

    #[test]
    fn a_virtual_machine_is_a_part_of_a_server() {
        let guest = Machine {
            threads: 4,
            virtual_machine: true,
            family: Some(Family::CascadeLake),
            ..bare("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", 16)
        };
        let found = estimate(&guest, &Overrides::default());
        assert_eq!(found.watts, Watts { idle_milliwatts: 2_560, busy_milliwatts: 15_880 });
        assert!(found.basis.contains("Cascade Lake"), "{}", found.basis);
        let unknown = Machine { threads: 2, ..Machine::default() };
        assert_eq!(estimate(&unknown, &Overrides::default()).watts.busy_milliwatts, 7_000);
    }

    #[test]
    fn the_operator_knows_better() {
        let machine = bare("Intel(R) N150", 16);
        let both = Overrides { idle_watts: Some(4), busy_watts: Some(19) };
        assert_eq!(estimate(&machine, &both).watts, Watts { idle_milliwatts: 4_000, busy_milliwatts: 19_000 });
        let busy = Overrides { idle_watts: None, busy_watts: Some(8) };
        assert_eq!(estimate(&machine, &busy).watts, Watts { idle_milliwatts: 8_000, busy_milliwatts: 8_000 });
        let nothing = Overrides { idle_watts: Some(0), busy_watts: Some(0) };
        assert_eq!(estimate(&machine, &nothing), estimate(&machine, &Overrides::default()));
    }

    #[test]
    fn an_accelerator_without_counters_is_rated() {
        let found = accelerator(device("NVIDIA L4").unwrap());
        assert_eq!(found.watts, Watts { idle_milliwatts: 7_200, busy_milliwatts: 72_000 });
        assert!(found.basis.contains("NVIDIA L4 datasheet"), "{}", found.basis);
    }

    /// CodeCarbon has two curves of rated power over utilisation, Cloud Carbon Footprint a third, the straight line.
    /// Two of them are within the tier's interval of each other at nine utilisations in ten, and no two are ever more
    /// than a factor of three apart.
    #[test]
    fn published_curves_disagree_by_as_much_as_the_interval_allows() {
        let (low, high) = Tier::E.interval_milli();
        let ratios = |one: fn(f64) -> f64, other: fn(f64) -> f64| {
            let each = (0..=1_000).map(move |thousandths| f64::from(thousandths) / 1e3);
            each.map(move |u| one(u) / other(u)).collect::<Vec<_>>()
        };
        let proportional = |u: f64| u.max(0.1);
        let cubic = |u: f64| 0.1 + 0.9 * u.powi(3);
        let straight = |u: f64| 0.1 + 0.9 * u;
        let inside = |ratio: &&f64| (low as f64 / 1e3..=high as f64 / 1e3).contains(*ratio);
        let between = ratios(proportional, cubic);
        assert!(between.iter().filter(inside).count() >= 900);
        assert!(between.iter().any(|ratio| !inside(&ratio)));
        let line = [ratios(straight, proportional), ratios(straight, cubic)].concat();
        assert!(line.iter().filter(inside).count() > 1_600);
        assert!(line.iter().all(|ratio| (1.0..=3.0).contains(ratio)));
    }

    proptest! {
        #[test]
        fn no_estimate_is_zero(
            threads: u32, sockets: u32, memory_bytes: u64, virtual_machine: bool, arm: bool, name in ".{0,30}",
            idle_watts: Option<u32>, busy_watts: Option<u32>,
        ) {
            let machine = Machine {
                threads, sockets, memory_bytes, virtual_machine, arm, model_name: Some(name), ..Machine::default()
            };
            let Estimate { watts, basis } = estimate(&machine, &Overrides { idle_watts, busy_watts });
            prop_assert!(0 < watts.idle_milliwatts && watts.idle_milliwatts <= watts.busy_milliwatts);
            prop_assert!(basis.ends_with('.'));
        }
    }
}
