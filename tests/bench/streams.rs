//! What streams that run take in the gateway's memory, and how late their pieces come.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tests::load::{Ask, Pace};
use tests::mock::Order;
use tests::{eventually, resident_bytes};
use tokio::time::sleep;

use crate::figures::{median, quantile, say, verdict};
use crate::side::Side;

const MIB: i64 = 1024 * 1024;
/// For a thousand streams.
const MOST_PER_THOUSAND: i64 = 64 * MIB;

const WARM_UP: Duration = Duration::from_secs(5);
const WARM_UP_PER_SECOND: u32 = 100;
const EVERYBODY_THERE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS: u32 = 10;
/// So many last longer than everybody needs to come, and all looks.
const TOKENS: u32 = 40;
/// Two tokens of a stream.
const BETWEEN: Duration = Duration::from_secs(1);
/// A tunnel carries 200 answers at a time.
const STREAMS_OF_A_NODE: u32 = 150;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Streams that run at the same time.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
}

/// The gateway's resident memory, in bytes.
#[derive(Serialize)]
pub(crate) struct Streams {
    streams: u32,
    before: i64,
    /// Once a second while all streams ran.
    meanwhile: Vec<i64>,
    added: i64,
    /// Nanoseconds beyond a second between two pieces of a stream: half of them, and all but one in a hundred, are not later.
    late: i64,
    late_p99: i64,
}

/// Measures.
///
/// # Errors
/// When the books are wrong.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Streams, String> {
    let mut side = Side::start(true, arguments.streams.div_ceil(STREAMS_OF_A_NODE) as usize).await;
    side.load(Pace::Open { per_second: WARM_UP_PER_SECOND }, WARM_UP, |_| Ask::stream(Order::default())).await;
    let process = side.gateway().pid();
    let resident = || resident_bytes(process).cast_signed();
    let before = resident();
    let order = Order { tokens: TOKENS, every_us: BETWEEN.as_micros() as u64, ..Order::default() };
    let load = side.begin(Pace::Closed { clients: arguments.streams }, move |_| Ask::stream(order));
    eventually("all streams", EVERYBODY_THERE_WITHIN, || async { all_run(&side, arguments).await.then_some(()) }).await;
    let mut meanwhile = Vec::new();
    for _ in 0..LOOKS {
        sleep(LOOK_EVERY).await;
        meanwhile.push(resident());
    }
    assert!(all_run(&side, arguments).await, "all streams run as long as the memory is looked at");
    let gaps = side.end(load).await.iter().flat_map(|seen| &seen.gaps);
    let late: Vec<i64> = gaps.map(|gap| (gap.as_nanos() as i64 - BETWEEN.as_nanos() as i64).max(0)).collect();
    side.check().await?;
    let (late, late_p99) = (median(&late), quantile(&late, 99));
    let added = median(&meanwhile) - before;
    let streams = Streams { streams: arguments.streams, before, added, meanwhile, late, late_p99 };
    streams.print();
    Ok(streams)
}

async fn all_run(side: &Side, arguments: &Arguments) -> bool {
    let gateway = side.gateway();
    let ready = gateway.client.get(gateway.url("/readyz")).send().await.expect("an answer");
    let ready: Value = ready.json().await.expect("JSON");
    ready["journal"]["open"] == arguments.streams
}

impl Streams {
    fn print(&self) {
        let meanwhile = median(&self.meanwhile);
        let most = MOST_PER_THOUSAND * i64::from(self.streams) / 1000;
        let mebibytes = |bytes: i64| format!("{}.{} MiB", bytes / MIB, (bytes % MIB * 10 / MIB).abs());
        say(&format!(
            "{} streams: {} resident before, {} meanwhile: {} more; at most {} in all: {}",
            self.streams,
            mebibytes(self.before),
            mebibytes(meanwhile),
            mebibytes(self.added),
            mebibytes(most),
            verdict(meanwhile <= most)
        ));
        say(&format!(
            "a piece is {} µs late, and {} µs at the 99th percentile",
            self.late / 1000,
            self.late_p99 / 1000
        ));
    }
}
