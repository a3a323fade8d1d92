//! `commonwatt-federation`: three real nodes join a real gateway over links as operators have them, each in a network
//! namespace of its own: a lossy one, one behind a NAT, and one far away. Shows how soon each serves, and what clients see
//! when the node that answers them breaks. Needs root, since only root may make network namespaces.

mod breaks;

mod commands;

mod difference;

mod join;

mod network;

mod processes;

mod relay;

mod site;

mod traffic;

mod wait;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use clap::{Parser, Subcommand};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use network::{CLIENT, Network};

/// Lets nodes join over bad links, and breaks them. Needs root and a Postgres in DATABASE_URL: run it with
/// `make demo-federation`.
#[derive(Parser)]
struct Federation {
    #[command(subcommand)]
    command: Task,
    /// Folder of the model that the nodes serve.
    #[arg(long, global = true, env = "COMMONWATT_TEST_MODEL")]
    model: Option<PathBuf>,
    /// Postgres with an empty database for the gateway, as it takes it.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The network is there, this process is in it, and this is the folder for whatever is written.
    #[arg(long, global = true, hide = true)]
    inside: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Task {
    /// Three nodes join one after the other, and then serve.
    Join(join::Arguments),
    /// Break the node that answers, again and again.
    Breaks(breaks::Arguments),
    /// Carry packets from one end of a link to the other, late.
    #[command(hide = true)]
    Relay(relay::Arguments),
    /// Say how long a TCP connection takes to open, or why it doesn't.
    #[command(hide = true)]
    Reach { address: String },
}

#[tokio::main]
async fn main() -> ExitCode {
    // reqwest asks for one even where it speaks no TLS.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Federation::parse()).await {
        Ok(code) => code,
        Err(sentence) => {
            complain(&sentence);
            ExitCode::FAILURE
        }
    }
}

async fn run(federation: Federation) -> Result<ExitCode, String> {
    match (federation.command, federation.inside) {
        (Task::Reach { address }, _) => {
            say(&reach(&address).await);
            Ok(ExitCode::SUCCESS)
        }
        (Task::Relay(arguments), _) => {
            end_with_parent();
            relay::carry(arguments).await.map(|()| ExitCode::SUCCESS)
        }
        (_, None) => around(federation.model.as_deref(), federation.database_url.as_deref()).await,
        (task, Some(folder)) => {
            end_with_parent();
            let model = federation.model.ok_or("no model is given")?;
            let good = match task {
                Task::Breaks(arguments) => breaks::run(&folder, &model, &arguments).await?,
                Task::Join(arguments) => join::run(&folder, &model, &arguments).await?,
                Task::Relay(_) | Task::Reach { .. } => true,
            };
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Makes the network, runs this program once more inside it, and leaves nothing behind, however that ends.
async fn around(model: Option<&Path>, database: Option<&str>) -> Result<ExitCode, String> {
    let model = model.ok_or("no model: give its folder with --model; `commonwatt-node pull` prints it")?;
    if !model.is_dir() {
        return Err(format!("{} is not a folder: `commonwatt-node pull` prints where the model is", model.display()));
    }
    let database = database.ok_or("no database: run it with `commonwatt with-postgres -- …`, which lends one")?;
    // From here on they end no process any more, so that everything can be taken down.
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let folder = Folder::create()?;
    let network = Network::build()?;
    say(&network.describe());
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", CLIENT]).arg(own_path()?).args(std::env::args_os().skip(1));
    inside.arg("--inside").arg(&folder.0).env("DATABASE_URL", database);
    inside.stdin(Stdio::piped()).kill_on_drop(true);
    let mut inside = inside.spawn().map_err(|error| format!("cannot run in {CLIENT}: {error}"))?;
    // Its end tells the process inside to end; waiting for a child would close it.
    let _held = inside.stdin.take();
    let ended = tokio::select! {
        ended = inside.wait() => ended.map_err(|error| format!("cannot wait for the process inside: {error}"))?,
        _ = interrupt.recv() => return Err("Interrupted; everything is taken down.".into()),
        _ = terminate.recv() => return Err("Told to stop; everything is taken down.".into()),
        _ = hang_up.recv() => return Err("The terminal is gone; everything is taken down.".into()),
    };
    drop(network);
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Of everything that the programs write; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("federation-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ends this process when whoever started it has ended, however that happened.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
}

/// Where this program lies; the others lie beside it.
fn own_path() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program does not find itself: {error}"))
}

/// Microseconds until a connection is open, or what is in its way.
async fn reach(address: &str) -> String {
    let began = Instant::now();
    match timeout(wait::REACHED_WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(_)) => began.elapsed().as_micros().to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    }
}

/// A line for people.
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "where a program says why it failed")]
fn complain(sentence: &str) {
    eprintln!("error: {sentence}");
}
