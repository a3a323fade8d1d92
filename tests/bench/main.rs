//! `commonwatt-bench`: what the gateway's care costs, in time and in memory; and the mock node as a process of its own.

#![expect(clippy::expect_used, reason = "a measuring tool fails by panicking")]

mod compare;

mod engine;

mod figures;

mod growth;

mod metering;

mod node;

mod side;

mod start;

mod streams;

mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use figures::{Everything, Report};

/// Measures the gateway, and plays the nodes for it. Needs a Postgres in DATABASE_URL: run it with `make bench`.
#[derive(Parser)]
struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure everything.
    All {
        #[command(flatten)]
        everything: Everything,
        #[command(flatten)]
        output: Output,
    },
    /// Measure what a request costs here, with and without accounting, and in proxies that know nothing of models.
    Compare {
        #[command(flatten)]
        compare: compare::Arguments,
        #[command(flatten)]
        output: Output,
    },
    /// Measure a node's engine beside llama.cpp's server.
    Engine {
        #[command(flatten)]
        engine: engine::Arguments,
        #[command(flatten)]
        output: Output,
    },
    /// Measure what a request costs, and usage takes to be shown, where millions were answered before.
    Growth {
        #[command(flatten)]
        growth: growth::Arguments,
        #[command(flatten)]
        output: Output,
    },
    /// Measure what metering energy costs a node.
    Metering {
        #[command(flatten)]
        metering: metering::Arguments,
        #[command(flatten)]
        output: Output,
    },
    /// Measure how long a gateway takes until it serves.
    Start {
        #[command(flatten)]
        start: start::Arguments,
        #[command(flatten)]
        output: Output,
    },
    /// Measure what streams that run take in memory, and how late their pieces come.
    Streams {
        #[command(flatten)]
        streams: streams::Arguments,
        #[command(flatten)]
        output: Output,
    },
    /// Play nodes without a model, until killed.
    Node(node::NodeArguments),
    /// Play a server without a model, until killed.
    Upstream(upstream::UpstreamArguments),
}

#[derive(clap::Args)]
struct Output {
    /// Write all figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The gateway and the node install one themselves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut report = Report::default();
    let (measured, output) = match Bench::parse().command {
        Command::Node(arguments) => {
            node::play(arguments).await;
            return ExitCode::SUCCESS;
        }
        Command::Upstream(arguments) => {
            upstream::serve(arguments).await;
            return ExitCode::SUCCESS;
        }
        Command::Compare { compare, output } => (report.compare(&compare).await, output),
        Command::Streams { streams, output } => (report.streams(&streams).await, output),
        Command::Start { start, output } => (report.start(&start).await, output),
        Command::Metering { metering, output } => (report.metering(&metering).await, output),
        Command::Growth { growth, output } => (report.growth(&growth).await, output),
        Command::Engine { engine, output } => (report.engines(&engine).await, output),
        Command::All { everything, output } => (report.all(&everything).await, output),
    };
    if let Some(file) = output.json {
        std::fs::write(file, report.json()).expect("the file for the figures can be written");
    }
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            figures::say(&format!("The books are wrong, so the figures mean nothing:\n{wrong}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Bench;

    /// What is measured by itself is measured together as well: their options stand in one command.
    #[test]
    fn everything_can_be_measured_with_no_option_given() {
        Bench::try_parse_from(["commonwatt-bench", "all"]).map(drop).unwrap();
    }
}
