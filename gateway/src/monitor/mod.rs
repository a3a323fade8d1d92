//! `commonwatt monitor`: follows a gateway's log, keeps a copy of it, and raises an alarm at whatever doesn't hold.
//!
//! - [`look`]: one look at the log
//! - [`alarm`]: what becomes of what was found

mod alarm;
mod look;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::verify::source::Source;
use look::{Looked, Monitor};

/// A gateway that can't be read, or a log that too few witnesses have seen, is said after so long, and then as often.
const AWAY_FOR: Duration = Duration::from_secs(300);

/// What `--help` says beside the settings.
pub const ABOUT: &str = "\
On each look the newest checkpoint is held against the one that was believed last; the entries between them have to lead from the
one to the other; each new document has to be the one of its entry; each receipt has to be signed, to follow from itself, and to
go by a split and a price that were logged before it; each epoch that was closed is made again. The first look does this from the
log's first entry on.

An alarm is a line on standard output, and a folder with that line as JSON and both checkpoints, below `alarms`. The folder is a
copy of the log, as `commonwatt verify copy` makes one, with `believed.checkpoint` beside it: the last that was believed, which is
written, and the evidence before it, before anything is said. Receipts that are not published any more, because the gateway keeps
them no longer, raise no alarm. Neither does a gateway that does not answer, or a checkpoint that too few witnesses have seen: that
is said on standard error after five minutes.

With --once the exit status is 0 when nothing was found, 1 after an alarm, and 3 when the log could not be read. Without, it runs
until it is told to stop, and ends with 0, or with 1 if there was an alarm. It is 2 where the folder or the policy is not what it
should be.";

/// What is followed, and what becomes of what is found.
#[derive(Clone, Debug, Args)]
pub struct MonitorSettings {
    /// The gateway's address, such as `https://gateway.example`.
    source: String,
    /// Where the copy, the last checkpoint that was believed, and alarms are kept.
    #[arg(long)]
    folder: PathBuf,
    /// Which log and which witnesses you believe, as a C2SP tlog-policy. Without it, what the gateway names on the first look,
    /// which is kept as `believed.policy`: remove that file to believe what it names now.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The gateway's public keys, from /.well-known/jwks.json. Without them, those that the log tells of.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Seconds from one look to the next.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// A program that gets each alarm on its standard input, as one line of JSON.
    #[arg(long)]
    alarm: Option<PathBuf>,
    /// Look once, and end.
    #[arg(long)]
    once: bool,
    /// Say everything as JSON, a line each.
    #[arg(long)]
    json: bool,
}

/// Its number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Quiet = 0,
    Alarm = 1,
    Unreadable = 2,
    Away = 3,
}

/// Follows a log until `stop`, or looks once.
///
/// # Errors
/// When nothing can be said.
pub async fn run(settings: &MonitorSettings, stop: &CancellationToken) -> anyhow::Result<Ending> {
    let opened = async { Monitor::open(settings, Source::open(&settings.source)?).await };
    let mut monitor = match opened.await {
        Ok(monitor) => monitor,
        Err(error) => {
            writeln!(std::io::stderr(), "error: {error:#}")?;
            return Ok(Ending::Unreadable);
        }
    };
    let mut told = Told::default();
    loop {
        let ending = match stop.run_until_cancelled(monitor.look()).await {
            None => return Ok(told.ending),
            Some(Ok(looked)) => told.looked(settings, looked).await?,
            Some(Err(error)) => told.away(settings, &error)?,
        };
        if settings.once {
            return Ok(ending);
        }
        let pause = tokio::time::sleep(Duration::from_secs(settings.every));
        if stop.run_until_cancelled(pause).await.is_none() {
            return Ok(told.ending);
        }
    }
}

/// What was said already.
struct Told {
    ending: Ending,
    /// Since when the log can't be read, and when that was said.
    away: Option<(Instant, Option<Instant>)>,
}

impl Default for Told {
    fn default() -> Self {
        Self { ending: Ending::Quiet, away: None }
    }
}

impl Told {
    /// Says what was found.
    async fn looked(&mut self, settings: &MonitorSettings, looked: Looked) -> anyhow::Result<Ending> {
        self.away = None;
        for alarm in &looked.alarms {
            self.ending = Ending::Alarm;
            alarm.raise(settings).await?;
        }
        if looked.seen.new_entries > 0 || settings.once {
            let seen = &looked.seen;
            let line = if settings.json { serde_json::to_string(seen)? } else { seen.to_string() };
            writeln!(std::io::stdout(), "{line}")?;
        }
        Ok(if looked.alarms.is_empty() { Ending::Quiet } else { Ending::Alarm })
    }

    /// Says that the log can't be read, when it has been so for a while.
    fn away(&mut self, settings: &MonitorSettings, error: &anyhow::Error) -> anyhow::Result<Ending> {
        let now = Instant::now();
        let (since, said) = *self.away.get_or_insert((now, None));
        let is_due = now.duration_since(said.unwrap_or(since)) >= AWAY_FOR;
        if settings.once || is_due {
            self.away = Some((since, Some(now)));
            let minutes = now.duration_since(since).as_secs() / 60;
            writeln!(std::io::stderr(), "the log could not be read for {minutes} minutes: {error:#}")?;
        }
        Ok(Ending::Away)
    }
}
