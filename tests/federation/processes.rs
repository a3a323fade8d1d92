//! The programs: one gateway and three nodes, each in its namespace, started as their operators start them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};

use crate::network::{GATEWAY, GATEWAY_ADDRESS};
use crate::own_path;
use crate::site::Site;
use crate::traffic::Api;
use crate::wait::until;

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOG_LINES: usize = 15;

/// A running program. It is killed when dropped, and ends by itself when this process does.
pub(crate) struct Process {
    child: Child,
    /// Held open: its end tells the program to stop.
    _stdin: ChildStdin,
    log: PathBuf,
}

impl Process {
    fn start(namespace: &str, program: &str, arguments: &[&str], log: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{program} does not start: {error}");
        let file = File::options().create(true).append(true).open(log).map_err(failed)?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(own_path()?.with_file_name(program));
        command.args(arguments).arg("--with-parent").env("NO_COLOR", "1").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file);
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take().ok_or("its standard input is piped")?;
        Ok(Self { child, _stdin: stdin, log: log.to_owned() })
    }

    /// # Errors
    /// When it has ended, with the end of its log.
    pub(crate) fn must_run(&mut self) -> Result<(), String> {
        let Ok(Some(status)) = self.child.try_wait() else { return Ok(()) };
        Err(self.explain(format!("a program ended ({status})")))
    }

    /// What went wrong, with the end of the log.
    pub(crate) fn explain(&self, what: String) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        format!("{what}; its log ends with:\n{last}")
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("it has ended")?;
        kill_process(pid, signal).map_err(|error| format!("cannot send a signal to process {pid:?}: {error}"))
    }
}

/// The gateway.
pub(crate) struct Gateway {
    process: Process,
    pub(crate) api: Api,
}

impl Gateway {
    /// Starts it, with a first account.
    ///
    /// # Errors
    /// When it does not become ready.
    pub(crate) async fn start(folder: &Path) -> Result<Self, String> {
        let data = folder.join("gateway");
        let arguments = ["serve", "--listen", "0.0.0.0:8080", "--data", text(&data)?];
        let process = Process::start(GATEWAY, "commonwatt", &arguments, &folder.join("gateway.log"))?;
        let mut gateway = Self { process, api: Api::new(&url())? };
        until("the gateway", READY_WITHIN, async || {
            gateway.process.must_run()?;
            Ok(gateway.api.is_ready().await.then_some(()))
        })
        .await?;
        let out = folder.join("bootstrap");
        let mut bootstrap = Command::new(own_path()?.with_file_name("commonwatt"));
        bootstrap.args(["admin", "--data", text(&data)?, "bootstrap", "--out", text(&out)?]);
        let bootstrap = bootstrap.output().await.map_err(|error| format!("commonwatt does not start: {error}"))?;
        if !bootstrap.status.success() {
            return Err(format!("no first account: {}", String::from_utf8_lossy(&bootstrap.stderr)));
        }
        let read = |file| std::fs::read_to_string(out.join(file)).map_err(|error| format!("no {file}: {error}"));
        gateway.api.sign_in(read("api_key")?.trim(), read("admin_token")?.trim());
        Ok(gateway)
    }
}

/// A node at its site.
pub(crate) struct Node {
    pub(crate) site: &'static Site,
    pub(crate) process: Process,
    launch: Launch,
}

impl Node {
    /// Starts it for the first time; it isn't enrolled yet.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(site: &'static Site, folder: &Path, model: &Path, token: String) -> Result<Self, String> {
        let launch = Launch { site, folder: folder.to_owned(), model: model.to_owned(), token };
        Ok(Self { site, process: launch.start()?, launch })
    }

    /// As `kill -9`.
    ///
    /// # Errors
    /// When it has ended before.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.process.child.start_kill().map_err(|error| format!("{} can't be killed: {error}", self.site.name))
    }

    /// Starts it again on what is in its folder, after it was killed.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn restart(&mut self) -> Result<(), String> {
        self.process.child.wait().await.map_err(|error| format!("{} does not end: {error}", self.site.name))?;
        self.process = self.launch.start()?;
        Ok(())
    }

    /// It computes nothing more and answers nobody, as a machine that hangs.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn stop(&self) -> Result<(), String> {
        self.process.signal(Signal::STOP)
    }

    /// It goes on where it was.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn resume(&self) -> Result<(), String> {
        self.process.signal(Signal::CONT)
    }
}

/// How a node is started, the second time as the first.
struct Launch {
    site: &'static Site,
    folder: PathBuf,
    model: PathBuf,
    token: String,
}

impl Launch {
    fn start(&self) -> Result<Process, String> {
        let (name, gateway) = (self.site.name, url());
        let data = self.folder.join(name);
        let join = ["serve", "--gateway", &gateway, "--token", &self.token];
        let here = ["--name", name, "--source", text(&self.model)?, "--data", text(&data)?];
        let log = self.folder.join(format!("{name}.log"));
        Process::start(self.site.namespace, "commonwatt-node", &[&join[..], &here[..]].concat(), &log)
    }
}

fn url() -> String {
    format!("http://{GATEWAY_ADDRESS}:8080")
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}
