//! A real gateway and what a person does with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::process::{Program, binary, free_port};
use crate::{Database, eventually};

/// A running gateway with a first user, a key of each kind and enrolment tokens at hand.
pub struct Gateway {
    program: Program,
    launch: Launch,
    pub database: Database,
    folder: Arc<Folder>,
    pub key: String,
    pub management_key: String,
    pub client: Client,
}

/// Rows arrive a moment after the answer has ended.
const ROWS_WITHIN: Duration = Duration::from_secs(10);

impl Gateway {
    /// Starts a gateway on an empty database.
    pub async fn start() -> Self {
        Self::start_on(Database::create().await).await
    }

    /// Starts a gateway on this database.
    pub async fn start_on(database: Database) -> Self {
        Self::start_with(database, &[]).await
    }

    /// Starts a gateway on this database with settings of its own, as environment variables.
    pub async fn start_with(database: Database, settings: &[(&str, &str)]) -> Self {
        let folder = Folder(std::env::temp_dir().join(format!("gateway-{}", Uuid::now_v7())));
        Self::start_in(Arc::new(folder), database, settings).await
    }

    /// Starts another gateway on the same database, with the same secret and a journal of its own.
    pub async fn replica(&self) -> Self {
        self.replica_with(&[]).await
    }

    /// The same with settings of its own, as environment variables.
    pub async fn replica_with(&self, settings: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::clone(&self.folder), Database::at(&self.database.url).await, settings).await
    }

    /// So many gateways over one database.
    pub async fn replicas(count: usize, settings: &[(&str, &str)]) -> Vec<Self> {
        let mut gateways = vec![Self::start_with(Database::create().await, settings).await];
        while gateways.len() < count {
            gateways.push(gateways[0].replica_with(settings).await);
        }
        gateways
    }

    /// # Panics
    /// When it does not start.
    async fn start_in(folder: Arc<Folder>, database: Database, settings: &[(&str, &str)]) -> Self {
        // The programs install one themselves; the harness speaks TLS nowhere but reqwest asks for it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let launch = Launch::new(&folder.0, &database.url, settings);
        let mut gateway = Self {
            program: launch.start().await,
            launch,
            database,
            folder,
            key: String::new(),
            management_key: String::new(),
            client: Client::builder().no_proxy().build().expect("a client"),
        };
        let out = gateway.folder.0.join("bootstrap");
        gateway.admin(&["bootstrap", "--out", &out.display().to_string()]).await;
        let read = |file: &str| std::fs::read_to_string(out.join(file)).expect("bootstrap wrote it").trim().to_owned();
        gateway.key = read("api_key");
        gateway.management_key = read("admin_token");
        gateway
    }

    /// As `kill -9`.
    pub async fn kill(&mut self) {
        self.program.kill().await;
    }

    /// Starts it again at the same address, with the same journal, after it has ended.
    pub async fn restart(&mut self) {
        self.program = self.launch.start().await;
    }

    /// Runs `commonwatt admin …` and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn admin(&self, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new(binary("commonwatt"))
            .arg("admin")
            .args(arguments)
            .env("DATABASE_URL", &self.database.url)
            .env("COMMONWATT_DATA", &self.folder.0)
            .output()
            .await
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Runs `commonwatt secret …` on the folder that it shares with its replicas.
    ///
    /// # Panics
    /// When it fails.
    pub async fn secret(&self, action: &str) {
        let mut command = tokio::process::Command::new(binary("commonwatt"));
        let output = command.args(["secret", action]).env("COMMONWATT_DATA", &self.folder.0).output().await;
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> &str {
        &self.program.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.program.address)
    }

    /// A request to ask a model.
    pub fn ask(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(&self.key).json(body)
    }

    /// Asks for a chat completion.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn chat(&self, body: &Value) -> Response {
        self.ask("/v1/chat/completions", body).send().await.expect("an answer")
    }

    /// Reads from the management API.
    ///
    /// # Panics
    /// When it fails.
    pub async fn get(&self, path: &str) -> Value {
        let response =
            self.client.get(self.url(path)).bearer_auth(&self.management_key).send().await.expect("an answer");
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.expect("JSON")
    }

    /// The row of a request, as its owner sees it, as soon as it is written.
    pub async fn request(&self, id: &str) -> Value {
        let path = self.url(&format!("/api/requests/{id}"));
        eventually("the request's row", ROWS_WITHIN, || async {
            let response = self.client.get(&path).bearer_auth(&self.management_key).send().await.ok()?;
            response.error_for_status().ok()?.json().await.ok()
        })
        .await
    }

    /// All rows, newest first, as soon as there are `count`.
    pub async fn requests(&self, count: usize) -> Vec<Value> {
        eventually("the rows", ROWS_WITHIN, || async {
            let rows = self.get("/api/requests?limit=200").await["data"].as_array().cloned().unwrap_or_default();
            (rows.len() >= count).then_some(rows)
        })
        .await
    }

    /// A fresh enrolment token.
    ///
    /// # Panics
    /// When the gateway gives none.
    pub async fn enrolment_token(&self) -> String {
        let response = self.client.post(self.url("/api/enrolment-tokens")).bearer_auth(&self.management_key).send();
        let token: Value = response.await.expect("an answer").json().await.expect("JSON");
        token["token"].as_str().expect("a token").to_owned()
    }

    /// Waits until this many nodes are connected.
    pub async fn nodes(&self, count: usize) -> Vec<Value> {
        eventually("the nodes", Duration::from_secs(60), || async {
            let nodes = self.get("/api/nodes").await["data"].as_array().cloned().unwrap_or_default();
            let connected: Vec<Value> = nodes.into_iter().filter(|node| node["connected"] == true).collect();
            (connected.len() == count).then_some(connected)
        })
        .await
    }

    /// Creates a user.
    ///
    /// # Panics
    /// When it fails.
    pub async fn create_user(&self, email: &str, password: &str) {
        let mut child = tokio::process::Command::new(binary("commonwatt"))
            .args(["admin", "create-user", "--name", "Somebody", "--email", email])
            .env("DATABASE_URL", &self.database.url)
            .env("COMMONWATT_DATA", &self.folder.0)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(password.as_bytes()).await.expect("written");
        drop(stdin);
        assert!(child.wait().await.expect("it ends").success());
    }

    /// The password of the first user, `admin@localhost`.
    ///
    /// # Panics
    /// When there is none.
    pub fn first_password(&self) -> String {
        let file = self.folder.0.join("bootstrap").join("admin_password");
        std::fs::read_to_string(file).expect("bootstrap wrote it").trim().to_owned()
    }

    /// Signs in and returns the tokens.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn sign_in(&self, email: &str, password: &str) -> Value {
        let body = serde_json::json!({"email": email, "password": password});
        let response = self.client.post(self.url("/api/sessions")).json(&body).send().await.expect("an answer");
        assert_eq!(response.status(), 201);
        response.json().await.expect("JSON")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.log()
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

/// How it is started, the second time as the first.
struct Launch {
    listen: String,
    environment: Vec<(String, String)>,
}

impl Launch {
    fn new(folder: &Path, database: &str, settings: &[(&str, &str)]) -> Self {
        let (listen, internal) = (local(free_port()), local(free_port()));
        let journal = folder.join(format!("journal-{}", Uuid::now_v7()));
        let mut environment = vec![
            ("DATABASE_URL".to_owned(), database.to_owned()),
            ("COMMONWATT_DATA".to_owned(), folder.display().to_string()),
            ("COMMONWATT_JOURNAL".to_owned(), journal.display().to_string()),
            ("COMMONWATT_INTERNAL_LISTEN".to_owned(), internal),
            ("COMMONWATT_NODE_SILENCE_SECONDS".to_owned(), "5".to_owned()),
        ];
        // The later one counts.
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Self { listen, environment }
    }

    async fn start(&self) -> Program {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Program::start("commonwatt", &["serve", "--listen", &self.listen], &environment).await
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The folder that replicas share; removed with the last of them.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
