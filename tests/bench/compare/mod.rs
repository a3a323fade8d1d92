//! Our gateway beside others, each on the first core and everything else on the second one: the same requests, the same answers,
//! in turns, so that whatever else the machine does meets all of them. No figure without a right answer and right books.

mod arm;

mod profile;

mod proxy;

mod table;

use std::time::Duration;

use serde::Serialize;
use tests::{family, pin};

use crate::figures::say;
use arm::Arm;
use profile::{PROFILES, Profile};

/// The gateway's, and that of all others: load, nodes, servers and the database.
const CORES: [usize; 2] = [0, 1];
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds, in each of which everybody has a turn at everything.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a turn takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only these, by name: nginx, haproxy, bare, governed.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these kinds of requests, by name.
    #[arg(long, value_delimiter = ',')]
    profiles: Vec<String>,
}

/// All turns.
#[derive(Serialize)]
pub(crate) struct Comparison {
    versions: Vec<String>,
    turns: Vec<Turn>,
}

/// What one did in one turn. Times are in nanoseconds, memory is in bytes.
#[derive(Serialize)]
struct Turn {
    profile: &'static str,
    arm: &'static str,
    round: u32,
    requests: usize,
    tokens: u64,
    elapsed: i64,
    /// Processor time of the program that is compared, and of the database.
    processor: Option<i64>,
    database: i64,
    resident: Option<i64>,
    first_byte: Spread,
    total: Spread,
    /// Between two pieces of a stream.
    gap: Spread,
}

#[derive(Serialize)]
struct Spread {
    median: i64,
    p99: i64,
}

/// Measures, and prints the table.
///
/// # Errors
/// When an answer or the books are wrong.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Comparison, String> {
    let server = arm::database_server().await;
    for process in family(server).into_iter().chain([std::process::id()]) {
        pin(process, CORES[1]);
    }
    let mut arms = Arm::all(&arguments.only).await;
    let wanted = |profile: &&Profile| {
        arguments.profiles.is_empty() || arguments.profiles.iter().any(|name| name == profile.name)
    };
    let profiles: Vec<&Profile> = PROFILES.iter().filter(wanted).collect();
    let during = Duration::from_secs(arguments.seconds);
    let mut turns = Vec::new();
    for arm in &mut arms {
        for profile in &profiles {
            arm.load(profile, WARM_UP).await;
        }
    }
    for round in 0..arguments.rounds {
        for profile in &profiles {
            // Each of them is the first as often as the others.
            let first = round as usize % arms.len();
            arms.rotate_left(first);
            for arm in &mut arms {
                turns.push(arm.turn(profile, round, during, server).await?);
            }
        }
        say(&format!("round {} of {} is over", round + 1, arguments.rounds));
    }
    let comparison = Comparison { versions: arms.iter().map(Arm::version).collect(), turns };
    table::print(&comparison);
    Ok(comparison)
}
