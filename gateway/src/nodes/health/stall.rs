//! Whether a stream still lives. A node sends a comment every two seconds, whatever it does; so no bytes at all is
//! a dead node or connection, and comments without tokens are an engine that hangs.

use std::time::{Duration, Instant};

/// A node that sends nothing for this long is gone: two of its comments are missing.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// More silence than this is no setting but the wish never to give up; a moment further ahead need not exist.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 3600);
/// So many usual pauses in one are no chance.
const TYPICAL_GAPS: u32 = 20;
/// A fast node may hesitate for this long, as other requests' prompts come in between.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(3);
/// Nobody waits longer for a token, however slow the node; and so long for a node whose pace is not known.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// How a stream came to a standstill, and for how long it had by the time of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stalled {
    #[error("it sent nothing for {:.1} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("it made no token for {:.1} s", .0.as_secs_f64())]
    NoToken(Duration),
}

/// Watches one stream of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StallWatch {
    silence: Duration,
    /// With tokens, once they flow.
    patience: Duration,
    heard_at: Instant,
    /// The last token, or the node's last word that it has to wait after one. None before the first token.
    token_at: Option<Instant>,
    /// Since the last token the node said that it waits.
    has_waited: bool,
}

impl StallWatch {
    /// Begins now. `typical_gap` is the node's usual time between tokens, and `silence` how long it may send nothing.
    pub(crate) fn new(typical_gap: Option<Duration>, silence: Duration, now: Instant) -> Self {
        let patience = typical_gap.map_or(LONGEST_PATIENCE, |gap| {
            gap.saturating_mul(TYPICAL_GAPS).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
        });
        Self { silence: silence.min(LONGEST_SILENCE), patience, heard_at: now, token_at: None, has_waited: false }
    }

    /// The gateway waits for bytes again. Since it heard the last ones it waited for its client, which is not the node's
    /// fault.
    pub(crate) fn listens(&mut self, now: Instant) {
        let away = now.saturating_duration_since(self.heard_at);
        self.token_at = self.token_at.map(|at| at + away);
        self.heard_at += away;
    }

