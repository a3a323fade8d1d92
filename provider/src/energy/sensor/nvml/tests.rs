use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

/// This program's process number in recordings.
const OWN: u32 = 4242;

/// An accelerator that shows what a recording says. Its clones are the same one.
#[derive(Clone, Default)]
pub(in super::super) struct Recorded(Arc<Mutex<Device>>);

/// What is not named is not supported.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Device {
    energy_mj: Option<u64>,
    instant_mw: Option<u64>,
    average_mw: Option<u64>,
    power_mw: Option<u64>,
    limit_mw: Option<u64>,
    divided: bool,
    programs: Option<Vec<u32>>,
    /// Process number, time, percent.
    activity: Vec<(u32, u64, u32)>,
    /// `denied`, or that it is gone and why.
    error: Option<String>,
}

impl Recorded {
    pub(in super::super) fn set(&self, device: &serde_json::Value) {
        if !device.is_null() {
            *self.0.lock().unwrap() = Device::deserialize(device).unwrap();
        }
    }

    pub(in super::super) fn discover(&self, root: &Root) -> Discovered {
        take_stock(root, vec![self.clone()], OWN)
    }

    fn show<T>(&self, figure: impl Fn(&Device) -> Option<T>) -> Result<T, Trouble> {
        let device = self.0.lock().unwrap();
        match device.error.as_deref() {
            Some("denied") => Err(Trouble::Denied),
            Some(reason) => Err(Trouble::Gone(reason.to_owned())),
            None => figure(&device).ok_or(Trouble::Unsupported),
        }
    }
}

impl Gpu for Recorded {
    fn is_divided(&self) -> bool {
        self.0.lock().unwrap().divided
    }

    fn limit_milliwatts(&self) -> Option<u64> {
        self.0.lock().unwrap().limit_mw
    }

    fn energy_millijoules(&self) -> Result<u64, Trouble> {
        self.show(|device| device.energy_mj)
    }

    fn power_milliwatts(&self, by: Power) -> Result<u64, Trouble> {
        self.show(|device| match by {
            Power::Instant => device.instant_mw,
            Power::Average => device.average_mw,
            Power::Usage => device.power_mw,
        })
    }

    fn programs(&self) -> Result<Vec<u32>, Trouble> {
        self.show(|device| device.programs.clone())
    }

    fn activity(&self, since: u64) -> Result<Vec<Activity>, Trouble> {
        let sample = |(program, at, percent)| Activity { program, at, percent };
        let newer = |sample: &Activity| sample.at > since;
        self.show(|device| Some(device.activity.iter().copied().map(sample).filter(newer).collect()))
    }
}

fn recorded(device: &serde_json::Value) -> Recorded {
    let recorded = Recorded::default();
    recorded.set(device);
    recorded
}

#[test]
fn the_counter_comes_before_power_and_the_newest_way_to_power_first() {
    let root = Root::new("/");
    let all = json!({"energy_mj": 5, "instant_mw": 1, "average_mw": 2, "power_mw": 3, "limit_mw": 700_000});
    let discovered = recorded(&all).discover(&root);
    let description = discovered.sensors[0].description();
    assert_eq!((description.back_end, description.kind, description.tier), (COUNTER, Kind::Counter, Tier::C));
    assert_eq!((&*description.name, description.most_milliwatts), ("nvml:0", Some(700_000)));
    assert_eq!(discovered.findings, [Finding::Found(description.clone())]);
    for (device, milliwatts) in [
        (json!({"instant_mw": 1, "average_mw": 2, "power_mw": 3}), 1),
        (json!({"instant_mw": 0, "average_mw": 2, "power_mw": 3}), 2),
        (json!({"power_mw": 3}), 3),
    ] {
        let mut discovered = recorded(&device).discover(&root);
        assert_eq!(discovered.sensors[0].read().unwrap().value, Value::Gauge { milliwatts });
        let [Finding::Absent { back_end: COUNTER, .. }, Finding::Found(description)] = &*discovered.findings else {
            panic!("{:?}", discovered.findings)
        };
        assert_eq!((description.back_end, description.tier), (GAUGE, Tier::D));
    }
}

#[test]
fn what_does_not_work_is_a_finding_with_a_remedy() {
    let root = Root::new("/");
    let absent = recorded(&json!({})).discover(&root);
    assert!(absent.findings.iter().all(|finding| matches!(finding, Finding::Absent { .. })));
    let denied = recorded(&json!({"error": "denied"})).discover(&root);
    for finding in &denied.findings {
        let Finding::Unusable { error: SensorError::Denied { .. }, remedy, .. } = finding else {
            panic!("{finding:?}")
        };
        assert!(remedy.contains("/dev/nvidia0"));
    }
    assert_eq!((absent.findings.len(), denied.findings.len()), (2, 2));
    assert!(absent.sensors.is_empty() && denied.sensors.is_empty());
}

