//! What metering energy costs a node: on the way of a token, and in the background.

use std::time::{Duration, Instant};

use clap::Parser;
use openapi::manifest::ModelManifest;
use provider::energy::StepKind;
use provider::energy::pools::EnginePlace;
use provider::energy::setup::{self, Outside};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::figures::{say, verdict};

const TOKENS: u32 = 1_000_000;
const MOST_NANOSECONDS: u64 = 1_000;
/// Of one processor, while nothing is computed.
const MOST_PPM: u64 = 5_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for which the background is watched.
    #[arg(long, default_value_t = 10)]
    metering_seconds: u64,
}

#[derive(Serialize)]
pub(crate) struct Metering {
    nanoseconds_per_token: u64,
    background_ppm: u64,
}

pub(crate) async fn measure(arguments: &Arguments) -> Metering {
    let config = NodeEnergy::parse_from(["bench"]).energy;
    let surveyed = setup::survey(&config).await.expect("a machine");
    let manifest = ModelManifest {
        name: "smollm2-135m-instruct".to_owned(),
        files: Vec::new(),
        quantisation: "Q4_1".to_owned(),
        licence: "Apache-2.0".to_owned(),
        authors: Vec::new(),
    };
    let outside = Outside { reports: None, collector: None };
    let metered = setup::start(&config, surveyed, (&manifest, EnginePlace::Here), outside, &CancellationToken::new())
        .expect("metering");

    let before = processor_time();
    tokio::time::sleep(Duration::from_secs(arguments.metering_seconds)).await;
    let background = processor_time() - before;
    let background_ppm = (background.as_micros() / u128::from(arguments.metering_seconds.max(1))) as u64;

    let (share, presence) = metered.ledger.open(None);
    let begin = Instant::now();
    for token in 0..TOKENS {
        presence.mark(Instant::now(), StepKind::Decode, (1, token as usize));
        std::hint::black_box(share.energy());
    }
    let nanoseconds_per_token = (begin.elapsed().as_nanos() / u128::from(TOKENS)) as u64;
    let met = verdict(nanoseconds_per_token <= MOST_NANOSECONDS);
    say(&format!("metering a token takes {nanoseconds_per_token} ns; at most {MOST_NANOSECONDS}: {met}"));
    let met = verdict(background_ppm <= MOST_PPM);
    say(&format!("metering an idle node takes {background_ppm} µs a second; at most {MOST_PPM}: {met}"));
    Metering { nanoseconds_per_token, background_ppm }
}

/// A node's settings that are about energy.
#[derive(clap::Parser)]
struct NodeEnergy {
    #[command(flatten)]
    energy: provider::config::EnergyConfig,
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
