//! The program `commonwatt`.

use std::io::{IsTerminal, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use gateway::config::{Command, Config, LogFormat, SecretAction, UpConfig};
use gateway::secrets::file;
use gateway::up::{self, UpSettings};
use gateway::verify::{Ending, Told};
use gateway::{admin, authors, monitor, router, serve, tls, verify};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// glibc's gives the memory of each batch of records back to the kernel and asks for it again; measured with
/// `commonwatt-bench compare`, that is a good part of what accounting costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = Config::read();
    let filter = EnvFilter::try_from_env("COMMONWATT_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    match run(config) {
        Ok(code) => code,
        Err(error) => {
            // Standard error is the last resort: if it is closed, the exit code speaks alone.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<ExitCode> {
    match config.command {
        Command::Up(config) => up::up(settings(config)).await?,
        Command::Serve(config) => {
            let stop = until_told_to_stop(config.with_parent)?;
            serve::serve(*config, stop).await?;
        }
        Command::Admin { store, action } => print(&admin::run(&store, action).await?)?,
        Command::Secret { data, action } => print(&match action {
            SecretAction::List => file::list(&data),
            SecretAction::Add => file::add(&data),
            SecretAction::Promote => file::promote(&data),
            SecretAction::Retire => file::retire(&data),
            SecretAction::Forget => file::forget(&data),
        }?)?,
        Command::Verify { action } => {
            let Told { text, ending } = verify::run(&action).await;
            match ending {
                Ending::Unreadable => writeln!(std::io::stderr(), "{text}")?,
                Ending::Holds | Ending::Fails => print(&text)?,
            }
            return Ok(ExitCode::from(ending as u8));
        }
        Command::Author { action } => print(&authors::command::run(&action)?)?,
        Command::Monitor(settings) => {
            let stop = until_told_to_stop(false)?;
            return Ok(ExitCode::from(monitor::run(&settings, &stop).await? as u8));
        }
        Command::Healthcheck { listen, tls_certificate, acme_names } => {
            healthcheck(listen, tls_certificate.is_some() || acme_names.is_some()).await?;
        }
        Command::Openapi => print(&router::document().to_pretty_json()?)?,
        Command::WithPostgres { command } => {
            let code = up::with_postgres(command).await?;
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(config: UpConfig) -> UpSettings {
    UpSettings {
        data: config.data,
        port: config.port,
        node_port: config.node_port,
        database_url: config.database_url,
        model: config.model,
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

async fn healthcheck(mut listen: SocketAddr, speaks_tls: bool) -> anyhow::Result<()> {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let ask = async {
        let stream = TcpStream::connect(listen).await?;
        if speaks_tls { say_health(tls::connect_to_itself(stream).await?).await } else { say_health(stream).await }
    };
    let answer = tokio::time::timeout(Duration::from_secs(3), ask).await.context("the gateway does not answer")??;
    if !answer.contains(" 200 ") {
        bail!("the gateway is not well: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(())
}

/// The answer to the question how it is.
async fn say_health(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<String> {
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    // Not every end of a connection is a proper one; what was said counts.
    let read = stream.read_to_end(&mut answer).await;
    if answer.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}
