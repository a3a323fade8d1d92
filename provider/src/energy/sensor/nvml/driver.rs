//! The real library. It is looked for when the program runs, so that the program runs without it too.

use std::sync::Arc;

use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT};
use nvml_wrapper::{Device, Nvml};

use super::{Activity, Gpu, Power, Trouble};

/// What is looked for.
pub(super) const LIBRARY: &str = "libnvidia-ml.so.1";

/// Why there are no boards.
pub(super) enum Unopened {
    /// There is no driver.
    Missing,
    /// There is one, and it does not work; what to do about it.
    Broken(Trouble, &'static str),
}

/// A board by its number, which is the same for as long as the library is open.
pub(super) struct Board {
    library: Arc<Nvml>,
    number: u32,
}

/// All boards, in the driver's order.
pub(super) fn boards() -> Result<Vec<Board>, Unopened> {
    let library = Arc::new(Nvml::init().map_err(unopened)?);
    let count = library.device_count().map_err(unopened)?;
    Ok((0..count).map(|number| Board { library: Arc::clone(&library), number }).collect())
}

fn unopened(error: NvmlError) -> Unopened {
    let remedy = match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => return Unopened::Missing,
        NvmlError::DriverNotLoaded => "Load the NVIDIA driver with modprobe nvidia.",
        NvmlError::LibRmVersionMismatch => "Restart the machine: the NVIDIA driver was renewed while it ran.",
        NvmlError::NoPermission => "Let this program open /dev/nvidiactl: in a container, give it the GPU.",
        _ => "See whether nvidia-smi works.",
    };
    Unopened::Broken(error.into(), remedy)
}

impl From<NvmlError> for Trouble {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::NotSupported
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::NoData
            | NvmlError::InvalidArg => Self::Unsupported,
            NvmlError::NoPermission | NvmlError::OperatingSystem => Self::Denied,
            other => Self::Gone(other.to_string()),
        }
    }
}

impl Board {
    fn device(&self) -> Result<Device<'_>, Trouble> {
        Ok(self.library.device_by_index(self.number)?)
    }

    fn field(&self, field: u32) -> Result<u64, Trouble> {
        let values = self.device()?.field_values_for(&[FieldId(field)])?;
        let sample = values.into_iter().next().ok_or(Trouble::Unsupported)??;
        match sample.value? {
            SampleValue::U32(value) => Ok(value.into()),
            SampleValue::U64(value) => Ok(value),
            SampleValue::I64(value) => u64::try_from(value).map_err(|_| Trouble::Unsupported),
            SampleValue::F64(_) => Err(Trouble::Unsupported),
        }
    }
}

impl Gpu for Board {
    fn is_divided(&self) -> bool {
        self.device().is_ok_and(|device| device.mig_mode().is_ok_and(|mode| mode.current != 0))
    }

    fn limit_milliwatts(&self) -> Option<u64> {
        let device = self.device().ok()?;
        device.enforced_power_limit().or_else(|_| device.power_management_limit()).ok().map(u64::from)
    }

    fn energy_millijoules(&self) -> Result<u64, Trouble> {
        Ok(self.device()?.total_energy_consumption()?)
    }

    fn power_milliwatts(&self, by: Power) -> Result<u64, Trouble> {
        match by {
            Power::Instant => self.field(NVML_FI_DEV_POWER_INSTANT),
            Power::Average => self.field(NVML_FI_DEV_POWER_AVERAGE),
            Power::Usage => Ok(self.device()?.power_usage()?.into()),
        }
    }

    fn programs(&self) -> Result<Vec<u32>, Trouble> {
        Ok(self.device()?.running_compute_processes()?.into_iter().map(|process| process.pid).collect())
    }

    fn activity(&self, since: u64) -> Result<Vec<Activity>, Trouble> {
        let samples = self.device()?.process_utilization_stats(since)?;
        let activity = samples.into_iter().map(|sample| Activity {
            program: sample.pid,
            at: sample.timestamp,
            percent: sample.sm_util,
        });
        Ok(activity.collect())
    }
}
