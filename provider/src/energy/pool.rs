//! One counter on its way from readings to divided windows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openapi::energy::report::PoolWindow;
use openapi::energy::{Boundary, Tier};
use openapi::units::Microjoules;

use super::attribute::{Calibration, Coefficients, Division, Step, Window, divide};
use super::guard::{Doubt, Guard, Taken};
use super::sensor::{Pool, Sensor};
use super::wall::Reconciled;

/// A sensor is asked at most so often, however many requests end.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// With fewer windows learned from, what a silent sensor would have shown is a guess.
const LEARNED: u32 = 200;
/// Counters that move seldom are off at the edges of a window by a part of that time, which matters less in longer ones.
const LEAST_WINDOW: Duration = Duration::from_millis(300);
/// Those that move more often have no such edges.
const FINE: Duration = Duration::from_millis(20);
/// Windows that wait for their steps; a prompt that takes longer than all of them is no prompt.
const MOST_WAITING: usize = 36_000;

/// A pool of energy, its sensor, and what has become of its energy.
pub struct PoolMeter {
    name: String,
    tier: Tier,
    boundary: Boundary,
    sensor: Box<dyn Sensor>,
    guard: Guard,
    calibration: Calibration,
    waiting: VecDeque<Waiting>,
    next_look: Instant,
    /// Up to where windows exist.
    read_until: Instant,
    /// Up to where they are divided.
    divided_until: Instant,
    counter: u64,
    /// The same as the sensor counts it.
    raw: u64,
    /// What the wall says of the sensor, in thousandths.
    scale_milli: u64,
    /// What its figures are without a wall.
    alone: (Tier, Boundary),
    draft: Draft,
    doubted: bool,
}

/// A window whose steps are not all known.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Measured(Window),
    /// The sensor was silent or not believed: the energy is what was learned that these steps take.
    Predicted {
        from: Instant,
        to: Instant,
    },
}

/// What goes into the next report.
#[derive(Clone, Copy, Debug, Default)]
struct Draft {
    counter_from: u64,
    attributed: u64,
    elsewhere: u64,
    idle: u64,
    foreign: u64,
    predicted: u64,
}

/// A divided window, and how well its energy is known.
pub struct Divided {
    pub division: Division,
    pub tier: Tier,
    pub microjoules: Microjoules,
    pub from: Instant,
    pub to: Instant,
}

