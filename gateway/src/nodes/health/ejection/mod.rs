//! When a node that fails gets no work, for how long, and how it comes back. After Envoy's outlier detection
//! (envoyproxy.io, "Outlier detection"): failures in a row or a bad rate eject; the time out grows with each ejection, up
//! to a cap, and shrinks again with time in health. Coming back is a circuit breaker's half-open state (Nygard, "Release
//! It!", 2007): one request tries it for all.

use std::time::{Duration, Instant};

use super::remaining;

/// Failures in a row that eject: one or two are chance.
const PATIENCE: u32 = 3;
/// A request weighs half as much in the rate after a minute: long enough for some twenty requests, short enough that
/// a repaired node is soon judged by its new answers.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// The rate of fewer requests than this (weighted) is chance.
const LEAST_REQUESTS: f64 = 20.0;
/// The share of failures that a node may have: above, a request more likely fails than not.
const MOST_FAILED: f64 = 0.5;
/// A program that crashed is back after this.
const FIRST_REST: Duration = Duration::from_secs(2);
/// Nobody who has repaired a node should wait longer for its work.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Doublings of the first rest that reach the longest one; more would only take longer to forget.
const MOST_DOUBLINGS: u32 = 5;
/// This long without an ejection takes one doubling back.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// A probe of which nothing was heard for this long is given up, and another one may go: it may just take long.
const PROBE_WITHIN: Duration = Duration::from_secs(30);
/// A busy node's word is not taken for more than the longest rest of a failing one.
const LONGEST_BUSY: Duration = Duration::from_secs(60);
/// For a busy node that does not say for how long: a slot may be free at any moment.
const BUSY: Duration = Duration::from_secs(1);

/// How a request got to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// The node is in order.
    Open,
    /// The node has rested, and this request, which began then, tries for all whether it works.
    Probe(Instant),
    /// The node is out. Only a request that finds no other node goes there.
    Barred,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    In,
    /// Ejected; afterwards one request may probe.
    Out {
        until: Instant,
    },
    Probing {
        since: Instant,
    },
}

#[derive(Debug, Default)]
pub(super) struct Ejection {
    state: State,
    /// When it came back last.
    in_since: Option<Instant>,
    /// Failures in a row.
    row: u32,
    window: Window,
    /// Of the first rest, for the next one.
    doublings: u32,
    busy_until: Option<Instant>,
    /// How often it was ejected.
    times: u64,
}

impl Ejection {
    pub(super) fn times(&self) -> u64 {
        self.times
    }

    pub(super) fn is_up(&self, now: Instant) -> bool {
        !matches!(self.state, State::Out { until } if now < until)
    }

    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.until().is_none_or(|until| now >= until)
    }

    pub(super) fn until(&self) -> Option<Instant> {
        let until = match self.state {
            State::In => None,
            State::Out { until } => Some(until),
            State::Probing { since } => Some(since + PROBE_WITHIN),
        };
        until.max(self.busy_until)
    }

    pub(super) fn begin(&mut self, now: Instant) -> Passage {
        self.window.age(now);
        if !self.may_try(now) {
            Passage::Barred
        } else if self.state == State::In {
            Passage::Open
        } else {
            self.state = State::Probing { since: now };
            Passage::Probe(now)
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.window.count(false);
        let row = std::mem::take(&mut self.row);
        // A bad rate has successes in it; one more that began before does not refute it.
        let refuted = !matches!(self.state, State::Out { .. }) || row >= PATIENCE;
        if refuted {
            self.come_in(self.window.at);
        }
    }

    pub(super) fn failed(&mut self, now: Instant) {
        // When a node dies, all its streams fail at once: that is one reason to rest, not many.
        if !self.is_up(now) {
            return;
        }
        self.window.age(now);
        self.window.count(true);
        self.row = self.row.saturating_add(1);
        if self.state != State::In || self.row >= PATIENCE || self.window.is_bad() {
            self.eject(now);
        }
    }

    pub(super) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.busy_until = Some(now + retry_after.unwrap_or(BUSY).min(LONGEST_BUSY));
    }

    pub(super) fn abandoned(&mut self, passage: Passage) {
        if let Passage::Probe(since) = passage
            && self.state == (State::Probing { since })
        {
            self.state = State::Out { until: since };
        }
    }

    pub(super) fn rejoined(&mut self, now: Instant) {
        self.come_in(Some(now));
        (self.row, self.busy_until) = (0, None);
        self.window = Window::default();
    }

    fn come_in(&mut self, at: Option<Instant>) {
        if self.state != State::In {
            (self.state, self.in_since) = (State::In, at);
        }
    }

    fn eject(&mut self, now: Instant) {
        self.times += 1;
        if self.state == State::In {
            let healthy = self.in_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            let forgiven = healthy.as_secs() / FORGIVEN_AFTER.as_secs();
            self.doublings = self.doublings.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        }
        let rest = (FIRST_REST * (1 << self.doublings)).min(LONGEST_REST);
        self.state = State::Out { until: now + rest };
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        // Nobody is ejected twice for the same failures.
        self.window = Window { at: Some(now), ..Window::default() };
    }
}

/// Requests, each weighing less the longer ago it was.
#[derive(Debug, Default)]
struct Window {
    requests: f64,
    failures: f64,
    at: Option<Instant>,
}

impl Window {
    fn age(&mut self, now: Instant) {
        let left = remaining(self.at, now, HALF_LIFE);
        self.requests *= left;
        self.failures *= left;
        self.at = self.at.max(Some(now));
    }

    /// As of the last moment that was named, which is the beginning of some request shortly before.
    fn count(&mut self, is_failure: bool) {
        self.requests += 1.0;
        self.failures += f64::from(u8::from(is_failure));
    }

    fn is_bad(&self) -> bool {
        self.requests >= LEAST_REQUESTS && self.failures > self.requests * MOST_FAILED
    }
}

#[cfg(test)]
mod tests;