    /// Any bytes came, be it a comment.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard_at = self.heard_at.max(now);
    }

    /// A usage frame came with more tokens. Gives the time since the ones before, for the node's usual gap.
    pub(crate) fn token(&mut self, now: Instant) -> Option<Duration> {
        self.heard(now);
        let before = self.token_at.replace(now);
        let has_waited = std::mem::take(&mut self.has_waited);
        before.filter(|_| !has_waited).map(|before| now.saturating_duration_since(before))
    }

    /// The node said that the request waits for a slot, or that it reads the prompt.
    pub(crate) fn waits(&mut self, now: Instant) {
        self.heard(now);
        self.token_at = self.token_at.map(|_| now);
        self.has_waited = true;
    }

    /// When the verdict will fall if nothing comes until then.
    pub(crate) fn deadline(&self) -> Instant {
        let silent = self.heard_at + self.silence;
        self.tokenless().map_or(silent, |tokenless| silent.min(tokenless))
    }

    /// Set when the deadline has passed. The reason is whatever came true first, so that it stays the same.
    pub(crate) fn verdict(&self, now: Instant) -> Option<Stalled> {
        let deadline = self.deadline();
        let stalled = match self.token_at {
            Some(at) if self.tokenless() == Some(deadline) => Stalled::NoToken(now.saturating_duration_since(at)),
            _ => Stalled::Silent(now.saturating_duration_since(self.heard_at)),
        };
        (now >= deadline).then_some(stalled)
    }

    /// A long prompt takes long, so before the first token only silence counts.
    fn tokenless(&self) -> Option<Instant> {
        self.token_at.map(|at| at + self.patience)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FAST: Option<Duration> = Some(Duration::from_millis(50));

    #[test]
    fn a_node_that_sends_nothing_is_silent() {
        let now = Instant::now();
        let mut watch = StallWatch::new(FAST, SILENCE, now);
        assert_eq!((watch.deadline(), watch.verdict(now + SILENCE - SECOND)), (now + SILENCE, None));
        assert_eq!(watch.verdict(now + SILENCE), Some(Stalled::Silent(SILENCE)));
        watch.heard(now + SECOND);
        assert_eq!((watch.deadline(), watch.verdict(now + SILENCE)), (now + SILENCE + SECOND, None));
        assert_eq!(Stalled::Silent(SILENCE).to_string(), "it sent nothing for 5.0 s");
        assert_eq!(Stalled::NoToken(SECOND * 3).to_string(), "it made no token for 3.0 s");
    }

    #[test]
    fn no_setting_leads_beyond_the_end_of_time() {
        let now = Instant::now();
        let watch = StallWatch::new(Some(Duration::MAX), Duration::MAX, now);
        assert_eq!(watch.deadline(), now + LONGEST_SILENCE);
    }

    #[test]
    fn a_long_prompt_may_take_long() {
        let now = Instant::now();
        let mut watch = StallWatch::new(FAST, SILENCE, now);
        for second in 1..600 {
            watch.heard(now + SECOND * second);
            assert_eq!(watch.verdict(now + SECOND * second), None);
        }
    }

    #[test]
    fn comments_do_not_stand_in_for_tokens() {
        let now = Instant::now();
        for (gap, patience) in [(Some(1), 3), (Some(250), 5), (Some(60_000), 30), (None, 30)] {
            let mut watch = StallWatch::new(gap.map(Duration::from_millis), SILENCE, now);
            watch.token(now);
            for second in 1..patience {
                watch.heard(now + SECOND * second);
                assert_eq!(watch.verdict(now + SECOND * second), None);
            }
            let stalled = Stalled::NoToken(SECOND * patience);
            assert_eq!(watch.verdict(now + SECOND * patience), Some(stalled), "{gap:?}");
        }
    }

    #[test]
    fn a_node_that_has_to_wait_says_so_and_may() {
        let now = Instant::now();
        let mut watch = StallWatch::new(FAST, SILENCE, now);
        watch.waits(now);
        watch.heard(now + SECOND * 4);
        assert_eq!(watch.verdict(now + SECOND * 8), None, "no token flows yet");
        watch.token(now + SECOND * 8);
        watch.waits(now + SECOND * 10);
        watch.waits(now + SECOND * 12);
        assert_eq!(watch.verdict(now + SECOND * 14), None);
        watch.heard(now + SECOND * 14);
        assert_eq!(watch.verdict(now + SECOND * 15), Some(Stalled::NoToken(SHORTEST_PATIENCE)), "it waits no more");
    }

    #[test]
    fn gaps_are_times_between_tokens_without_waiting() {
        let now = Instant::now();
        let mut watch = StallWatch::new(None, SILENCE, now);
        assert_eq!(watch.token(now + SECOND), None, "the first has none before it");
        watch.heard(now + SECOND * 2);
        assert_eq!(watch.token(now + SECOND * 3), Some(SECOND * 2));
        watch.waits(now + SECOND * 5);
        assert_eq!(watch.token(now + SECOND * 6), None);
        assert_eq!(watch.token(now + SECOND * 7), Some(SECOND));
    }

    #[test]
    fn a_slow_client_is_not_the_nodes_fault() {
        let now = Instant::now();
        let mut watch = StallWatch::new(FAST, SILENCE, now);
        watch.token(now);
        watch.heard(now + SECOND);
        let back = now + SECOND * 100;
        watch.listens(back);
        assert_eq!(watch.verdict(back), None);
        assert_eq!(watch.deadline(), back + SHORTEST_PATIENCE - SECOND, "what went by before counts");
        assert_eq!(watch.token(back + SECOND), Some(SECOND * 2));
    }

    proptest! {
        #[test]
        fn a_verdict_falls_at_the_deadline_and_stays(
            gap in prop::option::of(0_u64..5_000),
            steps in prop::collection::vec((0_u8..4, 0_u64..4_000), 0..30),
            looks in prop::collection::vec(0_u64..20_000, 1..20),
        ) {
            let mut now = Instant::now();
            let mut watch = StallWatch::new(gap.map(Duration::from_millis), SILENCE, now);
            for (step, later) in steps {
                now += Duration::from_millis(later);
                match step {
                    0 => watch.heard(now),
                    1 => drop(watch.token(now)),
                    2 => watch.waits(now),
                    _ => watch.listens(now),
                }
            }
            prop_assert!(watch.deadline() <= now + SILENCE);
            let mut last = None::<Stalled>;
            for look in looks {
                now += Duration::from_millis(look);
                let verdict = watch.verdict(now);
                prop_assert_eq!(verdict.is_some(), now >= watch.deadline());
                match (last, verdict) {
                    (Some(Stalled::Silent(before)), Some(Stalled::Silent(after)))
                    | (Some(Stalled::NoToken(before)), Some(Stalled::NoToken(after))) => prop_assert!(before <= after),
                    (before, _) => prop_assert_eq!(before, None),
                }
                last = verdict;
            }
        }
    }
}
