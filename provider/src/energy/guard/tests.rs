use openapi::energy::{Boundary, Tier};
use proptest::prelude::*;

use super::super::sensor::{Kind, Pool};
use super::*;

const RANGE: u64 = 1_000_000;

fn guard(most_milliwatts: Option<u64>) -> Guard {
    Guard::new(&Description {
        name: "test".to_owned(),
        back_end: "hwmon",
        pool: Pool::Gpu(0),
        kind: Kind::Counter,
        boundary: Boundary::Device,
        tier: Tier::B,
        resolution: Duration::from_millis(1),
        most_milliwatts,
    })
}

struct Bench {
    guard: Guard,
    begin: Instant,
}

impl Bench {
    fn new(most_milliwatts: Option<u64>) -> Self {
        Self { guard: guard(most_milliwatts), begin: Instant::now() + Duration::from_hours(1) }
    }

    fn take(&mut self, at_ms: u64, value: Value, foreign_microjoules: u64) -> Taken {
        let at = self.begin + Duration::from_millis(at_ms);
        self.guard.take(Ok(Reading { at, value, foreign_microjoules }))
    }

    fn counter(&mut self, at_ms: u64, microjoules: u64) -> Taken {
        self.take(at_ms, Value::Counter { microjoules, wraps_after: Some(RANGE) }, 0)
    }

    fn gauge(&mut self, at_ms: u64, milliwatts: u64) -> Taken {
        self.take(at_ms, Value::Gauge { milliwatts }, 0)
    }

    fn moved(&self, from_ms: u64, to_ms: u64, microjoules: u64) -> Taken {
        let [from, to] = [from_ms, to_ms].map(|at| self.begin + Duration::from_millis(at));
        Taken::Moved { from, to, microjoules, foreign_microjoules: 0 }
    }
}

#[test]
fn a_counter_counts_waits_and_wraps() {
    let mut bench = Bench::new(Some(10_000));
    assert_eq!(bench.counter(0, 900_000), Taken::Begun);
    assert_eq!(bench.counter(100, 950_000), bench.moved(0, 100, 50_000));
    assert_eq!(bench.counter(150, 950_000), Taken::Waiting);
    assert_eq!(bench.counter(200, 50_000), bench.moved(100, 200, 100_000), "wrapped");
}

#[test]
fn a_counter_that_is_set_back_has_not_wrapped() {
    let mut bench = Bench::new(Some(10_000));
    bench.counter(0, 500_000);
    assert_eq!(bench.counter(1, 100), Taken::Doubted(Doubt::Backwards), "it can't have drawn half a joule in 1 ms");
    assert_eq!(bench.counter(100, 1_100), Taken::Begun);
    assert_eq!(bench.counter(200, 2_100), bench.moved(100, 200, 1_000));
    let unwrapped = Value::Counter { microjoules: 0, wraps_after: None };
    assert_eq!(bench.take(300, unwrapped, 0), Taken::Doubted(Doubt::Backwards));
}

#[test]
fn a_frozen_counter_is_doubted_until_it_moves() {
    let mut bench = Bench::new(Some(10_000));
    bench.counter(0, 1);
    assert_eq!(bench.counter(5_000, 1), Taken::Waiting);
    assert_eq!(bench.counter(5_001, 1), Taken::Doubted(Doubt::Frozen(Duration::from_millis(5_001))));
    assert_eq!(bench.counter(7_000, 1), Taken::Doubted(Doubt::Frozen(Duration::from_secs(7))));
    assert_eq!(bench.counter(8_000, 70_001), bench.moved(0, 8_000, 70_000));
    assert_eq!(bench.counter(14_000, 70_001), Taken::Doubted(Doubt::Frozen(Duration::from_secs(6))));
    let leap = Value::Counter { microjoules: 99_000_000, wraps_after: None };
    assert!(matches!(bench.take(14_100, leap, 0), Taken::Doubted(Doubt::Spike { .. })), "more than it can have drawn");
    assert_eq!(bench.counter(15_000, 99), Taken::Begun);
}

#[test]
fn what_no_device_draws_is_a_spike() {
    let mut bench = Bench::new(Some(1_000));
    bench.counter(0, 0);
    assert_eq!(bench.counter(100, 106_050), bench.moved(0, 100, 106_050), "5 % and one resolution are believed");
    assert_eq!(bench.counter(200, 212_101), Taken::Doubted(Doubt::Spike { milliwatts: 1_060 }));
    assert_eq!(bench.counter(300, 300_000), Taken::Begun);
    assert_eq!(bench.gauge(400, 1_051), Taken::Doubted(Doubt::Spike { milliwatts: 1_051 }));
    let mut bench = Bench::new(None);
    bench.gauge(0, 20_000_000);
    assert_eq!(bench.gauge(1, 21_000_001), Taken::Doubted(Doubt::Spike { milliwatts: 21_000_001 }));
}

#[test]
fn time_that_stands_still_waits_and_time_that_runs_back_is_doubted() {
    let mut bench = Bench::new(None);
    bench.counter(100, 0);
    assert_eq!(bench.counter(100, 50), Taken::Waiting, "at the same time");
    assert_eq!(bench.counter(101, 60), bench.moved(100, 101, 60), "nothing is lost");
    assert_eq!(bench.counter(100, 70), Taken::Doubted(Doubt::ClockBack));
    assert_eq!(bench.counter(102, 80), Taken::Begun);
}

