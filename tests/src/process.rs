//! One of our programs as a child process whose log is read until it says that it is ready.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

const READY_WITHIN: Duration = Duration::from_secs(120);
const LINES_KEPT: usize = 400;

/// A running program. It is killed when dropped, and ends by itself when the test process does.
pub(crate) struct Program {
    child: Child,
    /// Held open: its end tells the program to stop.
    _stdin: ChildStdin,
    /// The address that it listens on.
    pub(crate) address: String,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Program {
    /// Starts a program of this workspace and waits until it says `ready`, with the address that it listens on.
    pub(crate) async fn start(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary(name));
        command.args(arguments).arg("--with-parent").env_remove("DATABASE_URL").env("NO_COLOR", "1");
        command.envs(environment.iter().copied()).stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}; build it first"));
        let stdin = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (ready_to, ready) = oneshot::channel();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            let mut ready_to = Some(ready_to);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = address_in(&line) {
                    ready_to.take().map(|to| to.send(address));
                }
                let mut kept = kept.lock().unwrap();
                kept.push_back(line);
                if kept.len() > LINES_KEPT {
                    kept.pop_front();
                }
            }
        });
        match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(Ok(address)) => Self { child, _stdin: stdin, address, log },
            _ => panic!(
                "{name} did not become ready:\n{}",
                log.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
            ),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// As `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// As `kill`: asks it to stop.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id");
        kill_process(pid, Signal::TERM).expect("it runs");
    }

    /// Waits for its end and returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        self.child.wait().await.expect("waited for").code()
    }
}

fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("is ready")?;
    rest.split_whitespace().find_map(|word| word.strip_prefix("listen=")).map(str::to_owned)
}

/// A program lies two folders above the test that runs: `target/release/deps/it-…`.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().and_then(|deps| deps.parent()).expect("target/release").join(name)
}
