//! The nodes: what each says of itself, what is true of it, and what is on it.

use std::collections::VecDeque;

use openapi::energy::Tier;
use openapi::price::Price;
use openapi::region::Region;
use openapi::units::{Microjoules, Nanocredits};
use uuid::Uuid;

use super::events::SECOND;
use crate::nodes::choose::Room;
use crate::nodes::health::Health;
use crate::nodes::marginal::{Profile, State};
use crate::nodes::preference::Attributes;

/// Nodes of one operator.
pub(super) const NODES_OF_AN_OPERATOR: usize = 50;
/// How much faster a node reads than it writes.
const PREFILL: u64 = 25;
/// What a token of an answer usually costs, in nanocredits.
pub(super) const USUAL_PRICE: u64 = 1_200;
/// How the weights are written down.
pub(super) const QUANTISATIONS: [&str; 3] = ["Q4_K_M", "Q8_0", "BF16"];
/// Where nodes are: of a thousand, and milligrams of CO₂ equivalent for a kilowatt-hour there.
pub(super) const REGIONS: [(&str, u32, u64); 14] = [
    ("US", 180, 380_000),
    ("US-CA", 50, 250_000),
    ("DE", 100, 380_000),
    ("FR", 60, 56_000),
    ("SE", 40, 40_000),
    ("PL", 30, 660_000),
    ("NL", 30, 330_000),
    ("GB", 50, 240_000),
    ("CA", 40, 170_000),
    ("JP", 40, 480_000),
    ("IN", 30, 710_000),
    ("BR", 20, 100_000),
    ("AU", 20, 550_000),
    ("CH", 10, 40_000),
];

/// What is to be expected of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Character {
    Honest,
    /// Claims more tokens than it makes, in percent of the truth.
    Liar(u64),
    /// Promises four times its speed.
    Boaster,
    /// Its streams come to a standstill.
    Staller,
    /// Of ten of its attempts one fails.
    Flaky,
}

/// One machine.
pub(super) struct Node {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) operator: Uuid,
    pub(super) region: Option<Region>,
    pub(super) denies_data_collection: bool,
    pub(super) quantisation: &'static str,
    pub(super) price: Price,
    pub(super) model: usize,
    pub(super) slots: u32,
    /// Tokens per second of one stream, as it says.
    claimed_speed: u32,
    pub(super) profile: Option<Profile>,

    /// Tokens per second of one stream, in truth.
    pub(super) speed: u64,
    /// Microseconds to it and back.
    pub(super) distance: u64,
    pub(super) character: Character,

    pub(super) health: Health,
    /// At the last look.
    pub(super) rests: bool,
    pub(super) in_flight: u32,
    /// Those that it computes, and those that wait for a slot there.
    pub(super) computes: Vec<usize>,
    pub(super) waits: VecDeque<usize>,
    pub(super) connected: bool,
    /// Which of its connections this is.
    pub(super) connection: u32,
    /// Its program runs.
    pub(super) runs: bool,
    /// Nothing gets there or back.
    pub(super) dark: bool,
}

impl Node {
    /// One after the other; each serves one of the models, popular ones more often.
    pub(super) fn new(number: usize, model: usize, random: &mut fastrand::Rng) -> Self {
        let speed = log_normal(random, 30.0, 0.8).clamp(5.0, 200.0) as u64;
        let region = region(random);
        let character = character(random);
        let claimed_speed = speed as u32 * if character == Character::Boaster { 4 } else { 1 };
        // From a third to three times the usual, as often below as above. Whole quarters, for the prompt's tokens.
        let price = (USUAL_PRICE as f64 * 3.0_f64.powf(random.f64() * 2.0 - 1.0)) as u64 / 4;
        let price = |part| Nanocredits::new(price * part);
        Self {
            id: Uuid::from_u128(random.u128(..)),
            name: format!("node-{number}"),
            operator: operator(number / NODES_OF_AN_OPERATOR),
            region: region.map(|(code, _)| code.parse().unwrap()),
            denies_data_collection: random.u8(..10) < 6,
            quantisation: QUANTISATIONS[random.usize(..QUANTISATIONS.len())],
            price: Price { prompt: price(1), cached: price(1), completion: price(4) },
            model,
            slots: slots(random),
            claimed_speed,
            profile: profile(random, region.map(|(_, grid)| grid)),
            speed,
            distance: random.u64(20_000..200_000),
            character,
            health: Health::default(),
            rests: false,
            in_flight: 0,
            computes: Vec::new(),
            waits: VecDeque::new(),
            connected: true,
            connection: 0,
            runs: true,
            dark: false,
        }
    }

