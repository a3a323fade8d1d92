//! One of our programs as a child process whose log is read until it says that it is ready.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

const READY_WITHIN: Duration = Duration::from_secs(120);
const LINES_KEPT: usize = 400;

/// A running program. It is killed when dropped, and ends by itself when the test process does.
pub struct Program {
    child: Child,
    /// Held open: its end tells the program to stop.
    _stdin: ChildStdin,
    /// The address that it listens on.
    pub address: String,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Program {
    /// Starts a program of this workspace and waits until it says `ready`, with the address that it listens on.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
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

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pid(&self) -> u32 {
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

/// Where a program of this workspace lies: beside the benchmark, and one folder above a test: `target/release/deps/it-…`.
pub fn binary(name: &str) -> PathBuf {
    let running = std::env::current_exe().expect("a program has a path");
    let folder = running.parent().expect("in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("target/release") } else { folder };
    folder.join(name)
}

/// A port that nobody listens on. It lies below those that the system gives to outgoing connections, so that it is still
/// free when a program that was killed is started again.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static TURN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test programs that run at the same time begin at different places.
        let turn = TURN.fetch_add(1, Ordering::Relaxed) + std::process::id() * 7;
        let port = (FIRST + turn % COUNT) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
