//! What is asked for, and how often.

use tests::load::{Ask, Pace};
use tests::mock::Order;

/// Tokens of a short answer: a kilobyte of JSON.
const TOKENS: u32 = 32;

/// One kind of requests at one pace.
pub(super) struct Profile {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) pace: Pace,
    streamed: bool,
    tokens: u32,
    every_us: u64,
    prompt_bytes: usize,
}

pub(super) const PROFILES: [Profile; 6] = [
    Profile {
        name: "json",
        meaning: "answers in one piece, 16 clients that ask again at once",
        pace: Pace::Closed { clients: 16 },
        streamed: false,
        tokens: TOKENS,
        every_us: 0,
        prompt_bytes: 0,
    },
    Profile {
        name: "json-paced",
        meaning: "answers in one piece, 1,000 requests a second",
        pace: Pace::Open { per_second: 1000 },
        streamed: false,
        tokens: TOKENS,
        every_us: 0,
        prompt_bytes: 0,
    },
    Profile {
        name: "prompt",
        meaning: "prompts of 60 KB, answers in one piece, 8 clients that ask again at once",
        pace: Pace::Closed { clients: 8 },
        streamed: false,
        tokens: TOKENS,
        every_us: 0,
        prompt_bytes: 60_000,
    },
    Profile {
        name: "burst",
        meaning: "streams of 32 events that are there at once, 16 clients that ask again at once",
        pace: Pace::Closed { clients: 16 },
        streamed: true,
        tokens: TOKENS,
        every_us: 0,
        prompt_bytes: 0,
    },
    Profile {
        name: "slow",
        meaning: "50 streams, an event each 10 ms",
        pace: Pace::Closed { clients: 50 },
        streamed: true,
        tokens: 100,
        every_us: 10_000,
        prompt_bytes: 0,
    },
    Profile {
        name: "pair",
        meaning: "two streams, an event each 10 ms: what a token costs where nothing is shared",
        pace: Pace::Closed { clients: 2 },
        streamed: true,
        tokens: 100,
        every_us: 10_000,
        prompt_bytes: 0,
    },
];

impl Profile {
    pub(super) fn ask(&self) -> Ask {
        let order = Order { tokens: self.tokens, every_us: self.every_us, ..Order::default() };
        let ask = if self.streamed { Ask::stream(order) } else { Ask::whole(order) };
        Ask { prompt_bytes: self.prompt_bytes, ..ask }
    }

    /// Of each answer.
    pub(super) fn tokens(&self) -> u64 {
        u64::from(self.tokens)
    }

    /// A stream is compared by what a token costs, anything else by what a request costs.
    pub(super) fn is_paced_stream(&self) -> bool {
        self.every_us > 0
    }
}
