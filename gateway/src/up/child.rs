//! A supervised child process: its output in a log file, started anew with growing pauses when it ends by itself.
//! Its stdin is a pipe that we hold open: our programs end when it closes, so they cannot outlive us.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{ChildStdin, Command};
use tokio::time::{sleep_until, timeout};

use super::say::say;

/// A log file larger than this is set aside as `<name>.log.1` when its program starts.
const LOG_LIMIT: u64 = 16 << 20;
/// At most this much of a log's end is read for an error message.
const TAIL: u64 = 64 << 10;

/// A program that runs under our eyes, in a process group of its own so that a Ctrl-C in the terminal reaches only us.
pub(super) struct Child {
    name: String,
    log: PathBuf,
    /// Where in the log the present run begins.
    log_start: u64,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    running: Option<Running>,
    retry_at: Instant,
    backoff: Backoff,
}

struct Running {
    process: tokio::process::Child,
    since: Instant,
    /// Held apart from `process`, whose `wait` would close it.
    _stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts what `command` makes; stdout and stderr are appended to `<logs>/<name>.log`.
    pub(super) fn start(
        name: &str,
        logs: &Path,
        command: impl Fn() -> Command + Send + Sync + 'static,
    ) -> anyhow::Result<Child> {
        fs::create_dir_all(logs).with_context(|| format!("The folder {} can't be made", logs.display()))?;
        let mut child = Child {
            name: name.to_owned(),
            log: logs.join(format!("{name}.log")),
            log_start: 0,
            command: Box::new(command),
            running: None,
            retry_at: Instant::now(),
            backoff: Backoff::default(),
        };
        child.launch().with_context(|| format!("{name} can't be started (log: {})", child.log.display()))?;
        Ok(child)
    }

    /// Its process id while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(|running| running.process.id())
    }

    /// Waits until it ends by itself. Never starts it anew.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        match &mut self.running {
            Some(running) => running.process.wait().await,
            None => Err(io::Error::other("not started")),
        }
    }

    /// An error with the end of its log when it has ended.
    pub(super) fn check_runs(&mut self) -> anyhow::Result<()> {
        let Some(running) = &mut self.running else { bail!("{} does not run.", self.name) };
        match running.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}).\n{}", self.name, self.last_lines(15)),
        }
    }

    /// Returns when it has ended by itself and runs anew. May be dropped and called again at any time.
    pub(super) async fn restarted(&mut self) {
        loop {
            if let Some(running) = &mut self.running {
                let ending = match running.process.wait().await {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                let pause = self.backoff.pause_after(running.since.elapsed());
                self.running = None;
                self.retry(&format!("ended by itself ({ending})"), pause);
            }
            sleep_until(self.retry_at.into()).await;
            match self.launch() {
                Ok(()) => return,
                Err(error) => {
                    let pause = self.backoff.pause_after(Duration::ZERO);
                    self.retry(&format!("can't be started ({error})"), pause);
                }
            }
        }
    }

    /// Sends `signal`, waits up to `patience` for the end, then kills. Does nothing when it does not run.
    pub(super) async fn stop(&mut self, signal: Signal, patience: Duration) {
        if self.running.is_none() {
            return;
        }
        self.signal(signal);
        if timeout(patience, self.ended()).await.is_err() {
            say(format_args!("{} did not end within {} s and is killed", self.name, patience.as_secs()));
            self.kill();
            let _ = self.ended().await;
        }
        self.running = None;
    }

    /// Sends it a signal, when it runs.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.raw_pid() {
            // It may have ended in this instant.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it and its own children at once.
    pub(super) fn kill(&mut self) {
        if let Some(pid) = self.raw_pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// What its present run wrote last, for an error message.
    pub(super) fn last_lines(&self, count: usize) -> String {
        match tail(&self.log, self.log_start, count) {
            Ok(lines) if lines.is_empty() => format!("It wrote nothing to {}.", self.log.display()),
            Ok(lines) => format!("The end of {}:\n{lines}", self.log.display()),
            Err(error) => format!("Its log {} can't be read: {error}.", self.log.display()),
        }
    }

    fn launch(&mut self) -> io::Result<()> {
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_LIMIT) {
            fs::rename(&self.log, self.log.with_extension("log.1"))?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        self.log_start = log.metadata()?.len();
        let mut command = (self.command)();
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut process = command.spawn()?;
        let stdin = process.stdin.take();
        self.running = Some(Running { process, since: Instant::now(), _stdin: stdin });
        Ok(())
    }

    fn retry(&mut self, why: &str, pause: Duration) {
        self.retry_at = Instant::now() + pause;
        say(format_args!(
            "{} {why}; it is started again in {:.1} s (log: {})",
            self.name,
            pause.as_secs_f32(),
            self.log.display()
        ));
    }

    fn raw_pid(&self) -> Option<Pid> {
        self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()))
    }
}

