//! The program `commonwatt-reader`: reads the processor's energy counters, which only root may read, for a node that is
//! not root. It reads nothing else, and writes nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use provider::reader::{Server, bind};
use rustix::fs::Mode;
use rustix::process::umask;

/// Nodes read several times a second; who is silent for so long is none.
const QUIET: Duration = Duration::from_secs(10);

/// Serves the processor's energy counters (RAPL) on a Unix socket.
#[derive(Debug, Parser)]
#[command(name = "commonwatt-reader", version)]
struct Config {
    /// Path of the socket, such as /run/commonwatt/reader.sock.
    #[arg(long)]
    socket: PathBuf,
    /// Group that may connect; the program's own if not given.
    #[arg(long)]
    group: Option<String>,
    /// Folder that /sys lies in.
    #[arg(long, default_value = "/")]
    root: PathBuf,
}

fn main() -> ExitCode {
    let config = Config::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> anyhow::Result<()> {
    let server = Server::new(&config.root, QUIET);
    let zones: Vec<&str> = server.zones().collect();
    if zones.is_empty() {
        bail!("this machine shows no energy counters under /sys/class/powercap");
    }
    // Nobody else may connect even in the moment before the socket has its own permissions.
    umask(Mode::from_raw_mode(0o117));
    let at = config.socket.display();
    let listener = bind(&config.socket, config.group.as_deref()).with_context(|| format!("cannot listen at {at}"))?;
    tracing::info!("serving {} at {at}", zones.join(", "));
    server.serve(&listener).context("no connection is accepted any more")
}