#[test]
fn silence_is_not_counted() {
    let mut bench = Bench::new(None);
    bench.counter(0, 0);
    let error = SensorError::Gone("unplugged".to_owned());
    assert_eq!(bench.guard.take(Err(error.clone())), Taken::Doubted(Doubt::Silent(error)));
    assert_eq!(bench.counter(200, 100), Taken::Begun);
    assert_eq!(bench.counter(300, 150), bench.moved(200, 300, 50));
}

#[test]
fn a_gauge_is_a_trapezium() {
    let mut bench = Bench::new(None);
    bench.gauge(0, 100);
    assert_eq!(bench.gauge(1_000, 300), bench.moved(0, 1_000, 200_000));
    assert_eq!(bench.gauge(11_001, 300), Taken::Begun, "too long ago");
    assert_eq!(bench.gauge(21_001, 0), bench.moved(11_001, 21_001, 1_500_000));
    assert_eq!(bench.gauge(22_000, 0), Taken::Waiting, "never a zero");
    assert_eq!(bench.gauge(23_000, 2), bench.moved(21_001, 23_000, 1_000));
}

#[test]
fn foreign_energy_is_a_part_of_what_has_moved() {
    let mut bench = Bench::new(None);
    let mut foreign = |at_ms, microjoules, foreign| match bench.take(
        at_ms,
        Value::Counter { microjoules, wraps_after: None },
        foreign,
    ) {
        Taken::Moved { foreign_microjoules, .. } => Some(foreign_microjoules),
        _ => None,
    };
    assert_eq!(foreign(0, 0, 7), None);
    assert_eq!(foreign(1, 0, 9), None, "waits with the energy");
    assert_eq!(foreign(2, 10, 12), Some(5));
    assert_eq!(foreign(3, 20, 90), Some(10), "never more than all");
    assert_eq!(foreign(4, 30, 80), Some(0), "never less than nothing");
}

fn total(taken: impl IntoIterator<Item = Taken>) -> u64 {
    let of = |taken| if let Taken::Moved { microjoules, .. } = taken { microjoules } else { 0 };
    taken.into_iter().map(of).sum()
}

proptest! {
    /// Whatever the counter does below its limit, wraps included, is counted to the microjoule.
    #[test]
    fn every_movement_is_counted_once(
        start in 0..RANGE,
        steps in prop::collection::vec((1u64..4_000, 0u64..=10_000), 1..60),
    ) {
        let mut bench = Bench::new(Some(200_000));
        let (mut at, mut shown) = (0, start);
        bench.counter(at, start);
        let mut taken = Vec::new();
        for (after_ms, milliwatts) in &steps {
            at += after_ms;
            // Not more than a range between two looks: that nobody could tell.
            shown += (after_ms * milliwatts).min(RANGE - 1);
            taken.push(bench.counter(at, shown % RANGE));
            if matches!(taken.last(), Some(Taken::Doubted(doubt)) if !matches!(doubt, Doubt::Frozen(_))) {
                prop_assert!(false, "{taken:?}");
            }
        }
        let last = shown + 1;
        taken.push(bench.counter(at + 1, last % RANGE));
        prop_assert_eq!(total(taken), last - start);
    }

    /// A gauge loses less than one microjoule, however often it is read.
    #[test]
    fn a_gauge_is_integrated_without_loss(steps in prop::collection::vec((1u64..9_000_000_000, 0u64..500), 1..60)) {
        let mut bench = Bench::new(None);
        let (mut at, mut before, mut twice) = (bench.begin, 3u64, 0u128);
        bench.gauge(0, before);
        let mut taken = Vec::new();
        for (nanoseconds, milliwatts) in steps {
            at += Duration::from_nanos(nanoseconds);
            twice += u128::from(before + milliwatts) * u128::from(nanoseconds);
            before = milliwatts;
            let value = Value::Gauge { milliwatts };
            taken.push(bench.guard.take(Ok(Reading { at, value, foreign_microjoules: 0 })));
        }
        prop_assert_eq!(u128::from(total(taken)), twice / (2 * PICOJOULES));
    }

    /// Whatever comes in, windows follow each other and are never empty.
    #[test]
    fn windows_never_overlap(steps in prop::collection::vec((0u64..20_000, 0u64..RANGE, 0u8..4), 1..80)) {
        let mut bench = Bench::new(Some(1_000));
        let mut end = bench.begin;
        for (at, figure, kind) in steps {
            let taken = match kind {
                0 => bench.gauge(at, figure % 2_000),
                1 => bench.guard.take(Err(SensorError::Gone(String::new()))),
                _ => bench.counter(at, figure),
            };
            match taken {
                Taken::Moved { from, to, microjoules, .. } => {
                    prop_assert!(microjoules > 0 && end <= from && from < to);
                    end = to;
                }
                // Time may run backwards between what is counted, not within it.
                Taken::Begun => end = bench.begin,
                Taken::Waiting | Taken::Doubted(_) => {}
            }
        }
    }
}
