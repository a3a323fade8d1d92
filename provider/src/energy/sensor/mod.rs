//! Everything on this machine, or beside it, that knows its energy or its power.
//!
//! A [`Sensor`] only reads; whether its readings can be believed is the [`guard`](super::guard)'s business. Every path that
//! a sensor reads is below a root that can be moved, so that tests run on recorded trees.

mod amdgpu;

mod apple;

#[cfg(test)]
mod devices_matrix;

mod discover;

mod figure;

#[cfg(test)]
pub(crate) mod fixture;

mod hwmon;

mod intel_gpu;

mod nvml;

mod plug;

mod processor;

mod rapl;

mod redfish;

mod remote;

mod root;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use openapi::energy::{Boundary, Tier};

pub use discover::{Places, discover};
pub use redfish::Service as RedfishService;
pub use remote::Login;

/// What a sensor covers. Pools of one machine never overlap, but `Wall` and `Platform`, which cover what the others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    /// An accelerator, by its number.
    Gpu(u32),
    /// A processor package.
    Package(u32),
    /// The memory of a processor package.
    Dram(u32),
    /// A whole machine behind its power supply, as it knows itself.
    Platform,
    /// A whole machine, estimated.
    Machine,
    /// A whole machine at the plug.
    Wall,
}

/// How a sensor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It counts energy.
    Counter,
    /// It shows power, which is integrated over time.
    Gauge,
    /// It counts something else that energy is estimated from.
    Estimate,
}

/// A sensor's own description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Unique on this machine, such as `rapl:package-0` or `nvml:0`.
    pub name: String,
    /// The kind of source, such as `rapl-powercap`: one of the [`BACK_ENDS`].
    pub back_end: &'static str,
    pub pool: Pool,
    pub kind: Kind,
    pub boundary: Boundary,
    /// The best tier that figures from it alone can have.
    pub tier: Tier,
    /// How often its figure moves.
    pub resolution: Duration,
    /// More than the pool can draw, in milliwatts; what counts faster is a spike. None when nobody knows.
    pub most_milliwatts: Option<u64>,
}

/// The sources of energy figures.
pub const BACK_ENDS: [&str; 14] = [
    "nvml-counter",
    "nvml-gauge",
    "rapl-powercap",
    "hwmon",
    "amdgpu-metrics",
    "intel-xe",
    "intel-i915",
    "apple-smc",
    "shelly-gen1",
    "shelly-gen2",
    "tasmota",
    "redfish",
    "cgroup-cpu",
    "proc-cpu",
];

/// What a sensor shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Energy since some moment, in microjoules, as the device counts it. It begins anew at zero after `wraps_after`.
    Counter { microjoules: u64, wraps_after: Option<u64> },
    /// Power at this moment.
    Gauge { milliwatts: u64 },
}

/// One look at a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When the figure was true, as well as is known.
    pub at: Instant,
    pub value: Value,
    /// How much of the pool's energy other programs are predicted to have taken, since some moment, in microjoules. Zero
    /// where nobody can tell.
    pub foreign_microjoules: u64,
}

/// Why a sensor shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SensorError {
    /// It is there, and this program may not read it.
    #[error("{} may not be read by this program", path.display())]
    Denied { path: PathBuf },
    /// It was there and is not any more, or does not answer.
    #[error("it is gone: {0}")]
    Gone(String),
    /// It shows something that is no figure.
    #[error("it shows something else: {0}")]
    Nonsense(String),
}

/// Something that knows energy or power. `read` must return within milliseconds: what is slow reads beforehand, in a
/// thread or task of its own, and shows the last figure with the time when it was true.
pub trait Sensor: Send {
    /// What it is.
    fn description(&self) -> &Description;

    /// What it shows now.
    ///
    /// # Errors
    /// When it shows nothing.
    fn read(&mut self) -> Result<Reading, SensorError>;
}

/// What looking for one kind of source has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It can be read.
    Found(Description),
    /// It is there and can't be read; what to do about it.
    Unusable { back_end: &'static str, error: SensorError, remedy: String },
    /// It is not there.
    Absent { back_end: &'static str, looked_at: String },
}

/// The sensors of a machine and how each kind of source was found.
#[derive(Default)]
pub struct Discovered {
    pub sensors: Vec<Box<dyn Sensor>>,
    pub findings: Vec<Finding>,
}

impl Discovered {
    /// Reads a sensor for the first time and keeps it if it can be read; if not, `remedy` says what to do about it.
    fn admit(&mut self, mut sensor: Box<dyn Sensor>, remedy: fn(&SensorError) -> &'static str) {
        let finding = match sensor.read() {
            Ok(_) => Finding::Found(sensor.description().clone()),
            Err(error) => {
                let (back_end, remedy) = (sensor.description().back_end, remedy(&error).to_owned());
                self.findings.push(Finding::Unusable { back_end, error, remedy });
                return;
            }
        };
        self.findings.push(finding);
        self.sensors.push(sensor);
    }

    /// Says where a kind of source was looked for, if nothing has been found out about any.
    fn or_absent(mut self, back_end: &'static str, looked_at: impl Into<String>) -> Self {
        if self.findings.is_empty() {
            self.findings.push(Finding::Absent { back_end, looked_at: looked_at.into() });
        }
        self
    }

    /// Adds what has been found elsewhere.
    fn extend(&mut self, other: Self) {
        self.sensors.extend(other.sensors);
        self.findings.extend(other.findings);
    }

    /// What is covered by the sensors here.
    fn pools(&self) -> Vec<Pool> {
        self.sensors.iter().map(|sensor| sensor.description().pool).collect()
    }
}
