//! A real node with the real model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::Value;
use uuid::Uuid;

use crate::process::{Program, binary};
use crate::processor::resident_bytes;
use crate::{Gateway, eventually};

/// The model that every real node serves here.
pub const MODEL: &str = "smollm2-135m-instruct";

/// How it was started.
struct Launch {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Launch {
    async fn start(&self) -> Program {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Program::start("commonwatt-node", &arguments, &environment).await
    }
}

/// A running node.
pub struct Node {
    program: Program,
    launch: Launch,
    folder: PathBuf,
    client: Client,
}

impl Node {
    /// Starts a node that serves this machine alone.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::run(arguments, &[]).await
    }

    /// Starts a node that joins the gateway, and waits until it has.
    pub async fn join(gateway: &Gateway, arguments: &[&str]) -> Self {
        let before = gateway.nodes_now().await;
        let node = Self::enrol(&gateway.url(""), &gateway.enrolment_token().await, arguments).await;
        gateway.nodes(before + 1).await;
        node
    }

    /// Starts a node that enrols at one of these addresses, separated by commas.
    pub async fn enrol(addresses: &str, token: &str, arguments: &[&str]) -> Self {
        Self::run(arguments, &[("COMMONWATT_GATEWAY", addresses), ("COMMONWATT_TOKEN", token)]).await
    }

    async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let _ = provider_tls();
        #[expect(clippy::disallowed_methods, reason = "the one setting of the tests")]
        let source = std::env::var("COMMONWATT_TEST_MODEL").expect("COMMONWATT_TEST_MODEL is set by `make test`");
        let folder = std::env::temp_dir().join(format!("node-{}", Uuid::now_v7()));
        let environment = [&[("COMMONWATT_SOURCE", source.as_str())], environment].concat();
        Self::run_in(folder, arguments, &environment).await
    }

    async fn run_in(folder: PathBuf, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let data = folder.display().to_string();
        let all = [environment, &[("COMMONWATT_DATA", data.as_str())]].concat();
        let slots: &[&str] = if arguments.contains(&"--slots") { &[] } else { &["--slots", "1"] };
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], slots, arguments].concat();
        let launch = Launch {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        Self {
            program: launch.start().await,
            launch,
            folder,
            client: Client::builder().no_proxy().build().expect("a client"),
        }
    }

    /// Starts another node on a copy of this one's folder, key and all, as somebody does who clones a machine.
    ///
    /// # Panics
    /// When the folder can't be copied.
    pub async fn copy(&self) -> Self {
        let folder = std::env::temp_dir().join(format!("node-{}", Uuid::now_v7()));
        copy_files(&self.folder, &folder);
        let environment: Vec<(&str, &str)> =
            self.launch.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let serve: Vec<&str> = self.launch.arguments.iter().map(String::as_str).collect();
        Self::run_in(folder, &serve[3..], &environment).await
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// The URL of a path of the local API.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.program.address)
    }

    /// Asks the local API.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn ask(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).json(body).send().await.expect("an answer")
    }

    /// Asks the local API for a chat completion and reads it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn chat(&self, body: &Value) -> Value {
        let response = self.ask("/v1/chat/completions", body).await;
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Memory that the process holds, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.program.pid())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Its folder, with its key and its enrolments.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs another command of the program on this node's folder, or on a copy of it; what it printed, and whether it went
    /// well.
    ///
    /// # Panics
    /// When it can't be run.
    pub async fn command(folder: &Path, arguments: &[&str]) -> (String, bool) {
        let mut command = tokio::process::Command::new(binary("commonwatt-node"));
        command.args(arguments).env("COMMONWATT_DATA", folder).env("NO_COLOR", "1");
        let output = command.output().await.expect("it runs");
        (String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(), output.status.success())
    }

    /// As `kill -9`.
    pub async fn kill(&mut self) {
        self.program.kill().await;
    }

    /// As `kill -9`, and started again on the same data.
    pub async fn restart(&mut self) {
        self.program.kill().await;
        self.program = self.launch.start().await;
    }

    /// Asks it to stop, waits until it has ended in good order, and starts it again on the same data.
    ///
    /// # Panics
    /// When it ends with an error.
    pub async fn replace(&mut self) {
        self.program.terminate();
        assert_eq!(self.program.ended().await, Some(0), "{}", self.program.log());
        self.program = self.launch.start().await;
    }

    /// Asks it to stop, as SIGTERM does.
    pub fn terminate(&self) {
        self.program.terminate();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Option<i32> {
        self.program.ended().await
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let copy = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_files(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), copy).expect("copied");
        }
    }
}

/// reqwest asks for a TLS provider even where it speaks none; who was first does not matter.
fn provider_tls() -> Result<(), std::sync::Arc<rustls::crypto::CryptoProvider>> {
    rustls::crypto::aws_lc_rs::default_provider().install_default()
}

impl Drop for Node {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Gateway {
    /// Nodes that are connected at this moment.
    pub async fn nodes_now(&self) -> usize {
        let nodes = self.get("/api/nodes").await;
        nodes["data"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["connected"] == true).count())
    }

    /// Waits until all nodes together run this many sequences and nobody waits.
    pub async fn engine_runs(&self, running: u64, within: Duration) {
        eventually("the engine's running count", within, || async {
            let nodes = self.get("/api/nodes").await;
            let nodes = nodes["data"].as_array()?;
            // Those that are away say nothing.
            let all = |count: &str| nodes.iter().filter_map(|node| node["status"][count].as_u64()).sum::<u64>();
            (all("running") == running && all("waiting") == 0).then_some(())
        })
        .await;
    }
}
