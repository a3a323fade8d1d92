//! What is asked for, and how often.

use std::collections::HashSet;
use std::time::Duration;

use tests::books::Row;
use tests::load::{Ask, Pace, Seen};
use tests::mock::{HANGS_FOR, ONE_IN, Order, Trouble};
use uuid::Uuid;

/// Tokens of a short answer: a kilobyte of JSON.
const TOKENS: u32 = 32;

/// An answer that takes as long was hung up: a second below what a server takes then, and as long as our gateway waits for a
/// silent node.
const LATE: Duration = HANGS_FOR.saturating_sub(Duration::from_secs(1));

/// One kind of requests at one pace.
pub(crate) struct Profile {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(crate) pace: Pace,
    streamed: bool,
    tokens: u32,
    every_us: u64,
    prompt_bytes: usize,
    pub(super) trouble: Option<Trouble>,
}

/// What most are: an answer in one piece.
pub(crate) const JSON: Profile = Profile {
    name: "json",
    meaning: "answers in one piece, 16 clients that ask again at once",
    pace: Pace::Closed { clients: 16 },
    streamed: false,
    tokens: TOKENS,
    every_us: 0,
    prompt_bytes: 0,
    trouble: None,
};

pub(super) const PROFILES: [Profile; 8] = [
    JSON,
    Profile {
        name: "json-paced",
        meaning: "answers in one piece, 1,000 requests a second",
        pace: Pace::Open { per_second: 1000 },
        ..JSON
    },
    Profile {
        name: "prompt",
        meaning: "prompts of 60 KB, answers in one piece, 8 clients that ask again at once",
        pace: Pace::Closed { clients: 8 },
        prompt_bytes: 60_000,
        ..JSON
    },
    Profile {
        name: "burst",
        meaning: "streams of 32 events that are there at once, 16 clients that ask again at once",
        streamed: true,
        ..JSON
    },
    Profile {
        name: "slow",
        meaning: "50 streams, an event each 10 ms",
        pace: Pace::Closed { clients: 50 },
        streamed: true,
        tokens: 100,
        every_us: 10_000,
        ..JSON
    },
    Profile {
        name: "pair",
        meaning: "two streams, an event each 10 ms: what a token costs where nothing is shared",
        pace: Pace::Closed { clients: 2 },
        streamed: true,
        tokens: 100,
        every_us: 10_000,
        ..JSON
    },
    Profile {
        name: "errors",
        meaning: "answers in one piece, 16 clients that ask again at once; one in a hundred that arrive is answered with status 500",
        trouble: Some(Trouble::Fails),
        ..JSON
    },
    Profile {
        name: "hangs",
        meaning: "answers in one piece, 200 requests a second; to one in a hundred that arrive nothing is said for six seconds",
        pace: Pace::Open { per_second: 200 },
        trouble: Some(Trouble::Hangs),
        ..JSON
    },
];

impl Profile {
    pub(crate) fn ask(&self) -> Ask {
        let Self { tokens, every_us, trouble, .. } = *self;
        let order = Order { tokens, every_us, trouble, ..Order::default() };
        let ask = if self.streamed { Ask::stream(order) } else { Ask::whole(order) };
        // Everybody passes messages on; not all do so with `user`.
        Ask { prompt_bytes: self.prompt_bytes, order_in_prompt: true, ..ask }
    }

    /// The same requests without trouble, as fast as they are answered.
    pub(super) fn at_ease(&self) -> Self {
        let pace = match self.pace {
            Pace::Open { .. } => JSON.pace,
            closed @ Pace::Closed { .. } => closed,
        };
        Self { pace, trouble: None, ..*self }
    }

    /// A stream is compared by what a token costs, anything else by what a request costs.
    pub(super) fn is_paced_stream(&self) -> bool {
        self.every_us > 0
    }

    /// The answer is as it was ordered.
    fn is_right(&self, seen: &Seen) -> bool {
        seen.done && seen.tokens == u64::from(self.tokens)
    }

    /// The answer is the error of a server, passed on.
    pub(super) fn is_failure(&self, seen: &Seen) -> bool {
        self.trouble == Some(Trouble::Fails) && (500..600).contains(&seen.status)
    }

    /// Right, but a server was silent first.
    pub(super) fn is_late(&self, seen: &Seen) -> bool {
        self.trouble == Some(Trouble::Hangs) && seen.total >= LATE
    }

    /// As many requests as nodes had trouble with have been tried again, by the gateway's own books. Nothing where it keeps none.
    ///
    /// # Errors
    /// When there are fewer.
    pub(super) fn check_tries(&self, seen: &[Seen], rows: &[Row]) -> Result<(), String> {
        if self.trouble.is_none() || rows.is_empty() {
            return Ok(());
        }
        let asked: HashSet<Uuid> = seen.iter().filter_map(|seen| seen.request).collect();
        let again = rows.iter().filter(|row| row.attempts > 1 && asked.contains(&row.id)).count() as u64;
        // One that has bad luck twice is one request.
        let least = seen.len() as u64 / ONE_IN * 9 / 10;
        if again < least { Err(format!("{again} requests were tried again, and not {least}")) } else { Ok(()) }
    }

    /// Every answer is right, but for as many as servers had trouble with.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self, seen: &[Seen]) -> Result<(), String> {
        if seen.is_empty() {
            return Err("not one answer".to_owned());
        }
        let had_trouble = |seen: &&Seen| self.is_failure(seen) || self.is_late(seen);
        if let Some(wrong) = seen.iter().find(|seen| !self.is_right(seen) && !self.is_failure(seen)) {
            return Err(format!("an answer of {} tokens with status {}", wrong.tokens, wrong.status));
        }
        let (troubled, most) = (seen.iter().filter(had_trouble).count() as u64, seen.len() as u64 / ONE_IN + 1);
        if troubled > most {
            return Err(format!("{troubled} answers failed or were late, and servers had trouble with {most}"));
        }
        Ok(())
    }
}
