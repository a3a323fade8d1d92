//! How `up` calls our own programs, and what it learns from those that end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use super::UpSettings;
use super::child::last_lines;
use super::environment::Environment;

/// The two programs and what they have to know.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    commonwatt: PathBuf,
    commonwatt_node: PathBuf,
    data: PathBuf,
    settings: UpSettings,
}

impl Programs {
    /// Our own program and the node's in the same folder.
    pub(super) fn beside_us(settings: &UpSettings, data: &Path) -> anyhow::Result<Programs> {
        let commonwatt = std::env::current_exe().context("Our own program can't be found")?;
        let commonwatt_node = commonwatt.with_file_name("commonwatt-node");
        ensure!(
            commonwatt_node.exists(),
            "{} is missing: build the node's program too, with cargo build --release.",
            commonwatt_node.display()
        );
        Ok(Programs { commonwatt, commonwatt_node, data: data.to_owned(), settings: settings.clone() })
    }

    /// `commonwatt serve`, which migrates the database first.
    pub(super) fn serve_gateway(&self, database_url: &str) -> Command {
        let mut command = self.gateway_command(database_url);
        command.args(["serve", "--with-parent"]);
        command.env("COMMONWATT_LISTEN", format!("127.0.0.1:{}", self.settings.port));
        command
    }

    /// `commonwatt-node serve`.
    pub(super) fn serve_node(&self) -> Command {
        let UpSettings { port, node_port, .. } = self.settings;
        let mut command = self.node_command();
        command.args(["serve", "--with-parent"]);
        command.env("COMMONWATT_GATEWAY", format!("http://127.0.0.1:{port}"));
        command.env("COMMONWATT_TOKEN_FILE", self.bootstrap_file("node_token"));
        command.env("COMMONWATT_NODE_LISTEN", format!("127.0.0.1:{node_port}"));
        command
    }

    /// Fetches the model, or checks that it is there; its progress bar shows in our terminal.
    pub(super) async fn pull(&self) -> anyhow::Result<()> {
        let mut command = self.node_command();
        // What it has fetched so far is kept when it is killed.
        out_of_reach(command.arg("pull")).stdout(Stdio::null());
        let status = command.status().await.context("commonwatt-node pull can't be run")?;
        ensure!(
            status.success(),
            "The model {} can't be had ({status}); the reason stands above.",
            self.settings.model
        );
        Ok(())
    }

    /// Creates the first account with its keys at the first start, and reads the keys.
    pub(super) async fn bootstrap(&self, database_url: String) -> anyhow::Result<Environment> {
        let mut command = self.gateway_command(&database_url);
        command.args(["admin", "bootstrap", "--out"]).arg(self.data.join("bootstrap"));
        let out = out_of_reach(&mut command).output().await.context("commonwatt admin bootstrap can't be run")?;
        if !out.status.success() {
            let told = last_lines(&String::from_utf8_lossy(&out.stderr), 15);
            bail!("The first account can't be created ({}).\n{told}", out.status);
        }
        Ok(Environment {
            origin: format!("http://127.0.0.1:{}", self.settings.port),
            api_key: self.secret("api_key")?,
            model: self.settings.model.clone(),
            admin_token: self.secret("admin_token")?,
            // Not there when the database had its first user before this folder came.
            admin_password: self.secret("admin_password").ok(),
            database_url,
        })
    }

    fn gateway_command(&self, database_url: &str) -> Command {
        let mut command = Command::new(&self.commonwatt);
        command.env("DATABASE_URL", database_url).env("COMMONWATT_DATA", self.data.join("gateway"));
        command
    }

    fn node_command(&self) -> Command {
        let mut command = Command::new(&self.commonwatt_node);
        command.env("COMMONWATT_DATA", self.data.join("node")).env("COMMONWATT_MODEL", &self.settings.model);
        // A node has no business with the gateway's database.
        command.env_remove("DATABASE_URL");
        command
    }

    fn bootstrap_file(&self, name: &str) -> PathBuf {
        self.data.join("bootstrap").join(name)
    }

    fn secret(&self, name: &str) -> anyhow::Result<String> {
        let file = self.bootstrap_file(name);
        let secret = fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
        Ok(secret.trim().to_owned())
    }
}

/// A Ctrl-C in the terminal is ours to handle: the program ends when we drop it.
fn out_of_reach(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true)
}
