//! `commonwatt with-postgres -- <command>`: a Postgres for one command, gone with it.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::process::Command;

use super::super::interrupts::Interrupts;
use super::super::say::step;
use super::cluster::remove;
use super::place::{self, Place};
use super::{PrivatePostgres, Start, named_programs};

/// Runs `command` with the `DATABASE_URL` of an empty Postgres, which is removed afterwards; gives back its exit code.
/// The URL's user may create databases, and nothing is ever synced to disk.
pub async fn with_postgres(command: Vec<String>) -> anyhow::Result<i32> {
    ensure!(!command.is_empty(), "Which command is to be run? with-postgres -- <command>");
    let mut interrupts = Interrupts::listen()?;
    let folder = temp_folder()?;
    let outcome = run_in(&folder, &command, &mut interrupts).await;
    tidy_up(&folder).await;
    outcome
}

async fn run_in(folder: &Path, command: &[String], interrupts: &mut Interrupts) -> anyhow::Result<i32> {
    let start = Start { durable: false, throw_away: true, bin: named_programs(), cache: Some(programs_cache()) };
    let started = step("starting a Postgres for this command", PrivatePostgres::start_as(folder, start));
    let postgres = tokio::select! {
        signal = interrupts.next() => return Ok(exit_code_of(signal.as_raw())),
        postgres = started => postgres?,
    };
    let outcome = run(command, &postgres, interrupts).await;
    postgres.stop().await;
    outcome
}

/// The command finds psql and its like, of the same version as the server, before any other.
fn path_with(programs: &Path) -> anyhow::Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(iter::once(programs.to_owned()).chain(std::env::split_paths(&path)))?)
}

async fn run(command: &[String], postgres: &PrivatePostgres, interrupts: &mut Interrupts) -> anyhow::Result<i32> {
    let mut process = Command::new(&command[0])
        .args(&command[1..])
        .env("DATABASE_URL", postgres.url())
        .env("PATH", path_with(postgres.programs())?)
        .spawn()
        .with_context(|| format!("{} can't be run", command[0]))?;
    loop {
        tokio::select! {
            ending = process.wait() => return Ok(exit_code(ending?)),
            signal = interrupts.next() => {
                let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
                // A Ctrl-C reaches the command without us, and it decides what becomes of it.
                if let Some(pid) = pid && signal == Signal::TERM {
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// Removes the folder as soon as nothing uses it any more.
async fn tidy_up(folder: &Path) {
    if let Ok(place) = Place::choose(folder) {
        // After a start that failed a watchdog may be at work, which removes it too.
        let _ = place.lock().await;
        remove(place.folder()).await;
    }
    remove(folder).await;
}

/// As a shell counts: 128 and the signal's number for a process that was killed.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| exit_code_of(status.signal().unwrap_or_default()))
}

fn exit_code_of(signal: i32) -> i32 {
    128 + signal
}

/// A new folder under the system's temp folder which the user who runs Postgres can enter.
fn temp_folder() -> anyhow::Result<PathBuf> {
    let temp = std::env::temp_dir();
    let bases = [temp.as_path(), Path::new("/tmp"), Path::new("/var/tmp")];
    let base = bases.into_iter().find(|base| place::reachable(base)).unwrap_or(&temp);
    let names = (0..).map(|number| base.join(format!("commonwatt-pg-{}-{number}", std::process::id())));
    let Some(folder) = names.into_iter().find(|folder| fs::symlink_metadata(folder).is_err()) else {
        bail!("{} is full of folders of earlier runs.", base.display())
    };
    fs::create_dir(&folder)
        .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o711)))
        .with_context(|| format!("The folder {} can't be made", folder.display()))?;
    Ok(folder)
}

/// Where programs from `PyPI` are kept for the next run.
fn programs_cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if geteuid().is_root() {
        PathBuf::from("/var/cache")
    } else {
        let home = || variable("HOME").map(|home| home.join(".cache"));
        variable("XDG_CACHE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir)
    };
    base.join("commonwatt").join("postgres-programs")
}
