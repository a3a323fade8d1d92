//! What devices that are no files are put through: recordings of a driver, a controller and of meters that answer over
//! HTTP, whose time is virtual.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::fixture::{BackEnd, CASES, Step, load, play};
use super::remote::fake::Fake;
use super::root::Root;
use super::{Discovered, apple, nvml, plug, redfish};

/// All of them, each with a recorded device behind it.
pub(super) fn back_ends() -> Vec<BackEnd> {
    vec![
        accelerator("nvml-counter"),
        accelerator("nvml-gauge"),
        controller(),
        meter("shelly-gen1", |fake| Box::pin(plug::tests::discover_at(fake))),
        meter("shelly-gen2", |fake| Box::pin(plug::tests::discover_at(fake))),
        meter("tasmota", |fake| Box::pin(plug::tests::discover_at(fake))),
        meter("redfish", |fake| Box::pin(redfish::tests::discover_at(fake))),
    ]
}

fn accelerator(name: &'static str) -> BackEnd {
    let recorded = nvml::tests::Recorded::default();
    let set = {
        let recorded = recorded.clone();
        move |step: &Step| recorded.set(&step.device)
    };
    BackEnd { name, set: Box::new(set), discover: Box::new(move |root: &Root| recorded.discover(root)) }
}

fn controller() -> BackEnd {
    let recorded = apple::tests::Recorded::default();
    let set = {
        let recorded = recorded.clone();
        move |step: &Step| recorded.set(&step.device)
    };
    BackEnd { name: "apple-smc", set: Box::new(set), discover: Box::new(move |root: &Root| recorded.discover(root)) }
}

/// A runtime for the polling tasks whose clock jumps, and the meter that they ask. Each case has its own.
struct World {
    runtime: Runtime,
    begin: Instant,
    fake: Fake,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let begin = runtime.block_on(async { Instant::now() });
        Self { runtime, begin, fake: Fake::new() }
    }
}

/// What a step says is true since the step before.
fn meter(name: &'static str, discover: impl Fn(Fake) -> Discovering + 'static) -> BackEnd {
    let world = Rc::new(RefCell::new(World::new()));
    let told = Rc::clone(&world);
    let set = move |step: &Step| {
        if step.at_ms == 0 {
            *told.borrow_mut() = World::new();
        }
        let World { runtime, begin, fake } = &*told.borrow();
        fake.play(&step.http);
        let until = *begin + Duration::from_millis(step.at_ms);
        runtime.block_on(async move { tokio::time::sleep_until(until).await });
    };
    let discover = move |_: &Root| {
        let World { runtime, fake, .. } = &*world.borrow();
        runtime.block_on(discover(fake.clone()))
    };
    BackEnd { name, set: Box::new(set), discover: Box::new(discover) }
}

type Discovering = std::pin::Pin<Box<dyn Future<Output = Discovered>>>;

/// Prints what every back end makes of every case, and holds it against the recording.
#[test]
fn every_device_survives_every_case() {
    let mut wrong = Vec::new();
    for mut back_end in back_ends() {
        for name in CASES {
            let case = load(back_end.name, name);
            let came = play(&mut back_end, &case);
            println!("{:<13} {name:<8} {} {}", back_end.name, came.finding, came.taken.join(" "));
            if came != case.expect {
                wrong.push(format!("{} {name}: {came:#?} instead of {:#?}", back_end.name, case.expect));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
