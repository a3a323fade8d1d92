//! The program `commonwatt-node`.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use provider::config::{Command, Config, LogFormat};
use provider::pull::{self, Peers, PullSettings, catalogue, given};
use provider::{doctor, rotate, router, serve};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = Config::read();
    let filter = EnvFilter::try_from_env("COMMONWATT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,mistralrs_core=warn,mistralrs_quant=warn,candle_core=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    // Two providers are linked in, so TLS must be told which one to use.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        bail!("TLS could not be set up");
    }
    match config.command {
        Command::Serve(config) => {
            let stop = until_told_to_stop(config.with_parent)?;
            serve::serve(*config, stop).await
        }
        Command::Pull(config) => {
            let (model, peers) = (&config.model, Peers::among(&config.gateway, &config.model.data)?);
            let settings = PullSettings { peers, ..PullSettings::default() };
            // As the first process of a container it would end at no signal by itself.
            let stop = until_told_to_stop(false)?;
            for (name, source) in model.chosen() {
                if let Some(folder) = given::folder(source) {
                    print(&folder.display().to_string())?;
                    continue;
                }
                let entry = catalogue::find(name.unwrap_or(catalogue::DEFAULT_MODEL))?;
                tokio::select! {
                    folder = pull::pull_with(entry, source, &model.data, &settings) => print(&folder?.display().to_string())?,
                    () = stop.cancelled() => bail!("stopped: what has arrived is kept for the next try"),
                }
            }
            Ok(())
        }
        Command::Healthcheck { listen } => healthcheck(listen).await,
        Command::RotateKey(config) => print(&rotate::rotate(&config).await?),
        Command::Doctor(config) => {
            let report = doctor::report(&config).await?;
            print(report.text.trim_end())?;
            match report.failed {
                0 => Ok(()),
                failed => bail!("{failed} of the steps above fail: what to do is said there"),
            }
        }
        Command::Openapi => print(&router::document().to_pretty_json()?),
    }
}

/// Given on SIGTERM, on Ctrl-C, and, if asked for, at the end of standard input.
fn until_told_to_stop(with_parent: bool) -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    if with_parent {
        let parent_gone = stop.clone();
        // A thread of its own: a read that tokio knows of would keep the program from ending.
        std::thread::spawn(move || {
            // The end, an error or a byte: all mean that the parent holds the other end no longer.
            let _ = std::io::stdin().read(&mut [0]);
            parent_gone.cancel();
        });
    }
    Ok(stop)
}

async fn healthcheck(mut listen: std::net::SocketAddr) -> anyhow::Result<()> {
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).no_proxy().build()?;
    client
        .get(format!("http://{listen}/healthz"))
        .send()
        .await
        .context("the node does not answer")?
        .error_for_status()?;
    Ok(())
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}
