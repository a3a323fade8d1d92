//! What a request costs where millions were answered before, beside an empty database on the same server: the same gateway, the
//! same requests, in turns. And how long usage takes to be shown there.

mod filled;

mod usage;

use std::time::Duration;

use serde::Serialize;
use tests::pin;

use crate::compare::{CORES, JSON, database, share_out, used};
use crate::figures::{median, say, verdict};
use crate::side::Side;
use filled::Filled;
use usage::Call;

const NODES: usize = 2;
const WARM_UP: Duration = Duration::from_secs(5);

/// Of what a request costs on an empty database, in percent.
const MOST: i64 = 110;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Requests to make up first, of 30 days; four of five are the first account's. A million takes 3 GB.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(30..))]
    requests: u64,
    /// Rounds, in each of which both databases have a turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a turn takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

#[derive(Serialize)]
pub(crate) struct Growth {
    filled: Filled,
    turns: Vec<Turn>,
    usage: Vec<Call>,
}

/// One turn on both databases.
#[derive(Serialize)]
struct Turn {
    empty: Cost,
    filled: Cost,
}

/// Processor time of so many requests, in nanoseconds, of the gateway and of the database.
#[derive(Clone, Copy, Serialize)]
struct Cost {
    requests: usize,
    tokens: u64,
    gateway: i64,
    database: i64,
}

/// Measures.
///
/// # Errors
/// When the books are wrong.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Growth, String> {
    let (server, _) = database().await;
    let (mut empty, mut full) = (start().await, start().await);
    let filled = Filled::fill(full.gateway(), arguments.requests).await;
    share_out(server);
    // Before those who ask for the figures below make an hour of it that is like no other.
    let usage = usage::measure(full.gateway()).await;
    let during = Duration::from_secs(arguments.seconds);
    cost(&mut empty, WARM_UP, server).await;
    let mut asked = vec![cost(&mut full, WARM_UP, server).await];
    let mut turns = Vec::new();
    for round in 0..arguments.rounds {
        let turn = async |side| cost(side, during, server).await;
        let costs = if round % 2 == 0 {
            let first = turn(&mut empty).await;
            (first, turn(&mut full).await)
        } else {
            let first = turn(&mut full).await;
            (turn(&mut empty).await, first)
        };
        asked.push(costs.1);
        turns.push(Turn { empty: costs.0, filled: costs.1 });
        say(&format!("round {} of {} is over", round + 1, arguments.rounds));
    }
    empty.check().await?;
    filled.check(full.gateway(), &asked).await?;
    let growth = Growth { filled, turns, usage };
    growth.print();
    Ok(growth)
}

async fn start() -> Side {
    let side = Side::start_with(true, NODES, &[("TOKIO_WORKER_THREADS", "1")]).await;
    pin(side.gateway().pid(), CORES[0]);
    side
}

/// Asks for a while. What is done after an answer is part of what it costs.
async fn cost(side: &mut Side, during: Duration, server: u32) -> Cost {
    let read = |side: &Side| (used(side.gateway().pid()), used(server));
    let before = read(side);
    let ask = JSON.ask();
    let seen = side.load(JSON.pace, during, move |_| ask.clone()).await;
    let (requests, tokens) = (seen.len(), seen.iter().map(|seen| seen.tokens).sum());
    side.signed().await;
    let after = read(side);
    Cost { requests, tokens, gateway: after.0 - before.0, database: after.1 - before.1 }
}

impl Cost {
    /// Nanoseconds of a request, in the gateway and in the database.
    fn each(self) -> [i64; 2] {
        [self.gateway, self.database].map(|all| all / (self.requests as i64).max(1))
    }
}

impl Growth {
    fn print(&self) {
        for (place, program) in ["gateway", "database"].into_iter().enumerate() {
            let of = |cost: fn(&Turn) -> Cost| {
                median(&self.turns.iter().map(|turn| cost(turn).each()[place]).collect::<Vec<_>>())
            };
            let percents: Vec<i64> = self
                .turns
                .iter()
                .map(|turn| turn.filled.each()[place] * 100 / turn.empty.each()[place].max(1))
                .collect();
            let percent = median(&percents);
            say(&format!(
                "{program}: {} µs for a request on an empty database, {} µs on the filled one, {percent} % ({}–{}); at most {MOST} %: {}",
                of(|turn| turn.empty) / 1000,
                of(|turn| turn.filled) / 1000,
                percents.iter().min().unwrap_or(&0),
                percents.iter().max().unwrap_or(&0),
                verdict(percent <= MOST)
            ));
        }
        self.usage.iter().for_each(Call::print);
    }
}