    /// What a request's preference is held against.
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes {
            node: self.id,
            name: &self.name,
            operator: self.operator,
            region: self.region.as_ref(),
            is_partner: false,
            denies_data_collection: self.denies_data_collection,
            quantisation: self.quantisation,
            price: Some(self.price),
            parameters: None,
        }
    }

    /// What room it has; it lets as many wait as it is sent.
    pub(super) fn room(&self) -> Option<Room> {
        Room::of(self.in_flight, self.slots, u32::MAX)
    }

    /// As `Node::state`: how busy it is, and how fast it is believed to be.
    pub(super) fn state(&self, now: std::time::Instant) -> (State, u32) {
        let state = State {
            running: self.in_flight,
            slots: self.slots,
            typical_first_byte: self.health.faded_first_byte(now),
            handicap_ppm: self.health.handicap_ppm(now),
        };
        (state, self.health.believed_speed(self.claimed_speed))
    }

    /// Microseconds from when a slot is free to the first byte of the answer.
    pub(super) fn time_to_read(&self, tokens: u64) -> u64 {
        self.distance + tokens * SECOND / (self.speed * PREFILL)
    }

    /// Microseconds for so many tokens of an answer.
    pub(super) fn time_to_write(&self, tokens: u64) -> u64 {
        tokens * SECOND / self.speed
    }

    /// True when what it sends arrives.
    pub(super) fn is_alive(&self) -> bool {
        self.runs && !self.dark
    }

    /// What it gets done, in tokens per second of all its slots.
    pub(super) fn capacity(&self) -> u64 {
        u64::from(self.slots) * self.speed
    }
}

/// The account of an operator.
pub(super) fn operator(number: usize) -> Uuid {
    Uuid::from_u128(1 << 100 | number as u128)
}

/// A log-normal figure with this median.
pub(super) fn log_normal(random: &mut fastrand::Rng, median: f64, sigma: f64) -> f64 {
    // Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    let (radius, angle) = ((-2.0 * (1.0 - random.f64()).ln()).sqrt(), std::f64::consts::TAU * random.f64());
    median * (sigma * radius * angle.cos()).exp()
}

/// Microseconds until something happens that happens once in `mean`, on average.
pub(super) fn exponential(random: &mut fastrand::Rng, mean: u64) -> u64 {
    (-(1.0 - random.f64()).ln() * mean as f64) as u64 + 1
}

/// Most machines stand in homes; few are servers.
fn slots(random: &mut fastrand::Rng) -> u32 {
    match random.u8(..100) {
        0..50 => 1,
        50..70 => 2,
        70..82 => 4,
        82..91 => 8,
        91..97 => 16,
        _ => 32,
    }
}

fn region(random: &mut fastrand::Rng) -> Option<(&'static str, u64)> {
    let mut left = random.u32(..1_000);
    REGIONS.iter().find_map(|(code, share, grid)| {
        let found = left < *share;
        left = left.saturating_sub(*share);
        found.then_some((*code, *grid))
    })
}

fn character(random: &mut fastrand::Rng) -> Character {
    match random.u8(..100) {
        0..3 => Character::Liar(random.u64(120..=200)),
        3..5 => Character::Boaster,
        5 => Character::Staller,
        6..8 => Character::Flaky,
        _ => Character::Honest,
    }
}

fn profile(random: &mut fastrand::Rng, grid: Option<u64>) -> Option<Profile> {
    let tier = [Tier::A, Tier::B, Tier::C, Tier::D, Tier::E][random.usize(..5)];
    let scale = log_normal(random, 1.0, 0.7);
    let of = |microjoules: f64| Microjoules::new((microjoules * scale) as u64);
    let profile = Profile {
        fixed_microjoules_per_step: of(3_000_000.0),
        decode_microjoules_per_token: of(100_000.0),
        prefill_microjoules_per_token: of(40_000.0),
        wake_microjoules: Microjoules::ZERO,
        tier,
        pue_milli: 1_000 + random.u32(..500),
        mg_per_kwh: grid,
        believed: true,
    };
    (random.u8(..5) > 0).then_some(profile)
}
