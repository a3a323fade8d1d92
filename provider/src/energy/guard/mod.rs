//! Whether a sensor's readings can be believed, and what they add up to. Pure: time is in the readings.
//!
//! A reading that can't be believed ends what was being counted, and the next one begins anew: energy is rather left to
//! the next best sensor than made up. Sums are exact; what is less than a microjoule waits for the next reading.

use std::time::{Duration, Instant};

use super::sensor::{Description, Reading, SensorError, Value};

/// A counter is frozen when it has not moved for as many of its resolutions, or for [`LONG`] if that is more.
const RESOLUTIONS: u32 = 10;
const LONG: Duration = Duration::from_secs(5);
/// Between two looks at a gauge that are further apart, anything may have happened.
const LONGEST_GAP: Duration = Duration::from_secs(10);
/// The most that a pool of which nobody knows more can draw, in milliwatts: what one rack is fed with.
const MOST_MILLIWATTS: u64 = 20_000_000;
/// How much more than the most is still believed, in hundredths: devices regulate around their limit.
const TOLERANCE: u128 = 105;
/// Milliwatts × nanoseconds in a microjoule.
const PICOJOULES: u128 = 1_000_000;

/// What became of one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The first one, or the first after trouble: from here on it counts.
    Begun,
    /// The total has moved by this much since the last time that it did.
    Moved { from: Instant, to: Instant, microjoules: u64, foreign_microjoules: u64 },
    /// Nothing has moved, and that is not strange yet: the time waits for the next reading.
    Waiting,
    /// It can't be believed. What lies between the readings around it is not counted from this sensor, but where a
    /// counter stood still: when it moves again by as much as the device can have drawn, [`Taken::Moved`] says since
    /// when.
    Doubted(Doubt),
}

/// Why a reading is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has not moved for this long.
    Frozen(Duration),
    /// It moved faster than the device can draw.
    Spike { milliwatts: u64 },
    /// It went backwards and does not wrap.
    Backwards,
    /// Its time lies before that of the reading before it.
    ClockBack,
    /// It shows nothing.
    Silent(SensorError),
}

/// Watches one sensor.
#[derive(Debug)]
pub struct Guard {
    limit: Limit,
    frozen_after: Duration,
    window: Option<Window>,
}

/// What has been seen since the total last moved.
#[derive(Debug)]
struct Window {
    since: Instant,
    /// At `since`.
    foreign_microjoules: u64,
    last: Reading,
    /// Milliwatts × nanoseconds of a gauge, twice, that are not a microjoule yet.
    rest: u128,
}

/// What energy has come between two readings.
enum Step {
    /// This much, and this rest.
    Energy(u64, u128),
    /// Nobody can tell.
    Unknown,
}

impl Guard {
    /// A guard that has seen nothing yet.
    pub fn new(description: &Description) -> Self {
        let limit = Limit {
            milliwatts: description.most_milliwatts.unwrap_or(MOST_MILLIWATTS),
            resolution: description.resolution,
        };
        let frozen_after = description.resolution.saturating_mul(RESOLUTIONS).max(LONG);
        Self { limit, frozen_after, window: None }
    }

    /// Takes a reading.
    pub fn take(&mut self, reading: Result<Reading, SensorError>) -> Taken {
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => return self.doubt(Doubt::Silent(error)),
        };
        if let Err(doubt) = self.limit.check_gauge(reading.value) {
            return self.doubt(doubt);
        }
        let Some(window) = &mut self.window else { return self.begin(reading) };
        match window.step(&reading, &self.limit) {
            Ok(Step::Unknown) => self.begin(reading),
            Ok(Step::Energy(0, rest)) => window.wait(reading, rest, self.frozen_after),
            Ok(Step::Energy(microjoules, rest)) => window.close(reading, microjoules, rest),
            Err(doubt) => self.doubt(doubt),
        }
    }

    fn begin(&mut self, reading: Reading) -> Taken {
        self.window = Some(Window::starting_at(reading, 0));
        Taken::Begun
    }

    fn doubt(&mut self, doubt: Doubt) -> Taken {
        self.window = None;
        Taken::Doubted(doubt)
    }
}

