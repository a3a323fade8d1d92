//! Programs of others, each of which carries requests to a server, on the first core: proxies that know nothing of models, the
//! floor under every gateway. Gateways are in `peer.rs`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tests::{eventually, free_port};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::CORES;
use super::found::Found;

/// Python takes half a minute on a busy machine.
const THERE_WITHIN: Duration = Duration::from_secs(120);

/// How a program is started.
pub(super) struct Launch {
    pub(super) program: Found,
    /// Where it is to listen.
    pub(super) listen: SocketAddr,
    /// Its own, where it may keep files.
    pub(super) folder: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// What its clients show.
    pub(super) key: &'static str,
    pub(super) headers: Vec<(String, String)>,
    /// What it answers with success as soon as it is ready; none where listening says so.
    pub(super) ready: Option<&'static str>,
}

/// A running program; it ends when dropped.
pub(super) struct Proxy {
    child: Child,
    pub(super) address: SocketAddr,
    pub(super) version: String,
    pub(super) key: &'static str,
    pub(super) headers: Vec<(String, String)>,
    folder: PathBuf,
}

impl Launch {
    /// To be told the rest.
    pub(super) fn of(program: Found) -> Self {
        let folder = std::env::temp_dir().join(format!("{}-{}", program.name, Uuid::now_v7()));
        fs::create_dir(&folder).expect("a folder");
        Self {
            program,
            listen: SocketAddr::from(([127, 0, 0, 1], free_port())),
            folder,
            arguments: Vec::new(),
            environment: Vec::new(),
            key: "key",
            headers: Vec::new(),
            ready: None,
        }
    }

    /// Writes a file into its folder, and says where.
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("room for a file");
        path.display().to_string()
    }

    /// Starts it on the first core, so that it sees no more than one, and waits until it answers.
    pub(super) async fn start(self) -> Proxy {
        let Self {
            program: Found { name, path, version },
            listen,
            folder,
            arguments,
            environment,
            key,
            headers,
            ready,
        } = self;
        let child = Command::new("taskset")
            .args(["-c", &CORES[0].to_string()])
            .arg(path)
            .args(arguments)
            // The bench's own: gateways that find it keep books there.
            .env_remove("DATABASE_URL")
            .envs(environment)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).expect("room for a file"))
            .kill_on_drop(true)
            .spawn()
            .expect("taskset, of util-linux");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let is_ready = async || match ready {
            Some(path) => {
                client.get(format!("http://{listen}{path}")).send().await.is_ok_and(|seen| seen.status() == 200)
            }
            None => TcpStream::connect(listen).await.is_ok(),
        };
        eventually(name, THERE_WITHIN, || async { is_ready().await.then_some(()) }).await;
        Proxy { child, address: listen, version, key, headers, folder }
    }
}

impl Proxy {
    pub(super) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// nginx with one worker.
pub(super) fn nginx(program: Found, server: SocketAddr) -> Launch {
    let mut launch = Launch::of(program);
    let file = launch.file("conf", &nginx_file(launch.listen, server, &launch.folder));
    launch.arguments = vec!["-p".to_owned(), launch.folder.display().to_string(), "-c".to_owned(), file];
    launch
}

/// HAProxy with one thread.
pub(super) fn haproxy(program: Found, server: SocketAddr) -> Launch {
    let mut launch = Launch::of(program);
    launch.arguments =
        vec!["-db".to_owned(), "-f".to_owned(), launch.file("conf", &haproxy_file(launch.listen, server))];
    launch
}

/// Nothing is written to a log, nothing is held back, and connections are kept on both sides.
fn nginx_file(listen: SocketAddr, server: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 128k;
    client_max_body_size 8m;
    keepalive_requests 100000000;
    upstream server {{ server {server}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}

fn haproxy_file(listen: SocketAddr, server: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind {listen}
    default_backend servers
backend servers
    server one {server}
"
    )
}