#[test]
fn a_machine_with_and_one_without_the_driver_says_so() {
    let findings = discover(&Root::new("/")).findings;
    let of_ours = |finding: &Finding| match finding {
        Finding::Found(description) => [COUNTER, GAUGE].contains(&description.back_end),
        Finding::Unusable { back_end, .. } | Finding::Absent { back_end, .. } => [COUNTER, GAUGE].contains(back_end),
    };
    assert!(!findings.is_empty() && findings.iter().all(of_ours), "{findings:?}");
}

#[test]
fn a_divided_board_is_marked() {
    let discovered = recorded(&json!({"energy_mj": 5, "divided": true})).discover(&Root::new("/"));
    let description = discovered.sensors[0].description();
    assert_eq!((&*description.name, description.tier), ("nvml:0:mig-shared", Tier::D));
}

#[test]
fn a_count_that_does_not_fit_is_nonsense_and_a_lost_board_is_gone() {
    let gpu = recorded(&json!({"energy_mj": u64::MAX}));
    let mut discovered = gpu.discover(&Root::new("/"));
    assert!(matches!(discovered.sensors[0].read(), Err(SensorError::Nonsense(_))));
    gpu.set(&json!({"error": "device fell off the bus"}));
    assert_eq!(discovered.sensors[0].read(), Err(SensorError::Gone("device fell off the bus".to_owned())));
}

#[test]
fn others_are_charged_for_the_time_in_which_they_ran() {
    let gpu = recorded(&json!({"energy_mj": 0, "programs": [OWN, 7], "activity": [[7, 5, 100]]}));
    let (begin, mut foreign) = (Instant::now(), Foreign::new(OWN));
    let mut follow = |seconds: u64, microjoules| {
        let value = Value::Counter { microjoules, wraps_after: None };
        foreign.follow(&gpu, begin + Duration::from_secs(seconds), value)
    };
    assert_eq!(follow(0, 0), 0);
    assert_eq!(follow(1, 1_000), 0, "what was before is not known");
    gpu.set(&json!({"programs": [OWN, 7, 8], "activity": [[7, 10, 20], [7, 11, 40], [8, 10, 5], [OWN, 11, 60]]}));
    assert_eq!(follow(2, 2_000), 350, "30 and 5 percent");
    assert_eq!(follow(3, 3_000), 350, "the same samples are not taken twice");
    gpu.set(&json!({"programs": [7], "activity": [[7, 20, 100]]}));
    assert_eq!(follow(4, 4_000), 350, "a driver that does not know us counts differently");
    gpu.set(&json!({"programs": [OWN, 7], "activity": [[7, 30, 300], [8, 30, 90]]}));
    assert_eq!(follow(5, 5_000), 1_350, "and nobody gets more than all");
    gpu.set(&json!({"error": "denied"}));
    assert_eq!(follow(6, 6_000), 1_350);
}

#[test]
fn of_a_gauge_others_get_their_part_over_time() {
    let gpu = recorded(&json!({"programs": [OWN, 7]}));
    let (begin, mut foreign) = (Instant::now(), Foreign::new(OWN));
    let value = Value::Gauge { milliwatts: 100_000 };
    assert_eq!(foreign.follow(&gpu, begin, value), 0);
    gpu.set(&json!({"programs": [OWN, 7], "activity": [[7, 10, 50]]}));
    assert_eq!(foreign.follow(&gpu, begin + Duration::from_secs(2), value), 100_000_000, "half of 200 J");
}

proptest! {
    /// Others never get more than what was counted, and their total never falls.
    #[test]
    fn others_get_a_part(steps in prop::collection::vec((0u64..3_000, 0u64..1_000_000, 0u32..200), 1..30)) {
        let (gpu, mut foreign) = (Recorded::default(), Foreign::new(OWN));
        let (mut at, mut microjoules, mut last) = (Instant::now(), 0, 0);
        for (time, (milliseconds, drawn, percent)) in (1u64..).zip(steps) {
            gpu.set(&json!({"programs": [OWN, 7], "activity": [[7, time, percent]]}));
            at += Duration::from_millis(milliseconds);
            microjoules += drawn;
            let taken = foreign.follow(&gpu, at, Value::Counter { microjoules, wraps_after: None });
            prop_assert!(last <= taken && taken <= microjoules);
            last = taken;
        }
    }
}
