//! Our gateway beside others, each on the first core and everything else on the second one: the same requests, the same answers,
//! in turns, so that whatever else the machine does meets all of them. No figure without a right answer and right books.

mod arm;

mod chart;

mod found;

mod page;

mod peer;

mod profile;

mod proxy;

mod summary;

mod table;

mod target;

mod turn;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tests::{family, give_way, pin};

use crate::figures::say;
use arm::Arm;
use profile::{PROFILES, Profile};
use turn::{Machine, Skipped};

pub(crate) use arm::used;
pub(crate) use profile::JSON;
pub(crate) use turn::Comparison;

/// The gateway's, and that of all others: load, nodes, servers and the database.
pub(crate) const CORES: [usize; 2] = [0, 1];
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds, in each of which everybody has a turn at everything.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a turn takes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only these, by name: nginx, haproxy, sglang-router, portkey, litellm, attached-bare, attached-governed,
    /// bare, governed.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these kinds of requests, by name.
    #[arg(long, value_delimiter = ',')]
    profiles: Vec<String>,
    /// Where other gateways are installed, as `make peers` does it; without it, those that the system finds.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Write the tables into this page, between its two marks, and the chart into the folder that is called as the page is.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Measure nothing, and show what these files of `--json` say instead.
    #[arg(long, value_delimiter = ',')]
    from: Vec<PathBuf>,
}

/// Measures, or reads what was measured, and shows it.
///
/// # Errors
/// When an answer or the books are wrong, or a file is.
pub(crate) async fn compare(arguments: &Arguments) -> Result<Comparison, String> {
    let comparison =
        if arguments.from.is_empty() { measure(arguments).await? } else { Comparison::read(&arguments.from)? };
    table::print(&comparison);
    if let Some(page) = &arguments.markdown {
        page::write(page, &comparison).map_err(|error| format!("{}: {error}", page.display()))?;
    }
    Ok(comparison)
}

async fn measure(arguments: &Arguments) -> Result<Comparison, String> {
    let (server, database) = database().await;
    share_out(server);
    let mut arms = Arm::all(arguments).await;
    let wanted = |profile: &&Profile| {
        arguments.profiles.is_empty() || arguments.profiles.iter().any(|name| name == profile.name)
    };
    let profiles: Vec<&Profile> = PROFILES.iter().filter(wanted).collect();
    let during = Duration::from_secs(arguments.seconds);
    let skipped = warm_up(&mut arms, &profiles, server).await?;
    let mut turns = Vec::new();
    for round in 0..arguments.rounds {
        for profile in &profiles {
            // Each of them is the first as often as the others.
            let first = round as usize % arms.len();
            arms.rotate_left(first);
            for arm in &mut arms {
                if !skipped.iter().any(|skipped| (&*skipped.profile, &*skipped.arm) == (profile.name, arm.name)) {
                    turns.push(arm.turn(profile, round, during, server).await?);
                }
            }
        }
        say(&format!("round {} of {} is over", round + 1, arguments.rounds));
    }
    let versions = arms.iter().map(Arm::version).collect();
    Ok(Comparison { machine: Some(Machine::here(database)), versions, turns, skipped })
}

/// Lets everybody do everything once, and says who can't do what.
async fn warm_up(arms: &mut [Arm], profiles: &[&Profile], database: u32) -> Result<Vec<Skipped>, String> {
    let mut skipped = Vec::new();
    for arm in arms {
        for profile in profiles {
            let Some(reason) = arm.warm_up(profile, WARM_UP, database).await? else { continue };
            let skip = Skipped { profile: profile.name.to_owned(), arm: arm.name.to_owned(), reason };
            say(&format!("{} is not measured at {}: {}", skip.arm, skip.profile, skip.reason));
            skipped.push(skip);
        }
    }
    Ok(skipped)
}

/// Leaves the first core to whoever is measured.
pub(crate) fn share_out(server: u32) {
    for process in family(server).into_iter().chain([std::process::id()]) {
        pin(process, CORES[1]);
    }
    // It would be on another machine: here it must not hold up who measures.
    family(server).into_iter().for_each(give_way);
}

/// The process of the database's server, and what it is.
pub(crate) async fn database() -> (u32, String) {
    #[expect(clippy::disallowed_methods, reason = "what `with-postgres` gives to every program that it starts")]
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make bench`");
    let mut connection = PgConnection::connect(&url).await.expect("a database");
    #[expect(clippy::disallowed_methods, reason = "what is asked here is asked nowhere else")]
    let (backend, version): (i32, String) =
        sqlx::query_as("select pg_backend_pid(), current_setting('server_version')")
            .fetch_one(&mut connection)
            .await
            .expect("a process id");
    let status = std::fs::read_to_string(format!("/proc/{backend}/status")).expect("a server on this machine");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    let version = version.split(' ').next().unwrap_or_default();
    (parent.trim().parse().expect("a number"), format!("PostgreSQL {version}"))
}
