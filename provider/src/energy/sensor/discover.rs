//! Looks for every kind of sensor there is.

use std::path::PathBuf;

use url::Url;

use super::redfish::Service;
use super::root::Root;
use super::{Discovered, amdgpu, apple, hwmon, intel_gpu, nvml, plug, processor, rapl, redfish};
use crate::energy::estimate::Watts;

/// Where to look beside the machine itself.
#[derive(Default)]
pub struct Places {
    /// Socket of the privileged reader.
    pub reader: Option<PathBuf>,
    pub plugs: Vec<Url>,
    pub redfish: Vec<Service>,
}

/// All sensors of this machine. `watts` is what it draws if nothing can be measured.
pub async fn discover(places: Places, watts: Watts) -> Discovered {
    let root = Root::new("/");
    let mut all = nvml::discover(&root);
    for found in [
        amdgpu::discover(&root),
        intel_gpu::discover(&root),
        apple::discover(&root),
        rapl::discover(&root, places.reader),
    ] {
        all.extend(found);
    }
    // What others have found is not found again as some sensor or other.
    let owned = all.pools();
    all.extend(hwmon::discover(&root, &owned));
    all.extend(plug::discover(&places.plugs).await);
    all.extend(redfish::discover(places.redfish).await);
    all.extend(processor::discover(&root, watts));
    all
}
