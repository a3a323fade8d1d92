//! Whether what a node's reports add up to can be: power over time, what is said to be others', and what went to the
//! attempts.

use std::collections::VecDeque;

use openapi::energy::report::{EnergyReport, PoolWindow};
use openapi::energy::{Boundary, Tier};
use openapi::units::{Microjoules, Microseconds};

use super::bounds::{Machine, ceiling, floor_power};
use super::verdict::{Finding, Kind};

/// Windows that are remembered.
const WINDOWS: usize = 64;
/// Windows that make a share of foreign energy: one alone may be somebody's compiler.
const ENOUGH_WINDOWS: usize = 10;
/// How many times its own part the attributed energy may be: three quarters may be others'.
pub const MOST_CROWD: f64 = 4.0;
/// The time of computing in which a counter that works has moved.
const LONG: Microseconds = Microseconds::new(1_000_000);
/// Foreign energy in thousandths of the total that is believed to be foreign.
const MOST_FOREIGN_MILLI: u64 = 200;

/// One window, all pools together.
#[derive(Clone, Copy, Debug)]
struct Window {
    to: Microseconds,
    span: Microseconds,
    busy: Microseconds,
    total: Microjoules,
    attributed: Microjoules,
    elsewhere: Microjoules,
    foreign: Microjoules,
    /// Attributed to requests of this gateway since the sums began.
    own: Microjoules,
}

/// The sums of one node.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    windows: VecDeque<Window>,
    own: Microjoules,
    settled: Microjoules,
    /// Sums count from a moment at which nothing ran.
    since_quiet: bool,
}

impl Balance {
    /// Sums begin anew, after a start of the node or a missing report. The windows stay: nobody outruns them by starting.
    pub fn restart(&mut self) {
        (self.own, self.settled, self.since_quiet) = (Microjoules::ZERO, Microjoules::ZERO, false);
        self.windows.iter_mut().for_each(|window| window.own = Microjoules::ZERO);
    }

