//! How long a gateway takes from its start until it serves, and what it has in memory then.

use std::time::{Duration, Instant};

use serde::Serialize;
use tests::{Gateway, processor_nanoseconds, resident_bytes};

use crate::figures::{median, say, verdict};

const MOST: Duration = Duration::from_millis(300);
const MOST_RESIDENT: i64 = 15 * MIB;
const MIB: i64 = 1024 * 1024;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Starts, each with the database and the journal of the one before.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,
}

/// Times are in nanoseconds.
#[derive(Serialize)]
pub(crate) struct Starts {
    /// On an empty database, whose tables it makes.
    first: i64,
    until_ready: Vec<i64>,
    /// Processor time until then.
    processor: Vec<i64>,
    /// Resident memory then, in bytes.
    resident: Vec<i64>,
}

pub(crate) async fn measure(arguments: &Arguments) -> Starts {
    let begin = Instant::now();
    let mut gateway = Gateway::start().await;
    let mut starts =
        Starts { first: nanoseconds(begin.elapsed()), until_ready: vec![], processor: vec![], resident: vec![] };
    for _ in 0..arguments.starts {
        gateway.terminate();
        gateway.ended().await;
        let begin = Instant::now();
        gateway.restart().await;
        starts.until_ready.push(nanoseconds(begin.elapsed()));
        starts.processor.push(processor_nanoseconds(gateway.pid()).cast_signed());
        starts.resident.push(resident_bytes(gateway.pid()).cast_signed());
    }
    starts.print();
    starts
}

fn nanoseconds(time: Duration) -> i64 {
    time.as_nanos() as i64
}

impl Starts {
    fn print(&self) {
        let (until_ready, most) = (median(&self.until_ready), nanoseconds(MOST));
        say(&format!(
            "a gateway serves {} ms after its start, {} ms of processor time; at most {} ms: {}",
            until_ready / 1_000_000,
            median(&self.processor) / 1_000_000,
            MOST.as_millis(),
            verdict(until_ready <= most)
        ));
        let resident = median(&self.resident);
        say(&format!(
            "it has {} MiB in memory then; at most {} MiB: {}",
            resident / MIB,
            MOST_RESIDENT / MIB,
            verdict(resident <= MOST_RESIDENT)
        ));
    }
}
