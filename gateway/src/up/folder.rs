//! May `up` start here? One run per data folder, none of an earlier run's programs left, and the ports free.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::Pid;
use tokio::time::{Instant, sleep};

use super::environment::pids_left_behind;
use super::process::{alive, command_line};
use super::say::say;

/// A little longer than a gateway gives its streams to end.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(40);

/// The data folder, ours as long as this value lives.
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if need be and takes it for this process.
    pub(super) fn take(path: &Path) -> anyhow::Result<DataFolder> {
        let path =
            fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(|error| unusable(path, &error))?;
        let name = path.join("up.lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&name)
            .map_err(|error| unusable(&path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&name).unwrap_or_default();
                bail!(
                    "commonwatt up already runs on {} (pid {}): end it first, or choose another data folder with \
                     COMMONWATT_DATA.",
                    path.display(),
                    pid.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context(format!("{} can't be locked", name.display()));
            }
        }
        let noted = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(|error| unusable(&path, &error))?;
        Ok(DataFolder { path, _lock: lock })
    }

    /// A file or folder in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Its absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Waits for the gateway and the node of a run that was killed a moment ago: they are ending their streams.
pub(super) async fn wait_for_leftovers(environment: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + LEFTOVER_PATIENCE;
    for pid in pids_left_behind(environment).into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        // The number may belong to a stranger by now.
        let ours = || alive(pid) && command_line(pid).is_some_and(|line| line.contains("commonwatt"));
        if !ours() {
            continue;
        }
        let pid = pid.as_raw_nonzero();
        say(format_args!("waiting for a program of an earlier run to end (pid {pid}) ..."));
        while ours() {
            if Instant::now() > deadline {
                bail!("A program of an earlier run still runs (pid {pid}): end it and start again.");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Fails when another program has the port.
pub(super) fn check_port(port: u16, variable: &str) -> anyhow::Result<()> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("Port {port} is in use by another program: choose a free one with {variable}.")
        }
        Err(error) => Err(error).context(format!("Port {port} can't be used: choose another one with {variable}")),
    }
}

fn unusable(path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    let hint = "choose another data folder with COMMONWATT_DATA";
    match error.kind() {
        ErrorKind::StorageFull => anyhow!("The disk of {path} is full: make room, or {hint}."),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => anyhow!("You may not write to {path}: {hint}."),
        _ => anyhow!("The data folder {path} can't be used ({error}): {hint}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_has_one_run_at_a_time() {
        let path = std::env::temp_dir().join(format!("commonwatt-folder-{}", std::process::id()));
        let taken = DataFolder::take(&path).unwrap();
        let refused = DataFolder::take(&path).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(&format!("(pid {})", std::process::id())), "{refused}");
        drop(taken);
        DataFolder::take(&path).unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_taken_port_is_named() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let refused = check_port(port, "COMMONWATT_PORT").unwrap_err().to_string();
        assert!(refused.contains(&port.to_string()) && refused.contains("COMMONWATT_PORT"), "{refused}");
        drop(other);
        check_port(port, "COMMONWATT_PORT").unwrap();
    }
}