    /// Takes a report. `oldest_running` is when the oldest attempt began whose energy the node has not settled, this
    /// report included, by the gateway's clock and count; none when there is none.
    pub fn observe(
        &mut self,
        report: &EnergyReport,
        machine: &Machine,
        oldest_running: Option<Microseconds>,
    ) -> Vec<Finding> {
        let window = self.take(report);
        let boundary = boundary(report);
        [
            frozen(report),
            powered(&window, machine, boundary),
            self.rested(machine),
            self.foreign(),
            self.elsewhere(),
            self.balanced(report, oldest_running),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// How many times the gateway's own part of the attributed energy the whole is, over the windows remembered: others'
    /// requests run beside its own. At least 1.
    pub fn crowd(&self) -> f64 {
        let sum =
            |part: fn(&Window) -> Microjoules| self.windows.iter().map(|window| part(window).joules()).sum::<f64>();
        let (attributed, elsewhere) = (sum(|window| window.attributed), sum(|window| window.elsewhere));
        if attributed <= 0.0 { 1.0 } else { attributed / (attributed - elsewhere).max(attributed / 1e6) }
    }

    fn take(&mut self, report: &EnergyReport) -> Window {
        let sum = |part: fn(&PoolWindow) -> Microjoules| {
            Microjoules::new(report.pools.iter().fold(0u64, |sum, pool| sum.saturating_add(part(pool).get())))
        };
        let (attributed, elsewhere) = (sum(|pool| pool.attributed), sum(|pool| pool.elsewhere));
        let (foreign, total) = (sum(|pool| pool.foreign), sum(PoolWindow::total));
        let (to, span, busy) = (report.to, report.to - report.from, report.busy_microseconds);
        self.own = Microjoules::new(self.own.get().saturating_add((attributed - elsewhere).get()));
        let settled = report.settled.iter().map(|attempt| attempt.energy.microjoules.get());
        self.settled = Microjoules::new(settled.fold(self.settled.get(), u64::saturating_add));
        let window = Window { to, span, busy, total, attributed, elsewhere, foreign, own: self.own };
        if self.windows.len() == WINDOWS {
            self.windows.pop_front();
        }
        self.windows.push_back(window);
        window
    }

    /// While nothing is computed, the machine draws what it draws at rest.
    fn rested(&self, machine: &Machine) -> Option<Finding> {
        let (mut time, mut drawn) = (0u64, 0u64);
        for window in self.windows.iter().filter(|window| window.busy == Microseconds::ZERO) {
            time = time.saturating_add(window.span.get());
            drawn = drawn.saturating_add(window.total.get());
        }
        let least = floor_power(machine, Microseconds::new(time));
        (drawn < least.get()).then(|| {
            let figures = [("joules at rest", drawn as f64 / 1e6), ("joules at least", least.joules())];
            Finding::new(Kind::TooLittlePower, "At rest it says to draw less than any machine of its class.", &figures)
        })
    }

    fn foreign(&self) -> Option<Finding> {
        let sum = |part: fn(&Window) -> Microjoules| {
            self.windows.iter().map(|window| u128::from(part(window).get())).sum::<u128>()
        };
        let (total, foreign) = (sum(|window| window.total), sum(|window| window.foreign));
        let much = foreign * 1_000 > total * u128::from(MOST_FOREIGN_MILLI);
        (self.windows.len() >= ENOUGH_WINDOWS && much).then(|| {
            let figures = [("joules", total as f64 / 1e6), ("foreign joules", foreign as f64 / 1e6)];
            Finding::new(Kind::MuchForeign, "More than a fifth of its energy is said to be other programs'.", &figures)
        })
    }

    fn elsewhere(&self) -> Option<Finding> {
        let crowd = self.crowd();
        (self.windows.len() >= ENOUGH_WINDOWS && crowd > MOST_CROWD).then(|| {
            let reason = "Most of its energy is said to have gone to requests that this gateway has not seen.";
            Finding::new(Kind::MuchElsewhere, reason, &[("times this gateway's part", crowd)])
        })
    }

    /// What was attributed to this gateway's requests is what its attempts were told, but for those that still run.
    fn balanced(&mut self, report: &EnergyReport, oldest_running: Option<Microseconds>) -> Option<Finding> {
        if !self.since_quiet {
            if oldest_running.is_none() {
                self.restart();
                self.since_quiet = true;
            }
            return None;
        }
        // Nothing that was attributed before the oldest of them began is theirs.
        let ended = match oldest_running {
            None => self.own,
            Some(began) => {
                let margin = super::bounds::RESOLUTION;
                let before = self.windows.iter().rev().find(|window| window.to < began - margin);
                before.map_or(Microjoules::ZERO, |window| window.own)
            }
        };
        let holds = ended <= self.settled && self.settled <= self.own;
        (!holds).then(|| {
            let figures = [
                ("joules of attempts", self.settled.joules()),
                ("joules attributed to those that ended", ended.joules()),
                ("joules attributed", self.own.joules()),
                ("sequence", report.sequence as f64),
            ];
            self.since_quiet = false;
            Finding::new(Kind::Unbalanced, "What its attempts took is not what was attributed to them.", &figures)
        })
    }
}

/// Every counter moves while the machine computes.
fn frozen(report: &EnergyReport) -> Option<Finding> {
    let still = |pool: &&PoolWindow| pool.total() == Microjoules::ZERO;
    let pool = report.pools.iter().find(still).filter(|_| report.busy_microseconds >= LONG)?;
    let figures = [("seconds busy", report.busy_microseconds.get() as f64 / 1e6)];
    Some(Finding::new(Kind::Frozen, format!("{} stands still while the machine computes.", pool.pool), &figures))
}

/// A window's power lies between that at rest and the limit.
fn powered(window: &Window, machine: &Machine, boundary: Boundary) -> Option<Finding> {
    let least = floor_power(machine, window.span);
    let figures = [("joules", window.total.joules()), ("seconds", window.span.get() as f64 / 1e6)];
    if window.total < least {
        return Some(Finding::new(Kind::TooLittlePower, "It says to draw less than its class does at rest.", &figures));
    }
    let most = ceiling(machine, boundary, window.span)?;
    let above = window.total > most;
    above.then(|| Finding::new(Kind::TooMuchPower, "It says to draw more than its power limit.", &figures))
}

/// The widest boundary of the pools; several pools are more than one device.
fn boundary(report: &EnergyReport) -> Boundary {
    let device = report.pools.iter().all(|pool| pool.boundary == Boundary::Device && pool.pool.starts_with("gpu"));
    if device { Boundary::Device } else { Boundary::NodeDc }
}

/// The tier of a report: the worst that holds more than a tenth of its energy.
pub fn tier(report: &EnergyReport) -> Tier {
    let total: u128 = report.pools.iter().map(|pool| u128::from(pool.total().get())).sum();
    let part = |tier: Tier| -> u128 {
        let pools = report.pools.iter().filter(|pool| pool.tier == tier);
        pools.map(|pool| u128::from(pool.total().get())).sum()
    };
    Tier::ALL.into_iter().rev().find(|tier| part(*tier) * 10 > total).unwrap_or(Tier::X)
}

#[cfg(test)]
mod tests;
