//! The two programs that are compared.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Program, eventually, free_port, processor_nanoseconds, resident_bytes};
use uuid::Uuid;

use super::MOST_STREAMS;
use super::stream::{self, Answer};

const THERE_WITHIN: Duration = Duration::from_secs(60);
/// Tokens of prompt and answer that each of llama.cpp's slots has room for.
const CONTEXT: usize = 4_096;

/// A running server; it ends when dropped.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) version: String,
    address: SocketAddr,
    client: reqwest::Client,
    kind: Kind,
}

enum Kind {
    Node { program: Program, folder: PathBuf },
    Llama(tokio::process::Child),
}

impl Server {
    /// A node as it is run for real, with as many slots as it finds to suit the machine.
    pub(super) async fn node(model: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("node-{}", Uuid::now_v7()));
        let (source, data) = (model.display().to_string(), folder.display().to_string());
        let environment = [("COMMONWATT_SOURCE", source.as_str()), ("COMMONWATT_DATA", data.as_str())];
        let program = Program::start("commonwatt-node", &["serve", "--listen", "127.0.0.1:0"], &environment).await;
        let address = program.address.parse().expect("an address");
        let version = format!("commonwatt-node {}", env!("CARGO_PKG_VERSION"));
        Self { name: "node", version, address, client: client(), kind: Kind::Node { program, folder } }
    }

    /// llama.cpp's server; none where it is not installed.
    pub(super) async fn llama(program: &Path, model: &Path) -> Option<Self> {
        let said = Command::new(program).arg("--version").output().ok()?;
        // It says it on its standard error.
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        let version = format!("llama.cpp {}", said.lines().find(|line| line.contains("version"))?.trim());
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let cores = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        let child = tokio::process::Command::new(program)
            .arg("--model")
            .arg(model)
            .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
            .args(["--threads", &cores, "--threads-batch", &cores])
            .args(["--parallel", &MOST_STREAMS.to_string(), "--ctx-size", &(MOST_STREAMS * CONTEXT).to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let client = client();
        let health = format!("http://{address}/health");
        eventually("llama.cpp's server", THERE_WITHIN, || async {
            client.get(&health).send().await.ok()?.error_for_status().ok()
        })
        .await;
        Some(Self { name: "llama.cpp", version, address, client, kind: Kind::Llama(child) })
    }

    /// Asks for an answer of so many tokens.
    ///
    /// # Errors
    /// When it is another.
    pub(super) async fn ask(&self, prompt: &str, tokens: u64) -> Result<Answer, String> {
        stream::ask(&self.client, self.address, prompt, tokens).await
    }

    fn pid(&self) -> u32 {
        match &self.kind {
            Kind::Node { program, .. } => program.pid(),
            Kind::Llama(child) => child.id().expect("it runs"),
        }
    }

    /// Processor time so far, in nanoseconds.
    pub(super) fn processor(&self) -> i64 {
        processor_nanoseconds(self.pid()).cast_signed()
    }

    /// Memory that it holds, in bytes.
    pub(super) fn resident(&self) -> i64 {
        resident_bytes(self.pid()).cast_signed()
    }
}

fn client() -> reqwest::Client {
    // llama.cpp closes connections that it has had for a while.
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client")
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Kind::Node { folder, .. } = &self.kind {
            // Left behind at worst in the system's folder for temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
