//! A Postgres of our own, in one folder, on a Unix socket only. It never outlives us: a watchdog beside it
//! ends it when we are gone, even when we were killed.

mod place;

mod programs;

mod cluster;

mod throwaway;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use self::place::Place;
use self::programs::Programs;
use super::child::Child;

pub use self::throwaway::with_postgres;

const USER: &str = "commonwatt";
const DATABASE: &str = "commonwatt";
/// Recovery after a crash may read a lot.
const START_PATIENCE: Duration = Duration::from_mins(2);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A running Postgres that belongs to us. Dropped without `stop`, its watchdog ends it a moment later.
pub struct PrivatePostgres {
    server: Child,
    watchdog: tokio::process::Child,
    url: String,
    programs: PathBuf,
    place: Place,
    sockets: PathBuf,
}

/// What differs between the Postgres of `up` and that of a test run.
struct Start {
    /// Survives a power cut.
    durable: bool,
    /// The watchdog removes its folder.
    throw_away: bool,
    /// The programs' folder, instead of searching.
    bin: Option<PathBuf>,
    /// Where programs that must be fetched are kept, instead of in the place.
    cache: Option<PathBuf>,
}

impl PrivatePostgres {
    /// Starts the Postgres of the folder `data`, made there at the first start. `durable: false` is for tests only:
    /// a power cut may destroy the data.
    pub async fn start(data: &Path, durable: bool) -> anyhow::Result<PrivatePostgres> {
        Self::start_as(data, Start { durable, throw_away: false, bin: named_programs(), cache: None }).await
    }

    async fn start_as(data: &Path, start: Start) -> anyhow::Result<PrivatePostgres> {
        let (place, logs) = (Place::choose(data)?, data.join("logs"));
        if start.throw_away {
            // The watchdog, who is no other than the place's user, removes what is in them.
            place.give(place.folder())?;
            place.private_folder(logs.clone())?;
        }
        let lock = place.lock().await?;
        let cluster = place.cluster();
        let made_by = cluster::made_by(&cluster)?;
        let cache = start.cache.unwrap_or_else(|| place.programs());
        let programs = programs::find(&place, &cache, start.bin, made_by).await?;
        cluster::end_leftover(&cluster).await?;
        if made_by.is_none() {
            cluster::make(&place, &programs, start.durable).await?;
        }
        let sockets = place.socket_folder()?;
        let watchdog = watchdog(&place, &programs, &sockets, lock, start.throw_away)?;
        let server = {
            let (place, programs, sockets) = (place.clone(), programs.clone(), sockets.clone());
            Child::start("postgres", &logs, move || server(&place, &programs, &sockets, start.durable))?
        };
        let url = url(&sockets);
        let programs = programs.folder().to_owned();
        let mut postgres = PrivatePostgres { server, watchdog, url, programs, place, sockets };
        postgres.ready().await?;
        Ok(postgres)
    }

    /// How to connect, for sqlx and for libpq.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of its programs, psql among them.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Ends it: connections are cut, what was committed is written.
    pub async fn stop(mut self) {
        self.server.stop(Signal::INT, STOP_PATIENCE).await;
        // It waits for our end and would then look for a server that is gone.
        let _ = self.watchdog.kill().await;
        let _ = fs::remove_dir(&self.sockets);
    }

    /// Returns when it has ended by itself and runs anew. May be dropped and called again at any time.
    pub(super) async fn restarted(&mut self) {
        self.server.restarted().await;
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let cluster = self.place.cluster();
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let Some(pid) = self.server.pid() else { bail!("Postgres has ended") };
            if cluster::takes_connections(&cluster, pid) {
                return Ok(());
            }
            tokio::select! {
                ending = self.server.ended() => {
                    let told = self.server.last_lines(15);
                    // The last connections of a server that was killed end a moment after it.
                    if told.contains("is still in use") && Instant::now() < deadline {
                        self.server.restarted().await;
                        continue;
                    }
                    let ending = ending.map_or_else(|error| error.to_string(), |status| status.to_string());
                    bail!("{} ({ending}).\n{told}", cluster::reason(&told, "Postgres ended as soon as it was started"));
                }
                () = sleep(Duration::from_millis(10)) => {}
            }
            if Instant::now() > deadline {
                bail!(
                    "Postgres takes no connections after {} s. {}",
                    START_PATIENCE.as_secs(),
                    self.server.last_lines(15)
                );
            }
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // The watchdog finds a server only once that has written its process id.
        self.server.signal(Signal::INT);
    }
}

/// The bin folder that the person who starts us has named.
fn named_programs() -> Option<PathBuf> {
    std::env::var_os("COMMONWATT_POSTGRES_BIN").filter(|bin| !bin.is_empty()).map(PathBuf::from)
}

fn server(place: &Place, programs: &Programs, sockets: &Path, durable: bool) -> Command {
    let mut server = Command::from(place.command(&programs.path("postgres")));
    server.arg("-D").arg(place.cluster()).args(["-p", "5432", "-k"]).arg(sockets);
    let settings = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "max_connections=200",
        "timezone=UTC",
        "log_timezone=UTC",
        "logging_collector=off",
    ];
    let durability: &[&str] =
        if durable { &["fsync=on"] } else { &["fsync=off", "synchronous_commit=off", "full_page_writes=off"] };
    for setting in settings.iter().chain(durability) {
        server.args(["-c", setting]);
    }
    server
}

/// A shell that waits until we are gone, since nobody else may be left to end Postgres then. It holds the place's lock
/// too, so that the next run waits until that is done.
fn watchdog(
    place: &Place,
    programs: &Programs,
    sockets: &Path,
    lock: File,
    throw_away: bool,
) -> anyhow::Result<tokio::process::Child> {
    const SCRIPT: &str = r#"read line
for mode in fast immediate; do "$1" stop -D "$2" -m "$mode" >/dev/null && break; done
rmdir "$3"
test -z "$4" || rm -rf "$4""#;
    let mut shell = Command::from(place.command(Path::new("/bin/sh")));
    shell.args(["-c", SCRIPT, "commonwatt-watchdog"]).arg(programs.path("pg_ctl")).arg(place.cluster()).arg(sockets);
    shell.arg(if throw_away { place.folder() } else { Path::new("") });
    shell.stdin(Stdio::piped()).stdout(lock).stderr(Stdio::null());
    shell.spawn().context("/bin/sh can't be run")
}

fn url(sockets: &Path) -> String {
    // Everything is named, so that no PGHOST, PGPORT or PGSSLMODE of the environment has a say.
    let host = percent_encoded(sockets.as_os_str().as_encoded_bytes());
    format!("postgres:///{DATABASE}?host={host}&port=5432&user={USER}&sslmode=disable")
}

fn percent_encoded(bytes: &[u8]) -> String {
    let encode = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}
