//! NVIDIA accelerators, through the driver's management library: the energy counter of those since Volta, the power of
//! the others.
//!
//! Source: "NVML API Reference", `nvmlDeviceGetTotalEnergyConsumption`, `nvmlDeviceGetFieldValues`,
//! `nvmlDeviceGetPowerUsage`, `nvmlDeviceGetProcessUtilization`.

mod driver;
mod foreign;

use std::time::Duration;

use openapi::energy::{Boundary, Tier};

use super::root::Root;
use super::{Description, Discovered, Finding, Kind, Pool, Reading, Sensor, SensorError, Value};
use foreign::Foreign;

const COUNTER: &str = "nvml-counter";
const GAUGE: &str = "nvml-gauge";

/// The counter moves every 20 to 100 ms, by model.
const COUNTER_RESOLUTION: Duration = Duration::from_millis(100);
/// Power is renewed as often, and on some models is a mean over the last second.
const GAUGE_RESOLUTION: Duration = Duration::from_secs(1);

/// An accelerator, as the driver knows it.
trait Gpu: Send {
    /// True when it is divided into instances (MIG). Its figures are the whole board's, whoever uses the others.
    fn is_divided(&self) -> bool;

    /// The limit that is enforced now, or else the one that is set, in milliwatts.
    fn limit_milliwatts(&self) -> Option<u64>;

    /// Energy since the driver was loaded, in millijoules.
    fn energy_millijoules(&self) -> Result<u64, Trouble>;

    fn power_milliwatts(&self, by: Power) -> Result<u64, Trouble>;

    /// Process numbers of the programs that hold it.
    fn programs(&self) -> Result<Vec<u32>, Trouble>;

    /// What they did since a sample's time.
    fn activity(&self, since: u64) -> Result<Vec<Activity>, Trouble>;
}

/// How its power is asked for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    /// `NVML_FI_DEV_POWER_INSTANT`.
    Instant,
    /// `NVML_FI_DEV_POWER_AVERAGE`, over a second.
    Average,
    /// `nvmlDeviceGetPowerUsage`: either of these, by model.
    Usage,
}

/// One sample of a program's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Activity {
    program: u32,
    /// In microseconds.
    at: u64,
    /// Part of the time in which its kernels ran, in percent.
    percent: u32,
}

/// Why the driver says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// This board, or this driver, does not know.
    Unsupported,
    Denied,
    Gone(String),
}

impl From<Trouble> for SensorError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unsupported => Self::Gone("the driver does not show it any more".to_owned()),
            Trouble::Denied => Self::Denied { path: "/dev/nvidiactl".into() },
            Trouble::Gone(reason) => Self::Gone(reason),
        }
    }
}

/// All NVIDIA accelerators of this machine.
pub(super) fn discover(root: &Root) -> Discovered {
    match driver::boards() {
        Ok(boards) => take_stock(root, boards, std::process::id()),
        Err(driver::Unopened::Missing) => Discovered { sensors: vec![], findings: [COUNTER, GAUGE].map(absent).into() },
        Err(driver::Unopened::Broken(trouble, remedy)) => {
            let (error, remedy) = (trouble.into(), remedy.to_owned());
            Discovered { sensors: vec![], findings: vec![Finding::Unusable { back_end: COUNTER, error, remedy }] }
        }
    }
}

fn absent(back_end: &'static str) -> Finding {
    Finding::Absent { back_end, looked_at: driver::LIBRARY.to_owned() }
}

/// The counter of each, else its power. `own` is this program's process number.
fn take_stock<G: Gpu + 'static>(root: &Root, gpus: Vec<G>, own: u32) -> Discovered {
    let mut discovered = Discovered::default();
    for (number, gpu) in (0..).zip(gpus) {
        let counter = gpu.energy_millijoules().map(|_| Source::Energy);
        let source = match counter {
            Ok(source) => source,
            Err(trouble) => {
                discovered.findings.push(failed(COUNTER, trouble));
                match gauge(&gpu) {
                    Ok(power) => Source::Power(power),
                    Err(trouble) => {
                        discovered.findings.push(failed(GAUGE, trouble));
                        continue;
                    }
                }
            }
        };
        let description = describe(number, &gpu, source);
        discovered.findings.push(Finding::Found(description.clone()));
        let (root, foreign) = (root.clone(), Foreign::new(own));
        discovered.sensors.push(Box::new(Accelerator { gpu, source, description, root, foreign }));
    }
    discovered.or_absent(COUNTER, driver::LIBRARY)
}

fn gauge(gpu: &impl Gpu) -> Result<Power, Trouble> {
    let mut trouble = Trouble::Unsupported;
    for power in [Power::Instant, Power::Average, Power::Usage] {
        match gpu.power_milliwatts(power) {
            // Drivers that do not know a field may say zero, which no accelerator takes.
            Ok(0) => {}
            Ok(_) => return Ok(power),
            Err(other) => trouble = other,
        }
    }
    Err(trouble)
}

fn failed(back_end: &'static str, trouble: Trouble) -> Finding {
    let remedy = match trouble {
        Trouble::Unsupported => return absent(back_end),
        Trouble::Denied => "Let this program open /dev/nvidiactl and /dev/nvidia0: in a container, give it the GPU.",
        Trouble::Gone(_) => "Reset the GPU with nvidia-smi --gpu-reset, or restart the machine.",
    };
    Finding::Unusable { back_end, error: trouble.into(), remedy: remedy.to_owned() }
}

fn describe(number: u32, gpu: &impl Gpu, source: Source) -> Description {
    let is_divided = gpu.is_divided();
    let (back_end, kind, tier, resolution) = match source {
        // Of a divided board nobody can tell what part is ours: the figure is no better than a derived one.
        Source::Energy if is_divided => (COUNTER, Kind::Counter, Tier::D, COUNTER_RESOLUTION),
        Source::Energy => (COUNTER, Kind::Counter, Tier::C, COUNTER_RESOLUTION),
        Source::Power(_) => (GAUGE, Kind::Gauge, Tier::D, GAUGE_RESOLUTION),
    };
    Description {
        name: format!("nvml:{number}{}", if is_divided { ":mig-shared" } else { "" }),
        back_end,
        pool: Pool::Gpu(number),
        kind,
        boundary: Boundary::Device,
        tier,
        resolution,
        most_milliwatts: gpu.limit_milliwatts(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Energy,
    Power(Power),
}

struct Accelerator<G> {
    gpu: G,
    source: Source,
    description: Description,
    root: Root,
    foreign: Foreign,
}

impl<G: Gpu> Sensor for Accelerator<G> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let value = match self.source {
            Source::Energy => {
                Value::Counter { microjoules: microjoules(self.gpu.energy_millijoules()?)?, wraps_after: None }
            }
            Source::Power(power) => Value::Gauge { milliwatts: self.gpu.power_milliwatts(power)? },
        };
        let at = self.root.now();
        Ok(Reading { at, value, foreign_microjoules: self.foreign.follow(&self.gpu, at, value) })
    }
}

fn microjoules(millijoules: u64) -> Result<u64, SensorError> {
    millijoules.checked_mul(1_000).ok_or_else(|| SensorError::Nonsense(format!("{millijoules} mJ")))
}

#[cfg(test)]
pub(super) mod tests;