impl PoolMeter {
    /// A pool that counts from now on. `tier` and `boundary` are those of all pools of the machine together.
    pub fn new(sensor: Box<dyn Sensor>, prior: Coefficients, (tier, boundary): (Tier, Boundary), now: Instant) -> Self {
        let description = sensor.description();
        Self {
            name: name(description.pool),
            tier,
            boundary,
            guard: Guard::new(description),
            calibration: Calibration::new(prior),
            waiting: VecDeque::new(),
            next_look: now,
            read_until: now,
            divided_until: now,
            counter: 0,
            raw: 0,
            scale_milli: 1_000,
            alone: (tier, boundary),
            draft: Draft::default(),
            doubted: false,
            sensor,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Up to where every microjoule is divided.
    pub fn divided_until(&self) -> Instant {
        self.divided_until
    }

    /// How well its figures are known now.
    pub fn tier(&self) -> Tier {
        if self.doubted { self.predicted_tier() } else { self.tier }
    }

    /// What it includes.
    pub fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// By how much the clocks of counter and steps may differ: nine edges of windows out of ten lie closer.
    pub fn skew(&self) -> Duration {
        self.sensor.description().resolution.mul_f64(0.475)
    }

    /// What steps are taken to cost on it.
    pub fn coefficients(&self) -> Coefficients {
        self.calibration.coefficients()
    }

    /// Windows that these costs were learned from.
    pub fn windows(&self) -> u32 {
        self.calibration.windows()
    }

    /// Everything that its sensor has counted.
    pub fn raw(&self) -> u64 {
        self.raw
    }

    /// Takes what a meter at the wall says: figures cover the whole machine from now on. Counters that have agreed with it
    /// for a day are as good as it gets; an estimate that is scaled by it is no mere estimate any more.
    pub fn reconcile(&mut self, wall: Option<Reconciled>) {
        let Some(wall) = wall else { return };
        self.scale_milli = wall.milli;
        self.boundary = Boundary::Wall;
        self.tier = match self.alone.0 {
            Tier::B | Tier::C if wall.for_a_day => Tier::A,
            Tier::E => Tier::D,
            tier => tier,
        };
    }

    /// Reads the sensor, unless it was read just now.
    pub fn look(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + SHORTEST_LOOK.max(self.sensor.description().resolution / 4);
        let reading = self.sensor.read();
        let at = reading.as_ref().map_or(now, |reading| reading.at.min(now));
        match self.guard.take(reading) {
            Taken::Waiting => {}
            Taken::Begun => self.predict_until(at),
            Taken::Moved { from, to, microjoules, foreign_microjoules } => {
                self.predict_until(from);
                self.trust();
                self.push(clipped(Window { from, to, microjoules, foreign_microjoules }, self.read_until));
            }
            Taken::Doubted(doubt) => {
                self.distrust(&doubt);
                self.predict_until(at);
            }
        }
    }

    fn push(&mut self, window: Option<Window>) {
        let Some(window) = window else { return };
        self.read_until = window.to;
        if let Some(Waiting::Measured(last)) = self.waiting.back_mut()
            && self.sensor.description().resolution > FINE
            && window.from.saturating_duration_since(last.from) < LEAST_WINDOW
        {
            *last = joined(*last, window);
            return;
        }
        self.waiting.push_back(Waiting::Measured(window));
        if self.waiting.len() > MOST_WAITING {
            self.merge_oldest();
        }
    }

    /// A step that lasts for an hour must not make the list endless.
    fn merge_oldest(&mut self) {
        if let (Some(Waiting::Measured(one)), Some(Waiting::Measured(next))) =
            (self.waiting.front(), self.waiting.get(1))
        {
            let merged = joined(*one, *next);
            self.waiting.pop_front();
            if let Some(front) = self.waiting.front_mut() {
                *front = Waiting::Measured(merged);
            }
        }
    }

    fn predict_until(&mut self, to: Instant) {
        if to > self.read_until {
            self.waiting.push_back(Waiting::Predicted { from: self.read_until, to });
            self.read_until = to;
        }
    }

    fn trust(&mut self) {
        if std::mem::take(&mut self.doubted) {
            tracing::info!(sensor = self.sensor.description().name, "an energy sensor can be believed again");
        }
    }

    fn distrust(&mut self, doubt: &Doubt) {
        if !std::mem::replace(&mut self.doubted, true) {
            let sensor = &self.sensor.description().name;
            tracing::warn!(sensor, ?doubt, "an energy sensor is not believed: its energy is predicted meanwhile");
        }
    }

    fn predicted_tier(&self) -> Tier {
        if self.calibration.windows() >= LEARNED { Tier::D.max(self.tier) } else { Tier::E.max(self.tier) }
    }

    /// Divides the oldest window if all steps in it are known.
    pub fn divide_next(&mut self, known_until: Instant, steps: &[Step]) -> Option<Divided> {
        let coarse = self.sensor.description().resolution > FINE;
        let is_alone = self.waiting.len() == 1;
        let is_known = |waiting: &Waiting| match waiting {
            // Another reading may still be joined to it.
            Waiting::Measured(window) if coarse && is_alone => {
                window.to <= known_until && window.to.saturating_duration_since(window.from) >= LEAST_WINDOW
            }
            Waiting::Measured(window) => window.to <= known_until,
            Waiting::Predicted { to, .. } => *to <= known_until,
        };
        let coefficients = self.coefficients();
        let (window, tier) = match self.waiting.front().copied().filter(is_known)? {
            Waiting::Measured(window) => {
                self.raw += window.microjoules;
                let window = scaled(window, self.scale_milli);
                self.calibration.learn(&window, steps);
                (window, self.tier)
            }
            Waiting::Predicted { from, to } => (coefficients.window(from, to, steps), self.predicted_tier()),
        };
        self.waiting.pop_front();
        self.divided_until = window.to;
        self.counter += window.microjoules;
        let division = divide(&window, steps, &coefficients);
        self.draft.attributed += division.attributed_microjoules();
        self.draft.idle += division.idle_microjoules;
        self.draft.foreign += division.foreign_microjoules;
        if tier != self.tier {
            self.draft.predicted += window.microjoules;
        }
        Some(Divided {
            division,
            tier,
            microjoules: Microjoules::new(window.microjoules),
            from: window.from,
            to: window.to,
        })
    }

    /// Takes note that so much of what was attributed went to others than the gateway.
    pub fn went_elsewhere(&mut self, microjoules: u64) {
        self.draft.elsewhere += microjoules;
    }

    /// What has become of its energy since the last report.
    pub fn report(&mut self) -> PoolWindow {
        let draft = std::mem::replace(&mut self.draft, Draft { counter_from: self.counter, ..Draft::default() });
        let moved = self.counter - draft.counter_from;
        // The tier of a sum is the worst that more than a tenth of it has.
        let tier = if draft.predicted > moved / 10 { self.predicted_tier() } else { self.tier };
        PoolWindow {
            pool: self.name.clone(),
            tier,
            boundary: self.boundary,
            counter_from: Microjoules::new(draft.counter_from),
            counter_to: Microjoules::new(self.counter),
            attributed: Microjoules::new(draft.attributed),
            elsewhere: Microjoules::new(draft.elsewhere),
            idle: Microjoules::new(draft.idle),
            foreign: Microjoules::new(draft.foreign),
        }
    }
}

/// A window as the wall sees it.
fn scaled(window: Window, milli: u64) -> Window {
    let scaled = |microjoules: u64| (u128::from(microjoules) * u128::from(milli) / 1_000) as u64;
    Window {
        microjoules: scaled(window.microjoules),
        foreign_microjoules: scaled(window.foreign_microjoules),
        ..window
    }
}

/// Two windows that follow each other as one.
fn joined(one: Window, next: Window) -> Window {
    Window {
        from: one.from,
        to: next.to,
        microjoules: one.microjoules + next.microjoules,
        foreign_microjoules: one.foreign_microjoules + next.foreign_microjoules,
    }
}

/// The part of a window after a moment: what lies before was predicted already.
fn clipped(window: Window, from: Instant) -> Option<Window> {
    if window.from >= from {
        return Some(window);
    }
    let all = window.to.saturating_duration_since(window.from).as_nanos().max(1);
    let rest = window.to.saturating_duration_since(from).as_nanos();
    let part = |microjoules: u64| (u128::from(microjoules) * rest / all) as u64;
    (rest > 0).then(|| Window {
        from,
        to: window.to,
        microjoules: part(window.microjoules),
        foreign_microjoules: part(window.foreign_microjoules),
    })
}

fn name(pool: Pool) -> String {
    match pool {
        Pool::Gpu(number) => format!("gpu-{number}"),
        Pool::Package(number) => format!("package-{number}"),
        Pool::Dram(number) => format!("dram-{number}"),
        Pool::Platform => "platform".to_owned(),
        Pool::Machine => "machine".to_owned(),
        Pool::Wall => "wall".to_owned(),
    }
}