impl Window {
    fn starting_at(reading: Reading, rest: u128) -> Self {
        Self { since: reading.at, foreign_microjoules: reading.foreign_microjoules, last: reading, rest }
    }

    fn step(&self, reading: &Reading, limit: &Limit) -> Result<Step, Doubt> {
        if reading.at < self.last.at {
            return Err(Doubt::ClockBack);
        }
        match (self.last.value, reading.value) {
            (Value::Counter { microjoules: before, .. }, Value::Counter { microjoules: after, wraps_after }) => {
                let time = reading.at - self.since;
                // A figure that is new at the same time: the next reading shows over which time it came.
                if time.is_zero() {
                    return Ok(Step::Energy(0, 0));
                }
                moved(before, after, wraps_after, |microjoules| limit.check(microjoules, time))
                    .map(|microjoules| Step::Energy(microjoules, 0))
            }
            (Value::Gauge { milliwatts: before }, Value::Gauge { milliwatts: after }) => {
                let time = reading.at - self.last.at;
                if time > LONGEST_GAP {
                    return Ok(Step::Unknown);
                }
                let twice = (u128::from(before) + u128::from(after)) * time.as_nanos() + self.rest;
                let microjoules = u64::try_from(twice / (2 * PICOJOULES)).unwrap_or(u64::MAX);
                Ok(Step::Energy(microjoules, twice % (2 * PICOJOULES)))
            }
            (Value::Counter { .. }, Value::Gauge { .. }) | (Value::Gauge { .. }, Value::Counter { .. }) => {
                Ok(Step::Unknown)
            }
        }
    }

    fn wait(&mut self, reading: Reading, rest: u128, frozen_after: Duration) -> Taken {
        let time = reading.at - self.since;
        if !time.is_zero() {
            self.last = reading;
            self.rest = rest;
        }
        if time > frozen_after { Taken::Doubted(Doubt::Frozen(time)) } else { Taken::Waiting }
    }

    fn close(&mut self, reading: Reading, microjoules: u64, rest: u128) -> Taken {
        let foreign = reading.foreign_microjoules.saturating_sub(self.foreign_microjoules);
        let moved = Taken::Moved {
            from: self.since,
            to: reading.at,
            microjoules,
            foreign_microjoules: foreign.min(microjoules),
        };
        *self = Self::starting_at(reading, rest);
        moved
    }
}

/// What a counter has moved, if `check` believes it.
fn moved(
    before: u64,
    after: u64,
    wraps_after: Option<u64>,
    check: impl Fn(u64) -> Result<(), Doubt>,
) -> Result<u64, Doubt> {
    if let Some(microjoules) = after.checked_sub(before) {
        return check(microjoules).map(|()| microjoules);
    }
    // A counter that was set back is not one that has wrapped, though both go down: only the latter by a likely amount.
    let wrapped = wraps_after.and_then(|range| range.checked_sub(before)).and_then(|rest| rest.checked_add(after));
    wrapped.filter(|microjoules| check(*microjoules).is_ok()).ok_or(Doubt::Backwards)
}

/// The most that can be drawn.
#[derive(Debug)]
struct Limit {
    milliwatts: u64,
    resolution: Duration,
}

impl Limit {
    /// A counter that was read just before it moved and again just after shows the energy of one resolution more.
    fn check(&self, microjoules: u64, time: Duration) -> Result<(), Doubt> {
        let most = u128::from(self.milliwatts) * TOLERANCE / 100 * (time + self.resolution).as_nanos() / PICOJOULES;
        if u128::from(microjoules) <= most {
            return Ok(());
        }
        let milliwatts = u128::from(microjoules) * PICOJOULES / time.as_nanos().max(1);
        Err(Doubt::Spike { milliwatts: u64::try_from(milliwatts).unwrap_or(u64::MAX) })
    }

    fn check_gauge(&self, value: Value) -> Result<(), Doubt> {
        match value {
            Value::Gauge { milliwatts } if u128::from(milliwatts) * 100 > u128::from(self.milliwatts) * TOLERANCE => {
                Err(Doubt::Spike { milliwatts })
            }
            Value::Gauge { .. } | Value::Counter { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
