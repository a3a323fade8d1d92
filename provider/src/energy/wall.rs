//! A meter at the wall, against which what the components count is held. It sees what they don't (power supply, fans,
//! board) and moves too seldom to divide: so it does not meter requests, but says by how much the components' figures are
//! to be scaled.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::guard::{Guard, Taken};
use super::sensor::Sensor;

/// Looked at this often; meters of this kind move once a minute.
const LOOK: Duration = Duration::from_secs(1);
/// The ratio is that of the last day.
const REMEMBERED: Duration = Duration::from_secs(86_400);
/// With less at the wall (10 Wh) the ratio is more rounding than truth.
const ENOUGH: u64 = 36_000_000_000;
/// A machine draws at least what its components do, and at most this many times that, in thousandths.
const SANE: std::ops::RangeInclusive<u64> = 900..=4_000;
/// The last hour's ratio may differ from the last day's by so many hundredths, or they do not agree.
const AGREE_PERCENT: u64 = 10;
const RECENT: Duration = Duration::from_secs(3_600);

/// Follows a meter at the wall.
pub struct WallMeter {
    sensor: Box<dyn Sensor>,
    guard: Guard,
    next_look: Instant,
    /// What the components had counted when the meter moved last.
    components: u64,
    /// What both have moved, and when.
    moves: VecDeque<Move>,
}

#[derive(Clone, Copy, Debug)]
struct Move {
    at: Instant,
    wall: u64,
    components: u64,
}

/// What the wall says of the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconciled {
    /// Energy at the wall for a thousand of the components'.
    pub milli: u64,
    /// A day long, they have agreed within a tenth.
    pub for_a_day: bool,
}

impl WallMeter {
    /// A meter that is compared from now on.
    pub fn new(sensor: Box<dyn Sensor>, now: Instant) -> Self {
        let guard = Guard::new(sensor.description());
        Self { sensor, guard, next_look: now, components: 0, moves: VecDeque::new() }
    }

    /// Reads the meter if it is time; `components` is what they have counted by now, unscaled.
    pub fn look(&mut self, now: Instant, components: u64) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        match self.guard.take(self.sensor.read()) {
            Taken::Moved { microjoules, .. } => {
                let moved = components.saturating_sub(self.components);
                self.components = components;
                self.take(Move { at: now, wall: microjoules, components: moved });
            }
            Taken::Begun | Taken::Doubted(_) => self.components = components,
            Taken::Waiting => {}
        }
    }

    fn take(&mut self, moved: Move) {
        self.moves.push_back(moved);
        let is_old = |first: &Move| moved.at.saturating_duration_since(first.at) > REMEMBERED;
        while self.moves.front().is_some_and(is_old) {
            self.moves.pop_front();
        }
    }

    /// What it says by now; nothing while it has not moved enough, or says what can't be.
    pub fn reconciled(&self) -> Option<Reconciled> {
        let (first, last) = (self.moves.front()?, self.moves.back()?);
        let day = ratio(self.moves.iter())?;
        let recent = self.moves.iter().filter(|moved| last.at.saturating_duration_since(moved.at) < RECENT);
        let agree = ratio(recent).is_none_or(|recent| recent.abs_diff(day) * 100 <= day * AGREE_PERCENT);
        let long = last.at.saturating_duration_since(first.at) + RECENT >= REMEMBERED;
        SANE.contains(&day).then_some(Reconciled { milli: day, for_a_day: long && agree })
    }
}

fn ratio<'a>(moves: impl Iterator<Item = &'a Move>) -> Option<u64> {
    let (wall, components) = moves.fold((0u128, 0u128), |(wall, components), moved| {
        (wall + u128::from(moved.wall), components + u128::from(moved.components))
    });
    let milli = (wall * 1_000).checked_div(components)?;
    (wall >= u128::from(ENOUGH)).then_some(u64::try_from(milli).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Tier};

    use super::*;
    use crate::energy::sensor::{Description, Kind, Pool, Reading, SensorError, Value};

    const MINUTE: Duration = Duration::from_secs(60);

    /// Moves by so many joules each minute.
    struct Plug {
        description: Description,
        begun: Instant,
        minutes: u64,
        joules_each: u64,
    }

    impl Sensor for Plug {
        fn description(&self) -> &Description {
            &self.description
        }

        fn read(&mut self) -> Result<Reading, SensorError> {
            let at = self.begun + MINUTE * u32::try_from(self.minutes).unwrap();
            let microjoules = self.minutes * self.joules_each * 1_000_000;
            self.minutes += 1;
            Ok(Reading { at, value: Value::Counter { microjoules, wraps_after: None }, foreign_microjoules: 0 })
        }
    }

    fn after(minutes: u64, wall: u64, components: u64) -> Option<Reconciled> {
        let begun = Instant::now();
        let description = Description {
            name: "plug".to_owned(),
            back_end: "shelly-gen2",
            pool: Pool::Wall,
            kind: Kind::Counter,
            boundary: Boundary::Wall,
            tier: Tier::A,
            resolution: MINUTE,
            most_milliwatts: None,
        };
        let plug = Plug { description, begun, minutes: 0, joules_each: wall };
        let mut meter = WallMeter::new(Box::new(plug), begun);
        for minute in 0..=minutes {
            meter.look(begun + MINUTE * u32::try_from(minute).unwrap(), minute * components * 1_000_000);
        }
        meter.reconciled()
    }

    #[test]
    fn the_ratio_is_known_after_a_while_and_trusted_after_a_day() {
        assert_eq!(after(5, 6_000, 5_000), None, "too little");
        assert_eq!(after(30, 6_000, 5_000), Some(Reconciled { milli: 1_200, for_a_day: false }));
        assert_eq!(after(1_500, 6_000, 5_000), Some(Reconciled { milli: 1_200, for_a_day: true }));
    }

    #[test]
    fn a_meter_of_something_else_says_nothing() {
        assert_eq!(after(1_500, 6_000, 1_000), None, "six times as much");
        assert_eq!(after(1_500, 6_000, 60_000), None, "a tenth");
        assert_eq!(after(1_500, 6_000, 0), None);
    }
}
