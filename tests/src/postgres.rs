//! A Postgres of a story's own, to be frozen, stopped and killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::up::PrivatePostgres;
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use crate::{Database, eventually};

/// It survives `kill -9`, as one in service does: what was committed was written to the disk before.
pub struct Postgres {
    folder: PathBuf,
    server: Option<PrivatePostgres>,
    url: String,
}

impl Postgres {
    /// Starts it with an empty database.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("postgres-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).expect("a folder");
        let server = start(&folder).await;
        Self { url: server.url().to_owned(), folder, server: Some(server) }
    }

    /// Its database.
    pub async fn database(&self) -> Database {
        Database::at(&self.url).await
    }

    /// As `kill -9` of each of its processes.
    pub async fn kill(&mut self) {
        // Stopped first, so that none of them notices the end of another.
        self.signal(Signal::STOP);
        let processes = self.signal(Signal::KILL);
        eventually("the end of Postgres", Duration::from_secs(10), || async {
            processes.iter().all(|pid| state(*pid).is_none_or(|state| state == 'Z')).then_some(())
        })
        .await;
        self.stop().await;
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Starts it again.
    pub async fn restart(&mut self) {
        self.server = Some(start(&self.folder).await);
    }

    /// It takes connections and queries and answers none.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on where it was.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) -> Vec<u32> {
        let server = self.server.as_ref().and_then(PrivatePostgres::pid).expect("it runs");
        let processes: Vec<u32> = std::iter::once(server).chain(children(server)).collect();
        for pid in &processes {
            // One that has just ended needs no signal.
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).expect("a process id"), signal);
        }
        processes
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.thaw();
        }
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn start(folder: &Path) -> PrivatePostgres {
    PrivatePostgres::start(folder, true).await.expect("Postgres starts")
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.filter(|pid| field(*pid, 4).is_some_and(|of| of == parent.to_string())).collect()
}

fn state(pid: u32) -> Option<char> {
    field(pid, 3)?.chars().next()
}

/// A field of `/proc/<pid>/stat` behind the name, by its number in proc(5).
fn field(pid: u32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(number - 3).map(str::to_owned)
}
