//! The cluster on disk: made completely or not at all, and freed from a Postgres that an earlier run left behind.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::super::process::{alive, command_line, number_taken};
use super::super::say::say;
use super::place::Place;
use super::programs::{Programs, said};
use super::{DATABASE, USER};

const POLL: Duration = Duration::from_millis(20);

/// The major version that made the cluster, when there is one.
pub(super) fn made_by(cluster: &Path) -> anyhow::Result<Option<u32>> {
    if !cluster.exists() {
        return Ok(None);
    }
    let file = cluster.join("PG_VERSION");
    let version = fs::read_to_string(&file).with_context(|| {
        format!("{} isn't a database that can be opened: move it away to begin anew", cluster.display())
    })?;
    Ok(Some(version.trim().parse().with_context(|| format!("{} holds no version", file.display()))?))
}

/// Makes the cluster with our user and our database.
pub(super) async fn make(place: &Place, programs: &Programs, durable: bool) -> anyhow::Result<()> {
    let cluster = place.cluster();
    let new = cluster.with_extension("new");
    // A start that was killed half-way left it.
    remove(&new).await;
    initdb(place, programs, &new, durable).await?;
    create_database(place, programs, &new).await?;
    fs::rename(&new, &cluster).with_context(|| format!("The folder {} can't be made", cluster.display()))
}

/// Removes a folder in which a program that was killed a moment ago may still create files.
pub(super) async fn remove(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = fs::remove_dir_all(folder) {
        if error.kind() == ErrorKind::NotFound || Instant::now() > deadline {
            return;
        }
        sleep(POLL).await;
    }
}

async fn initdb(place: &Place, programs: &Programs, new: &Path, durable: bool) -> anyhow::Result<()> {
    // Text sorts by code point and knows upper and lower case, the same on every machine where that can be had.
    let best = if programs.major >= 17 {
        ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"].as_slice()
    } else {
        &["--locale=C", "--lc-ctype=C.UTF-8"]
    };
    let mut told = String::new();
    for locale in [best, &["--locale=C"]] {
        place.private_folder(new.to_owned())?;
        let mut initdb = Command::from(place.command(&programs.path("initdb")));
        initdb.arg("-D").arg(new).args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--data-checksums"]);
        initdb.args(locale).args((!durable).then_some("--no-sync")).kill_on_drop(true);
        let out = initdb.output().await.context("initdb can't be run")?;
        if out.status.success() {
            return Ok(());
        }
        told = said(&out);
        if !told.contains("invalid locale name") {
            break;
        }
    }
    bail!("{} in {}.\ninitdb said:\n{told}", reason(&told, "The database can't be made"), place.folder().display())
}

/// Creates the database in single-user mode: no server, no client program, no socket.
async fn create_database(place: &Place, programs: &Programs, new: &Path) -> anyhow::Result<()> {
    let mut single = Command::from(place.command(&programs.path("postgres")));
    single.args(["--single", "-F", "-c", "exit_on_error=on", "-D"]).arg(new).arg("postgres").kill_on_drop(true);
    single.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = single.spawn().context("postgres can't be run")?;
    let mut stdin = process.stdin.take().context("postgres has no stdin")?;
    // When it does not read this it has ended already, and its status tells.
    let _ = stdin.write_all(format!("create database {DATABASE}\n").as_bytes()).await;
    drop(stdin);
    let out = process.wait_with_output().await?;
    ensure!(out.status.success(), "The database can't be created.\npostgres said:\n{}", said(&out));
    Ok(())
}

/// The sentence for what Postgres' programs said, where the reason is a known one.
pub(super) fn reason(told: &str, otherwise: &str) -> String {
    if told.contains("No space left on device") || told.contains("Check free disk space") {
        "The disk is full: make room, or choose another data folder; there is no space for the database".to_owned()
    } else if told.contains("Permission denied") {
        "The user who runs Postgres has no permission to write the database".to_owned()
    } else {
        otherwise.to_owned()
    }
}

/// Ends a Postgres that still runs on the cluster because the run that started it was killed, and its watchdog too.
pub(super) async fn end_leftover(cluster: &Path) -> anyhow::Result<()> {
    let pid_file = cluster.join("postmaster.pid");
    let Some(pid) = first_line_pid(&pid_file) else { return Ok(()) };
    if alive(pid) {
        match holder(pid, cluster) {
            Holder::Postgres => end(pid).await?,
            Holder::Stranger => {}
            // Postgres itself judges, when it is started.
            Holder::Unknown => return Ok(()),
        }
    }
    // Postgres refuses to start as long as its old number is taken: by a stranger, or by its own remains in a container
    // where nobody collects them.
    if number_taken(pid) && pid_file.exists() && is_deserted(cluster).await {
        fs::remove_file(&pid_file).with_context(|| format!("{} can't be removed", pid_file.display()))?;
    }
    Ok(())
}

async fn end(pid: Pid) -> anyhow::Result<()> {
    say(format_args!("a Postgres of an earlier run still runs here (pid {}): it is ended first", pid.as_raw_nonzero()));
    for (signal, patience) in [(Signal::INT, 30), (Signal::QUIT, 10), (Signal::KILL, 10)] {
        // It may end by itself in this moment.
        let _ = kill_process(pid, signal);
        let deadline = Instant::now() + Duration::from_secs(patience);
        while Instant::now() < deadline {
            if !alive(pid) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
    bail!("The Postgres of an earlier run (pid {}) can't be ended: end it and start again.", pid.as_raw_nonzero())
}

/// Waits a moment for the connections of a server that was killed: they end after it, and may still write until then.
async fn is_deserted(cluster: &Path) -> bool {
    let works_here = |process: fs::DirEntry| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == cluster);
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_dir("/proc").into_iter().flatten().flatten().any(works_here) {
        if Instant::now() > deadline {
            return false;
        }
        sleep(POLL).await;
    }
    true
}

enum Holder {
    Postgres,
    Stranger,
    Unknown,
}

/// Who has the process id that stands in the cluster's `postmaster.pid`?
fn holder(pid: Pid, cluster: &Path) -> Holder {
    // Postgres works in its cluster's folder, and keeps doing so when that is moved.
    if let Ok(works_in) = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())) {
        return if works_in == cluster { Holder::Postgres } else { Holder::Stranger };
    }
    match command_line(pid) {
        Some(line) if line.contains(&*cluster.to_string_lossy()) => Holder::Postgres,
        Some(line) if !line.contains("postgres") => Holder::Stranger,
        _ => Holder::Unknown,
    }
}

/// Has the server with this process id written that it takes connections?
pub(super) fn takes_connections(cluster: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    // Line 1 is the process, line 8 its state.
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

fn first_line_pid(file: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()?)
}
