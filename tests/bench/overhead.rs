//! What accounting costs: the same requests, at the same rate, through a gateway that accounts for nothing and through one
//! that accounts for everything, in turns, so that whatever else the machine does meets both.

use std::time::Duration;

use serde::Serialize;
use tests::load::{Ask, Pace, Seen};
use tests::mock::Order;
use tests::processor_microseconds;

use crate::figures::{median, quantile, say, verdict};
use crate::side::Side;

/// Added at the median, in microseconds.
const MOST_ADDED: i64 = 250;
/// Processor time per request, in percent of what it is without accounting.
const MOST_PROCESSOR: i64 = 125;

const WARM_UP: Duration = Duration::from_secs(3);
const NODES: usize = 2;
const TOKENS: u32 = 32;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds with and without accounting, in turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a round takes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Requests per second, half of them streamed.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    per_second: u32,
}

/// Times in microseconds.
#[derive(Serialize)]
pub(crate) struct Overhead {
    rounds: Vec<Pair>,
    added_whole: i64,
    added_streamed: i64,
    /// In percent of what it is without accounting.
    processor: i64,
}

#[derive(Serialize)]
struct Pair {
    off: Round,
    on: Round,
}

#[derive(Serialize)]
struct Round {
    requests: usize,
    whole: Latency,
    streamed: Latency,
    processor_per_request: i64,
}

/// From when a request was due to the last byte of its answer.
#[derive(Serialize)]
struct Latency {
    median: i64,
    p99: i64,
}

/// Measures.
///
/// # Errors
/// When the books are wrong.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Overhead, String> {
    let (mut off, mut on) = (Side::start(false, NODES).await, Side::start(true, NODES).await);
    for side in [&mut off, &mut on] {
        side.load(pace(arguments), WARM_UP, ask).await;
    }
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds {
        // Each of them is the first as often as the other.
        let pair = if number % 2 == 0 {
            let off = round(&mut off, arguments).await?;
            Pair { off, on: round(&mut on, arguments).await? }
        } else {
            let on = round(&mut on, arguments).await?;
            Pair { off: round(&mut off, arguments).await?, on }
        };
        rounds.push(pair);
    }
    let overhead = sum_up(rounds);
    overhead.print();
    Ok(overhead)
}

async fn round(side: &mut Side, arguments: &Arguments) -> Result<Round, String> {
    let process = side.gateway().pid();
    let before = processor_microseconds(process);
    let seen = side.load(pace(arguments), Duration::from_secs(arguments.seconds), ask).await;
    let used = processor_microseconds(process) - before;
    let (streamed, whole) = (latency(seen, true), latency(seen, false));
    let requests = seen.len();
    side.check().await?;
    Ok(Round { requests, whole, streamed, processor_per_request: used.cast_signed() / requests.max(1) as i64 })
}

fn pace(arguments: &Arguments) -> Pace {
    Pace::Open { per_second: arguments.per_second }
}

fn ask(number: u64) -> Ask {
    let order = Order { tokens: TOKENS, ..Order::default() };
    if number.is_multiple_of(2) { Ask::stream(order) } else { Ask::whole(order) }
}

fn latency(seen: &[Seen], streamed: bool) -> Latency {
    let of_kind = seen.iter().filter(|seen| seen.streamed == streamed);
    let times: Vec<i64> = of_kind.map(|seen| seen.total.as_micros() as i64).collect();
    Latency { median: quantile(&times, 50), p99: quantile(&times, 99) }
}

fn sum_up(rounds: Vec<Pair>) -> Overhead {
    let added = |of: fn(&Round) -> &Latency| {
        median(&rounds.iter().map(|pair| of(&pair.on).median - of(&pair.off).median).collect::<Vec<_>>())
    };
    let processor =
        |round: fn(&Pair) -> &Round| rounds.iter().map(|pair| round(pair).processor_per_request).sum::<i64>();
    Overhead {
        added_whole: added(|round| &round.whole),
        added_streamed: added(|round| &round.streamed),
        processor: 100 * processor(|pair| &pair.on) / processor(|pair| &pair.off).max(1),
        rounds,
    }
}

impl Overhead {
    fn print(&self) {
        say("microseconds     whole            streamed         processor");
        say("accounting       median     p99   median     p99   per request");
        let rounds = self.rounds.iter().flat_map(|pair| [("off", &pair.off), ("on", &pair.on)]);
        for (accounting, Round { whole, streamed, processor_per_request, .. }) in rounds {
            say(&format!(
                "{accounting:14} {:8} {:7} {:8} {:7} {processor_per_request:13}",
                whole.median, whole.p99, streamed.median, streamed.p99
            ));
        }
        let added = self.added_whole.max(self.added_streamed);
        say(&format!(
            "added at the median: {} µs whole, {} µs streamed; at most {MOST_ADDED}: {}",
            self.added_whole,
            self.added_streamed,
            verdict(added <= MOST_ADDED)
        ));
        say(&format!(
            "processor time: {} % of what it is without accounting; at most {MOST_PROCESSOR}: {}",
            self.processor,
            verdict(self.processor <= MOST_PROCESSOR)
        ));
    }
}