/// The pauses between restarts: doubled at each early end, short again after a minute of health.
#[derive(Default)]
struct Backoff {
    early_ends: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    const HEALTHY: Duration = Duration::from_mins(1);

    fn pause_after(&mut self, lived: Duration) -> Duration {
        if lived >= Self::HEALTHY {
            self.early_ends = 0;
        }
        let pause = Self::FIRST.saturating_mul(1 << self.early_ends.min(16)).min(Self::LONGEST);
        self.early_ends += 1;
        pause
    }
}

/// The last `count` lines of a file, read from `start` at the earliest.
fn tail(file: &Path, start: u64, count: usize) -> io::Result<String> {
    let mut file = File::open(file)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(last_lines(&String::from_utf8_lossy(&bytes), count))
}

/// The last `count` lines of a text.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> impl Fn() -> Command + Send + Sync + use<> {
        let script = script.to_owned();
        move || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &script]);
            command
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        let poll = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), poll).await.unwrap();
    }

    fn logs(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("commonwatt-child-{test}-{}", std::process::id()))
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_are_short_again_after_a_healthy_minute() {
        let mut backoff = Backoff::default();
        let early = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..8).map(|_| backoff.pause_after(early).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.pause_after(Duration::from_mins(1)), Backoff::FIRST);
        assert_eq!(backoff.pause_after(early), Backoff::FIRST * 2);
    }

    #[test]
    fn last_lines_are_the_last() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
        assert_eq!(last_lines("", 5), "");
    }

    #[tokio::test]
    async fn starts_anew_after_an_end_of_its_own_and_shows_only_the_present_run() {
        let logs = logs("anew");
        let mut child = Child::start("brief", &logs, shell("echo pid $$; exec cat")).unwrap();
        let first = child.pid().unwrap();
        child.kill();
        child.restarted().await;
        let second = child.pid().unwrap();
        assert_ne!(first, second);
        child.stop(Signal::TERM, Duration::from_secs(5)).await;
        assert_eq!(child.pid(), None);
        let shown = child.last_lines(15);
        assert!(!shown.contains(&format!("pid {first}")), "{shown}");
        fs::remove_dir_all(logs).unwrap();
    }

    #[tokio::test]
    async fn kills_what_does_not_end_when_asked() {
        let logs = logs("deaf");
        let mut child = Child::start("deaf", &logs, shell("trap '' TERM; echo up; cat; cat <&1")).unwrap();
        until(|| child.last_lines(1).contains("up")).await;
        child.stop(Signal::TERM, Duration::from_millis(50)).await;
        assert_eq!(child.pid(), None);
        fs::remove_dir_all(logs).unwrap();
    }

    #[tokio::test]
    async fn a_child_sees_its_stdin_close_when_it_is_dropped() {
        let logs = logs("dropped");
        let child = Child::start("faithful", &logs, shell("cat; echo gone")).unwrap();
        let log = child.log.clone();
        drop(child);
        until(|| fs::read_to_string(&log).unwrap().contains("gone")).await;
        fs::remove_dir_all(logs).unwrap();
    }
}
