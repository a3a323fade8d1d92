//! What the gateway knows of a node from the node's own answers: whether it gets work, how fast it is, and how far its
//! word counts. Pure: time is an argument, and whoever holds a node's [`Health`] locks it.
//!
//! A lease says [`Health::begin`] when it is taken, then one of `succeeded`, `failed` and `refused` or, when its client
//! left, nothing, and [`Health::abandoned`] when it is dropped, whatever it said before.

mod ejection;

mod first_byte;

mod speed;

mod stall;

mod trust;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub(crate) use ejection::Passage;
pub(crate) use stall::{SILENCE, StallWatch};

use ejection::Ejection;
use speed::Speed;
use trust::{Trust, believed_speed};

/// What is known from a node's own answers.
#[derive(Debug, Default)]
pub(super) struct Health {
    ejection: Ejection,
    speed: Speed,
    trust: Trust,
}

impl Health {
    /// False while the node rests after failures.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.ejection.is_up(now)
    }

    /// How often failures have made the node rest.
    pub(super) fn ejections(&self) -> u64 {
        self.ejection.times()
    }

    /// True when a request may go there: the node does not rest, has not said that it is busy, and is not being probed by
    /// another request.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.ejection.may_try(now)
    }

    /// When the node may be tried again, if anything is in the way; the moment may be past. None comes before every moment,
    /// so when all nodes are out, the least of these is the one to ask all the same: the last one is never ejected.
    pub(super) fn until(&self) -> Option<Instant> {
        self.ejection.until()
    }

    /// A request is given to the node. [`Passage::Barred`] changes nothing: choose another node if there is one.
    pub(super) fn begin(&mut self, now: Instant) -> Passage {
        self.ejection.begin(now)
    }

    /// The node did its part: it has no failures in a row any more, and the rest or the probe that they brought ends. A rest
    /// for too many failures among successes goes on.
    pub(super) fn succeeded(&mut self) {
        self.ejection.succeeded();
    }

    /// The node failed. Too many failures make it rest, each time for longer; what fails while it rests says nothing new.
    pub(super) fn failed(&mut self, now: Instant) {
        self.ejection.failed(now);
    }

    /// The node has no room (429 or 503), which is no failure: no new work for as long as it says, 60 s at most.
    pub(super) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.ejection.refused(retry_after, now);
    }

    /// The request that began with this passage is over. If it was a probe and nobody said how it went, another may probe.
    pub(super) fn abandoned(&mut self, passage: Passage) {
        self.ejection.abandoned(passage);
    }

    /// The node has connected anew, which is a new chance: it may be tried at once. Its next rest is no shorter for it.
    pub(super) fn rejoined(&mut self, now: Instant) {
        self.ejection.rejoined(now);
    }

    /// Takes a time to the first byte in, and the length of the prompt that the node read before.
    pub(super) fn answered(&mut self, first_byte: Duration, prompt: u64, now: Instant) {
        self.speed.answered(first_byte, prompt, now);
    }

    /// Time to the first byte to expect for a prompt of this length: a rise counts at once, and fades to what is usual of
    /// the node. None before the first answer.
    pub(super) fn expected_first_byte(&self, prompt: u64, now: Instant) -> Option<Duration> {
        self.speed.expected_first_byte(prompt, now)
    }

    /// Takes in that a first byte for a prompt of this length would have come after this time at the earliest.
    pub(super) fn silent_for(&mut self, time: Duration, prompt: u64, now: Instant) {
        self.speed.silent_for(time, prompt, now);
    }

    /// The same, and zero before the first answer. Believed less the longer ago it was: a node that was late gets another
    /// chance.
    pub(super) fn faded_first_byte(&self, now: Instant) -> Duration {
        self.speed.faded_first_byte(now)
    }

    /// Takes in how long the tokens of an answer took.
    pub(super) fn spoke(&mut self, tokens: u64, time: Duration) {
        self.speed.spoke(tokens, time);
    }

    /// Zero before the first answer.
    pub(super) fn tokens_per_second(&self) -> u32 {
        self.speed.tokens_per_second()
    }

    /// Takes in the time between two tokens of one stream: what [`StallWatch::token`] says.
    pub(super) fn paused(&mut self, gap: Duration) {
        self.speed.paused(gap);
    }

    /// The median time between two tokens of a stream, for [`StallWatch::new`]. None before the first two tokens.
    pub(super) fn typical_gap(&self) -> Option<Duration> {
        self.speed.typical_gap()
    }

    /// Holds the tokens that the node claims for a complete answer against those that the gateway counted.
    pub(super) fn judged(&mut self, claimed_tokens: u64, counted_tokens: u64, now: Instant) {
        self.trust.judged(claimed_tokens, counted_tokens, now);
    }

    /// The node answered as another model than the one that was asked for.
    pub(super) fn wrong_model(&mut self, now: Instant) {
        self.trust.wrong_model(now);
    }

    /// The share of honest answers to expect, in millionths.
    pub(super) fn honesty_ppm(&self, now: Instant) -> u32 {
        self.trust.honesty_ppm(now)
    }

    /// Multiplies the node's load or cost in routing, in millionths: 1 000 000 for an honest node, at most ten times that.
    pub(super) fn handicap_ppm(&self, now: Instant) -> u32 {
        self.trust.handicap_ppm(now)
    }

    /// How many of the tokens per second that the node promises to expect, after what was measured.
    pub(super) fn believed_speed(&self, claimed_tokens_per_second: u32) -> u32 {
        believed_speed(claimed_tokens_per_second, self.speed.tokens_per_second(), self.speed.answers())
    }
}

/// The part, from 1 to 0, that is left of what was learned then.
fn remaining(since: Option<Instant>, now: Instant, half_life: Duration) -> f64 {
    let silence = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    0.5_f64.powf(silence.as_secs_f64() / half_life.as_secs_f64())
}
