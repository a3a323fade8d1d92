//! Computers with Apple's own chips: the power of the whole machine as its system management controller (SMC) shows it
//! under the key `PSTR`. The chip's own counters (IOReport) leave out a good part of what the machine draws.

use std::time::Duration;

use openapi::energy::{Boundary, Tier};

use super::root::Root;
use super::{Description, Discovered, Finding, Kind, Pool, Reading, Sensor, SensorError, Value, figure};

const NAME: &str = "apple-smc";
/// The controller renews it about once a second.
const RESOLUTION: Duration = Duration::from_secs(1);
/// The largest of them, the Mac Pro, draws 1280 W at most by its maker's specification.
const MOST_MILLIWATTS: u64 = 1_280_000;
/// What is said where there is no controller, as macmon says it.
const NOT_FOUND: &str = "AppleSMC not found";

/// A controller.
trait Controller: Send {
    /// Watts of the whole machine.
    fn system_power(&mut self) -> Result<f32, String>;
}

/// The machine's controller, on a Mac.
pub(super) fn discover(root: &Root) -> Discovered {
    match controller::open() {
        Ok(controller) => with(root, controller),
        Err(reason) if reason == NOT_FOUND => Discovered::default().or_absent(NAME, "the service AppleSMC"),
        Err(reason) => Discovered { sensors: vec![], findings: vec![unusable(SensorError::Gone(reason))] },
    }
}

fn with(root: &Root, controller: impl Controller + 'static) -> Discovered {
    let description = Description {
        name: "smc:PSTR".to_owned(),
        back_end: NAME,
        pool: Pool::Platform,
        kind: Kind::Gauge,
        boundary: Boundary::NodeDc,
        tier: Tier::D,
        resolution: RESOLUTION,
        most_milliwatts: Some(MOST_MILLIWATTS),
    };
    let mut machine = Machine { controller, description: description.clone(), root: root.clone() };
    match machine.read() {
        Ok(_) => Discovered { sensors: vec![Box::new(machine)], findings: vec![Finding::Found(description)] },
        Err(error) => Discovered { sensors: vec![], findings: vec![unusable(error)] },
    }
}

fn unusable(error: SensorError) -> Finding {
    let remedy = "Run the node on the Mac itself, outside of virtual machines and of the App Sandbox.";
    Finding::Unusable { back_end: NAME, error, remedy: remedy.to_owned() }
}

struct Machine<C> {
    controller: C,
    description: Description,
    root: Root,
}

impl<C: Controller> Sensor for Machine<C> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let watts = self.controller.system_power().map_err(SensorError::Gone)?;
        let milliwatts = figure::milliwatts(watts.into())?;
        if milliwatts == 0 {
            // So it is in a virtual machine.
            return Err(SensorError::Nonsense("no power at all".to_owned()));
        }
        Ok(Reading { at: self.root.now(), value: Value::Gauge { milliwatts }, foreign_microjoules: 0 })
    }
}

#[cfg(all(feature = "apple", target_os = "macos"))]
mod controller {
    use macmon::sources::SMC;

    use super::Controller;

    pub(super) fn open() -> Result<SMC, String> {
        SMC::new().map_err(|error| error.to_string())
    }

    impl Controller for SMC {
        fn system_power(&mut self) -> Result<f32, String> {
            self.read_float_val("PSTR").map_err(|error| error.to_string())
        }
    }
}

#[cfg(not(all(feature = "apple", target_os = "macos")))]
mod controller {
    use super::Controller;

    /// What does not exist here.
    pub(super) enum Nothing {}

    pub(super) fn open() -> Result<Nothing, String> {
        Err(super::NOT_FOUND.to_owned())
    }

    impl Controller for Nothing {
        fn system_power(&mut self) -> Result<f32, String> {
            match *self {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// A controller that shows what a recording says: `{"power_w": …}` or `{"error": …}`. Its clones are the same one.
    #[derive(Clone, Default)]
    pub(in super::super) struct Recorded(Arc<Mutex<serde_json::Value>>);

    impl Recorded {
        pub(in super::super) fn set(&self, device: &serde_json::Value) {
            if !device.is_null() {
                *self.0.lock().unwrap() = device.clone();
            }
        }

        pub(in super::super) fn discover(&self, root: &Root) -> Discovered {
            with(root, self.clone())
        }
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Device {
        power_w: Option<f32>,
        error: Option<String>,
    }

    impl Controller for Recorded {
        fn system_power(&mut self) -> Result<f32, String> {
            let Device { power_w, error } = Device::deserialize(&*self.0.lock().unwrap()).unwrap();
            error.map_or_else(|| Ok(power_w.unwrap()), Err)
        }
    }

    #[test]
    fn only_power_is_a_figure() {
        let (root, recorded) = (Root::new("/"), Recorded::default());
        recorded.set(&json!({"power_w": 23.456}));
        let mut discovered = recorded.discover(&root);
        let sensor = &mut discovered.sensors[0];
        assert_eq!(sensor.read().unwrap().value, Value::Gauge { milliwatts: 23_456 });
        for wrong in [json!({"power_w": 0}), json!({"power_w": -3.5}), json!({"power_w": 1e30})] {
            recorded.set(&wrong);
            assert!(matches!(sensor.read(), Err(SensorError::Nonsense(_))), "{wrong}");
            assert!(recorded.discover(&root).sensors.is_empty());
        }
        recorded.set(&json!({"error": "SMC key not found"}));
        assert_eq!(sensor.read(), Err(SensorError::Gone("SMC key not found".to_owned())));
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn other_machines_have_none() {
        assert!(matches!(&*discover(&Root::new("/")).findings, [Finding::Absent { back_end: NAME, .. }]));
    }
}
