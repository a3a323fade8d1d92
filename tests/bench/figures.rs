//! What was measured, for people and for machines.

use serde::Serialize;

use crate::compare::{self, Comparison};
use crate::engine::{self, Engines};
use crate::growth::{self, Growth};
use crate::metering::{self, Metering};
use crate::start::{self, Starts};
use crate::streams::{self, Streams};

/// All figures of a run; empty where nothing was measured, or the books were wrong.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    comparison: Option<Comparison>,
    streams: Option<Streams>,
    starts: Option<Starts>,
    metering: Option<Metering>,
    engines: Option<Engines>,
    growth: Option<Growth>,
}

/// How all of it is measured.
#[derive(clap::Args)]
pub(crate) struct Everything {
    #[command(flatten)]
    compare: compare::Arguments,
    #[command(flatten)]
    streams: streams::Arguments,
    #[command(flatten)]
    start: start::Arguments,
    #[command(flatten)]
    metering: metering::Arguments,
    #[command(flatten)]
    engine: engine::Arguments,
}

impl Report {
    pub(crate) async fn compare(&mut self, arguments: &compare::Arguments) -> Result<(), String> {
        self.comparison = Some(compare::compare(arguments).await?);
        Ok(())
    }

    pub(crate) async fn streams(&mut self, arguments: &streams::Arguments) -> Result<(), String> {
        self.streams = Some(streams::measure(arguments).await?);
        Ok(())
    }

    pub(crate) async fn start(&mut self, arguments: &start::Arguments) -> Result<(), String> {
        self.starts = Some(start::measure(arguments).await);
        Ok(())
    }

    pub(crate) async fn metering(&mut self, arguments: &metering::Arguments) -> Result<(), String> {
        self.metering = Some(metering::measure(arguments).await);
        Ok(())
    }

    pub(crate) async fn engines(&mut self, arguments: &engine::Arguments) -> Result<(), String> {
        self.engines = engine::measure(arguments).await?;
        Ok(())
    }

    pub(crate) async fn growth(&mut self, arguments: &growth::Arguments) -> Result<(), String> {
        self.growth = Some(growth::measure(arguments).await?);
        Ok(())
    }

    pub(crate) async fn all(&mut self, arguments: &Everything) -> Result<(), String> {
        self.compare(&arguments.compare).await?;
        self.streams(&arguments.streams).await?;
        self.start(&arguments.start).await?;
        self.metering(&arguments.metering).await?;
        self.engines(&arguments.engine).await
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers") + "\n"
    }
}

/// A line for people.
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

pub(crate) fn median(values: &[i64]) -> i64 {
    quantile(values, 50)
}

/// The value that this many percent do not exceed; 0 of nothing.
pub(crate) fn quantile(values: &[i64], percent: usize) -> i64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
