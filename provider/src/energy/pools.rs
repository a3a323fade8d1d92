//! Chooses what is metered: pools that together cover the machine once, with the best sensor for each.

use std::collections::BTreeMap;
use std::time::Instant;

use openapi::energy::{Boundary, Tier};
use openapi::hardware;

use super::attribute::{BUCKETS, Coefficients};
use super::estimate::priors::Model;
use super::estimate::{Prior, Watts};
use super::pool::PoolMeter;
use super::sensor::{Description, Kind, Pool, Reading, Sensor, SensorError};
use super::wall::WallMeter;

/// What is known of the work before anything is measured.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    pub model: Model<'a>,
    /// What the machine without its accelerators is estimated to draw.
    pub watts: Watts,
    pub threads: u32,
    /// The engine computes on the accelerators; else they are none of its business.
    pub on_accelerators: bool,
    /// Name of the accelerators, as their driver gives it.
    pub accelerator: Option<&'a str>,
    pub engine: EnginePlace,
}

/// Where the engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnginePlace {
    /// In this program.
    #[default]
    Here,
    /// In another program on this machine. What it takes can't be told from what any other takes, so nothing is foreign:
    /// requests get all that the machine takes while they are computed.
    Beside,
    /// On another machine: nothing here says what it takes.
    Elsewhere,
}

/// What is metered.
pub struct Pools {
    /// Together they cover the machine once.
    pub parts: Vec<PoolMeter>,
    /// Covers what the parts do, and more.
    pub wall: Option<WallMeter>,
}

/// The pools to meter, and how good their figures are together.
pub fn choose(mut sensors: Vec<Box<dyn Sensor>>, work: &Work<'_>) -> Pools {
    match work.engine {
        EnginePlace::Here => {}
        EnginePlace::Beside => sensors = sensors.into_iter().map(Undivided::of).collect(),
        EnginePlace::Elsewhere => sensors.clear(),
    }
    let mut best = best(sensors);
    let now = Instant::now();
    let wall = best.remove(&Pool::Wall).map(|sensor| WallMeter::new(sensor, now));
    let chosen = cover(best, work.on_accelerators);
    let descriptions: Vec<(Pool, Kind)> =
        chosen.iter().map(|sensor| (sensor.description().pool, sensor.description().kind)).collect();
    let quality = quality(&descriptions);
    let parts = chosen
        .into_iter()
        .map(|sensor| {
            let prior = prior(sensor.description().pool, work);
            PoolMeter::new(sensor, prior, quality, now)
        })
        .collect();
    Pools { parts, wall }
}

/// A sensor that takes nothing for foreign.
struct Undivided(Box<dyn Sensor>);

impl Undivided {
    fn of(sensor: Box<dyn Sensor>) -> Box<dyn Sensor> {
        Box::new(Self(sensor))
    }
}

impl Sensor for Undivided {
    fn description(&self) -> &Description {
        self.0.description()
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        self.0.read().map(|reading| Reading { foreign_microjoules: 0, ..reading })
    }
}

/// The best sensor for each pool: what counts before what shows power before what estimates.
fn best(sensors: Vec<Box<dyn Sensor>>) -> BTreeMap<Pool, Box<dyn Sensor>> {
    let rank = |kind: Kind| match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Estimate => 2,
    };
    let mut best: BTreeMap<Pool, Box<dyn Sensor>> = BTreeMap::new();
    for sensor in sensors {
        let (pool, kind) = (sensor.description().pool, sensor.description().kind);
        let is_better = best.get(&pool).is_none_or(|known| rank(kind) < rank(known.description().kind));
        if is_better {
            best.insert(pool, sensor);
        }
    }
    best
}

/// Those pools that cover everything once: the parts, where the processor is measured; else the machine's own figure of
/// itself; else an estimate in the processor's place.
fn cover(mut best: BTreeMap<Pool, Box<dyn Sensor>>, on_accelerators: bool) -> Vec<Box<dyn Sensor>> {
    best.retain(|pool, _| on_accelerators || !matches!(pool, Pool::Gpu(_)));
    let has = |best: &BTreeMap<Pool, Box<dyn Sensor>>, is: fn(&Pool) -> bool| best.keys().any(is);
    let measures_processor = has(&best, |pool| matches!(pool, Pool::Package(_)));
    let has_accelerators = has(&best, |pool| matches!(pool, Pool::Gpu(_)));
    let knows_itself = best.contains_key(&Pool::Platform) && !measures_processor && !has_accelerators;
    best.retain(|pool, _| match pool {
        Pool::Platform => knows_itself,
        Pool::Machine => !measures_processor && !knows_itself,
        _ => !knows_itself,
    });
    best.into_values().collect()
}

fn quality(pools: &[(Pool, Kind)]) -> (Tier, Boundary) {
    let any = |is: fn(&(Pool, Kind)) -> bool| pools.iter().any(is);
    let estimates = any(|(_, kind)| *kind == Kind::Estimate);
    let accelerators = any(|(pool, _)| matches!(pool, Pool::Gpu(_)));
    let tier = if pools.is_empty() {
        Tier::X
    } else if any(|(_, kind)| *kind == Kind::Gauge) {
        Tier::D
    } else if !estimates {
        Tier::B
    } else if accelerators {
        Tier::C
    } else {
        Tier::E
    };
    (tier, Boundary::NodeDc)
}

/// What steps are taken to cost on a pool until it is known better.
fn prior(pool: Pool, work: &Work<'_>) -> Coefficients {
    let device = work.accelerator.and_then(hardware::device);
    let prior = match (pool, device) {
        (Pool::Gpu(_), Some(device)) => Prior::of_accelerators(device, 1, &work.model),
        _ => Prior::of_processors(work.watts, work.threads, &work.model),
    };
    Coefficients {
        fixed: prior.fixed_microjoules / 1e6,
        decode: prior.decode_microjoules / 1e6,
        context: prior.context_per_thousand,
        prefill: prior.prefill_microjoules / 1e6,
        idle_watts: prior.idle_milliwatts as f64 / 1e3,
        buckets: [None; BUCKETS],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::energy::sensor::Value;

    struct Stub(Description);

    impl Sensor for Stub {
        fn description(&self) -> &Description {
            &self.0
        }

        fn read(&mut self) -> Result<Reading, SensorError> {
            let value = Value::Counter { microjoules: 9, wraps_after: None };
            Ok(Reading { at: Instant::now(), value, foreign_microjoules: 7 })
        }
    }

    fn stub(pool: Pool, kind: Kind) -> Box<dyn Sensor> {
        Box::new(Stub(Description {
            name: format!("{pool:?}:{kind:?}"),
            back_end: "proc-cpu",
            pool,
            kind,
            boundary: Boundary::Device,
            tier: Tier::B,
            resolution: Duration::from_millis(1),
            most_milliwatts: None,
        }))
    }

    fn chosen(there: &[(Pool, Kind)], on_accelerators: bool) -> (Vec<(Pool, Kind)>, Tier) {
        let sensors = there.iter().map(|(pool, kind)| stub(*pool, *kind)).collect();
        let chosen = cover(best(sensors), on_accelerators);
        let chosen: Vec<(Pool, Kind)> =
            chosen.iter().map(|sensor| (sensor.description().pool, sensor.description().kind)).collect();
        let tier = quality(&chosen).0;
        (chosen, tier)
    }

    #[test]
    fn another_program_is_not_foreign_where_it_computes() {
        let mut undivided = Undivided::of(stub(Pool::Machine, Kind::Estimate));
        assert_eq!(undivided.read().unwrap().foreign_microjoules, 0);
        assert_eq!(undivided.description().pool, Pool::Machine);
        let model = Model { name: "m", quantisation: "unknown", weight_bytes: 0, active_parameters: None };
        let watts = Watts { idle_milliwatts: 1_000, busy_milliwatts: 2_000 };
        for (engine, pools) in [(EnginePlace::Here, 1), (EnginePlace::Beside, 1), (EnginePlace::Elsewhere, 0)] {
            let work = Work { model, watts, threads: 1, on_accelerators: false, accelerator: None, engine };
            let chosen = choose(vec![stub(Pool::Machine, Kind::Estimate), stub(Pool::Wall, Kind::Gauge)], &work);
            assert_eq!((chosen.parts.len(), chosen.wall.is_some()), (pools, pools > 0), "{engine:?}");
        }
    }

    #[test]
    fn every_joule_is_covered_once_by_the_best_sensor_there_is() {
        use Kind::{Counter, Estimate, Gauge};
        use Pool::{Dram, Gpu, Machine, Package, Platform};
        for (there, on_accelerators, expected, tier) in [
            (vec![(Machine, Estimate)], false, vec![(Machine, Estimate)], Tier::E),
            (
                vec![(Machine, Estimate), (Package(0), Counter), (Dram(0), Counter), (Platform, Counter)],
                false,
                vec![(Package(0), Counter), (Dram(0), Counter)],
                Tier::B,
            ),
            (
                vec![(Machine, Estimate), (Gpu(0), Gauge), (Gpu(0), Counter)],
                true,
                vec![(Gpu(0), Counter), (Machine, Estimate)],
                Tier::C,
            ),
            (vec![(Machine, Estimate), (Gpu(0), Counter)], false, vec![(Machine, Estimate)], Tier::E),
            (
                vec![(Gpu(0), Counter), (Gpu(1), Counter), (Package(0), Counter)],
                true,
                vec![(Gpu(0), Counter), (Gpu(1), Counter), (Package(0), Counter)],
                Tier::B,
            ),
            (vec![(Gpu(0), Gauge), (Package(0), Counter)], true, vec![(Gpu(0), Gauge), (Package(0), Counter)], Tier::D),
            (vec![(Platform, Gauge), (Machine, Estimate)], false, vec![(Platform, Gauge)], Tier::D),
            (vec![], false, vec![], Tier::X),
        ] {
            assert_eq!(chosen(&there, on_accelerators), (expected, tier), "{there:?}");
        }
    }
}
